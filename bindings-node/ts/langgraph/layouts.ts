/** What sealpoint knows about each saver's storage. Adding a saver means adding a row here. */

import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";

/**
 * How a saver keeps what it is given. The defaults are right, if not always fastest, for any saver that keeps text as text, gives back the versions, ids and
 * metadata that it was given, and keeps the writes of different checkpoints apart.
 */
export interface Layout {
  /** Reading a checkpoint gives back exactly the channel values that were put with it: they live in the checkpoint's own row. */
  readonly exact: boolean;
  /** Of `channel_values` only those named in `newVersions` are stored; the others are not even looked at. */
  readonly newVersionsOnly: boolean;
  /** Values of channels and writes lie by themselves, where bytes stay bytes. Elsewhere they lie in JSON: envelopes are text there. */
  readonly bytes: boolean;
  /** A checkpoint comes to the saver's serializer with the very values that it was put with: envelopes are bytes until they become text there. */
  readonly serializesWhole: boolean;
  /** Of a checkpoint's fields only those that LangGraph itself knows are stored. */
  readonly knownFieldsOnly: boolean;
  /** A metadata filter asks for JSON that the entry contains (Postgres' `@>`), not for an equal entry. */
  readonly filtersContain: boolean;
  /** How many checkpoints `list` gives that is asked for no number. Undefined: all. */
  readonly listLimit: number | undefined;
}

const DEFAULT: Layout = {
  exact: false,
  newVersionsOnly: false,
  bytes: false,
  serializesWhole: false,
  knownFieldsOnly: false,
  filtersContain: false,
  listLimit: undefined,
};

/** A saver is known by members that no other has: names of classes do not survive bundlers, and two copies of a package have two classes. */
const LAYOUTS: readonly (readonly [name: string, members: readonly string[], layout: Partial<Layout>])[] = [
  ["MemorySaver", ["storage", "writes", "_migratePendingSends"], { exact: true, serializesWhole: true, knownFieldsOnly: true }],
  ["SqliteSaver", ["db", "withCheckpoint", "migratePendingSends"], { exact: true, serializesWhole: true, knownFieldsOnly: true }],
  ["PostgresSaver", ["pool", "SQL_STATEMENTS", "_dumpBlobs"], { newVersionsOnly: true, bytes: true, filtersContain: true }],
  ["ShallowRedisSaver", ["client", "cleanupOldCheckpoint"], { exact: true, listLimit: 10 }],
  ["RedisSaver", ["client", "loadCheckpointWithWrites"], { newVersionsOnly: true, knownFieldsOnly: true, listLimit: 10 }],
  ["MongoDBSaver", ["client", "checkpointWritesCollectionName"], { exact: true }],
];

/** The layout of a saver, or the default. */
export function layoutOf(saver: BaseCheckpointSaver): Layout {
  const known = LAYOUTS.find(([, members]) => members.every((member) => member in saver));
  return { ...DEFAULT, ...known?.[2] };
}
