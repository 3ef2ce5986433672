// How long sealing holds up the event loop: 50 threads at once on one saver, bare and sealed.
//
// perf_hooks.monitorEventLoopDelay watches the loop: the 99th percentile of a run counts, and of these the median over interleaved rounds; the longest delay is
// reported too. `sealed, cold keys`: 50 tenants, none of whose keys is in memory yet, with a key store in a database of the saver's kind. Each thread runs 10 steps of
// messages (graph.mjs). A node waits up to a second, as it would for a model: without that
// SqliteSaver, which never waits, holds the loop for the whole run, and what is measured is the length of a queue.

import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import * as harness from "./harness.mjs";
import { BARE, COLD, Databases, PACKAGES, POSTGRES, SEALED, SQLITE, sealing } from "./savers.mjs";
import { median, shuffled } from "./timing.mjs";
import { config, drawing, MESSAGES, turn, workload } from "./workloads.mjs";

const CONTENDERS = [BARE, SEALED, COLD];
const [THREADS, STEPS] = [50, 10];
const TARGET_MS = 5;
const WAIT_MS = 1000;

const { wasm: _, "skip-missing": __, ...comparing } = harness.COMPARING;
const options = harness.options("How long sealing holds up the event loop with 50 threads at once.", comparing);
const output = harness.output(options, "node-loop.json");
const rounds = options.rounds ?? (options.quick ? 1 : 9);
const { connect, sealed } = (await harness.available({ sealpoint: () => sealing(options.package) }, false)).sealpoint;
const draw = drawing(3);
const work = await workload(MESSAGES, STEPS, () => sleep(draw(WAIT_MS)));
const databases = new Databases();
const rows = [];
try {
  for (const saver of [SQLITE, POSTGRES]) rows.push(...(await compare(saver)));
} finally {
  await databases.close();
}
const targets = rows
  .filter(({ contender }) => contender !== BARE)
  .map((row) => ({
    text: `${row.saver}, ${THREADS} threads, ${row.contender}: event-loop delay p99 at most ${TARGET_MS} ms above bare`,
    measured: row.above_bare_ms,
    passed: row.above_bare_ms <= TARGET_MS,
  }));
const columns = ["p99_ms", "above_bare_ms", "longest_ms", "wall_ms"];
const lines = rows.map((row) => [`${row.saver}, ${row.contender}`, ...columns.map((name) => harness.number(row[name]))]);
console.log(`${harness.table(["saver, contender", "p99 ms", "above bare", "longest ms", "wall ms"], lines)}\n`);
if (output) harness.write(output, { machine: harness.machine(options.package, { node: `Node ${process.versions.node}` }, PACKAGES), rows, targets });
harness.finish(targets, options.check);

async function compare(saver) {
  const store = await databases.keys(saver);
  const warm = await connect(store);
  try {
    await warm.setup();
    for (let number = 0; number < THREADS; number++) await warm.load(tenant(number));
    const runs = Object.fromEntries(CONTENDERS.map((name) => [name, []]));
    for (let round = 0; round <= rounds; round++) {
      for (const contender of shuffled(CONTENDERS)) {
        const measured = await run(saver, contender, warm, store);
        if (round > 0) runs[contender].push(measured); // the first round warms up
      }
    }
    const of = (contender, what) => median(runs[contender].map((one) => one[what]));
    return CONTENDERS.map((contender) => ({
      saver,
      contender,
      p99_ms: harness.round(of(contender, "p99")),
      above_bare_ms: harness.round(of(contender, "p99") - of(BARE, "p99")),
      longest_ms: harness.round(of(contender, "longest")),
      wall_ms: harness.round(of(contender, "wall")),
      threads: THREADS,
      steps: STEPS,
      rounds,
    }));
  } finally {
    await warm.close();
  }
}

/** In milliseconds. */
async function run(kind, contender, warm, store) {
  const { saver, drop } = await databases.saver(kind);
  const keyring = contender === COLD ? await connect(store) : warm;
  try {
    const compiled = work.graph.compile({ checkpointer: contender === BARE ? saver : sealed(saver, keyring) });
    const delay = monitorEventLoopDelay({ resolution: 1 });
    const start = performance.now();
    delay.enable();
    await sleep(5);
    await Promise.all(Array.from({ length: THREADS }, (_, number) => turn(compiled, work, config(`thread-${number}`, tenant(number)))));
    await sleep(5);
    delay.disable();
    return { p99: delay.percentile(99) / 1e6, longest: delay.max / 1e6, wall: performance.now() - start };
  } finally {
    if (keyring !== warm) await keyring.close();
    await drop();
  }
}

function tenant(number) {
  return `tenant-${number}`;
}
