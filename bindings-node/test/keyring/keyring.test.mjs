// The keyring: loading, caching, what is refused, and that an outage never turns into plaintext.
import assert from "node:assert/strict";
import { chmodSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import Database from "better-sqlite3";
import pg from "pg";
import { DataKey, Keyring, PostgresStore, SecretKey, SqliteStore } from "sealpoint";
import { postgres, postgresServer } from "../langgraph/servers.mjs";
import { contextOf, FakeKms, folder, KEK, OTHER_KEK, PLAINTEXT, refused, STORES, TENANT } from "./support.mjs";

process.env.SEALPOINT_KEK = KEK;
process.env.OTHER_KEK = OTHER_KEK;
const kek = "env:SEALPOINT_KEK";
const code = async (promise, expected, words = /./) => {
  const error = await refused(promise);
  assert.equal(error.code, expected, error.message);
  assert.match(error.message, words);
  for (const secret of [KEK, OTHER_KEK, PLAINTEXT, TENANT]) assert.ok(!error.message.includes(secret), "a secret in a message");
  return error;
};

for (const [name, make] of Object.entries(STORES)) {
  describe(`a key store in ${name}`, () => {
    test("keeps what was sealed readable for the next keyring", async () => {
      const store = await make();
      const first = await Keyring.connect(store, { kek });
      await code(first.seal(new Uint8Array(1), contextOf()), "store_invalid", /setup\(\)/);
      await first.setup();
      await first.setup();
      const sealed = await first.sealText(PLAINTEXT, contextOf());
      const bytes = await first.seal(new TextEncoder().encode(PLAINTEXT), contextOf(), { contentType: "text", pad: true });
      await first.close();
      const second = await Keyring.connect(store, { kek, createTenants: false });
      assert.equal(await second.openText(sealed, contextOf()), PLAINTEXT);
      const opened = await second.openTyped(bytes, contextOf());
      assert.deepEqual([opened.contentType, new TextDecoder().decode(opened.payload)], ["text", PLAINTEXT]);
      await code(second.seal(new Uint8Array(1), contextOf("umbrella")), "key_not_found", /createTenants/);
      await code(second.load("umbrella", { create: false }), "key_not_found");
      await second.close();
      await code(second.open(bytes, contextOf()), "invalid_argument", /closed/);
    });

    test("knows its KEK", async () => {
      const store = await make();
      const keyring = await Keyring.connect(store, { kek });
      await keyring.setup();
      await keyring.close();
      await code(Keyring.connect(store, { kek: "env:OTHER_KEK" }), "key_not_found", /other KEKs/);
      process.env.SEALPOINT_KEK = OTHER_KEK;
      await code(Keyring.connect(store, { kek }), "authentication_failed", /env:SEALPOINT_KEK/);
      process.env.SEALPOINT_KEK = KEK;
      const both = await Keyring.connect(store, { kek: [kek, "env:OTHER_KEK"] });
      assert.deepEqual(await both.health(), {
        status: "degraded",
        store: null,
        keks: [
          { scheme: "env", status: "ok", code: null, cachedUntil: null },
          { scheme: "env", status: "failed", code: "key_not_found", cachedUntil: null },
        ],
        cachedUntil: null,
        affected: 0,
      });
      await both.setup();
      assert.equal((await both.health()).status, "ok");
      await both.close();
    });

    test("makes one DEK however many keyrings ask at once", async () => {
      const store = await make();
      const keyrings = await Promise.all(Array.from({ length: 4 }, () => Keyring.connect(store, { kek })));
      await keyrings[0].setup();
      const tenants = Array.from({ length: 10 }, (_, i) => `tenant-${i}`);
      const sealed = await Promise.all(keyrings.flatMap((keyring) => tenants.map((tenant) => keyring.seal(new Uint8Array([7]), contextOf(tenant)))));
      for (const [i, envelope] of sealed.entries()) {
        assert.deepEqual([...(await keyrings[(i + 1) % 4].open(envelope, contextOf(tenants[i % 10])))], [7]);
      }
      const ids = new Set(sealed.map((envelope) => Buffer.from(envelope.subarray(5, 21)).toString("hex")));
      assert.equal(ids.size, tenants.length);
      await Promise.all(keyrings.map((keyring) => keyring.close()));
    });

    test("refuses a row that was changed", async () => {
      const store = await make();
      const keyring = await Keyring.connect(store, { kek });
      await keyring.setup();
      const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
      await keyring.load("umbrella");
      await keyring.close();
      for (const [statement, expected] of [
        ["UPDATE sealpoint_deks SET tenant = 'umbrella', version = 9, state = 'retired' WHERE tenant = 'acme-secret-tenant'", "authentication_failed"],
        ["UPDATE sealpoint_deks SET tenant = 'acme-secret-tenant', version = 2 WHERE version = 9", "authentication_failed"],
        ["UPDATE sealpoint_deks SET version = 1 WHERE version = 2 AND tenant = 'acme-secret-tenant'", undefined],
        ["UPDATE sealpoint_wraps SET wrapped = (SELECT wrapped FROM sealpoint_canaries)", "authentication_failed"],
        ["UPDATE sealpoint_wraps SET kek_uri = 'fake:nobody'", "key_not_found"],
        ["UPDATE sealpoint_deks SET state = 'pending_destroy' WHERE tenant = 'acme-secret-tenant'", "key_disabled"],
        ["UPDATE sealpoint_deks SET state = 'destroyed' WHERE tenant = 'acme-secret-tenant'", "key_destroyed"],
        ["UPDATE sealpoint_tenants SET shredded_at = 1", "key_destroyed"],
        ["UPDATE sealpoint_settings SET schema_version = 99", "store_invalid"],
      ]) {
        await sql(store, statement);
        const opening = Keyring.connect(store, { kek }).then(async (other) => {
          try {
            return await other.open(sealed, contextOf());
          } finally {
            await other.close();
          }
        });
        if (expected === undefined) assert.deepEqual([...(await opening)], [1]);
        else await code(opening, expected);
      }
    });
  });
}

async function sql(store, statement) {
  if (store.startsWith("sqlite")) {
    const db = new Database(store.slice("sqlite:///".length));
    db.exec(statement);
    db.close();
    return;
  }
  const client = new pg.Client({ connectionString: store });
  await client.connect();
  await client.query(statement);
  await client.end();
}

describe("loading", () => {
  test("1,000 callers on a cold DEK make one unwrap", async () => {
    const [store, kms] = [await STORES.sqlite(), new FakeKms()];
    const first = await Keyring.connect(store, { kek: kms });
    await first.setup();
    const sealed = await first.seal(new Uint8Array([1]), contextOf());
    await first.close();
    const keyring = await Keyring.connect(store, { kek: kms });
    kms.calls.unwrap = 0;
    await Promise.all(Array.from({ length: 1000 }, () => keyring.open(sealed, contextOf())));
    assert.equal(kms.calls.unwrap, 1);
    await Promise.all(Array.from({ length: 1000 }, () => keyring.seal(new Uint8Array([1]), contextOf())));
    assert.equal(kms.calls.unwrap, 1);
    await keyring.close();
  });

  test("a DEK that nobody knows is looked up once for 1,000 callers, costs the key service nothing and leaves nothing behind", async () => {
    const [kms, store, elsewhere] = [new FakeKms(), new SqliteStore(join(folder(), "keys.db")), await Keyring.connect("memory:", { kek })];
    const keyring = await Keyring.connect(store, { kek: kms });
    await keyring.setup();
    await keyring.load(TENANT);
    const foreign = await elsewhere.seal(new Uint8Array([1]), contextOf());
    kms.calls.unwrap = 0;
    const look = store.dek.bind(store);
    let looks = 0;
    store.dek = (dekId) => {
      looks += 1;
      return look(dekId);
    };
    const failures = await Promise.all(Array.from({ length: 1000 }, () => refused(keyring.open(foreign, contextOf()))));
    assert.ok(failures.every((error) => error.code === "key_not_found"));
    assert.deepEqual([looks, kms.calls.unwrap, keyring._cache.size, keyring._refresher.holdings().length], [1, 0, 1, 1]);
    await keyring.close();
  });

  test("what was passed is sealed, whatever becomes of the array while the DEK is loaded", async () => {
    const keyring = await Keyring.connect("memory:", { kek });
    const bytes = new TextEncoder().encode(PLAINTEXT);
    for (const [seal, payload] of [
      ["seal", bytes.slice()],
      ["seal", Buffer.from(bytes)],
      ["sealText", bytes.slice().buffer],
    ]) {
      keyring._cache.clear();
      const sealing = keyring[seal](payload, contextOf());
      new Uint8Array(payload.buffer ?? payload, payload.byteOffset ?? 0, bytes.length).fill(0);
      assert.equal(await keyring.openText(await sealing, contextOf()), PLAINTEXT);
    }
    await keyring.close();
  });

  test("an outage reaches everybody who waits, and is over when it is over", async () => {
    const kms = new FakeKms();
    const keyring = await Keyring.connect("memory:", { kek: kms });
    const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
    keyring._cache.clear();
    kms.calls.unwrap = 0;
    kms.fail("kms_unavailable");
    const failures = await Promise.all(Array.from({ length: 20 }, () => refused(keyring.open(sealed, contextOf()))));
    assert.ok(failures.every((error) => error.code === "kms_unavailable" && error.retryable));
    assert.equal(kms.calls.unwrap, 1);
    await code(keyring.seal(new Uint8Array([1]), contextOf()), "kms_unavailable");
    kms.fail(undefined);
    assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
  });

  test("what is held is used for its TTL and no longer", async () => {
    const kms = new FakeKms();
    const keyring = await Keyring.connect("memory:", { kek: kms, cacheTtl: 100 });
    const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
    kms.fail("kms_unavailable");
    keyring._cache._advance(99);
    assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    keyring._cache._advance(2);
    await code(keyring.open(sealed, contextOf()), "kms_unavailable");
  });

  test("the next KEK serves when the first cannot, and a wrap that does not authenticate seals nothing", async () => {
    const [first, second] = [new FakeKms("fake:first"), new FakeKms("fake:second", { kek: OTHER_KEK, authenticates: false })];
    const keyring = await Keyring.connect("memory:", { kek: [first, second] });
    const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
    keyring._cache.clear();
    first.fail("kms_denied");
    assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    second.calls.unwrap = 0;
    assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    assert.equal(second.calls.unwrap, 0); // it is held, for opening only
    await code(keyring.seal(new Uint8Array([1]), contextOf()), "kms_denied");
    first.fail(undefined);
    assert.deepEqual([...(await keyring.open(await keyring.seal(new Uint8Array([2]), contextOf()), contextOf()))], [2]);
    await code(Keyring.connect("memory:", { kek: second }), "invalid_argument", /authenticate/);
  });

  test("the loss of one KEK loses nothing, and a wrap that was changed leads nowhere", async () => {
    const [first, second] = [new FakeKms("fake:first"), new FakeKms("fake:second", { kek: OTHER_KEK })];
    const keyring = await Keyring.connect("memory:", { kek: [first, second] });
    const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
    for (const lost of ["kms_denied", "kms_unavailable", "key_disabled", "key_destroyed", "key_not_found"]) {
      keyring._cache.clear();
      first.fail(lost);
      assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    }
    keyring._cache.clear();
    first.fail("authentication_failed");
    second.calls.unwrap = 0;
    await code(keyring.open(sealed, contextOf()), "authentication_failed");
    assert.equal(second.calls.unwrap, 0);
  });

  test("a load that lands after close leaves nothing behind", async () => {
    const kms = new FakeKms();
    const keyring = await Keyring.connect("memory:", { kek: kms });
    const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
    keyring._cache.clear();
    let proceed;
    kms.before = () =>
      new Promise((resolve) => {
        proceed = resolve;
      });
    const opening = keyring.open(sealed, contextOf());
    while (proceed === undefined) await new Promise(setImmediate);
    await keyring.close();
    proceed();
    await opening;
    assert.equal(keyring._cache.size, 0);
  });

  test("what a provider does wrong has a code and no details", async () => {
    const kms = new FakeKms();
    const keyring = await Keyring.connect("memory:", { kek: kms });
    kms.answer = Object.assign(new Error("connect refused"), { code: "ECONNREFUSED", syscall: "connect" });
    assert.equal((await code(keyring.load("a"), "kms_unavailable")).retryable, true);
    kms.answer = new TypeError("the plaintext nobody may see");
    await code(keyring.load("b"), "internal");
    kms.answer = undefined;
    kms.unwrap = async () => SecretKey.generate();
    await code(keyring.load("c"), "authentication_failed", /another key/);
    kms.unwrap = async () => "swordfish";
    await code(keyring.load("d"), "internal");
    kms.wrap = async () => ({ wrapped: "no" });
    await code(keyring.load("e"), "internal");
  });

  test("client and data keys do not open each other's", async () => {
    const keyring = await Keyring.connect("memory:", { kek });
    const exported = DataKey.import(await keyring.exportDataKey(TENANT, { reason: "for the tenant's own page" }));
    const forged = exported.seal(new Uint8Array([1]), contextOf());
    assert.deepEqual([...(await keyring.open(forged, contextOf(), { dekPurpose: "client" }))], [1]);
    await code(keyring.open(forged, contextOf()), "authentication_failed");
    const own = await keyring.seal(new Uint8Array([2]), contextOf());
    await code(keyring.open(own, contextOf(), { dekPurpose: "client" }), "authentication_failed");
    await code(keyring.exportDataKey(TENANT, { reason: " " }), "invalid_argument", /reason/);
    await code(keyring.seal(new Uint8Array(1), contextOf(), { dekPurpose: "index" }), "invalid_argument");
  });
});

describe("what is refused before anything is connected", () => {
  const bad = [
    ["memory:", undefined, /kek/],
    ["memory:", {}, /kek/],
    ["memory:", { kek, cacheTTL: 1 }, /cacheTTL/],
    ["memory:", { kek, cacheTtl: 0 }, /cacheTtl/],
    ["memory:", { kek, cacheTtl: 30 * 86_400 + 1 }, /cacheTtl/],
    ["memory:", { kek, createTenants: 1 }, /createTenants/],
    ["memory:", { kek: [] }, /no KEK/],
    ["memory:", { kek: [kek, kek] }, /twice/],
    ["memory:", { kek: KEK }, /itself/],
    ["memory:", { kek: "env:1BAD" }, /variable/],
    ["memory:", { kek: "env:ABSENT_KEK" }, /ABSENT_KEK is not set/],
    ["memory:", { kek: "file:/nowhere/kek" }, /no file/],
    ["memory:", { kek: `${kek}?x=1` }, /options/],
    ["memory:", { kek: { uri: "x:y" } }, /KeyManagementProvider/],
    ["sqlite://keys.db", { kek }, /key store is/],
    ["sqlite:///:memory:", { kek }, /memory:/],
    ["sqlite:///", { kek }, /path/],
    ["sqlite:///a?mode=ro", { kek }, /options/],
    ["mysql://x", { kek }, /key store is/],
    [42, { kek }, /pg.Pool/],
    [{}, { kek }, /pg.Pool/],
    [new pg.Client(), { kek }, /Client/],
  ];
  for (const [store, given, words] of bad) {
    test(`${inspect(store, { depth: 0 }).slice(0, 40)} ${JSON.stringify(given)?.replaceAll(KEK, "…")}`, () =>
      code(Keyring.connect(store, given), "invalid_argument", words));
  }

  test("a key service of a later release", async () => {
    for (const later of ["hcvault://kek"]) await code(Keyring.connect("memory:", { kek: later }), "missing_dependency");
  });

  test("a KEK file that others can read, and what is no KEK file", { skip: process.platform === "win32" && "no modes there" }, async () => {
    const path = join(folder(), "kek");
    writeFileSync(path, `${KEK}\n`);
    chmodSync(path, 0o644);
    await code(Keyring.connect("memory:", { kek: `file:${path}` }), "invalid_argument", /chmod 600/);
    chmodSync(path, 0o600);
    await (await Keyring.connect("memory:", { kek: `file:${path}` })).close();
    await code(Keyring.connect("memory:", { kek: `file:${join(path, "..")}` }), "invalid_argument", /folder/);
    writeFileSync(path, "x".repeat(5000));
    await code(Keyring.connect("memory:", { kek: `file:${path}` }), "invalid_argument", /5000 bytes/);
    writeFileSync(path, "swordfish");
    assert.ok(!(await code(Keyring.connect("memory:", { kek: `file:${path}` }), "invalid_argument")).message.includes("swordfish"));
  });

  test("a tenant that no context takes never reaches the key store", async () => {
    const keyring = await Keyring.connect("memory:", { kek });
    await code(keyring.load(""), "tenant_required");
    await code(keyring.load(undefined), "tenant_required");
    await code(keyring.load("t".repeat(1025)), "invalid_context");
  });

  test("a TTL beyond what the key store allows", async () => {
    const store = await STORES.sqlite();
    await (await Keyring.connect(store, { kek })).setup();
    await code(Keyring.connect(store, { kek, cacheTtl: 3601 }), "invalid_argument", /3600/);
  });
});

describe("SQLite", () => {
  test("the file is its owner's only", { skip: process.platform === "win32" && "no modes there" }, async () => {
    const store = await STORES.sqlite();
    const keyring = await Keyring.connect(store, { kek });
    await keyring.setup();
    assert.equal(statSync(store.slice(10)).mode & 0o777, 0o600);
    await keyring.close();
  });

  test("a file that another process has locked is waited for, and the event loop goes on", async () => {
    const store = await STORES.sqlite();
    const keyring = await Keyring.connect(store, { kek });
    await keyring.setup();
    const db = new Database(store.slice(10));
    db.exec("BEGIN IMMEDIATE");
    const loading = keyring.load(TENANT);
    const order = [];
    loading.then(() => order.push("loaded"));
    await new Promise((resolve) => setTimeout(resolve, 100));
    order.push("free");
    db.exec("COMMIT");
    db.close();
    await loading;
    assert.deepEqual(order, ["free", "loaded"]);
    await keyring.close();
  });

  test("a path with white space at its end, which would lead to another file", () =>
    code(Keyring.connect("sqlite:///keys.db ", { kek }), "invalid_argument", /white space/));

  test("what is no key store", async () => {
    const path = join(folder(), "file");
    writeFileSync(path, "this is no database, and long enough to be told from one: ".repeat(20));
    await code(Keyring.connect(`sqlite:///${path}`, { kek }), "store_invalid", /no SQLite database/);
    await code(Keyring.connect(`sqlite:///${join(path, "..", "absent", "keys.db")}`, { kek }), "store_unavailable", /folder/);
    const newer = await STORES.sqlite();
    const made = await Keyring.connect(newer, { kek });
    await made.setup();
    await sql(newer, "UPDATE sealpoint_settings SET schema_version = 99; DROP TABLE sealpoint_wraps");
    await code(made.setup(), "store_invalid", /upgrade/);
    assert.equal(new Database(newer.slice(10)).prepare("SELECT count(*) AS n FROM sqlite_master WHERE name = 'sealpoint_wraps'").get().n, 0, "left alone");
    const other = join(folder(), "other.db");
    new Database(other).exec("CREATE TABLE sealpoint_settings (id)").close();
    await code(Keyring.connect(`sqlite:///${other}`, { kek }), "store_invalid");
  });
});

describe("Postgres", () => {
  test("a pool stays its owner's, whatever parsers it has, and a schema can be named", async () => {
    pg.types.setTypeParser(20, BigInt);
    pg.types.setTypeParser(17, () => "mangled");
    const pool = new pg.Pool({ connectionString: await postgres(), max: 2 });
    try {
      const keyring = await Keyring.connect(new PostgresStore(pool, { schema: 'odd "schema"' }), { kek });
      await keyring.setup();
      const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
      keyring._cache.clear();
      assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
      await keyring.close();
      const direct = await Keyring.connect(pool, { kek });
      await direct.setup();
      await direct.load(TENANT);
      await direct.close();
      assert.equal((await pool.query("SELECT count(*)::int AS n FROM sealpoint_deks")).rows[0].n, 1);
      await code(direct.health(), "invalid_argument", /closed/);
    } finally {
      pg.types.setTypeParser(20, (value) => value);
      pg.types.setTypeParser(17, (value) => Buffer.from(value.slice(2), "hex"));
      await pool.end();
    }
    await code(Keyring.connect(pool, { kek }), "invalid_argument", /ended/);
    for (const schema of ["", "x".repeat(64), "a\0b", 7]) assert.throws(() => new PostgresStore(pool, { schema }), { code: "invalid_argument" });
    assert.throws(() => new PostgresStore(pool, { Schema: "x" }), { code: "invalid_argument" });
  });

  test("a server that goes away and comes back", async () => {
    const server = await postgresServer();
    const keyring = await Keyring.connect(server.dsn, { kek });
    await keyring.setup();
    const sealed = await keyring.seal(new Uint8Array([1]), contextOf());
    await server.crash();
    assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    keyring._cache.clear();
    assert.equal((await code(keyring.open(sealed, contextOf()), "store_unavailable")).retryable, true);
    assert.deepEqual(await keyring.health(), { status: "failed", store: "store_unavailable", keks: [], cachedUntil: null, affected: 0 });
    await server.start();
    assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    await keyring.close();
    await server.close();
  });

  for (const whose of ["its own", "the user's"]) {
    test(`a connection that is lost in the middle of a transaction is made again: ${whose}`, async () => {
      const dsn = await postgres();
      const pool = whose === "its own" ? undefined : new pg.Pool({ connectionString: dsn });
      const keyring = await Keyring.connect(pool ?? dsn, { kek });
      await keyring.setup();
      const other = new pg.Client({ connectionString: dsn });
      await other.connect();
      await other.query("BEGIN; LOCK TABLE sealpoint_deks IN ACCESS EXCLUSIVE MODE");
      const loading = keyring.load(TENANT);
      const waits = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
      let ended = [];
      while (ended.length === 0) ended = (await other.query(`SELECT pg_terminate_backend(pid) FROM (${waits}) AS waiting`)).rows;
      await other.query("ROLLBACK");
      await loading;
      assert.deepEqual([...(await keyring.open(await keyring.seal(new Uint8Array([1]), contextOf()), contextOf()))], [1]);
      await other.end();
      await keyring.close();
      await pool?.end();
    });
  }

  test("a defect of the client is no outage", async () => {
    const pool = new pg.Pool({ connectionString: await postgres() });
    const keyring = await Keyring.connect(pool, { kek });
    await keyring.setup();
    const connect = pool.connect.bind(pool);
    pool.connect = async () => {
      const client = await connect();
      const query = client.query.bind(client);
      client.query = (statement) => (statement.values ? Promise.reject(new TypeError(PLAINTEXT)) : query(statement));
      return client;
    };
    assert.equal((await code(keyring.load(TENANT), "internal")).retryable, false);
    await keyring.close();
    await pool.end();
  });

  test("a tenant with a NUL character is refused", async () => {
    const keyring = await Keyring.connect(await postgres(), { kek });
    await keyring.setup();
    await code(keyring.load("a\0b"), "invalid_argument", /NUL/);
    await keyring.close();
  });
});

test("nothing shows what it holds", async () => {
  const keyring = await Keyring.connect("memory:", { kek });
  await keyring.load(TENANT);
  for (const shown of [String(keyring), inspect(keyring), JSON.stringify(keyring)]) {
    assert.match(shown, /Keyring\(MemoryStore kek=env\)/);
  }
  await keyring.close();
});
