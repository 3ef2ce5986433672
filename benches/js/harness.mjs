// What the benchmarks share: options, the package that is measured, targets, facts about the machine, and the files of results.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { best, median, ratio } from "./timing.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(HERE, "../..");

export const PACKAGE = join(ROOT, "bindings-node");

/** What every benchmark takes. */
const COMMON = {
  quick: { type: "boolean", default: false, help: "much shorter, noisier; writes results only with --output" },
  rounds: { type: "string", value: "N", help: "interleaved rounds" },
  package: { type: "string", value: "DIR", default: PACKAGE, help: "the built package to measure (default: bindings-node)" },
  help: { type: "boolean", default: false, help: "this" },
};

/** What those take that compare with peers and write results. */
export const COMPARING = {
  "skip-missing": { type: "boolean", default: false, help: "leave out what is not installed or not built, instead of stopping" },
  check: { type: "boolean", default: false, help: "exit with 1 if a target is missed" },
  output: { type: "string", value: "FILE", help: "where the results go (default: in benches/results)" },
  "no-write": { type: "boolean", default: false, help: "print only" },
  wasm: { type: "string", value: "NAME=FILE", multiple: true, default: [], help: "one more build of sealpoint.wasm beside the package's own; may be repeated" },
};

/** The options of a benchmark. */
export function options(description, own) {
  const known = { ...COMMON, ...own };
  const lines = Object.entries(known).map(([name, { value, help }]) => `  ${`--${name} ${value ?? ""}`.padEnd(20)} ${help}`);
  let values;
  try {
    ({ values } = parseArgs({ options: known }));
  } catch (error) {
    stop(`${error.message}\n\n${lines.join("\n")}`);
  }
  if (values.help) {
    console.log(`${description}\n\n${lines.join("\n")}`);
    process.exit(0);
  }
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) stop("--rounds is a whole number from 1 on");
  return { ...values, rounds };
}

/** The further builds that `--wasm` names. */
export function builds({ wasm }) {
  return wasm.map((build) => {
    const at = build.indexOf("=");
    if (at < 1) stop("--wasm needs NAME=FILE");
    const file = resolve(build.slice(at + 1));
    if (!existsSync(file)) stop(`${file} is not there`);
    return { name: build.slice(0, at), file };
  });
}

/** The file to write, or undefined. */
export function output({ quick, output, "no-write": none }, result) {
  if (none) return undefined;
  return output ?? (quick ? undefined : join(ROOT, "benches/results", result));
}

export function stop(message) {
  console.error(message);
  process.exit(2);
}

/** Something is not installed or not built; the message says what brings it. */
export class Missing extends Error {}

/** What could be made. What is missing ends the program, unless it is to be skipped. */
export async function available(makers, skipMissing) {
  const made = {};
  const missing = {};
  for (const [name, make] of Object.entries(makers)) {
    try {
      made[name] = await make();
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      missing[error.message] = [...(missing[error.message] ?? []), name];
    }
  }
  for (const [what, names] of Object.entries(missing)) console.error(`${what} (for ${names.join("; ")})`);
  if (Object.keys(missing).length > 0 && !skipMissing) stop("or leave out what is missing with --skip-missing");
  return made;
}

/** A peer that `npm ci` in benches/js brings. */
export async function peer(name) {
  try {
    return await import(name);
  } catch (error) {
    throw error.code === "ERR_MODULE_NOT_FOUND" ? new Missing("run npm ci in benches/js") : error;
  }
}

/** A file of the built package. */
export function built(directory, file) {
  const path = join(resolve(directory), "dist", file);
  if (!existsSync(path) || statSync(path).size === 0) throw new Missing(`no dist/${file}: run npm ci and npm run build in bindings-node`);
  return path;
}

/** The folder of an installed peer. */
export function installed(name) {
  const path = join(HERE, "node_modules", name);
  if (!existsSync(path)) throw new Missing("run npm ci in benches/js");
  return path;
}

// -- timing

/** The CPU time of this process, all its threads, in milliseconds: what other processes do then counts less. */
export function cpuClock() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Collects what is young: it is enough for what a sample leaves, and does not throw compiled code away. */
export function youngCollector() {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  return () => collect({ type: "minor" });
}

// -- results

