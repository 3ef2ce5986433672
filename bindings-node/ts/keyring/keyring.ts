/** The keyring: opened DEKs, loaded from a key store through the configured KEKs. Loading is the only I/O. */

import { DekCache } from "../cache.js";
import { type Bytes, type BytesIn, flag, options, payloadBytes, text } from "../check.js";
import { Context } from "../context.js";
import type { DataKey } from "../data-key.js";
import { envelopeDekId } from "../envelope.js";
import { type ErrorCode, fail, isSealpointError } from "../errors.js";
import { schemeOf } from "../kms/provider.js";
import { Keys } from "../lifecycle/jobs.js";
import { Lifecycle } from "../lifecycle/verbs.js";
import { decodeUtf8, type Opened, type SealOptions } from "../seal.js";
import { isLifecycle } from "../stores/lifecycle.js";
import { type StoreSource, storeFrom } from "../stores/open.js";
import { checkedSettings, type KeyStore, NOT_SET_UP, POINTER_TTL_S, type StoreSettings } from "../stores/records.js";
import type { ContextPairs } from "../transport.js";
import type { Loaded } from "./flight.js";
import { type AffectedTenant, affectedTenants, assess, type Health, type KekHealth } from "./health.js";
import { type KekConfig, Keks } from "./keks.js";
import { Loader } from "./loader.js";
import { DATA, type DekPurpose, purposeNumber } from "./purposes.js";
import { Refresher } from "./refresh.js";

const DEFAULT_CACHE_TTL_S = 3600;
const MAX_CACHE_TTL_S = 30 * 86_400;
const CACHE_CAPACITY = 10_000;
const SEAL = ["contentType", "pad", "dekPurpose"] as const;

export interface KeyringOptions {
  /** `env:NAME`, `file:PATH`, a `KeyManagementProvider`, or an array of these: every new DEK is wrapped by each, and opened by the first that answers. In an array also the public half of a recovery key, or `recovery:PATH`: it wraps only. */
  kek: KekConfig;
  /** Seconds that an opened DEK is held, at most what the key store's settings allow; 3,600 by default. */
  cacheTtl?: number;
  /** Whether sealing for a tenant that the key store does not know registers it; true by default. */
  createTenants?: boolean;
}

export interface KeyringPurpose {
  /** `"data"` by default, or `"client"` for what an exported key may open. */
  dekPurpose?: DekPurpose;
}

/**
 * Seals and opens for any number of tenants; made by `Keyring.connect`. One for a process (and worker thread) is enough.
 *
 * Seal and open need no I/O as long as the DEK is held (`cacheTtl`, and for the active DEK at most 60 seconds before the key store is read again); otherwise they load it first. An
 * outage never turns into plaintext: what cannot be loaded fails with `kms_unavailable`, `kms_throttled`, `kms_denied` or `store_unavailable`.
 *
 * A DEK that is in use for sealing is unwrapped again in the background before its TTL ends. An outage then leaves it to the rest of its TTL; any other answer (`kms_denied`,
 * `key_disabled`, …) takes it from the cache at once.
 *
 * `dekPurpose`: `"data"`, or `"client"` for what an exported key (`exportDataKey`) may open. Such a key may have sealed it as well, so nothing that was sealed under the one opens
 * under the other: `authentication_failed`. Another value is `invalid_argument`.
 */
export class Keyring extends Lifecycle {
  /** @internal The synchronous hot path of the wrappers: `undefined` means that the key is not held; then call the keyring. */
  readonly _cache: DekCache;
  /** @internal */
  readonly _refresher: Refresher;
  readonly #store: KeyStore;
  readonly #ownsStore: boolean;
  readonly #keks: Keks;
  readonly #loader: Loader;
  readonly #cacheTtl: number;
  #closed = false;

