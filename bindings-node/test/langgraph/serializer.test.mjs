import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Annotation, Command, END, interrupt, START, StateGraph } from "@langchain/langgraph";
import { InMemoryCache, JsonPlusSerializer, MemorySaver } from "@langchain/langgraph-checkpoint";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import Database from "better-sqlite3";
import pg from "pg";
import { fixed, fromConfig } from "sealpoint";
import { SealedSerializer } from "sealpoint/langgraph";
import { postgres } from "./servers.mjs";
import { inPython, refused, StandIn } from "./store-keys.mjs";

const made = (options = {}, keyring = new StandIn()) => new SealedSerializer(keyring, { tenant: fixed("acme"), ...options });
const text = (value) => new TextEncoder().encode(value);
const State = Annotation.Root({ secret: Annotation(), answer: Annotation() });
const graph = (checkpointer) =>
  new StateGraph(State)
    .addNode("ask", () => ({ answer: interrupt("tru-secret question") }))
    .addEdge(START, "ask")
    .addEdge("ask", END)
    .compile({ checkpointer });

async function run(app) {
  const config = { configurable: { thread_id: "t" } };
  await app.invoke({ secret: "tru-secret" }, config);
  const done = await app.invoke(new Command({ resume: { said: new Map([["a", 1]]) } }), config);
  assert.deepEqual(done, { secret: "tru-secret", answer: { said: new Map([["a", 1]]) } });
  assert.equal((await app.getState(config)).values.secret, "tru-secret");
  const history = [];
  for await (const state of app.getStateHistory(config)) history.push(state);
  assert.ok(history.length >= 3);
  return config;
}

describe("SealedSerializer", () => {
  test("values come back as they were", async () => {
    const serde = made();
    for (const value of [null, 5, "é", { a: [1, undefined, new Set([2])] }, new Uint8Array([0, 255])]) {
      const [type, data] = await serde.dumpsTyped(value);
      assert.equal(type, "json");
      assert.match(JSON.parse(new TextDecoder().decode(data)), /^sealpoint:v1:/);
      assert.deepEqual(await serde.loadsTyped(type, data), value);
      assert.deepEqual(await serde.loadsTyped(type, new TextDecoder().decode(data)), value);
    }
  });

  test("a run on MemorySaver shows nothing", async () => {
    const saver = new MemorySaver(made());
    await run(graph(saver));
    const bytes = Object.values(saver.storage.t[""])
      .flat()
      .concat(Object.values(saver.writes).flatMap((writes) => Object.values(writes).flat()));
    assert.ok(bytes.some((value) => value instanceof Uint8Array));
    for (const value of bytes) if (value instanceof Uint8Array) assert.ok(!Buffer.from(value).includes("tru-secret"));
  });

  test("a run on SqliteSaver shows nothing, and a planted row is refused", async () => {
    const db = new Database(":memory:");
    const app = graph(new SqliteSaver(db, made()));
    const config = await run(app);
    assert.ok(!db.serialize().includes("tru-secret"));
    db.prepare("update checkpoints set checkpoint = ?").run(Buffer.from('{"v":4,"channel_values":{}}'));
    await refused("plaintext_refused", () => app.getState(config));
  });

  test("a cache", async () => {
    const cache = new InMemoryCache(made());
    await cache.set([{ key: [["n"], "k"], value: { a: "tru-secret" } }]);
    assert.deepEqual((await cache.get([[["n"], "k"]]))[0].value, { a: "tru-secret" });
    assert.ok(!Buffer.from(cache.cache.n.k.val).includes("tru-secret"));
  });

  test("its documented limits: moved values open, and PostgresSaver cannot write metadata that is not an object", async () => {
    const serde = made();
    const saver = new MemorySaver(serde);
    await run(graph(saver));
    saver.storage.moved = saver.storage.t;
    assert.equal((await graph(saver).getState({ configurable: { thread_id: "moved" } })).values.secret, "tru-secret");

    const pool = new pg.Pool({ connectionString: await postgres() });
    const onPostgres = new PostgresSaver(pool, serde);
    await onPostgres.setup();
    const checkpoint = {
      v: 4,
      id: "1ef4f797-8335-6428-8001-8a1503f9b875",
      ts: "2024-01-01T00:00:00Z",
      channel_values: {},
      channel_versions: {},
      versions_seen: {},
    };
    const config = { configurable: { thread_id: "t", checkpoint_ns: "" } };
    await assert.rejects(onPostgres.put(config, checkpoint, { source: "input", step: -1, parents: {} }, {}), /invalid input syntax for type json/);
    assert.equal((await pool.query("select 1 from checkpoints")).rowCount, 0);
    await pool.end();
  });

  test("refusals", async () => {
    const serde = made();
    const [, data] = await serde.dumpsTyped("tru-secret");
    const planted = ['"plain"', "5", "null", "{", "", '{"lc":1,"type":"constructor","id":["x"],"kwargs":{}}', JSON.parse(new TextDecoder().decode(data))];
    for (const value of planted) {
      await refused("plaintext_refused", () => serde.loadsTyped("json", value));
      await refused("plaintext_refused", () => serde.loadsTyped("json", text(value)));
    }
    await refused("plaintext_refused", () => serde.loadsTyped("bytes", data));
    await refused("malformed", () => serde.loadsTyped("json", '"sealpoint:v1:AAAA"'));
    const keyring = new StandIn();
    const [type, theirs] = await made({ tenant: fixed("umbrella") }, keyring).dumpsTyped("tru-secret");
    await refused("authentication_failed", () => made({}, keyring).loadsTyped(type, theirs), "tru-secret");
    await refused("tenant_required", () => made({ tenant: () => "" }).dumpsTyped(1));
    for (const options of [{ tenant: fromConfig("workspace_id") }, { tenant: "acme" }, { inner: {} }, { inner: serde }, { pad: true }]) {
      await refused("invalid_argument", () => made(options));
    }
    await refused("invalid_argument", () => made({}, {}));
  });

  test("setup is the keyring's, inner the given serializer", async () => {
    const [keyring, inner] = [new StandIn(), new JsonPlusSerializer()];
    const serde = made({ inner }, keyring);
    await serde.setup();
    assert.equal(keyring.setups, 1);
    assert.equal(serde.inner, inner);
  });

  test("the same envelopes in Python", async () => {
    const keyring = new StandIn();
    const serde = made({}, keyring);
    const [, data] = await serde.dumpsTyped({ a: 1 });
    const program = `
from sealpoint._native import Context
at = Context(tenant="acme", purpose="langgraph.value")
kind, payload = cache.open(given["sealed"], at)
print(json.dumps([kind, payload.decode(), cache.seal(b'{"b":2}', at, "json", True, True)]))`;
    const [kind, payload, theirs] = inPython(program, { key: keyring.handed("acme"), sealed: JSON.parse(new TextDecoder().decode(data)) });
    assert.deepEqual([kind, payload], ["json", '{"a":1}']);
    assert.deepEqual(await serde.loadsTyped("json", JSON.stringify(theirs)), { b: 2 });
  });
});
