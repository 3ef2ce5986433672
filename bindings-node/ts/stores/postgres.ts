/** The key store in Postgres: any number of machines, of Python and Node alike; each tenant's first DEK is made once, whoever comes first. */

import type { Pool } from "pg";
import { text } from "../check.js";
import { fail } from "../errors.js";
import { hide } from "../hide.js";
import { type Query, Transactions } from "./connections.js";
import {
  dekFromRows,
  type KeyStore,
  NOT_SET_UP,
  now,
  type PostgresPool,
  SCHEMA_VERSION,
  type StoredDek,
  type StoreSettings,
  type TenantRecord,
} from "./records.js";

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
];

/** One statement, so that DEK, tombstone and wraps are of one moment. */
const DEK = `
SELECT d.dek_id, d.tenant, d.purpose, d.suite, d.version, d.state, d.key_check, d.created_at, t.shredded_at,
       w.kek_uri, w.kek_version, w.wrap_alg, w.wrapped, w.created_at AS wrapped_at, w.verified_at
FROM {deks} d LEFT JOIN {tenants} t ON t.tenant = d.tenant LEFT JOIN {wraps} w ON w.dek_id = d.dek_id
`;

/**
 * `postgresql://…`, or a `pg.Pool`. What it opens itself it closes: a few connections, made when needed; a pool stays its owner's.
 *
 * A server that cannot be reached or written, or is too slow, is `store_unavailable`; a hot standby serves for opening. A call ends within about 20 seconds (see docs/OPERATIONS.md).
 * Needs the package pg for a URL.
 */
export class PostgresStore implements KeyStore {
  readonly #transactions: Transactions;
  readonly #schema: string | undefined;
  readonly #names: Readonly<Record<Table, string>>;

  /**
   * Touches nothing yet. `schema`: where the tables are; without it the connection's `search_path` decides (`?options=-csearch_path%3Dkeys` in the URL).
   *
   * Throws: `invalid_argument`, `missing_dependency`.
   */
  constructor(source: string | PostgresPool, given?: { schema?: string }) {
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
      await query("INSERT INTO {settings} VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE SET schema_version = EXCLUDED.schema_version", SCHEMA_VERSION, maxTtl);
    });
  }

  settings(): Promise<StoreSettings | undefined> {
    return this.#run(async (query) => {
      if ((await this.#present(query)) === 0) return undefined;
      const [row] = await query("SELECT schema_version, max_ttl FROM {settings} WHERE id = 1");
      if (row === undefined) throw fail("store_invalid", NOT_SET_UP);
      return { schemaVersion: row.schema_version, maxTtl: row.max_ttl } as StoreSettings;
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
    return this.#run(async (query) => record(await query(`${DEK} WHERE d.dek_id = $1 ORDER BY w.kek_uri`, dekId)));
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
      await query("INSERT INTO {tenants} (tenant, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING", dek.tenant, now());
      const [tenant] = await query("SELECT shredded_at FROM {tenants} WHERE tenant = $1 FOR UPDATE", dek.tenant);
      if (tenant === undefined || tenant.shredded_at !== null) throw fail("key_destroyed", "this tenant was shredded");
      const winner = await active(query, dek.tenant, dek.dekPurpose);
      if (winner !== undefined) return winner;
      const { dekId, dekPurpose, suite, version, state, keyCheck, createdAt } = dek;
      await query(
        "INSERT INTO {deks} (dek_id, tenant, purpose, suite, version, state, key_check, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        ...[dekId, dek.tenant, dekPurpose, suite, version, state, keyCheck, createdAt],
      );
      for (const { kekUri, kekVersion, wrapAlg, wrapped, createdAt, verifiedAt } of dek.wraps) {
        await query("INSERT INTO {wraps} VALUES ($1, $2, $3, $4, $5, $6, $7)", dekId, kekUri, kekVersion, wrapAlg, wrapped, createdAt, verifiedAt);
      }
      return dek;
    });
  }

  /** Closes the connections that were opened here; calls that are under way finish. */
  close(): Promise<void> {
    return this.#transactions.close();
  }

  toString(): string {
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
hide(PostgresStore);

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
  return record(await query(`${DEK} WHERE d.tenant = $1 AND d.purpose = $2 AND d.state = 'active' ORDER BY w.kek_uri`, tenant, dekPurpose));
}

function record(rows: readonly Record<string, unknown>[]): StoredDek | undefined {
  const [row] = rows;
  if (row === undefined) return undefined;
  return dekFromRows(
    row,
    rows.filter(({ kek_uri }) => kek_uri !== null),
  );
}
