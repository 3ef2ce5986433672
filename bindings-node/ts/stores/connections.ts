/**
 * How transactions of the Postgres key store run: on a small pool of its own, or on the user's.
 *
 * Each must be safe to repeat: after a connection was lost it runs a second time, even if its commit was the last thing that was asked for. No text of Postgres' own is passed on: it
 * can quote values, and a connection string holds a password.
 */

import type { Pool, PoolClient, PoolConfig } from "pg";
import { fail, isSealpointError, type SealpointError } from "../errors.js";
import { optional } from "../platform.js";
import { NOT_SET_UP } from "./records.js";

/** To make a connection, or to wait for a free one. */
const CONNECT_TIMEOUT_MS = 5000;
/** Enforced by the server for each statement, waiting for locks included. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** For a whole call once it has a connection, enforced here: also for a server that is reached and does not answer. */
const DEADLINE_MS = 15_000;

/** One statement; its rows, with bytes as `Uint8Array` and integers as numbers. */
export type Query = (statement: string, ...parameters: unknown[]) => Promise<Record<string, unknown>[]>;

export class Transactions {
  readonly #pool: Pool;
  readonly #owned: boolean;

  /** Touches nothing yet. Throws: `missing_dependency`, `invalid_argument`. */
  constructor(source: string | Pool) {
    this.#owned = typeof source === "string";
    this.#pool = typeof source === "string" ? ownPool(source) : source;
  }

  /** One READ COMMITTED transaction; what ends with an exception is rolled back. */
  async run<T>(work: (query: Query) => Promise<T>): Promise<T> {
    for (let first = true; ; first = false) {
      const client = await this.#connect();
      try {
        return await within(DEADLINE_MS, transact(client, work), client);
      } catch (error) {
        if (isSealpointError(error)) throw error;
        if (!first || !wasLost(error)) throw typed(error);
      }
    }
  }

  async close(): Promise<void> {
    if (this.#owned && !this.#pool.ending) await this.#pool.end();
  }

  async #connect(): Promise<PoolClient> {
    const waiting = this.#pool.connect();
    let late: NodeJS.Timeout | undefined;
    const expired = new Promise<"late">((resolve) => {
      late = setTimeout(resolve, CONNECT_TIMEOUT_MS, "late");
    });
    try {
      const client = await Promise.race([waiting, expired]);
      if (client !== "late") return client;
      waiting.then(
        (client) => client.release(),
        () => {},
      ); // whoever comes too late goes back to the pool
    } catch (error) {
      throw unreachable(error, this.#pool);
    } finally {
      clearTimeout(late);
    }
    throw fail("store_unavailable", "the key store gave no connection in time: the server does not answer, or the pool is too small");
  }
}

function ownPool(url: string): Pool {
  const pg = optional<{ Pool: new (config: PoolConfig) => Pool }>("pg", "a Postgres key store");
  let pool: Pool;
  try {
    pool = new pg.Pool({
      connectionString: url,
      max: 8,
      idleTimeoutMillis: 300_000,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      allowExitOnIdle: true,
      fallback_application_name: "sealpoint",
    });
  } catch {
    throw fail("invalid_argument", "this is no connection URL that pg understands: check its form and the names of its options");
  }
  pool.on("error", () => {}); // a connection that was lost while idle: the pool drops it
  return pool;
}

/**
 * Nothing is assumed of a pool's connection: neither its parsers nor its time limits, isolation, encoding, or who is behind it (a pooler may hand each transaction to another server
 * process, which knows no prepared statements).
 */
async function transact<T>(client: PoolClient, work: (query: Query) => Promise<T>): Promise<T> {
  const query: Query = async (statement, ...parameters) => {
    const result = await client.query({ text: statement, values: parameters.map(storable), types: TYPES });
    return result.rows as Record<string, unknown>[];
  };
  await client.query(
    `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = ${STATEMENT_TIMEOUT_MS}; SET LOCAL client_encoding = 'UTF8'; SET LOCAL bytea_output = 'hex'`,
  );
  try {
    const result = await work(query);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

/**
 * Gives the connection back, or ends it: where it was lost, and where time is up. Until then it is nobody's but ours to hear that it was lost: unheard, that would end the process. The
 * statement fails as well, and that is what is answered.
 */
async function within<T>(ms: number, work: Promise<T>, client: PoolClient): Promise<T> {
  client.on("error", unheard);
  const tooLate = fail("store_unavailable", `the key store did not answer within ${ms / 1000} seconds: try again`);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, ms, tooLate);
  });
  let broken = true;
  try {
    const result = await Promise.race([work, late]);
    broken = false;
    return result;
  } catch (error) {
    work.catch(() => {});
    broken = error === tooLate || (!isSealpointError(error) && wasLost(error));
    throw error;
  } finally {
    clearTimeout(timer);
    client.release(broken);
    client.off("error", unheard);
  }
}

