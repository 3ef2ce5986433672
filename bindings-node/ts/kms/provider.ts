/** Key services: what holds a KEK and wraps DEKs with it. `EnvProvider` (kms/local.ts) is the shortest example. */

import type { Context } from "../context.js";
import type { SecretKey } from "../keys.js";

/** What a key service guarantees. */
export interface ProviderCapabilities {
  /** The service itself refuses to unwrap under another context (AWS, GCP, Vault, local; not RSA or AES-KW). */
  readonly bindsContext: boolean;
  /** Only who holds the KEK can make a wrap. RSA and HPKE wraps can be minted by anyone: they open data, but no new data is sealed under a DEK that came through them. */
  readonly authenticates: boolean;
  /** The service can tell a key's state without using the key. */
  readonly canDescribe?: boolean;
  /** False: it only wraps, since the key that opens is elsewhere (a recovery key's secret half). It has no canary, and its wraps are stored unverified. True by default. */
  readonly canUnwrap?: boolean;
}

/** A DEK (or canary) under a KEK, as it lies in the key store. */
export interface WrappedKey {
  /** 1 to 65,536 bytes. */
  readonly wrapped: Uint8Array;
  /** The provider's own name for how it wrapped. */
  readonly wrapAlg: string;
  /** The provider's own name for the KEK's version. Empty for canaries that are read back: the store keeps their bytes only. */
  readonly kekVersion: string;
}

/**
 * One KEK: any object with these four members. Calls overlap.
 *
 * Errors: throw one with a `code` of SPEC section 9 and `retryable` (`Object.assign(new Error(…), { code: "kms_throttled", retryable: true })`): `kms_denied`, `kms_throttled`,
 * `kms_unavailable`, `key_not_found`, `key_disabled`, `key_destroyed` or `authentication_failed`. What the network throws (connection, timeout) counts as `kms_unavailable`,
 * anything else as `internal`.
 */
export interface KeyManagementProvider {
  /** The KEK's name in configuration and key table: `scheme:…`. Not secret, never changes its meaning. */
  readonly uri: string;
  readonly capabilities: ProviderCapabilities;
  /** Wraps 32 bytes bound to the context: `context.pairs()` or `context.canonical`, whichever the service takes. The secret is lent: it is wiped after the call. */
  wrap(secret: SecretKey, context: Context): Promise<WrappedKey> | WrappedKey;
  /** The same 32 bytes, as a `SecretKey` of its own (the caller disposes of it); `SecretKey.fromBytes` wipes what the client library returned. */
  unwrap(wrapped: WrappedKey, context: Context): Promise<SecretKey> | SecretKey;
}

/** The part of a KEK's URI that messages and health reports show. */
export function schemeOf(uri: string): string {
  return uri.split(":", 1)[0] as string;
}

/** Whether this KEK opens what it wraps. */
export function canUnwrap({ capabilities }: KeyManagementProvider): boolean {
  return capabilities.canUnwrap !== false;
}

/** Whether a provider's name can serve as one. */
export function isUri(uri: unknown): uri is string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it refuses
  return typeof uri === "string" && /^[a-z][a-z0-9+.-]*:[^\x00-\x1f]{1,1000}$/u.test(uri) && !/\p{Surrogate}/u.test(uri);
}
