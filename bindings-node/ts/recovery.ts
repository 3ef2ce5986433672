/** Recovery keys (SPEC section 6.4). They need the native module: the WebAssembly one has no room for their scheme. */

import { core } from "./backend.js";
import { type Bytes, type BytesIn, bytes, disposed, lossy } from "./check.js";
import { type Context, withContext } from "./context.js";
import type { CoreRecovery, CoreRecoveryPublic, NativeCore } from "./core.js";
import { fail } from "./errors.js";
import { hide } from "./hide.js";
import { adoptSecret, borrowSecret, type SecretKey } from "./keys.js";
import type { ContextPairs } from "./transport.js";

const ADOPT = Symbol("adopt");

/** The public half: it wraps DEKs and opens none. Not secret. */
export class RecoveryPublicKey {
  readonly #handle: CoreRecoveryPublic;

  private constructor(token: typeof ADOPT, handle: CoreRecoveryPublic) {
    if (token !== ADOPT) throw fail("invalid_argument", "a RecoveryPublicKey is made by RecoveryPublicKey.fromText");
    this.#handle = handle;
  }

  /**
   * From a text that starts with `sealpoint-recovery-public:v1:`.
   *
   * Throws: `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `unsupported_encoding`, `authentication_failed` (it was damaged), `missing_dependency`.
   */
  static fromText(text: string): RecoveryPublicKey {
    return adoptPublic(native().recoveryPublicFromText(given(text)));
  }

  /** The text of which `fromText` makes the key again. */
  toText(): string {
    return this.#handle.toText();
  }

  /** 16 bytes that name the key in what it wraps. */
  get recoveryId(): Bytes {
    return this.#handle.recoveryId() as Bytes;
  }

  /** 1,189 bytes, which only the secret half opens. */
  wrap(secret: SecretKey, context: Context | ContextPairs): Bytes {
    return withContext(context, (handle) => this.#handle.wrap(borrowSecret(secret), handle) as Bytes);
  }
}

/** Both halves. The secret is kept offline and is in memory only where something is recovered, or where it was just made. */
export class RecoveryKey {
  #handle: CoreRecovery | undefined;

  private constructor(token: typeof ADOPT, handle: CoreRecovery) {
    if (token !== ADOPT) throw fail("invalid_argument", "a RecoveryKey is made by RecoveryKey.generate or RecoveryKey.fromText");
    this.#handle = handle;
  }

  /** A new pair. Throws: `missing_dependency`. */
  static generate(): RecoveryKey {
    return adopt(native().generateRecovery());
  }

  /** From a text that starts with `sealpoint-recovery-secret:v1:`. Throws: as `RecoveryPublicKey.fromText`. */
  static fromText(text: string): RecoveryKey {
    return adopt(native().recoveryFromText(given(text)));
  }

  /** The text of which `fromText` makes the key again. It **is** the key: for paper or a safe, and for no log. */
  toText(): string {
    return this.#live().toText();
  }

  /** The half to give away. */
  get public(): RecoveryPublicKey {
    return adoptPublic(this.#live().public());
  }

  /**
   * Opens what the public half wrapped. Anybody can have made it: compare the DEK's key check before it opens anything, and seal nothing under it.
   *
   * Throws: `key_not_found` (wrapped for another key), `authentication_failed`, and the errors of SPEC section 6.4.
   */
  unwrap(wrapped: BytesIn, context: Context | ContextPairs): SecretKey {
    return withContext(context, (handle) => adoptSecret(this.#live().unwrap(bytes(wrapped, "the wrapped key", 1 << 16), handle)));
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
    return "RecoveryKey([redacted])";
  }

  toJSON(): string {
    return this.toString();
  }

  #live(): CoreRecovery {
    if (this.#handle === undefined) throw disposed("RecoveryKey");
    return this.#handle;
  }
}
hide(RecoveryKey);

function adopt(handle: CoreRecovery): RecoveryKey {
  return new (RecoveryKey as unknown as new (token: symbol, handle: CoreRecovery) => RecoveryKey)(ADOPT, handle);
}

function adoptPublic(handle: CoreRecoveryPublic): RecoveryPublicKey {
  return new (RecoveryPublicKey as unknown as new (token: symbol, handle: CoreRecoveryPublic) => RecoveryPublicKey)(ADOPT, handle);
}

function given(text: unknown): string {
  if (typeof text !== "string") throw fail("invalid_argument", "a recovery key is given as its text");
  return lossy(text);
}

function native(): NativeCore {
  const module = core as Partial<NativeCore> & typeof core;
  if (module.recoveryFromText !== undefined) return module as NativeCore;
  throw fail(
    "missing_dependency",
    "recovery keys need the native module, and WebAssembly is what runs here: use a recovery key in Node, on a machine that has it",
  );
}
