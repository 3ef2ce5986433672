// LangGraph JS on real savers, bare and sealed, in one run, in interleaved rounds.
//
// Two graphs of 20 and 200 steps: an agent and its tools exchanging messages of about 1 KB, and 1 MB of documents that the first step sets and no other one changes.
// The state is read once at the end. SQLite writes a real file; Postgres is a real server on the same machine, through a Unix socket, with fsync off for all.
//
// Ratios are medians over the rounds of sealed / bare, each of the same round. They are judged by the CPU time of this process, on Postgres also by wall time.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { profile } from "./graph-profile.mjs";
import * as harness from "./harness.mjs";
import { BARE, Databases, MEMORY, PACKAGES, POSTGRES, SEALED, SQLITE, sealing } from "./savers.mjs";
import { median, ratio, shuffled } from "./timing.mjs";
import { DOCUMENTS, MESSAGES, turn, workload } from "./workloads.mjs";

const GRAPHS = [MESSAGES, DOCUMENTS];
const SAVERS = [SQLITE, POSTGRES, MEMORY];
const STEPS = ["20", "200"];
const TARGET = 1.15;
const JUDGED_BY = { [SQLITE]: ["cpu"], [MEMORY]: ["cpu"], [POSTGRES]: ["cpu", "wall"] };
const WARM_RUNS = 3;

const { wasm: _, "skip-missing": __, ...comparing } = harness.COMPARING;
const options = harness.options("LangGraph JS on real savers, bare and sealed.", {
  ...comparing,
  graphs: { type: "string", value: "NAME", multiple: true, default: GRAPHS, help: `${GRAPHS.join(" or ")}; may be repeated (default: both)` },
  savers: { type: "string", value: "NAME", multiple: true, default: SAVERS, help: `${SAVERS.join(", ")}; may be repeated (default: all)` },
  steps: { type: "string", value: "N", multiple: true, help: "may be repeated (default: 20 and 200, with --quick 20)" },
  profile: { type: "boolean", default: false, help: "also tell where the CPU time goes" },
});
const output = harness.output(options, "node-graph.json");
const rounds = options.rounds ?? (options.quick ? 5 : 15);
const steps = (options.steps ?? (options.quick ? ["20"] : STEPS)).map(Number);
if (!steps.every((count) => Number.isInteger(count) && count > 0)) harness.stop("--steps is a whole number from 1 on");
for (const [given, known] of [
  [options.graphs, GRAPHS],
  [options.savers, SAVERS],
]) {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown !== undefined) harness.stop(`there is no ${unknown}; there are: ${known.join(", ")}`);
}

const collect = wholeCollector();
const databases = new Databases();
const [rows, profiles] = [[], []];
try {
  const contenders = await contendersOf();
  for (const graph of options.graphs) {
    for (const saver of options.savers) {
      for (const count of steps) rows.push(...(await compare(contenders, graph, saver, count)));
      if (options.profile) profiles.push(...(await profiled(contenders, graph, saver)));
    }
  }
} finally {
  await databases.close();
}
const targets = judge();
show();
if (output) {
  const machine = harness.machine(options.package, { node: `Node ${process.versions.node}` }, PACKAGES);
  harness.write(output, { machine, clock: "process.cpuUsage, performance.now", rows, targets, ...(options.profile && { profile: profiles }) });
}
harness.finish(targets, options.check);

/** From a bare saver to the one that is measured. */
async function contendersOf() {
  const { connect, sealed } = (await harness.available({ sealpoint: () => sealing(options.package) }, false)).sealpoint;
  const keyring = await connect("memory:");
  await keyring.load("acme");
  return { [BARE]: (saver) => saver, [SEALED]: (saver) => sealed(saver, keyring) };
}

async function compare(contenders, graph, saver, count) {
  const work = await workload(graph, count);
  const names = Object.keys(contenders);
  const runs = Object.fromEntries(names.map((name) => [name, []]));
  // So that what is measured is compiled; long runs are so soon.
  for (let i = 0; i < (count < 100 ? WARM_RUNS : 1); i++) for (const name of names) await run(work, saver, contenders[name]);
  for (let round = 0; round < rounds; round++) for (const name of shuffled(names)) runs[name].push(await run(work, saver, contenders[name]));
  const times = (name, clock) => runs[name].map((one) => one[clock]);
  return names.map((contender) => ({
    graph,
    saver,
    steps: count,
    contender,
    wall_ms: harness.round(median(times(contender, "wall"))),
    cpu_ms: harness.round(median(times(contender, "cpu"))),
    wall_ratio: harness.round(ratio(times(contender, "wall"), times(BARE, "wall"))),
    cpu_ratio: harness.round(ratio(times(contender, "cpu"), times(BARE, "cpu"))),
    rounds,
  }));
}

async function run(work, kind, wrap) {
  const { saver, drop } = await databases.saver(kind);
  try {
    const compiled = work.graph.compile({ checkpointer: wrap(saver) });
    collect();
    const [wall, cpu] = [performance.now(), harness.cpuClock()];
    await turn(compiled, work);
    return { wall: performance.now() - wall, cpu: harness.cpuClock() - cpu };
  } finally {
    await drop();
  }
}

/** Where the time goes in the longest runs. */
async function profiled(contenders, graph, saver) {
  const count = Math.max(...steps);
  const work = await workload(graph, count);
  const found = [];
  for (const [contender, wrap] of Object.entries(contenders)) {
    const us = await profile(() => run(work, saver, wrap), options.quick ? 3 : 5);
    found.push({ graph, saver, steps: count, contender, us_per_step: Object.fromEntries(Object.entries(us).map(([part, all]) => [part, harness.round(all / count)])) });
  }
  return found;
}

function judge() {
  return rows
    .filter((row) => row.contender === SEALED)
    .flatMap((row) =>
      JUDGED_BY[row.saver].map((clock) => ({
        text: `${row.graph}, ${row.saver}, ${row.steps} steps, sealed at most ${TARGET}x the ${clock} time of bare`,
        measured: row[`${clock}_ratio`],
        passed: row[`${clock}_ratio`] <= TARGET,
      })),
    );
}

function show() {
  const lines = rows.map((row) => [
    `${row.graph}, ${row.saver}, ${row.steps}, ${row.contender}`,
    harness.number(row.wall_ms),
    row.wall_ratio.toFixed(2),
    harness.number(row.cpu_ms),
    row.cpu_ratio.toFixed(2),
  ]);
  console.log(`${harness.table(["graph, saver, steps, contender", "wall ms", "x bare", "CPU ms", "x bare"], lines)}\n`);
  if (!options.profile) return;
  const parts = Object.keys(profiles[0].us_per_step);
  const body = profiles.map(({ graph, saver, contender, us_per_step }) => [`${graph}, ${saver}, ${contender}`, ...parts.map((part) => harness.number(us_per_step[part]))]);
  console.log(`${harness.table(["CPU µs per step", ...parts], body)}\n`);
}

/** Collects everything: what a run leaves are whole databases in memory, and the next run must not pay for them. */
function wholeCollector() {
  setFlagsFromString("--expose-gc");
  setFlagsFromString("--no-flush-bytecode");
  return runInNewContext("gc");
}