  private constructor(store: KeyStore, ownsStore: boolean, keks: Keks, cacheTtl: number, createTenants: boolean) {
    super();
    this.#store = store;
    this.#ownsStore = ownsStore;
    this.#keks = keks;
    this.#cacheTtl = cacheTtl;
    this._cache = new DekCache({ ttl: cacheTtl, pointerTtl: Math.min(POINTER_TTL_S, cacheTtl), capacity: CACHE_CAPACITY });
    this._refresher = new Refresher(cacheTtl, CACHE_CAPACITY, (dekId) => this._cache.contains(dekId));
    this.#loader = new Loader(store, keks, this._cache, this._refresher, createTenants);
  }

  /**
   * Connects to a key store and proves every KEK against its canary; no DEK is opened.
   *
   * `store`: `memory:` (set up at once), `sqlite:///relative.db`, `sqlite:////absolute/path.db` (with better-sqlite3), `postgresql://user@host/database` or a `pg.Pool` (with pg), or
   * a `KeyStore`. One without any sealpoint tables is accepted; until `setup()` nothing can be sealed or opened with it.
   *
   * Throws: `invalid_argument`, `missing_dependency`, `authentication_failed` (another KEK than the one that the key store was set up with), `key_not_found` (the key store knows
   * none of these URIs), `store_invalid`, `store_unavailable`, `kms_*`.
   */
  static async connect(store: StoreSource, given: KeyringOptions): Promise<Keyring> {
    const { kek, cacheTtl = DEFAULT_CACHE_TTL_S, createTenants = true } = options(given, ["kek", "cacheTtl", "createTenants"]);
    const ttl = seconds(cacheTtl);
    const keks = new Keks(kek);
    const { keyStore, owned } = storeFrom(store);
    const keyring = new Keyring(keyStore, owned, keks, ttl, flag(createTenants, "createTenants"));
    try {
      const settings = await keyStore.settings();
      if (settings !== undefined) await keyring.#check(settings);
      else if (store === "memory:") await keyring.setup();
    } catch (error) {
      await keyring.close();
      throw error;
    }
    return keyring;
  }

  /**
   * Creates or migrates the key store's tables and gives each KEK its canary. Changes nothing when called again.
   *
   * The largest `cacheTtl` that the fleet may use is fixed here: this keyring's, or an hour if that is more.
   */
  async setup(): Promise<void> {
    this.#requireOpen();
    await this.#store.setup(Math.ceil(Math.max(this.#cacheTtl, DEFAULT_CACHE_TTL_S)));
    const present = await this.#store.canaries();
    this.#requireKnown(present);
    for (const provider of this.#keks.withCanary) {
      if (!present.has(provider.uri)) await this.#store.addCanary(provider.uri, await this.#keks.makeCanary(provider));
    }
    const settings = await this.#store.settings();
    if (settings === undefined) throw fail("store_invalid", NOT_SET_UP);
    await this.#check(settings);
  }

  /**
   * Makes the tenant's active DEK usable, so that sealing needs no I/O; creates it unless `create` is false, if that is allowed.
   *
   * Throws: `key_not_found`, `key_destroyed`, `key_disabled`, `authentication_failed`, `store_*`, `kms_*`, `invalid_argument` (closed).
   */
  async load(tenant: string, given?: { create?: boolean } & KeyringPurpose): Promise<void> {
    const { create = true, dekPurpose } = options(given, ["create", "dekPurpose"]);
    await this.#loadActive(tenant, purposeOf(dekPurpose), flag(create, "create"));
  }

