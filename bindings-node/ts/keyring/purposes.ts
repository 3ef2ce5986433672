/** What a DEK is for (SPEC section 2): by name for callers, by number in the core and in the key store. */

import { fail } from "../errors.js";

/** Those that seal payloads. `client`: what an exported key may open, and may have sealed. */
export type DekPurpose = "data" | "client";

export const DATA = 1;
export const CLIENT = 3;

/** Throws: `invalid_argument` (another name than these two). */
export function purposeNumber(name: unknown): number {
  if (name === "data") return DATA;
  if (name === "client") return CLIENT;
  throw fail("invalid_argument", 'dekPurpose is "data" or "client"');
}
