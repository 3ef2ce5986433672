/** Reading one sealed checkpoint of Python or JavaScript from Postgres, as plain JSON values and without a saver of LangGraph's. */

import type { Checkpoint, CheckpointMetadata, CheckpointPendingWrite, CheckpointTuple } from "@langchain/langgraph-checkpoint";
import { DeltaSnapshot } from "@langchain/langgraph-checkpoint";
import { _internal, type Keyring } from "sealpoint";
import { ContainerSerializer } from "./container.js";
import type { Layout } from "./layouts.js";
import { containerIn, type Plain, PlainSerializer, reasonIn } from "./plain.js";
import { Sealer } from "./sealer.js";

const { fail, options: checked, text } = _internal;

/** What runs a query: a `pg.Pool`, or a client of one. */
export interface Queries {
  query(statement: string, values: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

/** A pending write: what a task has written that no checkpoint holds yet. */
export interface PlainWrite {
  readonly taskId: string;
  readonly channel: string;
  readonly value: Plain;
}

/** What opened, and is genuine, but has no plain form. `name` is the channel; for metadata `sealpoint`, for a field that only older checkpoints have its name. */
export interface Unreadable {
  readonly part: "values" | "metadata" | "pendingWrites" | "fields";
  readonly name: string;
  readonly reason: string;
}

/** One checkpoint as plain JSON values. */
export interface PlainCheckpoint {
  readonly threadId: string;
  readonly checkpointNs: string;
  readonly checkpointId: string;
  readonly parentId: string | null;
  readonly ts: string;
  readonly values: Record<string, Plain>;
  readonly metadata: Record<string, Plain>;
  /** By task, then in the order in which the task wrote them. */
  readonly pendingWrites: readonly PlainWrite[];
  readonly unreadable: readonly Unreadable[];
}

export interface ReadOptions {
  /** Whose thread it is. */
  readonly tenant: string;
  readonly threadId: string;
  /** The root's without it. */
  readonly checkpointNs?: string;
  /** The newest without it. */
  readonly checkpointId?: string;
  /** Of the tables, if not the connection's own. */
  readonly schema?: string;
}

/**
 * Reads one sealed checkpoint that `SealedSaver` of either language stored through LangGraph's PostgresSaver. Undefined: there is none.
 *
 * Its manifest is verified and each envelope opened as `SealedSaver` does it in strict mode (SPEC section 7.2). docs/GUIDE.md ("Python and JavaScript on one
 * database") says what becomes of each kind of value; no class that the data names is built. What Python wrote needs the package `@msgpack/msgpack`.
 *
 * `source`: a `pg.Pool`, or a Postgres DSN. `keyring`: the application's; of another language too, on the same key store.
 *
 * Throws: `plaintext_refused` (something of it is not sealed), `authentication_failed`, `malformed`, `invalid_argument`, `missing_dependency`,
 * `store_unavailable`, `store_invalid` (no tables of LangGraph's), and what opening throws (`key_not_found`, …).
 */
export async function readCheckpoint(source: Queries | string, keyring: Keyring, options: ReadOptions): Promise<PlainCheckpoint | undefined> {
  const { tenant, threadId, checkpointNs = "", checkpointId, schema } = checked(options, ["tenant", "threadId", "checkpointNs", "checkpointId", "schema"]);
  for (const [name, given] of Object.entries({ tenant, threadId, checkpointNs, checkpointId: checkpointId ?? "", schema: schema ?? "" })) {
    if (text(given, name).includes("\0")) throw fail("invalid_argument", `${name} is a string without NUL`);
  }
  if (typeof keyring?._cache?.openTyped !== "function") throw fail("invalid_argument", "keyring must be a Keyring: make one with Keyring.connect(…)");
  const asked = { thread: threadId as string, ns: checkpointNs as string, checkpoint: checkpointId as string | undefined };
  const row = await fetched(source, select(schema as string | undefined), [asked.thread, asked.ns, asked.checkpoint ?? null]);
  if (row === undefined) return undefined;
  const sealer = new Sealer(keyring, new PlainSerializer(), POSTGRES, undefined);
  const opened = await sealer.openTuple(tenant as string, await tupleOf(row, asked.thread, asked.ns), asked);
  return plainOf(opened as CheckpointTuple);
}

/** Both languages' savers keep values in a table of their own. What one of them does beyond that matters when writing only. */
const POSTGRES: Layout = {
  exact: false,
  newVersionsOnly: true,
  bytes: true,
  serializesWhole: false,
  knownFieldsOnly: false,
  filtersContain: true,
  listLimit: undefined,
};

// Of one statement, so that checkpoint, values and writes are of one moment. All of it text: what a pool's owner does to its types must not decide how a row is read.
function select(schema: string | undefined): string {
  const table = (name: string) => (schema ? `"${schema.replaceAll('"', '""')}".${name}` : name);
  return `
SELECT c.checkpoint_id AS id, c.parent_checkpoint_id AS parent, c.checkpoint::text AS checkpoint, c.metadata::text AS metadata,
    (SELECT json_agg(json_build_array(b.channel, b.type, encode(b.blob, 'base64')))
     FROM jsonb_each_text(c.checkpoint -> 'channel_versions') v JOIN ${table("checkpoint_blobs")} b
        ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = v.key AND b.version = v.value)::text AS blobs,
    (SELECT json_agg(json_build_array(w.task_id, w.channel, w.type, encode(w.blob, 'base64')) ORDER BY w.task_id, w.idx)
     FROM ${table("checkpoint_writes")} w
     WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id)::text AS writes
FROM ${table("checkpoints")} c WHERE c.thread_id = $1 AND c.checkpoint_ns = $2 AND ($3::text IS NULL OR c.checkpoint_id = $3)
ORDER BY c.checkpoint_id DESC LIMIT 1`;
}

interface Row {
  readonly id: string;
  readonly parent: string | null;
  readonly checkpoint: string;
  readonly metadata: string;
  readonly blobs: string | null;
  readonly writes: string | null;
}

type Stored = [type: string | null, blob: string | null];

/** The row as the savers give theirs to `SealedSaver`. Throws: `malformed`, `plaintext_refused`. */
async function tupleOf(row: Row, thread: string, ns: string): Promise<CheckpointTuple> {
  const place = (id: string) => ({ configurable: { thread_id: thread, checkpoint_ns: ns, checkpoint_id: id } });
  const checkpoint = JSON.parse(row.checkpoint) as Checkpoint;
  const blobs = (JSON.parse(row.blobs ?? "[]") as [string, ...Stored][]).filter(([, type]) => type !== "empty");
  const values = await Promise.all(blobs.map(async ([channel, ...stored]) => [channel, await container(stored)] as const));
  const writes = (JSON.parse(row.writes ?? "[]") as [string, string, ...Stored][]).map(
    async ([task, channel, ...stored]): Promise<CheckpointPendingWrite> => [task, channel, await container(stored)],
  );
  const given = checkpoint?.channel_values ?? {};
  if (typeof checkpoint !== "object" || checkpoint === null || typeof given !== "object" || Array.isArray(given)) {
    throw fail("malformed", "a stored checkpoint is not a map: the row is damaged");
  }
  return {
    config: place(row.id),
    checkpoint: { ...checkpoint, channel_values: { ...given, ...Object.fromEntries(values) } },
    metadata: JSON.parse(row.metadata) as CheckpointMetadata,
    ...(row.parent === null ? {} : { parentConfig: place(row.parent) }),
    pendingWrites: await Promise.all(writes),
  };
}

const containers = new ContainerSerializer();

/** An envelope, or a delta snapshot of one, from the table of either language. What is neither the sealer refuses. */
async function container([type, blob]: Stored): Promise<unknown> {
  const bytes = Buffer.from(blob ?? "", "base64");
  return type === "msgpack" ? containerIn(bytes) : containers.loadsTyped(type ?? "", bytes);
}

/** What is plain of it, and what is not. */
function plainOf(opened: CheckpointTuple): PlainCheckpoint {
  const { config, parentConfig, checkpoint, metadata, pendingWrites } = opened;
  const unreadable: Unreadable[] = [];
  const fits = (part: Unreadable["part"], name: string, value: unknown): boolean => {
    const reason = reasonIn(value);
    if (reason !== undefined) unreadable.push({ part, name, reason });
    return reason === undefined;
  };
  const values = Object.entries(checkpoint.channel_values).map(([name, value]): [string, Plain] => [
    name,
    (value instanceof DeltaSnapshot ? value.value : value) as Plain,
  ]);
  fits("metadata", "sealpoint", metadata);
  const plain = {
    threadId: config.configurable?.thread_id as string,
    checkpointNs: config.configurable?.checkpoint_ns as string,
    checkpointId: config.configurable?.checkpoint_id as string,
    parentId: (parentConfig?.configurable?.checkpoint_id as string | undefined) ?? null,
    ts: String(checkpoint.ts),
    values: Object.fromEntries(values.filter(([name, value]) => fits("values", name, value))),
    metadata: metadata as unknown as Record<string, Plain>,
    pendingWrites: (pendingWrites ?? [])
      .filter(([, channel, value]) => fits("pendingWrites", channel, value))
      .map(([taskId, channel, value]): PlainWrite => ({ taskId, channel, value: value as Plain })),
  };
  for (const name of Object.keys(checkpoint).sort()) {
    if (!PLACES.has(name)) unreadable.push({ part: "fields", name, reason: "a field of older checkpoints" });
  }
  return { ...plain, unreadable };
}

const PLACES = new Set(["v", "id", "ts", "channel_values", "channel_versions", "versions_seen", "updated_channels"]);

/** The one row. Throws: `invalid_argument`, `missing_dependency`, `store_unavailable`, `store_invalid`. */
async function fetched(source: Queries | string, statement: string, values: unknown[]): Promise<Row | undefined> {
  if (typeof source !== "string") {
    if (typeof source?.query !== "function") throw fail("invalid_argument", "a checkpoint is read from a DSN or a pg.Pool");
    return asked(source, statement, values);
  }
  const pool = await own(source);
  try {
    return await asked(pool, statement, values);
  } finally {
    await pool.end();
  }
}

async function asked(source: Queries, statement: string, values: unknown[]): Promise<Row | undefined> {
  try {
    return (await source.query(statement, values)).rows[0] as Row | undefined;
  } catch (error) {
    // The server's own text is not passed on: it can quote a value or the DSN.
    const { code } = error as { code?: unknown };
    const state = typeof code === "string" ? code : "no code";
    if (/^(42|3F|22)/.test(state)) {
      throw fail("store_invalid", `the database cannot be read (${state}): does this schema hold the tables of LangGraph's PostgresSaver?`);
    }
    throw fail("store_unavailable", `the database cannot be reached (${state}): check the DSN, and whether the server runs`);
  }
}

async function own(dsn: string): Promise<Queries & { end(): Promise<void> }> {
  const pg = await import("pg").catch(() => {
    throw fail("missing_dependency", "reading Postgres needs pg: npm install pg");
  });
  try {
    return new pg.default.Pool({ connectionString: dsn, max: 1 });
  } catch {
    throw fail("invalid_argument", "this is no Postgres DSN: postgresql://user@host/database");
  }
}
