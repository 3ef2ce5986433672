/** The key store in Postgres: any number of machines, of Python and Node alike; each tenant's first DEK is made once, whoever comes first. */

import type { Pool } from "pg";
import { text } from "../check.js";
import { fail } from "../errors.js";
import { Hidden } from "../hide.js";
import { type Query, Transactions } from "./connections.js";
import type { KeyLifecycle, WrapChange, WrapDrop } from "./lifecycle.js";
import {
  type DekState,
  hex,
  NO_ACTIVE_DEK,
  NOT_SET_UP,
  now,
  type PostgresPool,
  SCHEMA_VERSION,
  type StoredDek,
  type StoreSettings,
  settingsFromRow,
  type TenantRecord,
  type WrapRecord,
} from "./records.js";
import { dekFromRows, deksFromRows, SELECT_DEK, tenantsFromRows } from "./rows.js";

/** The advisory lock under which setup() works, in every language: "sealpoin" in ASCII. */
const SETUP_LOCK = "8315159405380200814";

const TABLES = ["settings", "canaries", "tenants", "deks", "wraps"] as const;
type Table = (typeof TABLES)[number];

/** What makes schema version n of version n-1 is the n-th. Names compare bytewise, whatever the database's collation is and becomes. */
const MIGRATIONS: readonly (readonly string[])[] = [
  [
    `CREATE TABLE IF NOT EXISTS {settings} (
        id smallint PRIMARY KEY CHECK (id = 1), schema_version bigint NOT NULL, max_ttl bigint NOT NULL)`,
    `CREATE TABLE IF NOT EXISTS {canaries} (kek_uri text COLLATE "C" PRIMARY KEY, wrapped bytea NOT NULL)`,
    `CREATE TABLE IF NOT EXISTS {tenants} (
        tenant text COLLATE "C" PRIMARY KEY, kek_uri text COLLATE "C", created_at bigint NOT NULL, shredded_at bigint)`,
    `CREATE TABLE IF NOT EXISTS {deks} (
        dek_id bytea PRIMARY KEY CHECK (octet_length(dek_id) = 16), tenant text COLLATE "C" NOT NULL,
        purpose smallint NOT NULL CHECK (purpose BETWEEN 1 AND 4), suite smallint NOT NULL CHECK (suite BETWEEN 1 AND 255),
        version bigint NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
        state text NOT NULL CHECK (state IN ('active', 'retired', 'pending_destroy', 'destroyed')),
        key_check bytea NOT NULL CHECK (octet_length(key_check) = 32),
        created_at bigint NOT NULL, retired_at bigint, destroyed_at bigint, rotated_by text,
        UNIQUE (tenant, purpose, version))`,
    "CREATE UNIQUE INDEX IF NOT EXISTS sealpoint_deks_active ON {deks} (tenant, purpose) WHERE state = 'active'",
    `CREATE TABLE IF NOT EXISTS {wraps} (
        dek_id bytea NOT NULL, kek_uri text COLLATE "C" NOT NULL, kek_version text NOT NULL, wrap_alg text NOT NULL,
        wrapped bytea NOT NULL, created_at bigint NOT NULL, verified_at bigint, PRIMARY KEY (dek_id, kek_uri))`,
  ],
  [`ALTER TABLE {settings} ADD COLUMN IF NOT EXISTS required_keks text COLLATE "C" NOT NULL DEFAULT ''`],
];

