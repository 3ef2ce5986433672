/**
 * What the Rust modules export, the native one (`bindings-node/src`) and the WebAssembly one (`bindings-wasm/src`) alike. They convert types and errors and
 * decide nothing. Nobody but this package calls them: what comes in from outside is checked in TypeScript, once for both.
 *
 * Every function throws a plain `Error` with `code` (SPEC section 9) and `retryable`. Byte arrays that are passed in are neither shared nor detached; an
 * output that JavaScript allocated has exactly the length that is asked for, or is longer where a bound was asked for. Strings are well-formed. Numbers that
 * name lengths are non-negative integers up to 2^53.
 */

/** Which kind of envelope: SPEC sections 4 and 6. */
export type Kind = "data" | "wrapped-key";

/** A context's pairs, or a manifest's fields, written by `transport.ts`: JSON in which numbers are integers and floats are strings of U+0000 and their bits (`core/src/json.rs`). */
export type Transport = string;

export interface CoreContext {
  extend(pairs: Transport): CoreContext;
  canonical(): Uint8Array;
  tenant(): string;
  purpose(): string;
  /** Key, value, key, value …: canonical order, values encoded. */
  pairs(): string[];
  free(): void;
}

export interface CoreSecret {
  /** A copy of the 32 bytes. */
  expose(): Uint8Array;
  /** Constant time. */
  equals(other: CoreSecret): boolean;
  free(): void;
}

export interface CoreKek {
  kekId(): Uint8Array;
  wrap(secret: CoreSecret, context: CoreContext): Uint8Array;
  unwrap(wrapped: Uint8Array, context: CoreContext): CoreSecret;
  free(): void;
}

/** What a key store records of a DEK (SPEC section 2). */
export interface CoreRecord {
  dekId: Uint8Array;
  tenant: string;
  /** 1 data, 2 index, 3 client, 4 audit. */
  dekPurpose: number;
  suite: number;
  version: number;
}

export interface CoreDek {
  record(): CoreRecord;
  keyCheck(): Uint8Array;
  /** `out` has `sealedLen` bytes. */
  sealInto(payload: Uint8Array, contentType: string, pad: boolean, context: CoreContext, out: Uint8Array): void;
  /** The payload's length; `out` has at least `payloadBound` bytes and begins with the payload afterwards. After an error it holds no plaintext. */
  openInto(sealed: Uint8Array, context: CoreContext, out: Uint8Array): number;
  openTypedInto(sealed: Uint8Array, context: CoreContext, out: Uint8Array): { contentType: string; length: number };
  /** Begins a message whose chunks JavaScript encrypts with WebCrypto. */
  beginSeal(payloadLen: number, contentType: string, pad: boolean, context: CoreContext): CoreMessage;
  /** The same for opening, after the commitment was compared. `head`: the first `headLen()` bytes, or all if there are fewer. */
  beginOpen(head: Uint8Array, sealedLen: number, context: CoreContext): CoreMessage;
  free(): void;
}

/** One message under a key of its own (SPEC section 4), whose AES-GCM runs elsewhere. */
export interface CoreMessage {
  /** What stands before the chunks. */
  head(): Uint8Array;
  /** What stands before the payload in the inner plaintext. Sealing only: empty otherwise. */
  prefix(): Uint8Array;
  /** The length of the inner plaintext. */
  innerLen(): number;
  /** What follows the payload in the inner plaintext: empty, or its first bytes; zeros up to `innerLen`. Sealing only. */
  suffix(): Uint8Array;
  /** A copy of the 32 bytes of the single-use key. */
  key(): Uint8Array;
  /** The nonces of `count` chunks from number `first` on, 12 bytes each. */
  nonces(first: number, count: number): Uint8Array;
  /** How many bytes of the inner plaintext `payload` needs. Opening only. */
  innerHeadLen(): number;
  /** Where the payload lies in the opened inner plaintext, of which `inner` is the first `innerHeadLen` bytes. */
  payload(inner: Uint8Array): { contentType: string; start: number; end: number };
  free(): void;
}

/** The public half of a recovery key (SPEC section 6.4). */
export interface CoreRecoveryPublic {
  recoveryId(): Uint8Array;
  toText(): string;
  wrap(secret: CoreSecret, context: CoreContext): Uint8Array;
}

/** Both halves. */
export interface CoreRecovery {
  public(): CoreRecoveryPublic;
  toText(): string;
  unwrap(wrapped: Uint8Array, context: CoreContext): CoreSecret;
  free(): void;
}

