/**
 * The embedded key store: one SQLite file, used by any number of processes of one machine, of Python and Node alike.
 *
 * Every operation opens its own connection and closes it again. That costs a fraction of a millisecond, once per tenant and minute at most. A file that another process has locked is
 * asked for again and again, without holding up the event loop.
 */

import type Database from "better-sqlite3";
import { fail, isSealpointError, type SealpointError } from "../errors.js";
import { Hidden } from "../hide.js";
import { needed, optional } from "../platform.js";
import type { KeyLifecycle, WrapChange, WrapDrop } from "./lifecycle.js";
import {
  checkedSettings,
  type DekState,
  NO_ACTIVE_DEK,
  NOT_SET_UP,
  now,
  SCHEMA_VERSION,
  type StoredDek,
  type StoreSettings,
  settingsFromRow,
  type TenantRecord,
} from "./records.js";
import { dekFromRows, deksFromRows, type Row, SELECT_DEK, tenantsFromRows } from "./rows.js";

type Connection = Database.Database;
type Failure = { name: string; code?: string; message: string };

const BUSY_TIMEOUT_MS = 5000;
const RETRY_MS = 20;
const TABLES = `
CREATE TABLE IF NOT EXISTS sealpoint_settings (
    id INTEGER PRIMARY KEY CHECK (id = 1), schema_version INTEGER NOT NULL, max_ttl INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sealpoint_canaries (kek_uri TEXT PRIMARY KEY NOT NULL, wrapped BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sealpoint_tenants (
    tenant TEXT PRIMARY KEY NOT NULL, kek_uri TEXT, created_at INTEGER NOT NULL, shredded_at INTEGER);
CREATE TABLE IF NOT EXISTS sealpoint_deks (
    dek_id BLOB PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, purpose INTEGER NOT NULL CHECK (purpose BETWEEN 1 AND 4),
    suite INTEGER NOT NULL, version INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'retired', 'pending_destroy', 'destroyed')),
    key_check BLOB NOT NULL, created_at INTEGER NOT NULL, retired_at INTEGER, destroyed_at INTEGER, rotated_by TEXT,
    UNIQUE (tenant, purpose, version));
CREATE UNIQUE INDEX IF NOT EXISTS sealpoint_deks_active ON sealpoint_deks (tenant, purpose) WHERE state = 'active';
CREATE TABLE IF NOT EXISTS sealpoint_wraps (
    dek_id BLOB NOT NULL, kek_uri TEXT NOT NULL, kek_version TEXT NOT NULL, wrap_alg TEXT NOT NULL, wrapped BLOB NOT NULL,
    created_at INTEGER NOT NULL, verified_at INTEGER, PRIMARY KEY (dek_id, kek_uri));
`;
const JOINED = "LEFT JOIN sealpoint_tenants t ON t.tenant = d.tenant LEFT JOIN sealpoint_wraps w ON w.dek_id = d.dek_id";
const deks = (where: string) => `${SELECT_DEK} FROM sealpoint_deks d ${JOINED} ${where}`;
const page = (where: string) =>
  `${SELECT_DEK} FROM (SELECT * FROM sealpoint_deks ${where} ORDER BY dek_id LIMIT @limit) d ${JOINED} ORDER BY d.dek_id, w.kek_uri`;
const tenants = (where: string) => `
SELECT n.tenant, t.created_at, t.shredded_at FROM (
    SELECT tenant FROM (SELECT tenant FROM sealpoint_tenants ${where} ORDER BY tenant LIMIT @limit)
    UNION SELECT tenant FROM (SELECT DISTINCT tenant FROM sealpoint_deks ${where} ORDER BY tenant LIMIT @limit)) n
LEFT JOIN sealpoint_tenants t ON t.tenant = n.tenant ORDER BY n.tenant LIMIT @limit
`;
const WRAP = "@dekId, @kekUri, @kekVersion, @wrapAlg, @wrapped, @createdAt, @verifiedAt";

/**
 * `sqlite:///path`. The file is made by setup(), readable by its owner only, in WAL mode; commits are synced to disk.
 *
 * A file, folder or medium that cannot be written serves for opening; creating a DEK there is `store_unavailable`. Needs the package better-sqlite3.
 */
