// The graphs that benchmarks run, the same for every contender and the same as in benches/python/workloads.py: deterministic, with fixed ids, one node per step.

import { peer } from "./harness.mjs";

export const MESSAGES = "messages";
export const DOCUMENTS = "documents";
const LARGE = 1 << 20;

const TEXT =
  "the invoice was approved after a review of each line and its totals while our customer asked for another delivery date because " +
  "their warehouse closes early on Friday so we moved it and confirmed by mail";
const WORDS = TEXT.split(" ");

const makers = { [MESSAGES]: messages, [DOCUMENTS]: documents };

/**
 * A graph that is not compiled, what a run of it is invoked with, and what its state must hold in the end: a channel and how long its value is. A node of messages
 * awaits `answered()`, as it would a model.
 *
 * @returns {Promise<{ graph: any, given: object, channel: string, length: number }>}
 */
export async function workload(name, steps, answered = () => {}) {
  return makers[name](steps, answered);
}

export function config(thread = "0b8a3f6e-58c6-4d0e-9d3a-0d5a4c1f7b21", tenant = "acme") {
  return { configurable: { thread_id: thread, workspace_id: tenant }, recursionLimit: 1000 };
}

/** What is timed: a run, and one look at the state. */
export async function turn(compiled, { given, channel, length }, how = config()) {
  await compiled.invoke(given, how);
  const { values } = await compiled.getState(how);
  if (values[channel].length !== length) throw new Error(`${channel} has ${values[channel].length} items instead of ${length}`);
}

/** An agent and its tools take turns, as in every tutorial; the state is `MessagesAnnotation`, each message about 1 KB. */
async function messages(steps, answered) {
  const { StateGraph, MessagesAnnotation } = await peer("@langchain/langgraph");
  const { HumanMessage } = await peer("@langchain/core/messages");
  const replies = await repliesOf(steps);
  const node = async (state) => {
    await answered();
    return { messages: [replies[state.messages.length - 1]] };
  };
  const then = (name) => (state) => (state.messages.length <= steps ? name : "__end__");
  const graph = new StateGraph(MessagesAnnotation)
    .addNode("agent", node)
    .addNode("tools", node)
    .addEdge("__start__", "agent")
    .addConditionalEdges("agent", then("tools"), ["tools", "__end__"])
    .addConditionalEdges("tools", then("agent"), ["agent", "__end__"]);
  const question = new HumanMessage({ id: "question", content: words(drawing(5), 150) });
  return { graph, given: { messages: [question] }, channel: "messages", length: steps + 1 };
}

/** Messages as a provider returns them: a call of a tool, what it answered, and so on. */
async function repliesOf(count) {
  const { AIMessage, ToolMessage } = await peer("@langchain/core/messages");
  const draw = drawing(7);
  return Array.from({ length: count }, (_, number) => {
    const call = `call_${hex(number >> 1)}`;
    if (number % 2 === 1) return new ToolMessage({ id: `tool-${number}`, tool_call_id: call, name: "search", content: words(draw, 150) });
    return new AIMessage({
      id: `run--${hex(draw(2 ** 32))}${hex(draw(2 ** 32))}`,
      content: words(draw, 90),
      tool_calls: [{ name: "search", args: { query: words(draw, 8) }, id: call, type: "tool_call" }],
      response_metadata: { model_name: "example-large", finish_reason: "tool_calls", system_fingerprint: `fp_${hex(number)}` },
      usage_metadata: { input_tokens: 900 + number, output_tokens: 140, total_tokens: 1040 + number },
    });
  });
}

/** About 1 MB when serialized, as a retriever returns it, which the first step sets and no other one changes. */
async function documents(steps) {
  const { StateGraph, Annotation } = await peer("@langchain/langgraph");
  const draw = drawing(1);
  const found = [];
  for (let size = 0; size < LARGE; size += JSON.stringify(found.at(-1)).length) {
    found.push({
      id: `doc-${found.length}`,
      title: words(draw, 8),
      page: draw(500),
      score: draw(1_000_000) / 1_000_000,
      tags: Array.from({ length: 4 }, () => words(draw, 1)),
      text: words(draw, 120),
      metadata: { source: "archive", language: "en", reviewed: true },
    });
  }
  const graph = new StateGraph(Annotation.Root({ large: Annotation(), step: Annotation() }))
    .addNode("work", ({ step }) => ({ step: step + 1, ...(step === 0 && { large: found }) }))
    .addEdge("__start__", "work")
    .addConditionalEdges("work", ({ step }) => (step < steps ? "work" : "__end__"), ["work", "__end__"]);
  return { graph, given: { step: 0 }, channel: "large", length: found.length };
}

const hex = (number) => number.toString(16).padStart(8, "0");
const words = (draw, count) => Array.from({ length: count }, () => WORDS[draw(WORDS.length)]).join(" ");

/** Whole numbers below a bound, the same ones in each run (mulberry32). */
export function drawing(seed) {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}
