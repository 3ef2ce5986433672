// Interleaved timing, in Node and in pages alike.

const SLOW_CALL_MS = 50;
const SLOW_ROUNDS = 5;

/**
 * Times each call once per round, in an order that changes, so that what disturbs the machine disturbs all alike. Answers microseconds per call: one for each round.
 *
 * A sample is as many calls as fit into `sampleMs`, at least one. Calls that take very long are sampled in the first rounds only. Before the first round each runs
 * for `warmMs`, so that what is measured is compiled; before each sample the garbage of the others is collected, if `collect` can. `clock` gives milliseconds.
 *
 * @param {Record<string, { run: (argument: any) => any, argument: any }>} calls
 * @param {{ rounds: number, sampleMs: number, warmMs: number, clock?: () => number, collect?: () => void }} how
 * @returns {Promise<Record<string, number[]>>}
 */
export async function interleaved(calls, { rounds, sampleMs, warmMs, clock = () => performance.now(), collect = () => {} }) {
  const plans = [];
  for (const [name, { run, argument }] of Object.entries(calls)) {
    const first = run(argument);
    const loop = first instanceof Promise ? loopAsync : loopSync;
    await first;
    const once = await warm((count) => loop(run, argument, count, clock), clock, warmMs);
    const count = Math.max(1, Math.floor(sampleMs / once));
    plans.push({ name, sample: () => loop(run, argument, count, clock), count, rounds: once > SLOW_CALL_MS ? Math.min(rounds, SLOW_ROUNDS) : rounds });
    await breathe();
  }
  const samples = Object.fromEntries(plans.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const plan of shuffled(plans)) {
      if (round >= plan.rounds) continue;
      await breathe();
      collect();
      samples[plan.name].push(((await plan.sample()) / plan.count) * 1000);
    }
  }
  return samples;
}

/** Runs a call until the time is over, at least once; how long one takes, in milliseconds. */
async function warm(sample, clock, warmMs) {
  const end = clock() + warmMs;
  let [count, once] = [1, 0];
  do {
    once = Math.max((await sample(count)) / count, 1e-4);
    count = Math.min(2 * count, Math.max(1, Math.floor(warmMs / 4 / once)));
  } while (clock() < end);
  return once;
}

function loopSync(run, argument, count, clock) {
  const start = clock();
  for (let i = 0; i < count; i++) run(argument);
  return clock() - start;
}

async function loopAsync(run, argument, count, clock) {
  const start = clock();
  for (let i = 0; i < count; i++) await run(argument);
  return clock() - start;
}

/** Lets the event loop turn, as in an application: finalizers run, and a browser does not take the page for hung. */
function breathe() {
  return new Promise((resolve) => setTimeout(resolve));
}

export function shuffled(items) {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// -- statistics

/** Noise only ever adds. */
export const best = (times) => Math.min(...times);

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** How many times as long as `base`: compared within each round, since a shared machine changes its speed; then the median. */
export function ratio(times, base) {
  return median(times.slice(0, base.length).map((time, round) => time / base[round]));
}