export class SqliteStore extends Hidden implements KeyLifecycle {
  readonly #path: string;
  readonly #open: typeof Database;

  /** Touches no file yet. Throws: `missing_dependency`, `invalid_argument` (white space at the end of the path, without which better-sqlite3 would open another file). */
  constructor(path: string) {
    super();
    if (path !== path.trimEnd()) throw fail("invalid_argument", "the path of a SQLite key store ends with white space: remove it");
    this.#open = optional<typeof Database>("better-sqlite3", "a SQLite key store");
    this.#path = needed("path", "a SQLite key store").resolve(path);
  }

  async setup(maxTtl: number): Promise<void> {
    try {
      const found = await this.settings();
      if (found !== undefined) checkedSettings(found); // a newer schema is left alone
    } catch (error) {
      if (!isSealpointError(error) || !error.message.includes(NOT_SET_UP)) throw error; // what is missing, setup is there to create
    }
    this.#create();
    await this.#patiently(() =>
      this.#using(this.#connect(false), (db) => {
        try {
          db.pragma("journal_mode = WAL");
        } catch (error) {
          if (isBusy(error)) throw error; // otherwise: it is faster, but where it cannot be had, the default serves
        }
      }),
    );
    await this.#transaction(true, (db) => {
      db.exec(TABLES);
      const columns = db.pragma("table_info(sealpoint_settings)") as Row[];
      if (!columns.some(({ name }) => name === "required_keks")) db.exec("ALTER TABLE sealpoint_settings ADD COLUMN required_keks TEXT NOT NULL DEFAULT ''");
      db.prepare(
        "INSERT INTO sealpoint_settings (id, schema_version, max_ttl) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET schema_version = excluded.schema_version",
      ).run(SCHEMA_VERSION, maxTtl);
    });
  }

  async settings(): Promise<StoreSettings | undefined> {
    const fs = needed("fs", "a SQLite key store");
    if (!fs.existsSync(this.#path)) {
      if (!fs.existsSync(this.#folder())) throw fail("store_unavailable", `the folder of ${this} does not exist: create it`);
      return undefined;
    }
    return this.#transaction(false, (db) => {
      if (db.prepare("SELECT 1 FROM sqlite_master WHERE name LIKE 'sealpoint\\_%' ESCAPE '\\' LIMIT 1").get() === undefined) return undefined;
      const row = db.prepare("SELECT schema_version, max_ttl FROM sealpoint_settings WHERE id = 1").get() as Row | undefined;
      if (row === undefined) throw fail("store_invalid", NOT_SET_UP);
      if (row.schema_version !== SCHEMA_VERSION) return settingsFromRow(row);
      const more = db.prepare("SELECT required_keks FROM sealpoint_settings WHERE id = 1").get() as Row;
      return settingsFromRow({ ...row, ...more });
    });
  }

  async canaries(): Promise<ReadonlyMap<string, Uint8Array>> {
    return this.#transaction(false, (db) => {
      const rows = db.prepare("SELECT kek_uri, wrapped FROM sealpoint_canaries").all() as Row[];
      return new Map(rows.map((row) => [row.kek_uri as string, row.wrapped as Uint8Array]));
    });
  }

  async addCanary(kekUri: string, wrapped: Uint8Array): Promise<void> {
    await this.#transaction(true, (db) => db.prepare("INSERT OR IGNORE INTO sealpoint_canaries VALUES (?, ?)").run(kekUri, wrapped));
  }

  async tenant(tenant: string): Promise<TenantRecord | undefined> {
    return this.#transaction(false, (db) => {
      const row = db.prepare("SELECT created_at, shredded_at FROM sealpoint_tenants WHERE tenant = ?").get(tenant) as Row | undefined;
      return row && ({ createdAt: row.created_at, shreddedAt: row.shredded_at } as TenantRecord);
    });
  }

  async dek(dekId: Uint8Array): Promise<StoredDek | undefined> {
    return this.#transaction(false, (db) => record(db, "d.dek_id = ?", dekId));
  }

  async activeDek(tenant: string, dekPurpose: number): Promise<StoredDek | undefined> {
    return this.#transaction(false, (db) => active(db, tenant, dekPurpose));
  }

  async nextVersion(tenant: string, dekPurpose: number): Promise<number> {
    const sql = "SELECT coalesce(max(version), 0) + 1 AS next FROM sealpoint_deks WHERE tenant = ? AND purpose = ?";
    return this.#transaction(false, (db) => (db.prepare(sql).get(tenant, dekPurpose) as Row).next as number);
  }

  async createDek(dek: StoredDek): Promise<StoredDek> {
    return this.#transaction(true, (db) => {
      admit(db, dek.tenant);
      const winner = active(db, dek.tenant, dek.dekPurpose);
      if (winner !== undefined) return winner;
      insert(db, dek);
      return dek;
    });
  }

  async pageTenants(after: string | undefined, limit: number): Promise<[string, TenantRecord][]> {
    const [sql, cursor] = after === undefined ? [tenants(""), {}] : [tenants("WHERE tenant > @after"), { after }];
    return this.#transaction(false, (db) => tenantsFromRows(db.prepare(sql).all({ limit, ...cursor }) as Row[]));
  }

  async pageDeks(after: Uint8Array | undefined, limit: number): Promise<StoredDek[]> {
    const [sql, cursor] = after === undefined ? [page(""), {}] : [page("WHERE dek_id > @after"), { after }];
    return this.#transaction(false, (db) => deksFromRows(db.prepare(sql).all({ limit, ...cursor }) as Row[]));
  }

  async deksOf(tenants: readonly string[]): Promise<StoredDek[]> {
    const where = `WHERE d.tenant IN (${tenants.map(() => "?").join(", ")}) ORDER BY d.tenant, d.purpose, d.version, d.dek_id, w.kek_uri`;
    return this.#transaction(false, (db) => deksFromRows(db.prepare(deks(where)).all(...tenants) as Row[]));
  }

  async replaceActive(retired: Uint8Array, successor: StoredDek): Promise<StoredDek> {
    return this.#transaction(true, (db) => {
      admit(db, successor.tenant);
      const found = active(db, successor.tenant, successor.dekPurpose);
      if (found === undefined) throw fail("key_not_found", NO_ACTIVE_DEK);
      const sql = "UPDATE sealpoint_deks SET state = 'retired', retired_at = ?, rotated_by = lower(hex(?)) WHERE dek_id = ? AND dek_id = ?";
      if (db.prepare(sql).run(now(), successor.dekId, found.dekId, retired).changes === 0) return found;
      insert(db, successor);
      return successor;
    });
  }

  async putWraps(changes: readonly WrapChange[]): Promise<number> {
    const add = `INSERT OR IGNORE INTO sealpoint_wraps SELECT ${WRAP} FROM sealpoint_deks WHERE dek_id = @dekId AND state <> 'destroyed'`;
    const update =
      "UPDATE sealpoint_wraps SET kek_version = @kekVersion, wrap_alg = @wrapAlg, wrapped = @wrapped, created_at = @createdAt, verified_at = @verifiedAt " +
      "WHERE dek_id = @dekId AND kek_uri = @kekUri AND wrapped = @replaces";
    return this.#transaction(true, (db) => {
      const [beside, instead] = [db.prepare(add), db.prepare(update)];
      return count(changes, ({ dekId, wrap, replaces }) => (replaces === null ? beside.run({ dekId, ...wrap }) : instead.run({ dekId, ...wrap, replaces })));
    });
  }

  async dropWraps(drops: readonly WrapDrop[]): Promise<number> {
    const sql =
      "DELETE FROM sealpoint_wraps WHERE dek_id = @dekId AND kek_uri = @uri AND wrapped = @wrapped AND EXISTS " +
      "(SELECT 1 FROM sealpoint_wraps WHERE dek_id = @dekId AND kek_uri = @keptUri AND wrapped = @kept)";
    return this.#transaction(true, (db) => {
      const drop = db.prepare(sql);
      return count(drops, ({ dekId, dropped, kept }) =>
        drop.run({ dekId, uri: dropped.kekUri, wrapped: dropped.wrapped, keptUri: kept.kekUri, kept: kept.wrapped }),
      );
    });
  }

  async setState(dekId: Uint8Array, expected: DekState, state: DekState): Promise<boolean> {
    const sql = "UPDATE sealpoint_deks SET state = ?, destroyed_at = ? WHERE dek_id = ? AND state = ?";
    return this.#transaction(true, (db) => {
      const changed = db.prepare(sql).run(state, state === "destroyed" ? now() : null, dekId, expected).changes === 1;
      if (changed && state === "destroyed") db.prepare("DELETE FROM sealpoint_wraps WHERE dek_id = ?").run(dekId);
      return changed;
    });
  }

  async shredTenant(tenant: string, at: number): Promise<Uint8Array[]> {
    return this.#transaction(true, (db) => {
      db.prepare("INSERT OR IGNORE INTO sealpoint_tenants (tenant, created_at) VALUES (?, ?)").run(tenant, at);
      db.prepare("UPDATE sealpoint_tenants SET shredded_at = coalesce(shredded_at, ?) WHERE tenant = ?").run(at, tenant);
      const theirs = (db.prepare("SELECT dek_id FROM sealpoint_deks WHERE tenant = ?").all(tenant) as Row[]).map((row) => row.dek_id as Uint8Array);
      db.prepare("UPDATE sealpoint_deks SET state = 'destroyed', destroyed_at = ? WHERE tenant = ? AND state <> 'destroyed'").run(at, tenant);
      const remove = db.prepare("DELETE FROM sealpoint_wraps WHERE dek_id = ?");
      for (const dekId of theirs) remove.run(dekId);
      return theirs;
    });
  }

  async readmitTenant(tenant: string): Promise<boolean> {
    const sql = "UPDATE sealpoint_tenants SET shredded_at = NULL WHERE tenant = ? AND shredded_at IS NOT NULL";
    return this.#transaction(true, (db) => db.prepare(sql).run(tenant).changes === 1);
  }

  /** See `KeyLifecycle`. What was deleted is overwritten, the file written anew without its free pages, its log cut off. */
  async scrub(): Promise<string> {
    try {
      await this.#patiently(() => this.#using(this.#connect(false), (db) => db.exec("VACUUM")));
      await this.#patiently(() =>
        this.#using(this.#connect(false), (db) => {
          const [done] = db.pragma("wal_checkpoint(TRUNCATE)") as { busy: number }[];
          if (done?.busy !== 0) throw Object.assign(new Error("busy"), { code: "SQLITE_BUSY" });
        }),
      );
      return "";
    } catch (error) {
      if (!isSealpointError(error) || error.code !== "store_unavailable") throw error;
      return `free pages of ${this.#path} or its -wal file, which another process was using: run it again`;
    }
  }

  override toString(): string {
    return `SqliteStore(${JSON.stringify(this.#path)})`;
  }

  toJSON(): string {
    return this.toString();
  }

  #folder(): string {
    return needed("path", "a SQLite key store").dirname(this.#path);
  }

  #create(): void {
    const fs = needed("fs", "a SQLite key store");
    try {
      fs.closeSync(fs.openSync(this.#path, "wx", 0o600));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EEXIST") throw fail("store_unavailable", `${this} cannot be created: ${code}`);
    }
  }

  #connect(readonly: boolean): Connection {
    return new this.#open(this.#path, { fileMustExist: true, readonly, timeout: 1 });
  }

  /** A connection that can read, also where nothing can be written: WAL wants a file beside the database even for reading. */
  #reader(): Connection {
    const fs = needed("fs", "a SQLite key store");
    let db: Connection | undefined;
    try {
      db = this.#connect(false);
      db.prepare("SELECT 1 FROM sqlite_master LIMIT 1").get();
      return db;
    } catch (error) {
      db?.close();
      if (isBusy(error) || isWritable(fs, this.#folder()) || fs.existsSync(`${this.#path}-wal`)) throw error;
    }
    const file = fs.readFileSync(this.#path);
    file.fill(1, 18, 20); // the file as one that has no WAL: there is none
    return new this.#open(file, { readonly: true });
  }

  /** All reads of one transaction see one state; what ends with an exception is rolled back. */
  #transaction<T>(write: boolean, work: (db: Connection) => T): Promise<T> {
    if (!needed("fs", "a SQLite key store").existsSync(this.#path)) throw fail("store_invalid", NOT_SET_UP);
    return this.#patiently(() =>
      this.#using(write ? this.#connect(false) : this.#reader(), (db) => {
        if (write) {
          db.pragma("synchronous = FULL");
          db.pragma("secure_delete = ON");
        }
        const transaction = db.transaction(() => work(db));
        return write ? transaction.immediate() : transaction.deferred();
      }),
    );
  }

  #using<T>(db: Connection, work: (db: Connection) => T): T {
    try {
      return work(db);
    } finally {
      db.close();
    }
  }

  async #patiently<T>(work: () => T): Promise<T> {
    const until = performance.now() + BUSY_TIMEOUT_MS;
    for (;;) {
      try {
        return work();
      } catch (error) {
        if (isSealpointError(error)) throw error;
        if (!isBusy(error) || performance.now() > until) throw this.#typed(error as Failure);
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS * (0.5 + Math.random())));
    }
  }

  /** SQLite's own text is not passed on: it can quote a value. */
  #typed(error: Failure): SealpointError {
    for (const [seen, code, message] of FAILURES) {
      if (error.code?.startsWith(seen) || error.message?.includes(seen)) return fail(code, message === NOT_SET_UP ? message : `${this} ${message}`);
    }
    return fail(error.code === "SQLITE_ERROR" ? "store_invalid" : "store_unavailable", `${this} failed: ${error.code ?? error.name}`);
  }
}

