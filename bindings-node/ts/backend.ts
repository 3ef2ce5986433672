/** Which of the two Rust modules does the work. An entry point installs it before anything else runs. */

import type { Core } from "./core.js";
import { type ErrorCode, fail } from "./errors.js";

declare const SEALPOINT_VERSION: string;

/** The version of this package. */
export const version: string = SEALPOINT_VERSION;

/** Which module does the work. */
export let backend: "native" | "wasm" = "wasm";

/** The limits of SPEC section 1, by their names there. With `sealpoint/wasm`: empty until `init`. */
export const limits: Readonly<Record<string, number>> = {};

/** The longest envelope there can be. */
export let maxSealedLen = Number.POSITIVE_INFINITY;

/** The module. Until one is installed, whatever is asked of it explains that. */
export let core: Core = absent("internal", "sealpoint was imported without an entry point of the package");

/** What `core` is as long as there is no module: each use throws. */
export function absent(code: ErrorCode, message: string): Core {
  return new Proxy({} as Core, {
    get() {
      throw fail(code, message);
    },
  });
}

export function installAbsent(code: ErrorCode, message: string): void {
  core = absent(code, message);
}

/** Throws `internal` if the module is another release's. */
export function install(module: Core, name: typeof backend): void {
  const found = module.coreVersion();
  if (found !== version) throw fail("internal", `the module has version ${found} and the package ${version}: reinstall sealpoint`);
  core = module;
  backend = name;
  Object.assign(limits, module.limits());
  Object.freeze(limits);
  maxSealedLen = module.sealedLen(limits.MAX_PAYLOAD_LEN as number, limits.MAX_CONTENT_TYPE_LEN as number, true);
}