const JOINED = "LEFT JOIN {tenants} t ON t.tenant = d.tenant LEFT JOIN {wraps} w ON w.dek_id = d.dek_id";
/** One statement, so that DEK, tombstone and wraps are of one moment. */
const deks = (where: string) => `${SELECT_DEK} FROM {deks} d ${JOINED} ${where}`;
const page = () => `${SELECT_DEK} FROM (SELECT * FROM {deks} WHERE dek_id > $1 ORDER BY dek_id LIMIT $2) d ${JOINED} ORDER BY d.dek_id, w.kek_uri`;
const PAGE_TENANTS = `
SELECT n.tenant, t.created_at, t.shredded_at FROM (
    (SELECT tenant FROM {tenants} WHERE tenant > $1 ORDER BY tenant LIMIT $2)
    UNION (SELECT DISTINCT tenant FROM {deks} WHERE tenant > $1 ORDER BY tenant LIMIT $2)) n
LEFT JOIN {tenants} t ON t.tenant = n.tenant ORDER BY n.tenant LIMIT $2
`;
const UNNEST = "unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[]";
const insertWraps = (end: string) => `INSERT INTO {wraps} SELECT * FROM ${UNNEST}) ${end}`;
const replaceWraps = () => `
UPDATE {wraps} w SET kek_version = n.kek_version, wrap_alg = n.wrap_alg, wrapped = n.wrapped, created_at = n.created_at, verified_at = n.verified_at
FROM ${UNNEST}, $8::bytea[]) n(dek_id, kek_uri, kek_version, wrap_alg, wrapped, created_at, verified_at, replaces)
WHERE w.dek_id = n.dek_id AND w.kek_uri = n.kek_uri AND w.wrapped = n.replaces RETURNING 1
`;
const DROP_WRAPS = `
DELETE FROM {wraps} w USING unnest($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::bytea[]) n(dek_id, kek_uri, wrapped, kept_uri, kept)
WHERE w.dek_id = n.dek_id AND w.kek_uri = n.kek_uri AND w.wrapped = n.wrapped
AND EXISTS (SELECT 1 FROM {wraps} k WHERE k.dek_id = n.dek_id AND k.kek_uri = n.kept_uri AND k.wrapped = n.kept) RETURNING 1
`;

/**
 * `postgresql://…`, or a `pg.Pool`. What it opens itself it closes: a few connections, made when needed; a pool stays its owner's.
 *
 * A server that cannot be reached or written, or is too slow, is `store_unavailable`; a hot standby serves for opening. A call ends within about 20 seconds (see docs/OPERATIONS.md).
 * Needs the package pg for a URL.
 */
export class PostgresStore extends Hidden implements KeyLifecycle {
  readonly #transactions: Transactions;
  readonly #schema: string | undefined;
  readonly #names: Readonly<Record<Table, string>>;

  /**
   * Touches nothing yet. `schema`: where the tables are; without it the connection's `search_path` decides (`?options=-csearch_path%3Dkeys` in the URL).
   *
   * Throws: `invalid_argument`, `missing_dependency`.
   */
  constructor(source: string | PostgresPool, given?: { schema?: string }) {
    super();
    const { schema, ...unknown } = given ?? {};
    if (Object.keys(unknown).length > 0) throw fail("invalid_argument", "the one option of a PostgresStore is schema");
    this.#schema = schemaName(schema);
    this.#transactions = new Transactions(source as string | Pool);
    const prefix = this.#schema === undefined ? "" : `${quoted(this.#schema)}.`;
    this.#names = Object.fromEntries(TABLES.map((table) => [table, `${prefix}${quoted(`sealpoint_${table}`)}`])) as Record<Table, string>;
  }

