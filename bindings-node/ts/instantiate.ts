import * as glue from "../build/wasm/sealpoint.js";
import type { Core } from "./core.js";

const { initSync, ...functions } = glue;

/** The WebAssembly module. Throws what the engine throws for bytes that it does not take, or where it may not compile (a page's Content-Security-Policy). */
export function instantiate(source: BufferSource | WebAssembly.Module): Core {
  const module = source instanceof WebAssembly.Module ? source : new WebAssembly.Module(source);
  // The glue keeps whatever ran once, so that another program must not come so far.
  if (!WebAssembly.Module.exports(module).some(({ name }) => name === "coreVersion")) throw new Error("it is another program");
  initSync({ module });
  return functions;
}