const FAILURES = [
  ["no such table", "store_invalid", NOT_SET_UP],
  ["column", "store_invalid", "has tables of another shape, or rows that are not text: it was not written by sealpoint"],
  ["SQLITE_NOTADB", "store_invalid", "is no SQLite database"],
  ["SQLITE_CORRUPT", "store_invalid", "is corrupt: restore it from a backup"],
  ["SQLITE_CONSTRAINT_UNIQUE", "store_unavailable", "was changed by another process at the same moment: try again"],
  ["SQLITE_CONSTRAINT_PRIMARYKEY", "store_unavailable", "was changed by another process at the same moment: try again"],
  ["SQLITE_CONSTRAINT", "store_invalid", "has tables of another shape: it was not written by sealpoint"],
  ["SQLITE_BUSY", "store_unavailable", "is locked by another process: try again"],
  ["SQLITE_LOCKED", "store_unavailable", "is locked by another process: try again"],
  ["SQLITE_FULL", "store_unavailable", "cannot grow: the disk is full"],
  ["SQLITE_READONLY", "store_unavailable", "is read-only, and this call has to write"],
  ["SQLITE_CANTOPEN", "store_unavailable", "cannot be opened: check the path and its permissions"],
] as const;

function isBusy(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code);
  return code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED");
}

