/** `sealpoint/wasm`: the entry for those who bring the bytes of `sealpoint/sealpoint.wasm` themselves. */

import { install, installAbsent } from "./backend.js";
import { fail } from "./errors.js";
import { instantiate } from "./instantiate.js";

let done = false;

installAbsent("invalid_argument", "call init(bytes or WebAssembly.Module of sealpoint/sealpoint.wasm) before anything else of sealpoint/wasm");

/**
 * Takes the bytes of `sealpoint/sealpoint.wasm`, or the module compiled from them. Until it returned, every other call throws `invalid_argument`. Once it did, further
 * calls do nothing; after a failure it may be called again.
 *
 * Throws: `invalid_argument` (neither bytes nor a module, or not those of this release).
 */
export function init(source: Uint8Array | ArrayBuffer | WebAssembly.Module): void {
  if (done) return;
  try {
    install(instantiate(source as BufferSource), "wasm");
  } catch (error) {
    const message = `init was not given the sealpoint.wasm of this release: ${error}`;
    installAbsent("invalid_argument", message);
    throw fail("invalid_argument", message);
  }
  done = true;
}

export * from "./index.js";
