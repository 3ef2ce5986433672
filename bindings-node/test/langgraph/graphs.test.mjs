// Real graphs over the real savers, sealed: as over a bare MemorySaver.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { Annotation, Command, END, entrypoint, interrupt, MemorySaver, Send, START, StateGraph, task } from "@langchain/langgraph";
import { fromConfig, tenantScope } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { code, collect, known, redisBackends } from "./backends.mjs";
import { connect } from "./keyring.mjs";

const tenant = fromConfig("ws");
const State = Annotation.Root({
  text: Annotation(),
  log: Annotation({ reducer: (left, right) => left.concat(right), default: () => [] }),
});

const linear = new StateGraph(State)
  .addNode("one", ({ text }) => ({ text: `${text}1`, log: ["one"] }))
  .addNode("two", ({ text }) => ({ text: `${text}2`, log: ["two"] }))
  .addEdge(START, "one")
  .addEdge("one", "two")
  .addEdge("two", END);

const parallel = new StateGraph(State)
  .addNode("fan", () => ({}))
  .addNode("each", ({ text }) => ({ log: [`each-${text}`] }))
  .addNode("left", () => ({ log: ["left"] }))
  .addNode("right", () => ({ log: ["right"] }))
  .addNode("ask", () => ({ log: [interrupt("needle-question")] }))
  .addEdge(START, "fan")
  .addEdge("fan", "left")
  .addEdge("fan", "right")
  .addConditionalEdges("fan", () => [new Send("each", { text: "a" }), new Send("each", { text: "b" })])
  .addEdge(["left", "right"], "ask")
  .addEdge("ask", END);

const sub = new StateGraph(State)
  .addNode("inner", ({ text }) => ({ text: `${text}-inner` }))
  .addNode("asks", ({ text }) => ({ text: `${text}-${interrupt("inside")}` }))
  .addEdge(START, "inner")
  .addEdge("inner", "asks")
  .addEdge("asks", END);
const nested = (checkpointer) =>
  new StateGraph(State)
    .addNode("sub", sub.compile(checkpointer === undefined ? {} : { checkpointer }))
    .addEdge(START, "sub")
    .addEdge("sub", END);

/** What a history shows, without what differs from run to run. */
const seen = ({ values, next, metadata, tasks }) => ({
  values,
  next,
  step: metadata.step,
  source: metadata.source,
  interrupts: tasks.flatMap(({ interrupts }) => interrupts.map(({ value }) => value)),
});
/** RedisSaver gives ten if not told otherwise, and orders them by the millisecond. */
const history = async (graph, config) => {
  const states = await collect(graph.getStateHistory(config, { limit: 1000 }));
  const id = ({ config }) => config.configurable.checkpoint_id;
  return states.sort((a, b) => (id(a) < id(b) ? 1 : -1)).map(seen);
};

/** All that is done with a saver; the same must come out of each. `kept`: with its history. */
async function session(saver, kept = true) {
  const out = {};
  const at = (thread_id, more) => ({ configurable: { thread_id, ws: "acme" }, ...more });

  const graph = linear.compile({ checkpointer: saver });
  out.invoke = await graph.invoke({ text: "x" }, at("linear"));
  out.stream = await collect(await graph.stream({ text: "y" }, at("stream", { streamMode: "values" })));
  out.history = await history(graph, at("linear"));
  out.again = await graph.invoke({ text: "z" }, at("again"));
  out.once = await graph.invoke({ text: "zz" }, at("again"));
  const states = kept ? await collect(graph.getStateHistory(at("linear"))) : [];
  for (const { config, metadata } of states) {
    for (const node of ["one", "two", undefined]) {
      const forked = await graph.updateState(config, { text: "F" }, node);
      out[`fork ${metadata.step} ${node}`] = [seen(await graph.getState(forked)), await graph.invoke(null, forked)];
    }
    out[`replay ${metadata.step}`] = await graph.invoke(null, config);
    out[`state ${metadata.step}`] = seen(await graph.getState(config));
  }
  out.afterForks = (await history(graph, at("linear"))).length;

  const asking = parallel.compile({ checkpointer: saver });
  const asked = await asking.invoke({ text: "p" }, at("parallel"));
  out.asked = [asked.log.toSorted(), asked.__interrupt__.map(({ value }) => value)];
  out.paused = seen(await asking.getState(at("parallel")));
  out.resumed = (await asking.invoke(new Command({ resume: "needle-answer" }), at("parallel"))).log.toSorted();

  for (const kind of [undefined, true]) {
    const outer = nested(kind).compile({ checkpointer: saver });
    const thread = at(`nested-${kind}`);
    await outer.invoke({ text: "s" }, thread);
    const paused = await tenantScope("acme", () => outer.getState(thread, { subgraphs: true }));
    out[`nested ${kind}`] = [paused.next, paused.tasks[0].state.values, paused.tasks[0].state.next];
    out[`nested resumed ${kind}`] = await outer.invoke(new Command({ resume: "ok" }), thread);
    out[`nested history ${kind}`] = await history(outer, thread);
  }

  for (const durability of ["sync", "async", "exit"]) {
    await graph.invoke({ text: "d" }, at(durability, { durability }));
    out[durability] = await history(graph, at(durability));
  }

  const double = task("double", async (n) => n * 2);
  const flow = entrypoint({ name: "flow", checkpointer: saver }, async (n, { previous = 0 } = {}) => {
    const doubled = await double(n);
    const added = interrupt("how much more?");
    return entrypoint.final({ value: doubled + added + previous, save: doubled });
  });
  await flow.invoke(4, at("flow"));
  out.flow = await flow.invoke(new Command({ resume: 3 }), at("flow"));
  await flow.invoke(5, at("flow"));
  out.flowAgain = await flow.invoke(new Command({ resume: 1 }), at("flow"));

  await saver.deleteThread("linear");
  out.deleted = (await history(graph, at("linear"))).length;
  return out;
}

