/**
 * Recovery keys: a KEK whose secret half is kept offline (SPEC section 6.4).
 *
 * With the public half among the KEKs of `kek`, each new DEK is also wrapped for the recovery key. Should every other KEK be lost, a keyring with `OfflineRecoveryProvider` and a
 * new KEK opens everything that was sealed, and seals nothing under the DEKs that came so. `sealpoint keygen --recovery` (of the Python package) makes a pair.
 */

import type { Context } from "../context.js";
import { fail, isSealpointError, type SealpointError } from "../errors.js";
import { hide } from "../hide.js";
import type { SecretKey } from "../keys.js";
import { needed } from "../platform.js";
import { RecoveryKey, RecoveryPublicKey } from "../recovery.js";
import type { KeyManagementProvider, ProviderCapabilities, WrappedKey } from "./provider.js";

export { RecoveryKey, RecoveryPublicKey };

const WRAP_ALG = "sealpoint-recovery-v1";
const MAX_FILE_LEN = 16_384;

/** The public half: it wraps, and opens nothing. Its URI is `recovery:` and the recoveryId in hex, wherever the text came from. */
export class RecoveryProvider implements KeyManagementProvider {
  readonly capabilities: ProviderCapabilities = Object.freeze({ bindsContext: true, authenticates: false, canUnwrap: false });
  readonly uri: string;
  readonly #key: RecoveryPublicKey;

  /** `text`: `sealpoint-recovery-public:v1:…`; white space around it is ignored. Throws: `invalid_argument`, `missing_dependency`. */
  constructor(text: string) {
    this.#key = half("public", text, RecoveryPublicKey.fromText);
    this.uri = uriOf(this.#key);
  }

  /** The public half in a file. Throws: `invalid_argument` (no such file, or another content), `missing_dependency`. */
  static fromFile(path: string): RecoveryProvider {
    return new RecoveryProvider(readPublic(path));
  }

  /** A recovery wrap of SPEC section 6.4. */
  wrap(secret: SecretKey, context: Context): WrappedKey {
    return wrapFor(this.#key, secret, context);
  }

  /** Always `kms_denied`: the secret half is elsewhere. */
  unwrap(): SecretKey {
    throw fail("kms_denied", "the recovery key's secret half is kept offline: OfflineRecoveryProvider opens what was wrapped for it");
  }

  toString(): string {
    return `RecoveryProvider(${JSON.stringify(this.uri)})`;
  }

  toJSON(): string {
    return this.toString();
  }
}
hide(RecoveryProvider);

/** Both halves, for as long as something is recovered. */
export class OfflineRecoveryProvider implements KeyManagementProvider {
  readonly capabilities: ProviderCapabilities = Object.freeze({ bindsContext: true, authenticates: false });
  readonly uri: string;
  readonly #key: RecoveryKey;
  readonly #public: RecoveryPublicKey;

  /** `text`: `sealpoint-recovery-secret:v1:…`; white space around it is ignored. Throws: `invalid_argument`, `missing_dependency`. */
  constructor(text: string) {
    this.#key = half("secret", text, RecoveryKey.fromText);
    this.#public = this.#key.public;
    this.uri = uriOf(this.#public);
  }

  /** See `RecoveryProvider.wrap`. */
  wrap(secret: SecretKey, context: Context): WrappedKey {
    return wrapFor(this.#public, secret, context);
  }

  /** Throws what `RecoveryKey.unwrap` throws. */
  unwrap(wrapped: WrappedKey, context: Context): SecretKey {
    return this.#key.unwrap(wrapped.wrapped, context);
  }

  /** Wipes the secret half: it opens nothing any more (`invalid_argument`). */
  dispose(): void {
    this.#key.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `OfflineRecoveryProvider(${JSON.stringify(this.uri)})`;
  }

  toJSON(): string {
    return this.toString();
  }
}
hide(OfflineRecoveryProvider);

function half<Key>(name: "public" | "secret", text: unknown, read: (text: string) => Key): Key {
  if (typeof text !== "string") throw fail("invalid_argument", `the ${name} half of a recovery key is given as its text`);
  try {
    return read(text.trim());
  } catch (error) {
    if (!isSealpointError(error) || error.code === "missing_dependency") throw error;
    throw fail("invalid_argument", `not the ${name} half of a recovery key: ${error.message}`);
  }
}

function uriOf(key: RecoveryPublicKey): string {
  return `recovery:${Array.from(key.recoveryId, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function wrapFor(key: RecoveryPublicKey, secret: SecretKey, context: Context): WrappedKey {
  return { wrapped: key.wrap(secret, context), wrapAlg: WRAP_ALG, kekVersion: "" };
}

function readPublic(path: string): string {
  const fs = needed("fs", "a KEK of recovery:");
  try {
    const descriptor = fs.openSync(path, fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0)); // a pipe is not waited for
    try {
      const content = new Uint8Array(MAX_FILE_LEN);
      return new TextDecoder().decode(content.subarray(0, fs.readSync(descriptor, content)));
    } finally {
      fs.closeSync(descriptor);
    }
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): SealpointError {
  const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).name;
  return fail(
    "invalid_argument",
    `recovery: is followed by the path of a file that \`sealpoint keygen --recovery\` wrote; ${JSON.stringify(path)} cannot be read (${reason})`,
  );
}
