// Sealing and opening in Node: sealpoint beside its peers, in one run, in interleaved rounds.

import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import * as contenders from "./contenders.mjs";
import * as harness from "./harness.mjs";
import { interleaved } from "./timing.mjs";

const { SEALPOINT, OBJECT, EXTENDED, WASM, WASM_OBJECT, WASM_ASYNC, NODE_CRYPTO, WEBCRYPTO, NOBLE } = contenders;

const [KB, MB] = [1 << 10, 1 << 20];
const SIZES = [64, KB, 16 * KB, 100 * KB, MB, 16 * MB];
const QUICK_SIZES = [64, KB, 100 * KB, MB];

const TARGETS = [
  { own: SEALPOINT, peer: NODE_CRYPTO, sizes: [KB], factor: 2.5, faster: true },
  { own: SEALPOINT, peer: NODE_CRYPTO, sizes: [100 * KB], factor: 4, faster: true },
  { own: WASM, peer: NOBLE, sizes: [KB, 100 * KB], factor: 2, faster: true },
];
const WASM_LIMIT = 60 * KB;

const options = harness.options("Sealing and opening in Node, beside node:crypto, WebCrypto and @noble/ciphers.", harness.COMPARING);
const output = harness.output(options, "node-seal.json");
const measured = await harness.available(makers(), options["skip-missing"]);
if (measured[SEALPOINT] === undefined) harness.stop("there is nothing to measure without sealpoint");

const how = {
  rounds: options.rounds ?? (options.quick ? 11 : 41),
  sampleMs: options.quick ? 1 : 2,
  warmMs: 100,
  clock: harness.cpuClock,
  collect: harness.youngCollector(),
};
const [rows, targets] = [[], []];
settleAllocator();
for (const size of options.quick ? QUICK_SIZES : SIZES) {
  const samples = await interleaved(await contenders.calls(measured, contenders.randomPayload(size)), how);
  rows.push(...harness.rows(samples, size, SEALPOINT));
  targets.push(...harness.judge(TARGETS, samples, size));
}
harness.show(rows);
const size = measured[WASM] && harness.wasmSize(options.package, WASM_LIMIT);
if (size) targets.push(size.target);
if (output) {
  const machine = harness.machine(options.package, { node: `Node ${process.versions.node}`, openssl: `OpenSSL ${process.versions.openssl}` });
  harness.write(output, { machine, clock: "process.cpuUsage", wasm: size?.wasm, rows, targets });
}
harness.finish(targets, options.check);

function makers() {
  return {
    [SEALPOINT]: async () => contenders.sealpoint(await native()),
    [OBJECT]: async () => contenders.sealpointObject(await native()),
    [EXTENDED]: async () => contenders.sealpointExtended(await native()),
    [WASM]: async () => contenders.sealpoint(await wasm()),
    [WASM_OBJECT]: async () => contenders.sealpointObject(await wasm()),
    [WASM_ASYNC]: async () => contenders.sealpointAsync(await wasm()),
    ...Object.fromEntries(harness.builds(options).map((build) => [`${WASM}, ${build.name}`, async () => contenders.sealpoint(await wasm(build))])),
    [NODE_CRYPTO]: async () => nodeCrypto(await bound()),
    [WEBCRYPTO]: async () => contenders.webCrypto(await bound()),
    [NOBLE]: async () => contenders.noble((await harness.peer("@noble/ciphers/aes.js")).gcm, await bound()),
  };
}

async function native() {
  const api = await import(pathToFileURL(harness.built(options.package, "node.mjs")));
  if (api.backend !== "native") throw new harness.Missing("the package has no native module for this machine: run npm run build in bindings-node");
  return api;
}

/** The package's WebAssembly module, or another build of it: each is a module of its own, as the query tells them apart. */
async function wasm({ name, file } = { name: "", file: harness.built(options.package, "sealpoint.wasm") }) {
  const api = await import(`${pathToFileURL(harness.built(options.package, "wasm.mjs"))}?${encodeURIComponent(name)}`);
  api.init(readFileSync(file));
  return api;
}

async function bound() {
  return contenders.boundBytes(await native());
}

/** As an application does it: a key object that was prepared, a fresh nonce, and one buffer that holds nonce, ciphertext and tag. */
function nodeCrypto(bound) {
  const [NAME, NONCE, TAG] = ["aes-256-gcm", 12, 16];
  const key = createSecretKey(randomBytes(32));
  return {
    seal(payload) {
      const nonce = randomBytes(NONCE);
      const cipher = createCipheriv(NAME, key, nonce).setAAD(bound);
      const ciphertext = cipher.update(payload);
      cipher.final();
      return Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]);
    },
    open(sealed) {
      const decipher = createDecipheriv(NAME, key, sealed.subarray(0, NONCE)).setAAD(bound).setAuthTag(sealed.subarray(-TAG));
      const payload = decipher.update(sealed.subarray(NONCE, -TAG));
      decipher.final();
      return payload;
    },
  };
}

/** As in a process that has run for a while: having freed a large block once, the allocator keeps what it gets. */
function settleAllocator() {
  new Uint8Array(31 * MB).fill(1);
}
