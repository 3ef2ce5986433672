/** SealedCache: any LangGraph cache, with the cached values sealed. */

import { createHash } from "node:crypto";
import { AsyncLocalStorageProviderSingleton } from "@langchain/core/singletons";
import { BaseCache, type CacheFullKey, type CacheNamespace, type SerializerProtocol } from "@langchain/langgraph-checkpoint";
import { _internal, Context, isSealed, isSealpointError, type Keyring, type TenantConfig, type TenantSource } from "sealpoint";
import { borrowed } from "./borrowed.js";
import { where } from "./sealer.js";
import { checkKeyring, openTyped, sealBytes } from "./seals.js";
import { setUp } from "./setups.js";

const { checkSource, fail, options, resolveTenant } = _internal;

const PAD_BELOW = 1024;
const encoder = new TextEncoder();

export interface SealedCacheOptions {
  /**
   * Whose data it is. LangGraph calls a cache without the run's config, so `fromConfig` finds the tenant only in `tenantScope`: invoke the graph within it, or use
   * `fixed` or a function. A read without a tenant is refused (`tenant_required`).
   */
  tenant: TenantSource;
}

/**
 * Wraps a cache of node results: each value is sealed, bound to its tenant, namespace and key, before the inner cache sees it. The inner cache's serializer still
 * decides how values are serialized; a cache whose class keeps it in a private (`#`) part cannot be wrapped.
 *
 * Tenants never share an entry: the tenant is part of the namespace that the inner cache sees, so what another tenant has cached is a miss. `clear` with namespaces
 * clears the tenant's; `clear([])` clears the whole inner cache, everybody's.
 *
 * An entry that was changed, moved or is not sealed throws, as it would anywhere else: clear the cache to go on. One whose key was destroyed or disabled is a miss,
 * since the node can run again. An older value of an entry can be put back unnoticed, and its expiry be changed. A result whose tenant is not known is not cached, which
 * is logged once.
 *
 * **What keys give away.** They stay readable, and LangGraph makes them of an unkeyed hash of the node's input (XXH3, not a cryptographic one): whoever reads the cache
 * sees which runs had equal inputs, and finds an input that can be guessed by hashing the guesses.
 */
export class SealedCache<V = unknown> extends BaseCache<V> {
  readonly #inner: BaseCache<V>;
  readonly #storage: BaseCache<Uint8Array>;
  readonly #keyring: Keyring;
  readonly #source: TenantSource;
  #logged = false;

  /** Throws: `invalid_argument`. */
  constructor(inner: BaseCache<V>, keyring: Keyring, given: SealedCacheOptions) {
    if (!(typeof inner === "object" && inner !== null && typeof inner.get === "function" && inner.serde !== undefined)) {
      throw fail("invalid_argument", "inner must be a cache (a BaseCache)");
    }
    if (inner instanceof SealedCache) throw fail("invalid_argument", "inner is a SealedCache already");
    super(inner.serde);
    this.#inner = inner;
    this.#keyring = checkKeyring(keyring);
    this.#source = checkSource(options(given, ["tenant"]).tenant);
    this.#storage = borrowed(inner, { serde: envelopes }) as unknown as BaseCache<Uint8Array>;
  }

  /** The wrapped cache. */
  get inner(): BaseCache<V> {
    return this.#inner;
  }

  /** Sets up the inner cache, if it has something to set up, and the keyring. */
  async setup(): Promise<void> {
    await setUp(this.#inner, this.#keyring);
  }

  async get(keys: CacheFullKey[]): Promise<{ key: CacheFullKey; value: V }[]> {
    const tenant = this.#tenant();
    const asked = new Map(keys.map((key) => [nameOf(inward(tenant, key)), key]));
    const found = await this.#storage.get(keys.map((key) => inward(tenant, key)));
    const opened: { key: CacheFullKey; value: V }[] = [];
    for (const entry of found) {
      const key = asked.get(nameOf(entry.key));
      if (key === undefined) throw fail("authentication_failed", "the cache found a value that was not asked for");
      const value = await this.#open(tenant, key, entry.value);
      if (value !== undefined) opened.push({ key, value: (await this.serde.loadsTyped(value.contentType, value.payload)) as V });
    }
    return opened;
  }

  async set(pairs: { key: CacheFullKey; value: V; ttl?: number }[]): Promise<void> {
    const tenant = this.#tenantOfSet();
    if (tenant === undefined) return;
    const sealed: { key: CacheFullKey; value: Uint8Array; ttl?: number }[] = [];
    for (const { key, value, ...further } of pairs) {
      const [contentType, payload] = await this.serde.dumpsTyped(value);
      const how = { contentType, pad: payload.length <= PAD_BELOW };
      sealed.push({ ...further, key: inward(tenant, key), value: await sealBytes(this.#keyring, payload, position(tenant, key), how) });
    }
    await this.#storage.set(sealed);
  }

  async clear(namespaces: CacheNamespace[]): Promise<void> {
    if (namespaces.length === 0) return this.#inner.clear([]);
    const tenant = this.#tenant();
    await this.#inner.clear(namespaces.map((namespace) => [innerNamespace(tenant, namespace)]));
  }

  async #open(tenant: string, key: CacheFullKey, envelope: unknown) {
    if (!(envelope instanceof Uint8Array) || !isSealed(envelope)) {
      throw fail("plaintext_refused", "a cached value is not sealed: it was stored without SealedCache, or was replaced");
    }
    try {
      return await openTyped(this.#keyring, envelope, position(tenant, key));
    } catch (error) {
      if (isSealpointError(error) && (error.code === "key_destroyed" || error.code === "key_disabled")) return undefined;
      throw where(error, "a cached value");
    }
  }

  #tenant(): string {
    try {
      return resolveTenant(this.#source, AsyncLocalStorageProviderSingleton.getRunnableConfig() as TenantConfig | undefined);
    } catch (error) {
      if (!isSealpointError(error) || error.code !== "tenant_required") throw error;
      throw fail("tenant_required", `LangGraph calls a cache without the run's config: ${error.message}`);
    }
  }

  /** Undefined where it is not known. LangGraph reads before it writes, and does not wait for what it writes: an error would end the process. */
  #tenantOfSet(): string | undefined {
    try {
      return this.#tenant();
    } catch (error) {
      if (!isSealpointError(error) || error.code !== "tenant_required") throw error;
      if (!this.#logged) console.warn("sealpoint: a node's result was not cached: it has no tenant (tenantScope around the run is missing)");
      this.#logged = true;
      return undefined;
    }
  }
}

/** What the inner cache reads and writes: no entry is deserialized before it is authenticated. */
const envelopes: SerializerProtocol = {
  dumpsTyped: async (value) => ["bytes", value as Uint8Array],
  loadsTyped: async (type, value) => (type === "bytes" ? value : undefined),
};

/** What the inner cache calls a key. */
function inward(tenant: string, [namespace, key]: CacheFullKey): CacheFullKey {
  return [[innerNamespace(tenant, namespace)], key];
}

function nameOf([namespace, key]: CacheFullKey): string {
  return JSON.stringify([namespace, key]);
}

/** SPEC section 7.4. */
function innerNamespace(tenant: string, namespace: CacheNamespace): string {
  const labels = [tenant, ...namespace].map((label) => `${encoder.encode(label).length}:${label},`).join("");
  return createHash("sha256").update(`sealpoint/v1/cache-namespace\0${labels}`).digest("hex");
}

function position(tenant: string, [namespace, key]: CacheFullKey): Context {
  return new Context({ tenant, purpose: "langgraph.cache", ns: namespace, key });
}
