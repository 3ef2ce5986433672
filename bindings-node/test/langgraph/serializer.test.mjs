// SealedSerializer: on the savers that can use it, and what it refuses.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Annotation, END, MemorySaver, START, StateGraph } from "@langchain/langgraph";
import { InMemoryCache } from "@langchain/langgraph-checkpoint";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import Database from "better-sqlite3";
import pg from "pg";
import { fixed, fromConfig, Keyring } from "sealpoint";
import { SealedSerializer } from "sealpoint/langgraph";
import { connect } from "./keyring.mjs";
import { postgres } from "./servers.mjs";
import { handed, inPython } from "./store-keys.mjs";

process.env.SERDE_KEK = "7sPazxTa4Ip+THz1+IWURrAWmkTnRM38uEnz0eNoE0k=";
const keyring = await Keyring.connect("memory:", { kek: "env:SERDE_KEK" });
const serde = new SealedSerializer(keyring, { tenant: fixed("acme") });
const refused = (code, run) => assert.rejects(run, (error) => error.code === code && !error.message.includes("secret"));

const graph = (checkpointer) =>
  new StateGraph(Annotation.Root({ text: Annotation(), count: Annotation() }))
    .addNode("node", ({ count }) => ({ text: "secret words", count: (count ?? 0) + 1 }))
    .addEdge(START, "node")
    .addEdge("node", END)
    .compile({ checkpointer });

describe("SealedSerializer", () => {
  for (const [name, make] of [
    ["MemorySaver", () => new MemorySaver(serde)],
    ["SqliteSaver", () => new SqliteSaver(new Database(":memory:"), serde)],
  ]) {
    test(`a graph over ${name} goes on, and its rows are sealed`, async () => {
      const saver = make();
      const config = { configurable: { thread_id: "t" } };
      await graph(saver).invoke({ text: "secret input" }, config);
      await graph(saver).invoke({ text: "more" }, config);
      assert.deepEqual((await graph(saver).getState(config)).values, { text: "secret words", count: 2 });
      const held = saver.storage
        ? [saver.storage, saver.writes].map((part) => JSON.stringify(part, (_, one) => (one instanceof Uint8Array ? Buffer.from(one).toString() : one)))
        : ["checkpoints", "writes"].flatMap((table) => saver.db.prepare(`SELECT * FROM ${table}`).all()).map((row) => Object.values(row).map(String).join());
      assert.ok(held.join().includes("sealpoint:v1:"));
      assert.ok(!held.join().includes("secret"));
    });
  }

  test("anything that is not sealed is refused, and so is another tenant's", async () => {
    const [type, data] = await serde.dumpsTyped({ a: "secret" });
    assert.equal(type, "json");
    assert.deepEqual(await serde.loadsTyped(type, data), { a: "secret" });
    const text = new TextEncoder();
    for (const [kind, bytes] of [
      ["json", text.encode('{"a":"secret"}')],
      ["json", text.encode('"secret"')],
      ["json", text.encode("secret")],
      ["bytes", data],
    ]) {
      await refused("plaintext_refused", () => serde.loadsTyped(kind, bytes));
    }
    await keyring.load("umbrella");
    const other = new SealedSerializer(keyring, { tenant: fixed("umbrella") });
    await refused("authentication_failed", () => other.loadsTyped(type, data));
    await refused("authentication_failed", () => serde.loadsTyped(type, text.encode(new TextDecoder().decode(data).replace(/.{4}"$/, 'AAAA"'))));
  });

  test("a cache", async () => {
    const cache = new InMemoryCache(serde);
    await cache.set([{ key: [["n"], "k"], value: { a: "secret" } }]);
    assert.deepEqual((await cache.get([[["n"], "k"]]))[0].value, { a: "secret" });
    assert.ok(!Buffer.from(cache.cache.n.k.val).includes("secret"));
  });

  test("its documented limits: what is moved to another thread opens, and PostgresSaver writes nothing", async () => {
    const saver = new MemorySaver(serde);
    await graph(saver).invoke({}, { configurable: { thread_id: "t" } });
    saver.storage.moved = saver.storage.t;
    assert.equal((await graph(saver).getState({ configurable: { thread_id: "moved" } })).values.text, "secret words");

    const pool = new pg.Pool({ connectionString: await postgres() });
    const bare = new PostgresSaver(pool, serde);
    await bare.setup();
    await assert.rejects(graph(bare).invoke({}, { configurable: { thread_id: "t" } }), /invalid input syntax for type json/);
    assert.equal((await pool.query("SELECT 1 FROM checkpoints")).rowCount, 0);
    await pool.end();
  });

  test("the same envelopes in Python", async () => {
    const keys = await connect();
    const key = handed(keys, "acme");
    const mine = new SealedSerializer(keys, { tenant: fixed("acme") });
    const [, data] = await mine.dumpsTyped({ a: 1 });
    const program = `
from sealpoint._native import Context
at = Context(tenant="acme", purpose="langgraph.value")
kind, payload = cache.open(given["sealed"], at)
print(json.dumps([kind, payload.decode(), cache.seal(b'{"b":2}', at, "json", True, True)]))`;
    const [kind, payload, theirs] = inPython(program, { key, sealed: JSON.parse(new TextDecoder().decode(data)) });
    assert.deepEqual([kind, payload], ["json", '{"a":1}']);
    assert.deepEqual(await mine.loadsTyped("json", JSON.stringify(theirs)), { b: 2 });
  });

  test("what could not work is refused when it is made", () => {
    for (const given of [
      { tenant: fromConfig("workspace_id") },
      { tenant: "acme" },
      { tenant: fixed("a"), inner: serde },
      { tenant: fixed("a"), inner: {} },
      { tenant: fixed("a"), serde },
      {},
    ]) {
      assert.throws(() => new SealedSerializer(keyring, given), { code: "invalid_argument" });
    }
    assert.throws(() => new SealedSerializer({}, { tenant: fixed("a") }), { code: "invalid_argument" });
  });
});
