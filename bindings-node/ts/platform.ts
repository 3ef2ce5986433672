/** What a server's runtime has and a browser has not, looked up at run time: bundlers for browsers then have nothing to resolve. */

import type { SealpointError } from "./errors.js";
import { fail } from "./errors.js";

/** A module of Node (Deno and Bun have them too), or undefined where there is none. */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] | undefined {
  const host = (globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }).process;
  return host?.getBuiltinModule?.(`node:${name}`) as Builtins[Name] | undefined;
}

/** The same, where it is needed. Throws: `missing_dependency`. */
export function needed<Name extends keyof Builtins>(name: Name, what: string): Builtins[Name] {
  const found = builtin(name);
  if (found === undefined) throw absent(what);
  return found;
}

interface Builtins {
  async_hooks: typeof import("node:async_hooks");
  crypto: typeof import("node:crypto");
  fs: typeof import("node:fs");
  module: typeof import("node:module");
  path: typeof import("node:path");
}

function absent(what: string): SealpointError {
  return fail("missing_dependency", `${what} needs a server's runtime (Node 20.16 or newer, Deno, Bun), which this is not`);
}
