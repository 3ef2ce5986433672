// Checked by the compiler alone: a SealedSaver is what LangGraph takes for a checkpointer, and takes each of LangGraph's savers.
import { Annotation, entrypoint, START, StateGraph } from "@langchain/langgraph";
import { type BaseCheckpointSaver, MemorySaver } from "@langchain/langgraph-checkpoint";
import type { MongoDBSaver } from "@langchain/langgraph-checkpoint-mongodb";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import type { RedisSaver } from "@langchain/langgraph-checkpoint-redis";
import type { ShallowRedisSaver } from "@langchain/langgraph-checkpoint-redis/shallow";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import { fixed, fromConfig, type Keyring, Migration } from "sealpoint";
import { SealedSaver, type SealedSaverOptions } from "sealpoint/langgraph";

export function wrapped(keyring: Keyring, mongo: MongoDBSaver, redis: RedisSaver, shallow: ShallowRedisSaver): SealedSaver[] {
  const options: SealedSaverOptions = { tenant: fromConfig("workspace_id"), mode: "migrating", migration: new Migration(new Date(0)), strictFilters: true };
  const inners = [new MemorySaver(), SqliteSaver.fromConnString(":memory:"), PostgresSaver.fromConnString(""), mongo, redis, shallow];
  return [...inners.map((inner) => new SealedSaver(inner, keyring, { tenant: fixed("acme") })), new SealedSaver(new MemorySaver(), keyring, options)];
}

export function compiled(saver: SealedSaver): unknown[] {
  const graph = new StateGraph(Annotation.Root({ text: Annotation<string> })).addNode("one", () => ({ text: "x" })).addEdge(START, "one");
  const inner: BaseCheckpointSaver = saver.inner;
  return [graph.compile({ checkpointer: saver }), entrypoint({ name: "flow", checkpointer: saver }, async (n: number) => n), inner];
}

export function refused(keyring: Keyring): void {
  // @ts-expect-error a tenant is required
  new SealedSaver(new MemorySaver(), keyring, {});
  // @ts-expect-error a bare string: a key of the config, or a tenant?
  new SealedSaver(new MemorySaver(), keyring, { tenant: "acme" });
  // @ts-expect-error no such option
  new SealedSaver(new MemorySaver(), keyring, { tenant: fixed("acme"), legacySerde: undefined });
}
