// Where a graph's CPU time goes, by V8's sampling profiler: each sample counts for the innermost function that one of the parts knows.

import { Session } from "node:inspector/promises";

const SAMPLE_US = 200;
const OWN = /\/dist\/(node\.(mjs|cjs)|langgraph\.mjs)$/;

/** The first that knows a function. Native calls have no place of their own: they count for who made them. */
const PARTS = {
  serialization: ({ url }) => /langgraph-checkpoint\/dist\/serde\//.test(url) || /@langchain\/core\/dist\/load\//.test(url),
  manifest: ({ url, functionName }) => OWN.test(url) && /^(manifest|fieldsOf)/i.test(functionName),
  "seal, open, base64": ({ url, functionName }) => OWN.test(url) && /^_?(seal|open)(Text|Typed|Into|All)?(Async)?$/.test(functionName),
  "rest of sealpoint": ({ url }) => OWN.test(url),
  "garbage collection": ({ functionName }) => functionName === "(garbage collector)",
  "saver and database": ({ url }) => /langgraph-checkpoint|better-sqlite3|\/pg[-/]|pg-protocol/.test(url),
  waiting: ({ functionName }) => functionName === "(idle)" || functionName === "(program)",
};
const OTHER = "graph";

/** Microseconds of one run by their part: the mean of some. */
export async function profile(run, runs) {
  const session = new Session();
  session.connect();
  try {
    await session.post("Profiler.enable");
    await session.post("Profiler.setSamplingInterval", { interval: SAMPLE_US });
    const totals = Object.fromEntries([...Object.keys(PARTS), OTHER].map((part) => [part, 0]));
    for (let i = 0; i < runs; i++) {
      await session.post("Profiler.start");
      await run();
      const { profile } = await session.post("Profiler.stop");
      for (const [part, us] of tally(profile)) totals[part] += us / runs;
    }
    return totals;
  } finally {
    session.disconnect();
  }
}

function* tally({ nodes, samples, timeDeltas }) {
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  const known = new Map(nodes.map(({ id, callFrame }) => [id, Object.keys(PARTS).find((part) => PARTS[part](callFrame))]));
  for (const [i, sample] of samples.entries()) {
    let at = sample;
    while (at !== undefined && known.get(at) === undefined) at = parents.get(at);
    yield [known.get(at) ?? OTHER, timeDeltas[i]];
  }
}
