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

/** The process, where it is needed: its environment and its kind of system. Throws: `missing_dependency`. */
export function neededProcess(what: string): NodeJS.Process {
  const host = (globalThis as { process?: Partial<NodeJS.Process> }).process;
  if (host?.env === undefined || host.getBuiltinModule === undefined) throw absent(what);
  return host as NodeJS.Process;
}

let place: string | undefined;

/** Where this package lies, for `optional`: an entry that knows says it. */
export function lieAt(file: string): void {
  place = file;
}

/**
 * A package that only some need, found at run time from where this package lies or the process runs: bundlers do not follow it.
 *
 * Throws: `missing_dependency` (not installed, with the command that installs it, or it cannot be loaded).
 */
export function optional<Package>(name: string, what: string): Package {
  const { createRequire } = needed("module", what);
  const runs = `${neededProcess(what).cwd()}/sealpoint.cjs`;
  for (const from of [place, runs]) {
    if (from === undefined) continue;
    try {
      return createRequire(from)(name) as Package;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "MODULE_NOT_FOUND")
        throw fail("missing_dependency", `${what} needs ${name}, which cannot be loaded here (${code ?? (error as Error).name}): npm install ${name}`);
    }
  }
  throw fail("missing_dependency", `${what} needs ${name}: npm install ${name}`);
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
