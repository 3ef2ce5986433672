/** The keyring as the wrappers of stores, caches and serializers use it: the cache's synchronous path first. */

import type { Context, DekCache, Opened, SealOptions } from "sealpoint";
import { _internal, isSealpointError } from "sealpoint";

const { fail } = _internal;

/** What these wrappers need of a `Keyring`. */
export interface Keys {
  /** @internal */
  readonly _cache: DekCache;
  setup(): Promise<void>;
  seal(payload: Uint8Array, context: Context, options?: SealOptions): Promise<Uint8Array>;
  sealText(payload: Uint8Array, context: Context, options?: SealOptions): Promise<string>;
  openTyped(sealed: Uint8Array | string, context: Context): Promise<Opened>;
}

/** Throws: `invalid_argument`. */
export function checkKeyring(keyring: unknown): Keys {
  const keys = keyring as Partial<Keys> | null | undefined;
  if (typeof keys !== "object" || keys === null || keys._cache === undefined || typeof keys.openTyped !== "function") {
    throw fail("invalid_argument", "keyring must be a Keyring: make one with await Keyring.connect(…)");
  }
  return keys as Keys;
}

export async function sealText(keys: Keys, payload: Uint8Array, at: Context, how: SealOptions): Promise<string> {
  return keys._cache.sealText(payload, at, how) ?? (await keys.sealText(payload, at, how));
}

export async function sealBytes(keys: Keys, payload: Uint8Array, at: Context, how: SealOptions): Promise<Uint8Array> {
  return keys._cache.seal(payload, at, how) ?? (await keys.seal(payload, at, how));
}

export async function openTyped(keys: Keys, sealed: Uint8Array | string, at: Context): Promise<Opened> {
  return keys._cache.openTyped(sealed, at) ?? (await keys.openTyped(sealed, at));
}

/** The same error, saying which value it was about. */
export function about(error: unknown, what: string): unknown {
  return isSealpointError(error) ? fail(error.code, `${what}: ${error.message}`) : error;
}