function isWritable(fs: typeof import("node:fs"), folder: string): boolean {
  try {
    fs.accessSync(folder, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function record(db: Connection, where: string, ...parameters: unknown[]): StoredDek | undefined {
  return dekFromRows(db.prepare(deks(`WHERE ${where} ORDER BY w.kek_uri`)).all(...parameters) as Row[]);
}

function active(db: Connection, tenant: string, dekPurpose: number): StoredDek | undefined {
  return record(db, "d.tenant = ? AND d.purpose = ? AND d.state = 'active'", tenant, dekPurpose);
}

function admit(db: Connection, tenant: string): void {
  const tombstone = db.prepare("SELECT shredded_at FROM sealpoint_tenants WHERE tenant = ?").get(tenant) as Row | undefined;
  if (tombstone !== undefined && tombstone.shredded_at !== null) throw fail("key_destroyed", "this tenant was shredded");
}

function insert(db: Connection, dek: StoredDek): void {
  db.prepare("INSERT OR IGNORE INTO sealpoint_tenants (tenant, created_at) VALUES (?, ?)").run(dek.tenant, now());
  db.prepare("INSERT INTO sealpoint_deks (dek_id, tenant, purpose, suite, version, state, key_check, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)").run(
    dek.dekId,
    dek.tenant,
    dek.dekPurpose,
    dek.suite,
    dek.version,
    dek.state,
    dek.keyCheck,
    dek.createdAt,
  );
  const add = db.prepare(`INSERT INTO sealpoint_wraps VALUES (${WRAP})`);
  for (const wrap of dek.wraps) add.run({ dekId: dek.dekId, ...wrap });
}

function count<Change>(changes: readonly Change[], run: (change: Change) => Database.RunResult): number {
  return changes.reduce((made, change) => made + run(change).changes, 0);
}
