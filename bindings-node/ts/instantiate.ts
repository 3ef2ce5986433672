import * as glue from "../build/wasm/sealpoint.js";
import type { Core } from "./core.js";

const { initSync, ...functions } = glue;

/** The WebAssembly module. Throws what the engine throws for bytes that it does not take, or where it may not compile (a page's Content-Security-Policy). */
export function instantiate(module: BufferSource | WebAssembly.Module): Core {
  initSync({ module });
  return functions as unknown as Core;
}
