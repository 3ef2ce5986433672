import { core } from "./backend.js";
import { openBulk, sealBulk, WATCH_OPTIONS, type WatchOptions, watching } from "./bulk.js";
import { allocate, type Bytes, type BytesIn, disposed, flag, integer, options, payloadBytes, shortBytes, tenantName } from "./check.js";
import { type Context, withContext } from "./context.js";
import type { CoreContext, CoreDekCache } from "./core.js";
import { borrowDek, type DataKey } from "./data-key.js";
import { fail } from "./errors.js";
import { hide } from "./hide.js";
import { beginning, type Opened, SEAL_OPTIONS, type Sealing, type SealOptions, sealedBytes, sealing, textPayload } from "./seal.js";
import type { ContextPairs } from "./transport.js";

/** For which purpose a DEK is looked up: 1 (data) by default, 3 (client). */
export interface PurposeOption {
  dekPurpose?: number;
}

const PURPOSE = ["dekPurpose"] as const;

/**
 * Opened DEKs by dekId with an absolute TTL, and for each (tenant, purpose) which one is active, with a shorter one.
 *
 * An entry expires when either the monotonic or the wall clock says so; use never extends it. What leaves is wiped. Calls that need a DEK answer `undefined` when it is
 * not held (any more): load it, insert it, and call again. Otherwise they throw as those of `DataKey` do.
 */
export class DekCache {
  #handle: CoreDekCache | undefined;

  /** `ttl` and `pointerTtl` are seconds; `capacity` counts DEKs. Throws: `invalid_argument`. */
  constructor(bounds: { ttl: number; pointerTtl: number; capacity: number }) {
    const { ttl, pointerTtl, capacity } = options(bounds, ["ttl", "pointerTtl", "capacity"]);
    this.#handle = core.newDekCache(millis(ttl, "ttl"), millis(pointerTtl, "pointerTtl"), integer(capacity, "capacity", 1, 2 ** 32 - 1));
  }

  /**
   * Holds an opened DEK; with `active` it is also what `seal` uses for its tenant and purpose, with `openOnly` it never is (SPEC section 6.1, step 5), as long as it is
   * not inserted without that. The key may be disposed afterwards.
   */
  insert(key: DataKey, given?: { active?: boolean; openOnly?: boolean }): void {
    const { active = false, openOnly = false } = options(given, ["active", "openOnly"]);
    this.#live().insert(borrowDek(key), flag(active, "active"), flag(openOnly, "openOnly"));
  }

  contains(dekId: Uint8Array): boolean {
    return this.#live().contains(shortBytes(dekId, "a dekId"));
  }

  /** Renews the pointer to the active DEK. False: that DEK is not held (any more), or open-only; load it. */
  setActive(tenant: string, dekPurpose: number, dekId: Uint8Array): boolean {
    return this.#live().setActive(tenantName(tenant), purpose(dekPurpose), shortBytes(dekId, "a dekId"));
  }

  /** Seals under the active DEK of the context's tenant. */
  seal(payload: BytesIn, context: Context | ContextPairs, given?: SealOptions & PurposeOption): Bytes | undefined {
    const { dekPurpose = 1, ...how } = options(given, [...SEAL_OPTIONS, ...PURPOSE]);
    return this.#seal(payload, context, sealing(how, false), dekPurpose);
  }

  /** The same for a string (as UTF-8) or bytes, into text form. Padded by default. */
  sealText(payload: string | BytesIn, context: Context | ContextPairs, given?: SealOptions & PurposeOption): string | undefined {
    const { dekPurpose = 1, ...how } = options(given, [...SEAL_OPTIONS, ...PURPOSE]);
    const sealed = this.#seal(textPayload(payload), context, sealing(how, true), dekPurpose);
    return sealed === undefined ? undefined : core.encodeText(sealed, "data");
  }

  /** As `seal`, without blocking for long: see `DataKey.sealAsync`. */
  async sealAsync(payload: BytesIn, context: Context | ContextPairs, given?: SealOptions & WatchOptions & PurposeOption): Promise<Bytes | undefined> {
    const { dekPurpose = 1, onProgress, signal, ...how } = options(given, [...SEAL_OPTIONS, ...WATCH_OPTIONS, ...PURPOSE]);
    const [sealed, watch] = [sealing(how, false), watching({ onProgress, signal } as WatchOptions)];
    return withContext(context, (bound) => {
      const data = payloadBytes(payload);
      const dek = this.#live().active(bound, purpose(dekPurpose));
      if (dek === undefined) return undefined;
      const done = sealBulk(dek, data, bound, sealed, watch);
      dek.free();
      return done;
    });
  }

