import { core } from "./backend.js";
import { openBulk, sealBulk, WATCH_OPTIONS, type WatchOptions, watching } from "./bulk.js";
import { type Bytes, type BytesIn, disposed, foreign, integer, lossy, options, shortBytes, tenantName } from "./check.js";
import { type Context, prepared, withContext } from "./context.js";
import type { CoreDek } from "./core.js";
import { fail } from "./errors.js";
import { hide } from "./hide.js";
import { adoptSecret, borrowSecret, coreRecord, type DekRecord, type SecretKey } from "./keys.js";
import { decodeUtf8, type Opened, openNow, openTypedNow, SEAL_OPTIONS, type SealOptions, sealing, sealNow, textPayload } from "./seal.js";
import type { ContextPairs } from "./transport.js";

const ADOPT = Symbol("adopt");

let handleOf: (key: DataKey) => CoreDek;

/**
 * One opened DEK: seals and opens without a key store.
 *
 * A `context` is a prepared `Context` (encode it once, use it often) or a plain object of pairs. An envelope is bytes or its text form. Bytes are a `Uint8Array` (a
 * `Buffer` too) or an `ArrayBuffer`; what comes back is a plain `Uint8Array`.
 *
 * Sealing throws: `limit_exceeded`, `invalid_context`, `tenant_required`, `invalid_argument`. Opening throws: `plaintext_refused`, `malformed`, `unsupported_…`,
 * `key_not_found` (the envelope names another key), `authentication_failed`, and those of sealing.
 */
export class DataKey {
  #handle: CoreDek | undefined;

  private constructor(token: typeof ADOPT, handle: CoreDek) {
    if (token !== ADOPT) throw fail("invalid_argument", "a DataKey is made by DataKey.generate, DataKey.fromSecret or DataKey.import");
    this.#handle = handle;
  }

