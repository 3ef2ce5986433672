// What the READMEs show works as it stands.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Annotation, START, StateGraph } from "@langchain/langgraph";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import * as sealpoint from "sealpoint";
import * as langgraph from "sealpoint/langgraph";
import { postgres } from "./langgraph/servers.mjs";

const { Context, DataKey, exportKey } = sealpoint;

/** Runs one ```ts block of a page that has so many with what it takes as given, and returns the variables that it makes. */
async function run(page, given, made, [number, count] = [0, 1]) {
  const blocks = [...readFileSync(new URL(page, import.meta.url), "utf8").matchAll(/^```ts\n(.*?)^```/gms)];
  assert.equal(blocks.length, count, page);
  const imports = { sealpoint: "sealpoint", "sealpoint/langgraph": "langgraph" };
  const code = blocks[number][1].replace(/^import (\{.*\}) from "(.*)";$/gm, (_, names, from) => `const ${names} = ${imports[from]};`);
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;
  return new AsyncFunction("sealpoint", "langgraph", ...Object.keys(given), `${code}\nreturn { ${made} };`)(sealpoint, langgraph, ...Object.values(given));
}

test("the package's README", async () => {
  const seen = [];
  const file = new Uint8Array(5_000_000).fill(7);
  const { text, bytes, key, card } = await run(
    "../README.md",
    { file, onProgress: (done, total) => seen.push([done, total]) },
    "text, bytes, key, card",
    [0, 2],
  );
  assert.match(text, /^sealpoint:v1:wVMBAQ/);
  assert.equal(key.openText(text, card), "4111 1111 1111 1111");
  assert.deepEqual(bytes, file);
  assert.deepEqual(seen.at(-1), [file.length, file.length]);
});

test("the package's README: LangGraph", async () => {
  process.env.SEALPOINT_KEK = randomBytes(32).toString("base64");
  const builder = new StateGraph(Annotation.Root({ text: Annotation() })).addNode("one", ({ text }) => ({ text: `${text}!` })).addEdge(START, "one");
  const given = { url: await postgres(), PostgresSaver, builder, inputs: { text: "a needle" } };
  const { graph, saver, keyring } = await run("../README.md", given, "graph, saver, keyring", [1, 2]);
  const { values } = await graph.getState({ configurable: { thread_id: "t1", workspace_id: "acme" } });
  assert.equal(values.text, "a needle!");
  await keyring.close();
  await saver.inner.end();
});

test("the project's README", async () => {
  const { key: made, secret } = DataKey.generate({ tenant: "acme", dekPurpose: 3 });
  const bytes = made.seal(new Uint8Array(100_000), new Context({ tenant: "acme", purpose: "field", document: "u-42", path: "/card" }));
  const bar = { value: 0 };
  const { sealed, file, context } = await run("../../README.md", { bundle: exportKey(secret, made), bytes, bar }, "sealed, file, context");
  assert.equal(made.openText(sealed, context), "4111 1111 1111 1111");
  assert.deepEqual(file, new Uint8Array(100_000));
  assert.equal(bar.value, 1);
});