/** Opened DEKs for a time (the core's cache with the clocks of this process). Times are in milliseconds. */
export interface CoreDekCache {
  insert(dek: CoreDek, active: boolean, openOnly: boolean): void;
  contains(dekId: Uint8Array): boolean;
  setActive(tenant: string, dekPurpose: number, dekId: Uint8Array): boolean;
  /** The active DEK of the context's tenant, or undefined. The caller frees it. */
  active(context: CoreContext, dekPurpose: number): CoreDek | undefined;
  /** The DEK that an envelope names, which must have this purpose (`authentication_failed`), or undefined. Throws as steps 1 to 6 of SPEC section 8 do. The caller frees it. */
  named(sealed: Uint8Array, dekPurpose: number): CoreDek | undefined;
  /** As `CoreDek.sealInto` under the active DEK; false if there is none. */
  sealInto(payload: Uint8Array, contentType: string, pad: boolean, context: CoreContext, dekPurpose: number, out: Uint8Array): boolean;
  /** As `CoreDek.openInto` under the DEK that the envelope names, which must have this purpose (`authentication_failed`); -1 if it is not held. */
  openInto(sealed: Uint8Array, context: CoreContext, dekPurpose: number, out: Uint8Array): number;
  openTypedInto(sealed: Uint8Array, context: CoreContext, dekPurpose: number, out: Uint8Array): { contentType: string; length: number } | undefined;
  evict(dekId: Uint8Array): boolean;
  evictTenant(tenant: string): number;
  clear(): void;
  size(): number;
  /** Moves the cache's own clock forward (tests): entries can only expire sooner. */
  advance(ms: number): void;
  free(): void;
}

/** A channel's name and the first 16 bytes of its envelope's commitment, if it lives in the row: see `shortCommitment`. */
export interface Core {
  coreVersion(): string;
  /** Every code and whether a retry can help. */
  errorCodes(): Record<string, boolean>;
  limits(): Record<string, number>;

  newContext(pairs: Transport): CoreContext;
  contextFromCanonical(canonical: Uint8Array): CoreContext;
  wrapContext(tenant: string, dekId: Uint8Array, dekPurpose: number, suite: number): CoreContext;
  openOnlyContext(wrap: CoreContext): CoreContext;
  canaryContext(kekUri: string): CoreContext;

  generateSecret(): CoreSecret;
  secretFromBytes(bytes: Uint8Array): CoreSecret;
  canarySecret(kekUri: string): CoreSecret;
  kekFromText(text: string): CoreKek;
  kekFromBytes(bytes: Uint8Array): CoreKek;

  generateDek(tenant: string, dekPurpose: number, version: number): { dek: CoreDek; secret: CoreSecret };
  dekFromSecret(secret: CoreSecret, record: CoreRecord, keyCheck: Uint8Array): CoreDek;
  /** SPEC section 6.3. */
  exportKey(secret: CoreSecret, record: CoreRecord): string;
  importKey(text: string): CoreDek;

  newDekCache(ttlMs: number, pointerTtlMs: number, capacity: number): CoreDekCache;

  /** `contentTypeLen`: in bytes. */
  sealedLen(payloadLen: number, contentTypeLen: number, pad: boolean): number;
  /** At least the payload's length of an envelope of this length; 0 if no envelope has it. */
  payloadBound(sealedLen: number): number;
  /** The length of what stands before the chunks. */
  headLen(): number;
  isSealed(value: Uint8Array): boolean;
  envelopeDekId(sealed: Uint8Array): Uint8Array;
  shortCommitment(sealed: Uint8Array): Uint8Array;
  encodeText(envelope: Uint8Array, kind: Kind): string;
  decodeText(text: string, kind: Kind): Uint8Array;

  /** Deterministic CBOR of a manifest's fields (SPEC section 7.2). */
  encodeFields(fields: Transport): Uint8Array;
  /** `commitments`: 16 bytes for each channel, zeros where the value does not live in the row. */
  manifestPayload(fields: Uint8Array, parent: string | undefined, exact: boolean, channels: string[], commitments: Uint8Array, metadata: Uint8Array): Uint8Array;
  manifestOpen(payload: Uint8Array, fields: Uint8Array, parent: string | undefined, channels: string[], commitments: Uint8Array): { metadata: Uint8Array; parent?: string | undefined };
}

/** What the native module alone exports besides: recovery keys, for which the WebAssembly one has no room. */
export interface NativeCore extends Core {
  generateRecovery(): CoreRecovery;
  recoveryFromText(text: string): CoreRecovery;
  recoveryPublicFromText(text: string): CoreRecoveryPublic;
}