  setup(maxTtl: number): Promise<void> {
    return this.#run(async (query) => {
      await query("SELECT pg_advisory_xact_lock($1)", SETUP_LOCK);
      const version = await this.#version(query);
      if (version === SCHEMA_VERSION) return;
      if (this.#schema !== undefined && (await query("SELECT 1 FROM pg_namespace WHERE nspname = $1", this.#schema)).length === 0) {
        await query(`CREATE SCHEMA ${quoted(this.#schema)}`);
      }
      for (const migration of MIGRATIONS.slice(version)) for (const statement of migration) await query(statement);
      await query(
        "INSERT INTO {settings} (id, schema_version, max_ttl) VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE SET schema_version = EXCLUDED.schema_version",
        SCHEMA_VERSION,
        maxTtl,
      );
    });
  }

  settings(): Promise<StoreSettings | undefined> {
    return this.#run(async (query) => {
      if ((await this.#present(query)) === 0) return undefined;
      const [row] = await query("SELECT schema_version, max_ttl FROM {settings} WHERE id = 1");
      if (row === undefined) throw fail("store_invalid", NOT_SET_UP);
      if (row.schema_version !== SCHEMA_VERSION) return settingsFromRow(row);
      const [more] = await query("SELECT required_keks FROM {settings} WHERE id = 1");
      return settingsFromRow({ ...row, ...more });
    });
  }

  canaries(): Promise<ReadonlyMap<string, Uint8Array>> {
    return this.#run(async (query) => {
      const rows = await query("SELECT kek_uri, wrapped FROM {canaries}");
      return new Map(rows.map((row) => [row.kek_uri as string, row.wrapped as Uint8Array]));
    });
  }

  addCanary(kekUri: string, wrapped: Uint8Array): Promise<void> {
    return this.#run(async (query) => void (await query("INSERT INTO {canaries} VALUES ($1, $2) ON CONFLICT DO NOTHING", kekUri, wrapped)));
  }

  tenant(tenant: string): Promise<TenantRecord | undefined> {
    return this.#run(async (query) => {
      const [row] = await query("SELECT created_at, shredded_at FROM {tenants} WHERE tenant = $1", tenant);
      return row && ({ createdAt: row.created_at, shreddedAt: row.shredded_at } as TenantRecord);
    });
  }

  dek(dekId: Uint8Array): Promise<StoredDek | undefined> {
    return this.#run(async (query) => dekFromRows(await query(deks("WHERE d.dek_id = $1 ORDER BY w.kek_uri"), dekId)));
  }

  activeDek(tenant: string, dekPurpose: number): Promise<StoredDek | undefined> {
    return this.#run((query) => active(query, tenant, dekPurpose));
  }

  nextVersion(tenant: string, dekPurpose: number): Promise<number> {
    return this.#run(async (query) => {
      const [row] = await query("SELECT coalesce(max(version), 0) + 1 AS next FROM {deks} WHERE tenant = $1 AND purpose = $2", tenant, dekPurpose);
      return row?.next as number;
    });
  }

  /**
   * The lock on the tenant's row makes creators take turns, and holds off whoever wants to set the tombstone.
   *
   * READ COMMITTED is what this needs: each statement sees what was committed before it began, so whoever waited for the lock then finds the winner's DEK. Should somebody make a DEK
   * without that lock, the partial unique index still admits one active DEK only, and the call fails with `store_unavailable`.
   */
  createDek(dek: StoredDek): Promise<StoredDek> {
    return this.#run(async (query) => {
      await lockTenant(query, dek.tenant);
      const winner = await active(query, dek.tenant, dek.dekPurpose);
      if (winner !== undefined) return winner;
      await insert(query, dek);
      return dek;
    });
  }

  pageTenants(after: string | undefined, limit: number): Promise<[string, TenantRecord][]> {
    return this.#run(async (query) => tenantsFromRows(await query(PAGE_TENANTS, after ?? "", limit)));
  }

  pageDeks(after: Uint8Array | undefined, limit: number): Promise<StoredDek[]> {
    return this.#run(async (query) => deksFromRows(await query(page(), after ?? new Uint8Array(), limit)));
  }

  deksOf(tenants: readonly string[]): Promise<StoredDek[]> {
    const where = "WHERE d.tenant = ANY($1::text[]) ORDER BY d.tenant, d.purpose, d.version, d.dek_id, w.kek_uri";
    return this.#run(async (query) => deksFromRows(await query(deks(where), tenants)));
  }

  replaceActive(retired: Uint8Array, successor: StoredDek): Promise<StoredDek> {
    return this.#run(async (query) => {
      await lockTenant(query, successor.tenant);
      const found = await active(query, successor.tenant, successor.dekPurpose);
      if (found === undefined) throw fail("key_not_found", NO_ACTIVE_DEK);
      const update =
        "UPDATE {deks} SET state = 'retired', retired_at = $1, rotated_by = encode($2::bytea, 'hex') WHERE dek_id = $3 AND dek_id = $4 RETURNING 1";
      if ((await query(update, now(), successor.dekId, found.dekId, retired)).length === 0) return found;
      await insert(query, successor);
      return successor;
    });
  }

  /** See `KeyLifecycle`. The lock on the DEKs' rows holds off whoever destroys them: a wrap that came after would outlive its DEK. */
  putWraps(changes: readonly WrapChange[]): Promise<number> {
    return this.#run(async (query) => {
      const alive = await lockDeks(query, changes);
      const possible = changes.filter(({ dekId }) => alive.has(hex(dekId)));
      const [beside, instead] = [possible.filter(({ replaces }) => replaces === null), possible.filter(({ replaces }) => replaces !== null)];
      const made = await query(insertWraps("ON CONFLICT DO NOTHING RETURNING 1"), ...columns(beside));
      const replaced = await query(
        replaceWraps(),
        ...columns(instead),
        instead.map(({ replaces }) => replaces),
      );
      return made.length + replaced.length;
    });
  }

  /** See `KeyLifecycle`. The lock keeps two calls from removing each the wrap that the other one keeps. */
  dropWraps(drops: readonly WrapDrop[]): Promise<number> {
    return this.#run(async (query) => {
      await lockDeks(query, drops);
      const done = await query(
        DROP_WRAPS,
        drops.map(({ dekId }) => dekId),
        drops.map(({ dropped }) => dropped.kekUri),
        drops.map(({ dropped }) => dropped.wrapped),
        drops.map(({ kept }) => kept.kekUri),
        drops.map(({ kept }) => kept.wrapped),
      );
      return done.length;
    });
  }

  setState(dekId: Uint8Array, expected: DekState, state: DekState): Promise<boolean> {
    return this.#run(async (query) => {
      const update = "UPDATE {deks} SET state = $1, destroyed_at = $2 WHERE dek_id = $3 AND state = $4 RETURNING 1";
      const changed = await query(update, state, state === "destroyed" ? now() : null, dekId, expected);
      if (changed.length > 0 && state === "destroyed") await query("DELETE FROM {wraps} WHERE dek_id = $1", dekId);
      return changed.length > 0;
    });
  }

  shredTenant(tenant: string, at: number): Promise<Uint8Array[]> {
    return this.#run(async (query) => {
      await lockTenant(query, tenant, false);
      await query("UPDATE {tenants} SET shredded_at = coalesce(shredded_at, $1) WHERE tenant = $2", at, tenant);
      const rows = await query("SELECT dek_id FROM {deks} WHERE tenant = $1 ORDER BY dek_id FOR UPDATE", tenant);
      const theirs = rows.map((row) => row.dek_id as Uint8Array);
      await query("UPDATE {deks} SET state = 'destroyed', destroyed_at = $1 WHERE dek_id = ANY($2::bytea[]) AND state <> 'destroyed'", at, theirs);
      await query("DELETE FROM {wraps} WHERE dek_id = ANY($1::bytea[])", theirs);
      return theirs;
    });
  }

  readmitTenant(tenant: string): Promise<boolean> {
    const update = "UPDATE {tenants} SET shredded_at = NULL WHERE tenant = $1 AND shredded_at IS NOT NULL RETURNING 1";
    return this.#run(async (query) => (await query(update, tenant)).length > 0);
  }

  /** See `KeyLifecycle`. Nothing that a client can do at once: Postgres keeps deleted rows, and its log, by rules of its own. */
  async scrub(): Promise<string> {
    return "the database's own files, until VACUUM on sealpoint_wraps and until its write-ahead log is recycled";
  }

  /** Closes the connections that were opened here; calls that are under way finish. */
  close(): Promise<void> {
    return this.#transactions.close();
  }

  override toString(): string {
    return `PostgresStore(${this.#schema === undefined ? "" : `schema=${JSON.stringify(this.#schema)}`})`;
  }

  toJSON(): string {
    return this.toString();
  }

  #run<T>(work: (query: Query) => Promise<T>): Promise<T> {
    const named = (statement: string) => statement.replace(/\{(\w+)\}/g, (_, table: Table) => this.#names[table]);
    return this.#transactions.run((query) => work((statement, ...parameters) => query(named(statement), ...parameters)));
  }

  /** The schema version; 0 if tables or settings are missing. */
  async #version(query: Query): Promise<number> {
    if ((await this.#present(query)) < TABLES.length) return 0;
    const [row] = await query("SELECT schema_version FROM {settings} WHERE id = 1");
    if (row === undefined) return 0;
    const version = row.schema_version as number;
    if (version > SCHEMA_VERSION) {
      throw fail("store_invalid", `the key store has schema version ${version}, this release knows ${SCHEMA_VERSION}: upgrade sealpoint`);
    }
    return version;
  }

  /** How many of the tables there are. */
  async #present(query: Query): Promise<number> {
    const rows = await query(
      "SELECT current_setting('server_encoding') AS encoding, to_regclass(name) IS NOT NULL AS present FROM unnest($1::text[]) AS name",
      Object.values(this.#names),
    );
    if (rows[0]?.encoding !== "UTF8") {
      throw fail("store_invalid", "the database of the key store has another encoding than UTF8: it cannot hold every name");
    }
    return rows.filter((row) => row.present === true).length;
  }
}

/** Whether this is a pool of pg, whichever copy of it. */
export function isPool(source: object): source is PostgresPool {
  const { connect, query, totalCount, idleCount } = source as Partial<PostgresPool>;
  return typeof connect === "function" && typeof query === "function" && typeof totalCount === "number" && typeof idleCount === "number";
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Postgres would cut a longer name off, and take it for another. */
function schemaName(schema: unknown): string | undefined {
  if (schema === undefined) return undefined;
  if (typeof schema !== "string" || schema === "" || schema.includes("\0") || new TextEncoder().encode(text(schema, "schema")).length > 63) {
    throw fail("invalid_argument", "schema is the name of a Postgres schema: 1 to 63 bytes, without NUL");
  }
  return schema;
}

async function active(query: Query, tenant: string, dekPurpose: number): Promise<StoredDek | undefined> {
  return dekFromRows(await query(deks("WHERE d.tenant = $1 AND d.purpose = $2 AND d.state = 'active' ORDER BY w.kek_uri"), tenant, dekPurpose));
}

async function lockTenant(query: Query, tenant: string, admit = true): Promise<void> {
  await query("INSERT INTO {tenants} (tenant, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING", tenant, now());
  const [row] = await query("SELECT shredded_at FROM {tenants} WHERE tenant = $1 FOR UPDATE", tenant);
  if (admit && (row === undefined || row.shredded_at !== null)) throw fail("key_destroyed", "this tenant was shredded");
}

/** Those that are not destroyed, in hex. In order, so that nobody waits for somebody who waits for them. */
async function lockDeks(query: Query, of: readonly { readonly dekId: Uint8Array }[]): Promise<Set<string>> {
  const lock = "SELECT dek_id FROM {deks} WHERE dek_id = ANY($1::bytea[]) AND state <> 'destroyed' ORDER BY dek_id FOR UPDATE";
  const rows = await query(
    lock,
    of.map(({ dekId }) => dekId),
  );
  return new Set(rows.map((row) => hex(row.dek_id as Uint8Array)));
}

async function insert(query: Query, { dekId, tenant, dekPurpose, suite, version, state, keyCheck, createdAt, wraps }: StoredDek): Promise<void> {
  await query(
    "INSERT INTO {deks} (dek_id, tenant, purpose, suite, version, state, key_check, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    ...[dekId, tenant, dekPurpose, suite, version, state, keyCheck, createdAt],
  );
  await query(insertWraps(""), ...columns(wraps.map((wrap) => ({ dekId, wrap }))));
}

/** As `insertWraps` takes them. */
function columns(changes: readonly { readonly dekId: Uint8Array; readonly wrap: WrapRecord }[]): unknown[][] {
  const names = ["kekUri", "kekVersion", "wrapAlg", "wrapped", "createdAt", "verifiedAt"] as const;
  return [changes.map(({ dekId }) => dekId), ...names.map((name) => changes.map(({ wrap }) => wrap[name]))];
}
