// What the tests of the life of keys share: a statement in a key store's database, clocks moved by its rows, a keyring that is set up.
import assert from "node:assert/strict";
import Database from "better-sqlite3";
import { build } from "esbuild";
import pg from "pg";
import { Keyring, PostgresStore, SqliteStore } from "sealpoint";
import { contextOf, FakeKms, KEK, OTHER_KEK, PLAINTEXT, refused, TENANT } from "./support.mjs";

export const OTHER_TENANT = "globex-secret-tenant";
export const DAY_US = 86_400_000_000;
/** For an hour of caches and five minutes of skew. */
export const WAIT_S = 3600 + 300;
export const [OLD, NEW] = ["fake:one", "fake:two"];
export const bytes = new TextEncoder().encode(PLAINTEXT);

process.env.SEALPOINT_KEK = KEK;
process.env.OTHER_KEK = OTHER_KEK;

/** A keyring on a store that is set up. */
export async function ready(store, kek = new FakeKms(), options = {}) {
  const keyring = await Keyring.connect(store, { kek, ...options });
  await keyring.setup();
  return keyring;
}

/** The new KEK. */
export const other = () => new FakeKms(NEW, { kek: OTHER_KEK });

/** Runs a statement in the database of a key store. Rows are arrays; bytes are hex, given as `Uint8Array`. */
export async function query(store, sql, ...parameters) {
  if (store.startsWith("sqlite:")) {
    const db = new Database(store.slice("sqlite:///".length), { timeout: 10_000 });
    try {
      const statement = db.prepare(sql);
      if (!statement.reader) statement.run(...parameters);
      return statement.reader
        ? statement
            .raw()
            .all(...parameters)
            .map(shown)
        : [];
    } finally {
      db.close();
    }
  }
  const client = new pg.Client({ connectionString: store });
  await client.connect();
  try {
    let number = 0;
    const text = sql.replace(/\?/g, () => `$${++number}`);
    const types = { getTypeParser: (oid) => (oid === 17 ? (value) => Buffer.from(value.slice(2), "hex") : [20, 21, 23].includes(oid) ? Number : String) };
    const { rows } = await client.query({
      text,
      values: parameters.map((one) => (one instanceof Uint8Array ? Buffer.from(one) : one)),
      rowMode: "array",
      types,
    });
    return (rows ?? []).map(shown);
  } finally {
    await client.end();
  }
}

const shown = (row) => row.map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value));

/** Everything that a key store holds. */
export async function allRows(store) {
  const tables = { settings: "id", canaries: "kek_uri", tenants: "tenant", deks: "dek_id", wraps: "dek_id, kek_uri" };
  const found = await Promise.all(Object.entries(tables).map(([table, order]) => query(store, `SELECT * FROM sealpoint_${table} ORDER BY ${order}`)));
  return Object.fromEntries(Object.keys(tables).map((table, i) => [table, found[i]]));
}

/** What the database itself refuses, whoever owns the tables can have. */
export async function liftConstraints(store) {
  if (store.startsWith("sqlite:")) {
    const db = new Database(store.slice("sqlite:///".length)).unsafeMode();
    db.pragma("writable_schema = ON");
    db.prepare("UPDATE sqlite_master SET sql = replace(sql, 'key_check BLOB NOT NULL', 'key_check BLOB')").run();
    db.close();
    return;
  }
  await query(store, "ALTER TABLE sealpoint_deks ALTER key_check DROP NOT NULL");
  const checks = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conrelid::regclass::text LIKE 'sealpoint%'";
  for (const [table, name] of await query(store, checks)) await query(store, `ALTER TABLE ${table} DROP CONSTRAINT ${name}`);
}

/** The code that a promise rejects with, words of its message, and that it says nothing secret. */
export async function code(promise, expected, ...words) {
  const error = await refused(promise);
  assert.equal(error.code, expected, error.stack);
  for (const word of words) assert.ok(error.message.includes(word), error.message);
  for (const secret of [KEK, OTHER_KEK, PLAINTEXT, TENANT, OTHER_TENANT]) assert.ok(!error.message.includes(secret), "a secret in a message");
  return error;
}

export const hex = (array) => Buffer.from(array).toString("hex");
export const dekIdOf = (sealed) => hex(sealed.subarray(5, 21));
export const seal = (keyring, tenant = TENANT) => keyring.seal(bytes, contextOf(tenant));
export const opens = async (keyring, sealed, tenant = TENANT) => assert.deepEqual(await keyring.open(sealed, contextOf(tenant)), bytes);
export const wait = (seconds) => new Date(Date.now() - seconds * 1000);

/** Retired DEKs were retired so much earlier. */
export const age = (store, seconds) => query(store, "UPDATE sealpoint_deks SET retired_at = retired_at - ?", seconds * 1_000_000);

/** A key store of the kind that a URL names, to be passed to `Keyring.connect` as an object. */
export function storeOf(url) {
  return url.startsWith("sqlite:") ? new SqliteStore(url.slice("sqlite:///".length)) : new PostgresStore(url);
}

/** A key store whose pages have at most so many rows, and whose methods can be watched. */
export function paged(store, size, before = () => {}) {
  return new Proxy(store, {
    get(_, name) {
      const method = store[name];
      if (typeof method !== "function") return method;
      return async (...given) => {
        await before(name, ...given);
        if (name === "pageDeks" || name === "pageTenants") return method.call(store, given[0], Math.min(given[1], size));
        return method.apply(store, given);
      };
    },
  });
}

let MemoryStore;

/** The store behind `memory:`, which the package does not export: from its source. */
export async function memoryStore() {
  if (MemoryStore === undefined) {
    const entryPoints = [new URL("../../ts/stores/memory.ts", import.meta.url).pathname];
    const built = await build({ entryPoints, bundle: true, write: false, format: "esm", define: { SEALPOINT_VERSION: '""' } });
    ({ MemoryStore } = await import(`data:text/javascript;base64,${Buffer.from(built.outputFiles[0].contents).toString("base64")}`));
  }
  return new MemoryStore();
}
