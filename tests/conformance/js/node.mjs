/** The npm package in Node: `node node.mjs native|wasm|async`. By the names that users import, whatever file these are. */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { Runner } from "./runner.mjs";
import { serve } from "./stdio.mjs";

const VECTORS = new URL("../../vectors/", import.meta.url);
const require = createRequire(new URL("../../../bindings-node/package.json", import.meta.url));
const mode = process.argv[2];

function load() {
  if (mode === "native") return require("sealpoint");
  const sealpoint = require("sealpoint/wasm");
  sealpoint.init(readFileSync(require.resolve("sealpoint/sealpoint.wasm")));
  return sealpoint;
}

if (!["native", "wasm", "async"].includes(mode)) throw new Error(`no such mode: ${mode}`);
const sealpoint = load();
if (sealpoint.backend !== (mode === "native" ? "native" : "wasm")) throw new Error(`${mode}: the package runs on ${sealpoint.backend}`);
const recovery = mode === "native" ? require("sealpoint/kms/recovery") : undefined;
const runner = new Runner(sealpoint, { bulk: mode === "async", recovery });

function source() {
  const names = readdirSync(VECTORS).filter((name) => name.endsWith(".json"));
  const files = names.map((name) => [name.slice(0, -5), JSON.parse(readFileSync(new URL(name, VECTORS))).vectors]);
  return { files: Object.fromEntries(files), frozen: readFileSync(new URL("FROZEN.sha256", VECTORS), "utf8").trimEnd().split("\n").length };
}

await serve((order, input) => runner.answer(order, input, source));
