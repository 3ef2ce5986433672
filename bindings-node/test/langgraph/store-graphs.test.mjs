import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Annotation, END, getStore, START, StateGraph } from "@langchain/langgraph";
import { AsyncBatchedStore, InMemoryStore } from "@langchain/langgraph-checkpoint";
import { fixed, fromConfig, tenantScope } from "sealpoint";
import { SealedStore } from "sealpoint/langgraph";
import { connect } from "./keyring.mjs";
import { DIMS, FakeEmbeddings, refused } from "./store-keys.mjs";

const State = Annotation.Root({ seen: Annotation({ reducer: (a, b) => [...a, ...b], default: () => [] }) });
const WHO = (tenant) => ({ configurable: { workspace_id: tenant } });
const tick = () => new Promise((resolve) => setImmediate(resolve));

function graph(store, ...nodes) {
  const builder = new StateGraph(State);
  for (const [i, node] of nodes.entries()) builder.addNode(`n${i}`, node).addEdge(START, `n${i}`).addEdge(`n${i}`, END);
  return builder.compile({ store });
}

const made = async (options) => {
  const inner = new InMemoryStore();
  return { inner, store: new SealedStore(inner, await connect(), { tenant: fromConfig("workspace_id"), ...options }) };
};

/** Whose an item is: only that tenant's key opens it. */
async function ownerOf(store, ns, key, tenants) {
  const owners = [];
  for (const tenant of tenants) {
    await tenantScope(tenant, () => store.get(ns, key)).then(
      () => owners.push(tenant),
      (error) => assert.equal(error.code, "authentication_failed"),
    );
  }
  return owners;
}

const TENANTS = Array.from({ length: 20 }, (_, i) => `tenant-${i}`);

for (const [how, run] of Object.entries({
  "the run's config": (app, tenant) => app.invoke({}, WHO(tenant)),
  tenantScope: (app, tenant) => tenantScope(tenant, () => app.invoke({})),
  "the run's config, within another tenant's scope": (app, tenant) => tenantScope("somebody", () => app.invoke({}, WHO(tenant))),
})) {
  test(`20 tenants at once in one graph, by ${how}: each item is its own tenant's`, async () => {
    const { store } = await made();
    const nodes = [0, 1, 2].map((i) => async (_, runtime) => {
      const ns = ["memories"];
      const name = `${runtime.configurable?.workspace_id ?? "scope"}-${Math.random()}-${i}`;
      await runtime.store.put(ns, name, { i });
      await tick();
      const item = await getStore().get(ns, name);
      assert.equal(item.value.i, i);
      await store.put(ns, `${name}-direct`, { i });
      assert.equal((await store.get(ns, `${name}-direct`)).value.i, i);
      return { seen: [name, `${name}-direct`] };
    });
    const app = graph(store, ...nodes);
    const states = await Promise.all(TENANTS.map((tenant) => run(app, tenant)));
    for (const [i, { seen }] of states.entries()) {
      assert.equal(seen.length, 6);
      for (const name of seen) assert.deepEqual(await ownerOf(store, ["memories"], name, ["somebody", ...TENANTS]), [TENANTS[i]]);
    }
  });
}

test("operations that LangGraph puts into one batch keep each its caller's tenant", async () => {
  const { store, inner } = await made();
  const sizes = [];
  const batch = inner.batch.bind(inner);
  inner.batch = (ops) => {
    sizes.push(ops.length);
    return batch(ops);
  };
  const app = graph(store, async (_, { store: queue }) => {
    await Promise.all(TENANTS.map((tenant) => tenantScope(tenant, () => queue.put(["m"], tenant, { tenant }))));
    return {};
  });
  await app.invoke({});
  assert.deepEqual(sizes, [20]);
  for (const tenant of TENANTS) assert.deepEqual(await ownerOf(store, ["m"], tenant, TENANTS), [tenant]);
});

test("subgraphs and streams consumed elsewhere", async () => {
  const { store } = await made();
  const put = async (_, { store: queue }) => {
    await queue.put(["m"], "k", { a: 1 });
    return {};
  };
  const child = new StateGraph(State).addNode("put", put).addEdge(START, "put").compile();
  const app = graph(store, child);
  const stream = await tenantScope("a", () => app.stream({}, { streamMode: "updates" }));
  for await (const _ of stream);
  assert.deepEqual(await ownerOf(store, ["m"], "k", ["a", "b"]), ["a"]);
  await app.invoke({}, WHO("b"));
  assert.deepEqual(await ownerOf(store, ["m"], "k", ["a", "b"]), ["b"]);
});

describe("refusals", () => {
  test("no tenant: the operation fails alone", async () => {
    const { store, inner } = await made();
    const app = graph(store, async (_, { store: queue }) => {
      const lost = refused("tenant_required", () => queue.put(["m"], "lost", { a: 1 }));
      await tenantScope("a", () => queue.put(["m"], "kept", { a: 1 }));
      await lost;
      await refused("tenant_required", () => queue.get(["m"], "kept"));
      await refused("tenant_required", () => queue.search(["m"]));
      await queue.delete(["m"], "none");
      return {};
    });
    await app.invoke({});
    assert.deepEqual([...inner.data.get("m").keys()], ["kept"]);
  });

  test("a queue that does not say whose operations it has", async () => {
    const { store, inner } = await made();
    // As the queue of another copy of LangGraph's package would: with its own class, which nothing was told about.
    const other = async (wrapped, op) => tenantScope("somebody", () => wrapped.store.batch([op]));
    const op = { namespace: ["m"], key: "k", value: { a: 1 } };
    await refused("invalid_argument", () => other(new AsyncBatchedStore(store), op));
    await refused("invalid_argument", () => other(new AsyncBatchedStore(store), { namespace: ["m"], key: "k" }));
    assert.equal(inner.data.size, 0);
    await other(new AsyncBatchedStore((await made({ tenant: fixed("acme") })).store), op);
  });
});

test("nothing is embedded in a graph but what embed names", async () => {
  for (const [embed, seen] of [
    [[], []],
    [["text"], ["the text"]],
  ]) {
    const embeddings = new FakeEmbeddings();
    const inner = new InMemoryStore({ index: { dims: DIMS, embeddings } });
    const store = new SealedStore(inner, await connect(), { tenant: fromConfig("workspace_id"), embed });
    const app = graph(store, async (_, { store: queue }) => {
      await queue.put(["m"], "k", { text: "the text", other: "tru-secret" }, false);
      return {};
    });
    await app.invoke({}, WHO("a"));
    assert.deepEqual(embeddings.seen, seen);
  }
});