function unheard(): void {}

/** What each type of the tables is here, whatever the application has told pg. */
const TYPES = {
  getTypeParser(oid: number): (value: string) => unknown {
    if (oid === 16) return (value) => value === "t";
    if (oid === 17) return (value) => new Uint8Array(Buffer.from(value.slice(2), "hex"));
    if (oid === 20 || oid === 21 || oid === 23) return Number;
    return (value) => value;
  },
} as unknown as NonNullable<import("pg").QueryConfig["types"]>;

/** SPEC section 3 allows NUL in a tenant, Postgres does not allow it in text; another spelling could be another tenant's name. */
function storable(parameter: unknown): unknown {
  if (Array.isArray(parameter)) return parameter.map(storable);
  if (typeof parameter === "string" && parameter.includes("\0")) {
    throw fail("invalid_argument", "a Postgres key store holds no tenant and no KEK URI with a NUL character: choose other names, or another key store");
  }
  return parameter instanceof Uint8Array ? Buffer.from(parameter.buffer, parameter.byteOffset, parameter.length) : parameter;
}

function sqlState(error: unknown): string | undefined {
  const { code, severity } = (error ?? {}) as { code?: unknown; severity?: unknown };
  return typeof code === "string" && severity !== undefined ? code : undefined;
}

/** Whether it was the connection that failed, so that another one may serve. */
function wasLost(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined ? !isDefect(error) : state.startsWith("08") || state.startsWith("57P0");
}

/** What no server and no network causes. */
function isDefect(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}

/** Why there is no connection. */
function unreachable(error: unknown, pool: Pool): SealpointError {
  if (isSealpointError(error)) return error;
  if (pool.ending || pool.ended) return fail("invalid_argument", "the key store's pool was ended, or this keyring was closed: connect anew");
  const state = sqlState(error) ?? "";
  const hint = UNREACHABLE.find(([prefix]) => state.startsWith(prefix))?.[1] ?? "check address and network, and that the server runs";
  return fail("store_unavailable", `the key store cannot be reached: ${hint}`);
}

function typed(error: unknown): SealpointError {
  const state = sqlState(error);
  if (isDefect(error)) return fail("internal", `the key store's client failed: ${(error as Error).name}`);
  if (state === undefined) return fail("store_unavailable", "the connection to the key store was lost: try again");
  const [, code, message] = FAILURES.find(([prefix]) => state.startsWith(prefix)) ?? ["", undefined, ""];
  if (code !== undefined) return fail(code, message);
  if (wasLost(error)) return fail("store_unavailable", "the connection to the key store was lost: try again");
  return fail("store_invalid", `the key store failed: SQLSTATE ${state}`);
}

const UNREACHABLE = [
  ["28P01", "the server refuses user and password"],
  ["28", "the server does not admit this user, database or address"],
  ["3D", "the server knows no such database"],
  ["53", "the server has no connection left"],
  ["57P03", "the server is starting: try again"],
  ["", "check address and network, and that the server runs"],
] as const;

/** SQLSTATE prefixes, the first that fits. */
const FAILURES = [
  ["42P01", "store_invalid", NOT_SET_UP],
  ["3F000", "store_invalid", "the schema of the key store does not exist: create it, or name another"],
  ["42501", "store_unavailable", "this user may not do that in the key store: docs/OPERATIONS.md lists the privileges to grant"],
  ["42", "store_invalid", "the key store has tables of another shape: they were not made by sealpoint"],
  ["25006", "store_unavailable", "the key store is read-only (a replica?), and this call has to write"],
  ["23505", "store_unavailable", "the key store was changed by another process at the same moment: try again"],
  ["57014", "store_unavailable", "the key store did not finish in time, or is locked: try again"],
  ["40", "store_unavailable", "the key store was changed by another process at the same moment: try again"],
  ["53", "store_unavailable", "the server of the key store is out of disk, memory or connections"],
  ["XX", "store_invalid", "the key store is corrupt: restore it from a backup"],
] as const;
