/** The entry for browsers, edge runtimes, Deno and Bun: the WebAssembly module lies within, and is compiled when this is imported. */

import wasm from "../build/wasm/sealpoint_bg.wasm";
import { install, installAbsent } from "./backend.js";
import { instantiate } from "./instantiate.js";

// At import: some edge runtimes compile nothing later. A failure is told by the first call instead, so that an application can start without.
try {
  install(instantiate(wasm), "wasm");
} catch (error) {
  installAbsent("missing_dependency", `WebAssembly cannot run here (in a page: the Content-Security-Policy needs 'wasm-unsafe-eval'): ${error}`);
}

export * from "./index.js";
