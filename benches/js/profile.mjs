// Where the time of one native seal and open goes: the parts of a call, each timed by itself.

import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import * as contenders from "./contenders.mjs";
import * as harness from "./harness.mjs";
import { best, interleaved } from "./timing.mjs";

const options = harness.options("Where the time of one native seal and open goes.", {
  bytes: { type: "string", value: "N", default: "1024", help: "the payload's size (default: 1024)" },
});
const bytes = Number(options.bytes);
if (!(Number.isInteger(bytes) && bytes >= 0)) harness.stop("--bytes is a whole number");

const dist = join(resolve(options.package), "dist");
const api = await import(pathToFileURL(harness.built(options.package, "node.mjs")));
const binary = readdirSync(dist).find((file) => file.endsWith(".node"));
if (binary === undefined) harness.stop("no native module in dist: run npm run build in bindings-node");
const core = createRequire(import.meta.url)(join(dist, binary));

const payload = contenders.randomPayload(bytes);
const position = contenders.position();
const context = new api.Context(position);
const { key } = api.DataKey.generate({ tenant: position.tenant });
const sealed = key.seal(payload, context);

const transport = JSON.stringify(position);
const { dek, secret } = core.generateDek(position.tenant, 1, 1);
const handle = core.newContext(transport);
const out = new Uint8Array(core.sealedLen(bytes, 0, false));
const back = new Uint8Array(core.payloadBound(out.length));
dek.sealInto(payload, "", false, handle, out);
const envelope = out.slice();

const PARTS = {
  "a call into the module: headLen()": () => core.headLen(),
  "a call with three arguments: sealedLen()": () => core.sealedLen(bytes, 0, false),
  "a call with bytes: isSealed()": () => core.isSealed(out),
  "a method of a handle with another handle: equals()": () => secret.equals(secret),
  "an output: new Uint8Array()": () => new Uint8Array(out.length),
  "an output, not zeroed: Buffer.allocUnsafeSlow()": () => Buffer.allocUnsafeSlow(out.length),
  "sealInto(), into one output": () => dek.sealInto(payload, "", false, handle, out),
  "openInto(), into one output": () => dek.openInto(envelope, handle, back),
  "sealedLen(), an output, sealInto()": () => dek.sealInto(payload, "", false, handle, new Uint8Array(core.sealedLen(bytes, 0, false))),
  "payloadBound(), an output, openInto()": () => dek.openInto(envelope, handle, new Uint8Array(core.payloadBound(envelope.length))),
  "key.seal(), prepared context": () => key.seal(payload, context),
  "key.open(), prepared context": () => key.open(sealed, context),
  "context: JSON.stringify() of its pairs": () => JSON.stringify(position),
  "context: newContext() and free()": () => core.newContext(transport).free(),
  "context: new Context()": () => new api.Context(position),
  "key.seal(), plain object": () => key.seal(payload, position),
  "key.open(), plain object": () => key.open(sealed, position),
};

const rounds = options.rounds ?? (options.quick ? 11 : 41);
const samples = await interleaved(Object.fromEntries(Object.entries(PARTS).map(([name, run]) => [name, { run }])), {
  rounds,
  sampleMs: 2,
  warmMs: 100,
  clock: harness.cpuClock,
  collect: harness.youngCollector(),
});
console.log(
  harness.table(
    [harness.sizeName(bytes), "µs"],
    Object.entries(samples).map(([name, times]) => [name, harness.number(best(times))]),
  ),
);