  /** An envelope (SPEC section 4) under the active DEK of the context's tenant; `pad` hides the payload's length. The payload may change once this was called. Throws: as `load`, and `limit_exceeded`. */
  async seal(payload: BytesIn, context: Context | ContextPairs, given?: SealOptions & KeyringPurpose): Promise<Bytes> {
    const { dekPurpose: name, ...how } = options(given, SEAL);
    const dekPurpose = purposeOf(name);
    const bound = contextOf(context);
    return this.#sealing(
      payload,
      bound,
      dekPurpose,
      (data) => this._cache.seal(data, bound, { ...how, dekPurpose }),
      (key, data) => key.seal(data, bound, how),
    );
  }

  /** As `seal`, in text form (SPEC section 5), padded by default. A string is sealed as its UTF-8 bytes. */
  async sealText(payload: string | BytesIn, context: Context | ContextPairs, given?: SealOptions & KeyringPurpose): Promise<string> {
    const { dekPurpose: name, ...how } = options(given, SEAL);
    const dekPurpose = purposeOf(name);
    const bound = contextOf(context);
    return this.#sealing(
      payload,
      bound,
      dekPurpose,
      (data) => this._cache.sealText(data, bound, { ...how, dekPurpose }),
      (key, data) => key.sealText(data, bound, how),
    );
  }

  /**
   * Content type and payload of an envelope in either form, at the context that it was sealed with. Never creates a key.
   *
   * Throws: the errors of SPEC section 8, `key_disabled`, `key_destroyed`, `store_*`, `kms_*`.
   */
  async openTyped(sealed: BytesIn | string, context: Context | ContextPairs, given?: KeyringPurpose): Promise<Opened> {
    const dekPurpose = purposeOf(options(given, ["dekPurpose"]).dekPurpose);
    const bound = contextOf(context);
    for (;;) {
      this.#requireOpen();
      const opened = this._cache.openTyped(sealed, bound, { dekPurpose });
      if (opened !== undefined) return opened;
      const key = await this.#loader.dek(envelopeDekId(sealed), bound.tenant, dekPurpose);
      if (key !== undefined) return key.openTyped(sealed, bound);
    }
  }

  /** The payload; otherwise as `openTyped`. */
  async open(sealed: BytesIn | string, context: Context | ContextPairs, given?: KeyringPurpose): Promise<Bytes> {
    return (await this.openTyped(sealed, context, given)).payload;
  }

  /** The payload as the string that it was sealed from; otherwise as `openTyped`. Throws also: `malformed` (it is no UTF-8). */
  async openText(sealed: BytesIn | string, context: Context | ContextPairs, given?: KeyringPurpose): Promise<string> {
    return decodeUtf8(await this.open(sealed, context, given));
  }

  /**
   * The tenant's active client DEK as text (`sealpoint-key:v1:`, SPEC section 6.3): what `DataKey.import` takes elsewhere.
   *
   * The text **is** the key, in the clear: hand it to the tenant's own session only, over TLS, and let it get into no log, URL or database. Whoever has it opens and makes what is
   * sealed with `dekPurpose: "client"` for this tenant, for as long as that DEK exists. The DEK is created if need be, as `seal` would, and is unwrapped through the KEKs at each call.
   *
   * `reason`: in words, why the key leaves and for whom. Nothing keeps it yet; a later release writes it into an audit log. Throws: as `load`, and `invalid_argument` (no reason).
   */
  async exportDataKey(tenant: string, given: { reason: string }): Promise<string> {
    const { reason } = options(given, ["reason"]);
    if (typeof reason !== "string" || reason.trim() === "") throw fail("invalid_argument", "reason says in words why the key leaves, and for whom");
    text(reason, "the reason");
    this.#requireOpen();
    return this.#loader.export(tenantOf(tenant));
  }

  /** Reads the key store and unwraps each canary, now. Throws: `invalid_argument` (closed), nothing else. */
  async health(): Promise<Health> {
    this.#requireOpen();
    let canaries: ReadonlyMap<string, Uint8Array>;
    try {
      if ((await this.#store.settings()) === undefined) throw fail("store_invalid", NOT_SET_UP);
      canaries = await this.#store.canaries();
    } catch (error) {
      return { status: "failed", store: codeOf(error), keks: [], cachedUntil: null, affected: 0 };
    }
    const keks = await Promise.all(
      this.#keks.withCanary.map(async (provider): Promise<Pick<KekHealth, "scheme" | "code">> => {
        const scheme = schemeOf(provider.uri);
        if (!canaries.has(provider.uri)) return { scheme, code: "key_not_found" };
        try {
          await this.#keks.checkCanary(provider, canaries.get(provider.uri));
          return { scheme, code: null };
        } catch (error) {
          return { scheme, code: codeOf(error) };
        }
      }),
    );
    return assess(keks, this._refresher.holdings());
  }

  /**
   * Tenants with a DEK here whose last refresh failed, and until when it serves. For operators: it names tenants. No I/O.
   *
   * A tenant that this process has not used is not in it, nor one whose DEK has expired. Throws: `invalid_argument` (closed).
   */
  affected(): AffectedTenant[] {
    this.#requireOpen();
    return affectedTenants(this._refresher.holdings());
  }

  /** Wipes the opened DEKs; every later call throws `invalid_argument`. A pool, `KeyStore` or provider that was passed in stays its owner's. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#loader.close();
    if (this.#ownsStore) await this.#store.close?.();
  }

  /** Shows the kind of key store and the schemes of the KEKs. */
  override toString(): string {
    return `Keyring(${this.#store.constructor.name} kek=${this.#keks}${this.#closed ? " closed" : ""})`;
  }

  toJSON(): string {
    return this.toString();
  }

  /** @internal */
  protected override _keys(): Keys {
    this.#requireOpen();
    if (isLifecycle(this.#store)) return new Keys(this.#store, this.#keks, this.#loader);
    throw fail("invalid_argument", `the key store ${this.#store.constructor.name} can load keys but not change them: it lacks methods of KeyLifecycle`);
  }

  /** What was passed is what is sealed: where the DEK has to be loaded first, the payload is copied before. */
  async #sealing<P extends string | BytesIn, T>(
    payload: P,
    context: Context,
    dekPurpose: number,
    now: (data: P) => T | undefined,
    under: (key: DataKey, data: P) => T,
  ): Promise<T> {
    let data = payload;
    for (;;) {
      this.#requireOpen();
      const sealed = now(data);
      if (sealed !== undefined) return sealed;
      if (data === payload && typeof payload !== "string") data = new Uint8Array(payloadBytes(payload)) as BytesIn as P;
      const key = await this.#loader.active(context.tenant, dekPurpose, true);
      if (key !== undefined) return under(key, data);
    }
  }

  async #loadActive(tenant: string, dekPurpose: number, create: boolean): Promise<Loaded> {
    this.#requireOpen();
    return this.#loader.active(tenantOf(tenant), dekPurpose, create);
  }

  async #check(given: StoreSettings): Promise<void> {
    const settings = checkedSettings(given);
    if (this.#cacheTtl > settings.maxTtl) {
      throw fail("invalid_argument", `cacheTtl is more than the ${settings.maxTtl} seconds that this key store allows: lower it`);
    }
    const canaries = await this.#store.canaries();
    this.#requireKnown(canaries);
    for (const provider of this.#keks.withCanary) {
      if (canaries.has(provider.uri)) await this.#keks.checkCanary(provider, canaries.get(provider.uri));
    }
  }

  /** A key store and a configuration that share no KEK do not belong together. */
  #requireKnown(canaries: ReadonlyMap<string, Uint8Array>): void {
    const known = this.#keks.recovers || this.#keks.withCanary.some(({ uri }) => canaries.has(uri));
    if (canaries.size > 0 && !known) {
      throw fail(
        "key_not_found",
        "this key store was set up with other KEKs than those of kek: name one of them; to add a KEK, name it beside one and run setup()",
      );
    }
  }

  #requireOpen(): void {
    if (this.#closed) throw fail("invalid_argument", "this keyring is closed: connect another one");
  }
}

function seconds(cacheTtl: unknown): number {
  if (typeof cacheTtl !== "number" || !(cacheTtl > 0 && cacheTtl <= MAX_CACHE_TTL_S)) {
    throw fail("invalid_argument", `cacheTtl is a number of seconds: more than 0 and at most ${MAX_CACHE_TTL_S}`);
  }
  return cacheTtl;
}

function purposeOf(name: DekPurpose | undefined): number {
  return name === undefined ? DATA : purposeNumber(name);
}

/** A plain object is encoded once, however often the call starts over. */
function contextOf(context: Context | ContextPairs): Context {
  return context instanceof Context ? context : new Context(context);
}

/** What a context would refuse never reaches the key store. */
function tenantOf(tenant: unknown): string {
  return new Context({ tenant: tenant as string, purpose: "load" }).tenant;
}

function codeOf(error: unknown): ErrorCode {
  return isSealpointError(error) ? error.code : "internal";
}
