/** Which metadata stays readable, and filters over the part that does not. */

import { isDeepStrictEqual } from "node:util";

/** The one key under which a row's metadata holds the envelope. */
export const SEALED_KEY = "sealpoint";

/** What savers and their queries look at themselves (SPEC section 7.1). The manifest authenticates it. */
export const CLEAR: ReadonlySet<string> = new Set(["source", "step", "parents", "run_id", "counters_since_delta_snapshot", "delta_writes_versioned"]);

export type Entries = Record<string, unknown>;

/** Clear entries and the rest. An entry that is undefined is none, as in JSON. */
export function split(entries: object): { clear: Entries; rest: Entries } {
  const given = Object.entries(entries);
  return {
    clear: Object.fromEntries(given.filter(([key, value]) => CLEAR.has(key) && value !== undefined)),
    rest: Object.fromEntries(given.filter(([key]) => !CLEAR.has(key))),
  };
}

/** Equality; or, where `contained`, Postgres' rule for JSON: `wanted` is contained in the entries. */
export function matches(entries: Entries, wanted: Entries, contained: boolean): boolean {
  if (contained) return contains(entries, wanted);
  return Object.entries(wanted).every(([key, value]) => isDeepStrictEqual(Object.hasOwn(entries, key) ? entries[key] : undefined, value));
}

function contains(found: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) return Array.isArray(found) && wanted.every((value) => found.some((item) => contains(item, value)));
  if (typeof wanted !== "object" || wanted === null) return found === wanted;
  if (typeof found !== "object" || found === null || Array.isArray(found)) return false;
  return Object.entries(wanted).every(([key, value]) => value === undefined || (Object.hasOwn(found, key) && contains((found as Entries)[key], value)));
}