  static {
    handleOf = (key) => {
      if (typeof key !== "object" || key === null || !(#handle in key)) throw foreign(key, "DataKey");
      return key.#live();
    };
  }

  /** A new random DEK with a new random dekId, and its secret bytes, to be wrapped. Throws: `tenant_required`, `invalid_context`, `invalid_argument`. */
  static generate(dek: { tenant: string; dekPurpose?: number; version?: number }): { key: DataKey; secret: SecretKey } {
    const { tenant, dekPurpose = 1, version = 1 } = options(dek, ["tenant", "dekPurpose", "version"]);
    const made = core.generateDek(tenantName(tenant), integer(dekPurpose, "a dekPurpose", 0, 255), integer(version, "a version", 0, 2 ** 32 - 1));
    return { key: new DataKey(ADOPT, made.dek), secret: adoptSecret(made.secret) };
  }

  /** An opened DEK, after its key check was compared (SPEC section 6.1). Throws: `authentication_failed`, `unsupported_suite`, and those of `generate`. */
  static fromSecret(secret: SecretKey, record: DekRecord & { readonly keyCheck: Uint8Array }): DataKey {
    const checked = coreRecord(record);
    return new DataKey(ADOPT, core.dekFromSecret(borrowSecret(secret), checked, shortBytes(record.keyCheck, "a keyCheck")));
  }

  /** The DEK in a text that starts with `sealpoint-key:v1:` (SPEC section 6.3). Throws: `malformed`, `plaintext_refused`, `unsupported_version`, `unsupported_suite`. */
  static import(text: string): DataKey {
    if (typeof text !== "string") throw fail("invalid_argument", "an exported key is a string that starts with sealpoint-key:v1:");
    return new DataKey(ADOPT, core.importKey(lossy(text)));
  }

  /** 16 bytes that name it; not secret. */
  get dekId(): Bytes {
    return this.#live().record().dekId as Bytes;
  }

  get tenant(): string {
    return this.#live().record().tenant;
  }

  /** 1 data, 2 index, 3 client, 4 audit. */
  get dekPurpose(): number {
    return this.#live().record().dekPurpose;
  }

  get suite(): number {
    return this.#live().record().suite;
  }

  get version(): number {
    return this.#live().record().version;
  }

  /** 32 bytes by which the opened key is recognised; not secret. */
  get keyCheck(): Bytes {
    return this.#live().keyCheck() as Bytes;
  }

  /** Seals bytes into an envelope. Not padded by default. */
  seal(payload: BytesIn, context: Context | ContextPairs, options?: SealOptions): Bytes {
    const how = sealing(options, false);
    const bound = prepared(context);
    if (bound !== undefined) return sealNow(this.#live(), payload, bound, how);
    return withContext(context, (made) => sealNow(this.#live(), payload, made, how));
  }

  /** Seals a string (as UTF-8) or bytes into an envelope's text form, `sealpoint:v1:…`. Padded by default. */
  sealText(payload: string | BytesIn, context: Context | ContextPairs, options?: SealOptions): string {
    const how = sealing(options, true);
    return core.encodeText(
      withContext(context, (bound) => sealNow(this.#live(), textPayload(payload), bound, how)),
      "data",
    );
  }

  /** The payload of an envelope. */
  open(sealed: BytesIn | string, context: Context | ContextPairs): Bytes {
    const bound = prepared(context);
    if (bound !== undefined) return openNow(this.#live(), sealed, bound);
    return withContext(context, (made) => openNow(this.#live(), sealed, made));
  }

  /** The payload of an envelope and its content type. */
  openTyped(sealed: BytesIn | string, context: Context | ContextPairs): Opened {
    return withContext(context, (bound) => openTypedNow(this.#live(), sealed, bound));
  }

  /** The payload of an envelope as text. Throws also: `malformed` (no UTF-8). */
  openText(sealed: BytesIn | string, context: Context | ContextPairs): string {
    return decodeUtf8(this.open(sealed, context));
  }

  /**
   * As `seal`, without blocking for long: the AES of large payloads is done by WebCrypto. The payload is copied when this is called. Rejects with the errors of
   * `seal`, or with the signal's reason.
   */
  async sealAsync(payload: BytesIn, context: Context | ContextPairs, given?: SealOptions & WatchOptions): Promise<Bytes> {
    const { onProgress, signal, ...how } = options(given, [...SEAL_OPTIONS, ...WATCH_OPTIONS]);
    const [sealed, watch] = [sealing(how, false), watching({ onProgress, signal } as WatchOptions)];
    return withContext(context, (bound) => sealBulk(this.#live(), payload, bound, sealed, watch));
  }

  /** As `open`, without blocking for long. The envelope is copied when this is called. Rejects with the errors of `open`, or with the signal's reason. */
  async openAsync(sealed: BytesIn | string, context: Context | ContextPairs, given?: WatchOptions): Promise<Bytes> {
    return (await this.openTypedAsync(sealed, context, given)).payload;
  }

  /** As `openTyped`, without blocking for long. */
  async openTypedAsync(sealed: BytesIn | string, context: Context | ContextPairs, given?: WatchOptions): Promise<Opened> {
    const watch = watching(options(given, WATCH_OPTIONS));
    return withContext(context, (bound) => openBulk(this.#live(), sealed, bound, watch));
  }

  /** Wipes it. Every later call throws `invalid_argument`; asynchronous calls that have begun end as they would have. */
  dispose(): void {
    this.#handle?.free();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Shows the dekId only. */
  toString(): string {
    if (this.#handle === undefined) return "DataKey(disposed)";
    return `DataKey(dekId=${Array.from(this.dekId, (byte) => byte.toString(16).padStart(2, "0")).join("")})`;
  }

  toJSON(): string {
    return this.toString();
  }

  #live(): CoreDek {
    if (this.#handle === undefined) throw disposed("DataKey");
    return this.#handle;
  }
}
hide(DataKey);

export function borrowDek(key: DataKey): CoreDek {
  return handleOf(key);
}
