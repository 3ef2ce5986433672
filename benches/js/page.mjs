// What runs in the page: the same contenders and the same timing as in Node.

import { gcm } from "@noble/ciphers/aes.js";
import * as sealpoint from "sealpoint";
import * as contenders from "/contenders.mjs";
import { interleaved } from "/timing.mjs";

const { WASM, WASM_OBJECT, WASM_ASYNC, WEBCRYPTO, NOBLE } = contenders;

/**
 * The times of one size.
 *
 * @param {string[]} builds names of further builds, which the server has
 */
globalThis.measure = async (size, how, builds) => {
  const bound = contenders.boundBytes(sealpoint);
  const measured = {
    [WASM]: contenders.sealpoint(sealpoint),
    [WASM_OBJECT]: contenders.sealpointObject(sealpoint),
    [WASM_ASYNC]: contenders.sealpointAsync(sealpoint),
    [WEBCRYPTO]: await contenders.webCrypto(bound),
    [NOBLE]: contenders.noble(gcm, bound),
  };
  for (const name of builds) measured[`${WASM}, ${name}`] = contenders.sealpoint(await built(name));
  return interleaved(await contenders.calls(measured, contenders.randomPayload(size)), { ...how, collect: youngCollector() });
};

/** Each build is a module of its own, as the query tells them apart. */
async function built(name) {
  const api = await import(`/wasm.mjs?${encodeURIComponent(name)}`);
  api.init(await (await fetch(`/builds/${encodeURIComponent(name)}`)).arrayBuffer());
  return api;
}

/** Only Chromium can be told to collect. */
function youngCollector() {
  return typeof gc === "function" ? () => gc({ type: "minor" }) : undefined;
}

globalThis.ready = true;