const expected = await session(new MemorySaver());

async function bare() {
  const { inner, close } = await redisBackends.shallow();
  const found = await session(inner, false);
  await close();
  return found;
}

for (const [name, make] of Object.entries(known)) {
  describe(name, async () => {
    const backend = await make();
    const saver = new SealedSaver(backend.inner, await connect(), { tenant });
    const kept = name !== "shallow"; // else of each namespace there is the newest checkpoint
    after(() => backend.close());

    test(`runs, streams, forks, replays, interrupts, subgraphs, durabilities and the functional API end as over a bare ${kept ? "MemorySaver" : "one"}`, async () => {
      const found = await session(saver, kept);
      const wanted = kept ? expected : await bare();
      for (const key of Object.keys(wanted)) assert.deepEqual(found[key], wanted[key], key);
      assert.equal(Buffer.from(await backend.bytes()).includes("needle"), false);
    });

    test("the state of a subgraph is asked for without the tenant: refused but within tenantScope, or with the tenant's key put in", async () => {
      const outer = nested(undefined).compile({ checkpointer: saver });
      const thread = { configurable: { thread_id: "sub", ws: "acme" } };
      await outer.invoke({ text: "s" }, thread);
      await assert.rejects(outer.getState(thread, { subgraphs: true }), code("tenant_required"));
      const [{ state }] = (await outer.getState(thread)).tasks;
      await assert.rejects(outer.getState(state), code("tenant_required"));
      assert.deepEqual((await tenantScope("acme", () => outer.getState(state))).values.text, "s-inner");
      assert.deepEqual((await outer.getState({ configurable: { ...state.configurable, ws: "acme" } })).values.text, "s-inner");
    });

    const historyTest = kept ? test : () => {};
    historyTest("a config of a history is enough to replay, and its tenant is kept", async () => {
      const graph = linear.compile({ checkpointer: saver });
      const thread = { configurable: { thread_id: "replayed", ws: "acme" } };
      await graph.invoke({ text: "r" }, thread);
      const states = await collect(graph.getStateHistory(thread));
      const { config } = states.find(({ next }) => next[0] === "two");
      assert.equal(config.configurable.ws, "acme");
      assert.deepEqual((await graph.invoke(null, config)).text, "r12");
    });

    test("twenty tenants at once see their own data, and nobody else does", async () => {
      const graph = parallel.compile({ checkpointer: saver });
      const runs = Array.from({ length: 20 }, async (_, i) => {
        const thread = { configurable: { thread_id: `thread-${i}`, ws: `tenant-${i}` } };
        await graph.invoke({ text: `t${i}` }, thread);
        const { log } = await graph.invoke(new Command({ resume: `answer-${i}` }), thread);
        assert.ok(log.includes(`answer-${i}`));
        assert.equal((await graph.getState(thread)).values.text, `t${i}`);
        const other = { configurable: { thread_id: `thread-${i}`, ws: `tenant-${(i + 1) % 20}` } };
        await assert.rejects(graph.getState(other), code("authentication_failed"));
      });
      await Promise.all(runs);
    });
  });
}
