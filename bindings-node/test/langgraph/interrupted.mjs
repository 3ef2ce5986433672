// Runs a graph over a SQLite file, for tests that end the process or run beside it: `node interrupted.mjs '{"db": …, "keys": …, "kek": …, "thread": …, "killed": true}'`
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { Annotation, END, START, StateGraph } from "@langchain/langgraph";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import { fixed, Keyring } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";

export const graphOver = (checkpointer) =>
  new StateGraph(Annotation.Root({ log: Annotation({ reducer: (a, b) => a.concat(b), default: () => [] }) }))
    .addNode("one", () => ({ log: ["one"] }))
    .addNode("two", () => ({ log: ["two"] }))
    .addEdge(START, "one")
    .addEdge("one", "two")
    .addEdge("two", END)
    .compile({ checkpointer });

export async function opened({ db, keys, kek }) {
  const keyring = keys && (await Keyring.connect(keys, { kek }));
  const inner = SqliteSaver.fromConnString(db);
  return { saver: keyring ? new SealedSaver(inner, keyring, { tenant: fixed("acme") }) : inner, inner, keyring };
}

const asked = isMainThread ? process.argv[1]?.endsWith("interrupted.mjs") && JSON.parse(process.argv[2]) : workerData;
if (asked) {
  const { saver, inner, keyring } = await opened(asked);
  // A checkpoint is stored and the writes of its task are not.
  if (asked.killed) inner.putWrites = () => process.kill(process.pid, "SIGKILL");
  const { log } = await graphOver(saver).invoke({ log: ["in"] }, { configurable: { thread_id: asked.thread }, durability: "sync" });
  inner.db.close();
  await keyring?.close();
  parentPort?.postMessage(log);
}
