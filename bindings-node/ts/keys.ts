import { core } from "./backend.js";
import { type Bytes, type BytesIn, bytes, disposed, foreign, integer, lossy, sealedText, shortBytes, tenantName, text } from "./check.js";
import { type Context, withContext } from "./context.js";
import type { CoreKek, CoreRecord, CoreSecret } from "./core.js";
import { fail } from "./errors.js";
import { hide } from "./hide.js";
import type { ContextPairs } from "./transport.js";

const ADOPT = Symbol("adopt");

let secretOf: (secret: SecretKey) => CoreSecret;

/** 32 secret bytes held by the Rust module, wiped when disposed; nothing shows them but `expose`. */
export class SecretKey {
  #handle: CoreSecret | undefined;

  private constructor(token: typeof ADOPT, handle: CoreSecret) {
    if (token !== ADOPT) throw fail("invalid_argument", "a SecretKey is made by SecretKey.generate or SecretKey.fromBytes");
    this.#handle = handle;
  }

  static {
    secretOf = (secret) => {
      if (typeof secret !== "object" || secret === null || !(#handle in secret)) throw foreign(secret, "SecretKey");
      if (secret.#handle === undefined) throw disposed("SecretKey");
      return secret.#handle;
    };
  }

  /** A new random key. */
  static generate(): SecretKey {
    return adoptSecret(core.generateSecret());
  }

  /** Takes exactly 32 bytes, and wipes the array that is given, whatever the outcome. Throws: `invalid_argument`. */
  static fromBytes(key: BytesIn): SecretKey {
    const view = shortBytes(key, "a key");
    try {
      return adoptSecret(core.secretFromBytes(view));
    } finally {
      view.fill(0);
      if (key instanceof Uint8Array) key.fill(0);
    }
  }

  /** A copy of the 32 bytes for a key service's client; the caller wipes it (`fill(0)`). Never log it. */
  expose(): Bytes {
    return secretOf(this).expose() as Bytes;
  }

  /** Constant time. */
  equals(other: SecretKey): boolean {
    return secretOf(this).equals(secretOf(other));
  }

  /** Wipes it. Every later call throws `invalid_argument`. */
  dispose(): void {
    this.#handle?.free();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return "SecretKey([redacted])";
  }

  toJSON(): string {
    return this.toString();
  }
}
hide(SecretKey);

/** A KEK whose 32 bytes this process holds (SPEC sections 2 and 6). */
export class LocalKek {
  #handle: CoreKek | undefined;

  private constructor(token: typeof ADOPT, handle: CoreKek) {
    if (token !== ADOPT) throw fail("invalid_argument", "a LocalKek is made by LocalKek.parse");
    this.#handle = handle;
  }

  /**
   * Reads a KEK: 43 or 44 characters of base64, 64 hex digits, or 32 bytes of binary (bytes only). White space around text is ignored.
   *
   * Throws: `invalid_argument`, whose message says what was seen (length and apparent encoding, never the value) and how to make a good one.
   */
  static parse(value: string | BytesIn): LocalKek {
    const handle = typeof value === "string" ? core.kekFromText(lossy(value)) : core.kekFromBytes(shortBytes(value, "a KEK"));
    return new LocalKek(ADOPT, handle);
  }

  /** 16 bytes, derived from the KEK; not secret. */
  get kekId(): Bytes {
    return this.#live().kekId() as Bytes;
  }

  /** 125 bytes (SPEC section 6). */
  wrap(secret: SecretKey, context: Context | ContextPairs): Bytes {
    return withContext(context, (handle) => this.#live().wrap(secretOf(secret), handle) as Bytes);
  }

  /** Throws: `key_not_found` (wrapped under another KEK), `authentication_failed`, and the parse errors of SPEC section 8. */
  unwrap(wrapped: BytesIn | string, context: Context | ContextPairs): SecretKey {
    return withContext(context, (handle) => {
      const view = typeof wrapped === "string" ? core.decodeText(sealedText(wrapped), "wrapped-key") : bytes(wrapped, "the wrapped key", 1 << 16);
      return adoptSecret(this.#live().unwrap(view, handle));
    });
  }

  /** Wipes it. Every later call throws `invalid_argument`. */
  dispose(): void {
    this.#handle?.free();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return "LocalKek([redacted])";
  }

  toJSON(): string {
    return this.toString();
  }

  #live(): CoreKek {
    if (this.#handle === undefined) throw disposed("LocalKek");
    return this.#handle;
  }
}
hide(LocalKek);

/** What a key store records of a DEK (SPEC section 2); not secret. */
export interface DekRecord {
  /** 16 bytes. */
  readonly dekId: Uint8Array;
  readonly tenant: string;
  /** 1 data, 2 index, 3 client, 4 audit. */
  readonly dekPurpose: number;
  /** 1: Cobblestone-256. */
  readonly suite: number;
  /** 1, 2, … for one tenant and purpose. */
  readonly version: number;
}

/** What a key store's canary holds (SPEC section 6.2). */
export function canarySecret(kekUri: string): SecretKey {
  return adoptSecret(core.canarySecret(text(kekUri, "a KEK's URI")));
}

/**
 * A DEK as text, `sealpoint-key:v1:` (SPEC section 6.3): **the key itself**, for whoever may open what it seals. Keep it out of logs and URLs.
 *
 * Throws: `invalid_argument`, `tenant_required`, `unsupported_suite`.
 */
export function exportKey(secret: SecretKey, record: DekRecord): string {
  return core.exportKey(secretOf(secret), coreRecord(record));
}

export function adoptSecret(handle: CoreSecret): SecretKey {
  return new (SecretKey as unknown as new (token: symbol, handle: CoreSecret) => SecretKey)(ADOPT, handle);
}

export function borrowSecret(secret: SecretKey): CoreSecret {
  return secretOf(secret);
}

/** A record, checked: a number that the core would cut to 8 or 32 bits is refused here. */
export function coreRecord(record: DekRecord): CoreRecord {
  if (typeof record !== "object" || record === null) throw fail("invalid_argument", "a DEK's record is an object");
  return {
    dekId: shortBytes(record.dekId, "a dekId"),
    tenant: tenantName(record.tenant),
    dekPurpose: integer(record.dekPurpose, "a dekPurpose", 0, 255),
    suite: integer(record.suite, "a suite", 0, 255),
    version: integer(record.version, "a version", 0, 2 ** 32 - 1),
  };
}
