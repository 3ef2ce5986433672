/** Sealing and opening single values: the cache's synchronous path first, the keyring's own call where the key has to be loaded. */

import { _internal, type Context, Keyring, type Opened, type SealOptions } from "sealpoint";

const { fail } = _internal;

/** Throws: `invalid_argument`. */
export function checkKeyring(keyring: unknown): Keyring {
  if (!(keyring instanceof Keyring)) throw fail("invalid_argument", "keyring must be a Keyring: make one with Keyring.connect(…)");
  return keyring;
}

export async function sealText(keyring: Keyring, payload: Uint8Array, at: Context, how: SealOptions): Promise<string> {
  return keyring._cache.sealText(payload, at, how) ?? (await keyring.sealText(payload, at, how));
}

export async function sealBytes(keyring: Keyring, payload: Uint8Array, at: Context, how: SealOptions): Promise<Uint8Array> {
  return keyring._cache.seal(payload, at, how) ?? (await keyring.seal(payload, at, how));
}

export async function openTyped(keyring: Keyring, sealed: Uint8Array | string, at: Context): Promise<Opened> {
  return keyring._cache.openTyped(sealed, at) ?? (await keyring.openTyped(sealed, at));
}