/** One row of results for each call that was timed: its times in microseconds, and how many times as long as `base` it took. */
export function rows(samples, size, base, more = {}) {
  return Object.entries(samples).map(([call, times]) => {
    const [operation, contender] = split(call);
    return {
      ...more,
      operation,
      bytes: size,
      contender,
      best_us: round(best(times)),
      median_us: round(median(times)),
      ratio: round(ratio(times, samples[`${operation} ${base}`])),
      rounds: times.length,
    };
  });
}

function split(call) {
  const at = call.indexOf(" ");
  return [call.slice(0, at), call.slice(at + 1)];
}

/**
 * Compares two contenders in the samples of one size: `own` is at least `factor` times `faster` than `peer`, or takes at most `factor` times as long.
 *
 * @param {{ own: string, peer: string, sizes: number[], factor: number, faster: boolean }[]} targets
 */
export function judge(targets, samples, size, where = "") {
  const judged = [];
  for (const operation of ["seal", "open"]) {
    for (const { own, peer, sizes, factor, faster } of targets) {
      const [mine, theirs] = [samples[`${operation} ${own}`], samples[`${operation} ${peer}`]];
      if (!sizes.includes(size) || mine === undefined || theirs === undefined) continue;
      const measured = round(faster ? ratio(theirs, mine) : ratio(mine, theirs));
      const wanted = faster ? `at least ${factor}x faster than` : `at most ${factor}x the time of`;
      judged.push({
        text: `${where}${operation} ${sizeName(size)}, ${own}: ${wanted} ${peer}`,
        measured,
        passed: faster ? measured >= factor : measured <= factor,
      });
    }
  }
  return judged;
}

/** How much a page has to load. */
export function wasmSize(directory, limit) {
  const file = built(directory, "sealpoint.wasm");
  // The command, as the target names it: zlib in Node is another one, and compresses a little less.
  const gzip = execFileSync("gzip", ["-9", "-n", "-c", file]).length;
  return {
    wasm: { bytes: statSync(file).size, gzip },
    target: { text: `sealpoint.wasm, at most ${limit} bytes by gzip -9`, measured: gzip, passed: gzip <= limit },
  };
}

/** What the numbers depend on, the versions of the installed `packages` among it. Nothing that names the machine or its user. */
export function machine(directory, more, packages = ["@noble/ciphers"]) {
  const version = (path) => JSON.parse(readFileSync(join(path, "package.json"), "utf8")).version;
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() || "unknown",
    cores: cpus().length,
    system: `${process.platform} ${process.arch}`,
    ...more,
    versions: { sealpoint: version(resolve(directory)), ...Object.fromEntries(packages.map((name) => [name, version(installed(name))])) },
  };
}

export function write(path, result) {
  mkdirSync(dirname(resolve(path)), { recursive: true });
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
}

/** Ends the program: 1 if a target was missed and that was asked for. */
export function finish(targets, check) {
  for (const { text, measured, passed } of targets) console.log(`${passed ? "met   " : "MISSED"}  ${text}: ${number(measured)}`);
  process.exitCode = check && targets.some(({ passed }) => !passed) ? 1 : 0;
}

// -- output

/** One table per operation: contenders down, sizes across. */
export function show(rows, title = "") {
  const sizes = [...new Set(rows.map((row) => row.bytes))];
  const names = [...new Set(rows.map((row) => row.contender))];
  for (const operation of ["seal", "open"]) {
    const cell = (name, size) => {
      const row = rows.find((row) => row.operation === operation && row.contender === name && row.bytes === size);
      return row === undefined ? "" : `${number(row.best_us)} (${number(row.ratio)})`;
    };
    console.log(
      `${table(
        [`${title}${operation}: µs (ratio)`, ...sizes.map(sizeName)],
        names.map((name) => [name, ...sizes.map((size) => cell(name, size))]),
      )}\n`,
    );
  }
}

/** Plain columns: the first to the left, the others to the right. */
export function table(head, body) {
  const lines = [head, ...body];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines.map(([first, ...others]) => [first.padEnd(widths[0]), ...others.map((cell, i) => cell.padStart(widths[i + 1]))].join("  ")).join("\n");
}

export function sizeName(bytes) {
  if (bytes >= 1 << 20) return `${bytes >> 20} MB`;
  return bytes >= 1 << 10 ? `${bytes >> 10} KB` : `${bytes} B`;
}

/** Three significant digits, nothing after the point from 100 on. */
export function number(value) {
  if (value >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(value >= 10 ? 1 : 2);
}

export const round = (value) => Math.round(value * 1000) / 1000;