  /** The payload of an envelope, under the DEK that it names, which must have this purpose (else `authentication_failed`). */
  open(sealed: BytesIn | string, context: Context | ContextPairs, given?: PurposeOption): Bytes | undefined {
    const { dekPurpose = 1 } = options(given, PURPOSE);
    return withContext(context, (bound) => {
      const [handle, data] = [this.#live(), sealedBytes(sealed)];
      const out = allocate(core.payloadBound(data.length));
      const length = handle.openInto(data, bound, purpose(dekPurpose), out);
      return length < 0 ? undefined : beginning(out, length);
    });
  }

  /** The same with the content type. */
  openTyped(sealed: BytesIn | string, context: Context | ContextPairs, given?: PurposeOption): Opened | undefined {
    const { dekPurpose = 1 } = options(given, PURPOSE);
    return withContext(context, (bound) => {
      const [handle, data] = [this.#live(), sealedBytes(sealed)];
      const out = allocate(core.payloadBound(data.length));
      const opened = handle.openTypedInto(data, bound, purpose(dekPurpose), out);
      return opened && { contentType: opened.contentType, payload: beginning(out, opened.length) };
    });
  }

  /** As `openTyped`, without blocking for long: see `DataKey.openAsync`. */
  async openTypedAsync(sealed: BytesIn | string, context: Context | ContextPairs, given?: WatchOptions & PurposeOption): Promise<Opened | undefined> {
    const { dekPurpose = 1, ...rest } = options(given, [...WATCH_OPTIONS, ...PURPOSE]);
    const watch = watching(rest as WatchOptions);
    return withContext(context, (bound) => {
      const data = sealedBytes(sealed);
      const dek = this.#live().named(data, purpose(dekPurpose));
      if (dek === undefined) return undefined;
      try {
        return openBulk(dek, data, bound, watch);
      } finally {
        dek.free();
      }
    });
  }

  /** Drops a DEK. Whether it was held. */
  evict(dekId: Uint8Array): boolean {
    return this.#live().evict(shortBytes(dekId, "a dekId"));
  }

  /** Drops all DEKs of a tenant and says how many there were. */
  evictTenant(tenant: string): number {
    return this.#live().evictTenant(tenantName(tenant));
  }

  clear(): void {
    this.#live().clear();
  }

  /** How many DEKs are held. */
  get size(): number {
    return this.#live().size();
  }

  /** Wipes what it holds. Every later call throws `invalid_argument`. */
  dispose(): void {
    this.#handle?.free();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return this.#handle === undefined ? "DekCache(disposed)" : `DekCache(held=${this.size})`;
  }

  toJSON(): string {
    return this.toString();
  }

  /** @internal Moves the cache's own clock forward (tests): entries can only expire sooner. */
  _advance(seconds: number): void {
    this.#live().advance(millis(seconds, "seconds"));
  }

  #seal(payload: BytesIn, context: Context | ContextPairs, how: Sealing, dekPurpose: number): Bytes | undefined {
    return withContext(context, (bound: CoreContext) => {
      const [handle, data] = [this.#live(), payloadBytes(payload)];
      const out = allocate(core.sealedLen(data.length, how.contentType.length, how.pad));
      return handle.sealInto(data, how.contentType, how.pad, bound, purpose(dekPurpose), out) ? out : undefined;
    });
  }

  #live(): CoreDekCache {
    if (this.#handle === undefined) throw disposed("DekCache");
    return this.#handle;
  }
}
hide(DekCache);

function purpose(value: unknown): number {
  return integer(value, "a dekPurpose", 0, 255);
}

function millis(seconds: unknown, what: string): number {
  if (typeof seconds !== "number" || !(seconds >= 0) || seconds > 2 ** 43) throw fail("invalid_argument", `${what} is a number of seconds, not negative`);
  return Math.round(seconds * 1000);
}
