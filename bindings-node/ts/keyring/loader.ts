/** From rows of the key store to opened DEKs in the cache. A row is never trusted (SPEC section 6.1). */

import type { DekCache } from "../cache.js";
import { type Context, wrapContext } from "../context.js";
import { DataKey } from "../data-key.js";
import { fail, isSealpointError } from "../errors.js";
import { exportKey, type SecretKey } from "../keys.js";
import { schemeOf } from "../kms/provider.js";
import { checkedDek, checkedSettings, checkedTenant, hex, type KeyStore, now, type StoredDek, type WrapRecord } from "../stores/records.js";
import { type Loaded, SingleFlight } from "./flight.js";
import type { Keks } from "./keks.js";
import { CLIENT } from "./purposes.js";
import type { Refresher } from "./refresh.js";

/** All I/O for keys: one load per tenant and purpose, and one unwrap per DEK, at a time. */
export class Loader {
  readonly #store: KeyStore;
  readonly #keks: Keks;
  readonly #cache: DekCache;
  readonly #refresher: Refresher;
  readonly #createTenants: boolean;
  readonly #flights = new SingleFlight();
  readonly #destroyed = new Set<string>();
  #closed = false;

  constructor(store: KeyStore, keks: Keks, cache: DekCache, refresher: Refresher, createTenants: boolean) {
    this.#store = store;
    this.#keks = keks;
    this.#cache = cache;
    this.#refresher = refresher;
    this.#createTenants = createTenants;
  }

  /** Points the cache at the tenant's active DEK: a read of the store, and an unwrap if the DEK is not held. May create it. */
  active(tenant: string, purpose: number, create: boolean): Promise<Loaded> {
    return this.#flights.run(JSON.stringify(["active", tenant, purpose, create]), async () => {
      const record = await this.#activeRecord(tenant, purpose);
      if (record !== undefined) return this.#activate(record, tenant, purpose);
      const made = await this.#create(tenant, purpose, create);
      if (made.key === undefined) return this.#activate(made.record, tenant, purpose);
      this.#hold(made.key, { active: true });
      return made.key;
    });
  }

  /** Loads one DEK for opening. Tenant and purpose are part of the flight's name: nobody is handed what only another caller may open. */
  dek(dekId: Uint8Array, tenant: string, purpose: number): Promise<Loaded> {
    return this.#flights.run(flightOf(dekId, tenant, purpose), async () => {
      if (this.#cache.contains(dekId)) return undefined;
      const record = await this.#store.dek(dekId);
      if (record === undefined) throw fail("key_not_found", "the key store does not hold the key that this envelope names: is it the right key store?");
      this.check(checkedDek(record), tenant, purpose);
      if (!sameBytes(record.dekId, dekId)) throw fail("store_invalid", "the key store answered with another key than it was asked for");
      return this.#open(record);
    });
  }

  /**
   * The tenant's active client DEK as text (SPEC section 6.3), through the KEKs each time, whatever the cache holds. May create it. Others seal under it, so it takes a wrap that
   * authenticates.
   */
  async export(tenant: string): Promise<string> {
    const record = (await this.#activeRecord(tenant, CLIENT)) ?? (await this.#create(tenant, CLIENT, true)).record;
    this.check(record, tenant, CLIENT);
    return this.#unwrap(record, true, (secret) => {
      openedKey(secret, record).dispose(); // it is the record's: its key check was compared
      return exportKey(secret, record);
    });
  }

  /** A new DEK, wrapped by each KEK and verified, not stored yet. The caller disposes of the key. */
  async make(tenant: string, purpose: number, version: number): Promise<{ record: StoredDek; key: DataKey }> {
    await this.#requireKeks();
    const { key, secret } = DataKey.generate({ tenant, dekPurpose: purpose, version });
    try {
      const { dekId, suite, keyCheck } = key;
      const wraps = await this.#keks.wrap(secret, wrapContext({ tenant, dekId, dekPurpose: purpose, suite }));
      return { record: { dekId, tenant, dekPurpose: purpose, suite, version, state: "active", keyCheck, createdAt: now(), wraps, shreddedAt: null }, key };
    } catch (error) {
      key.dispose();
      throw error;
    } finally {
      secret.dispose();
    }
  }

  /** After a rotation: what holds the retired DEK goes on with the active one, at once. `key`: the active one, if it was made here. */
  async succeed(retired: Uint8Array, active: StoredDek, key?: DataKey): Promise<void> {
    if (!this.#cache.contains(retired)) return;
    if (key === undefined) await this.#activate(active, active.tenant, active.dekPurpose);
    else this.#hold(key, { active: true });
  }

  /** The next use of this DEK reads its row again. */
  evict(dekId: Uint8Array): void {
    this.#cache.evict(dekId);
  }

  /** Destroyed DEKs leave the cache, also those that a load which is under way still puts there. */
  forget(dekIds: Iterable<Uint8Array>): void {
    for (const dekId of dekIds) {
      this.#destroyed.add(hex(dekId));
      this.#cache.evict(dekId);
    }
  }

  /** Nothing stays in the cache, not even what a load that is under way still puts there. */
  close(): void {
    this.#closed = true;
    this.#refresher.close();
    this.#cache.clear();
  }

  async #activeRecord(tenant: string, purpose: number): Promise<StoredDek | undefined> {
    const record = await this.#store.activeDek(tenant, purpose);
    return record && checkedDek(record);
  }

  async #activate(record: StoredDek, tenant: string, purpose: number): Promise<Loaded> {
    this.check(record, tenant, purpose);
    if (this.#cache.setActive(tenant, purpose, record.dekId)) {
      this.#refresher.startIfDue(record, (due) => this.#refresh(due));
      return undefined;
    }
    const opened = await this.#flights.run(flightOf(record.dekId, tenant, purpose), () => this.#open(record));
    if (this.#cache.setActive(tenant, purpose, record.dekId)) return opened;
    const key = await this.#unwrap(record, true, (secret) => openedKey(secret, record));
    this.#hold(key, { active: true });
    return key;
  }

  /** A new DEK, wrapped and verified outside any transaction. Who loses the race discards its own: the winner's record, and no key. */
  async #create(tenant: string, purpose: number, create: boolean): Promise<{ record: StoredDek; key?: DataKey }> {
    const found = await this.#store.tenant(tenant);
    const known = found && checkedTenant(found);
    if (known !== undefined && known.shreddedAt !== null) {
      this.#cache.evictTenant(tenant);
      throw fail("key_destroyed", "this tenant was shredded");
    }
    if (!create) throw fail("key_not_found", "this tenant has no active key, and this call creates none");
    if (known === undefined && !this.#createTenants) {
      throw fail(
        "key_not_found",
        "the key store does not know this tenant, and createTenants is off: register it with load(tenant) on a keyring that is connected with createTenants: true",
      );
    }
    const mine = await this.make(tenant, purpose, await this.#store.nextVersion(tenant, purpose));
    try {
      const winner = checkedDek(await this.#store.createDek(mine.record));
      if (sameBytes(winner.dekId, mine.record.dekId)) return { record: winner, key: mine.key };
      mine.key.dispose();
      return { record: winner };
    } catch (error) {
      mine.key.dispose();
      throw error;
    }
  }

  /** Whoever makes DEKs has each KEK that the key store's settings require. */
  async #requireKeks(): Promise<void> {
    const settings = await this.#store.settings();
    const required = (settings && checkedSettings(settings).requiredKeks) ?? [];
    const lacking = required.filter((uri) => !this.#keks.providers.some((one) => one.uri === uri));
    if (lacking.length > 0) {
      const schemes = [...new Set(lacking.map(schemeOf))].sort().join(", ");
      throw fail(
        "invalid_argument",
        `this key store requires that every new key is also wrapped by a KEK which kek does not name (${schemes}): name it beside the others; \`sealpoint policy\` shows what is required, and changes it`,
      );
    }
  }

  /** Before any KEK is used: whose key it is and what it is for, then whether it may be used. */
  check(record: StoredDek, tenant: string, purpose: number): void {
    if (record.tenant !== tenant || record.dekPurpose !== purpose) {
      throw fail("authentication_failed", "the key belongs to another tenant or purpose than the context");
    }
    if (record.state === "destroyed" || record.shreddedAt !== null) {
      this.#cache.evict(record.dekId);
      throw fail("key_destroyed", "the key was destroyed; what it sealed is gone");
    }
    if (record.state === "pending_destroy") {
      this.#cache.evict(record.dekId);
      throw fail("key_disabled", "the key is about to be destroyed and may not be used");
    }
  }

  async #open(record: StoredDek): Promise<Loaded> {
    if (this.#cache.contains(record.dekId)) return undefined;
    return this.#unwrap(record, false, (secret, authentic) => {
      const key = openedKey(secret, record);
      this.#hold(key, { openOnly: !authentic });
      return key;
    });
  }

  /** Unwraps a DEK that is held; in its flight, so that whoever comes meanwhile waits for this unwrap and does none. */
  #refresh(record: StoredDek): Promise<Loaded> {
    return this.#flights.run(flightOf(record.dekId, record.tenant, record.dekPurpose), () => this.#unwrapAgain(record));
  }

  /** Success begins a new TTL. An outage leaves the DEK to the rest of its own; any other answer takes it away at once. */
  async #unwrapAgain(record: StoredDek): Promise<Loaded> {
    let key: DataKey;
    try {
      key = await this.#unwrap(record, true, (secret) => openedKey(secret, record));
    } catch (error) {
      const code = isSealpointError(error) ? error.code : "internal";
      const servesOn = code === "kms_unavailable" || code === "kms_throttled";
      this.#refresher.failed(record.dekId, code, servesOn);
      if (servesOn) return undefined;
      this.#cache.evict(record.dekId);
      throw error;
    }
    this.#cache.evict(record.dekId); // what is held keeps its deadline
    this.#hold(key, {});
    return key;
  }

  #unwrap<T>(record: StoredDek, authenticated: boolean, use: (secret: SecretKey, authentic: boolean) => T): Promise<T> {
    return unwrapped(this.#keks, record, record.wraps, authenticated, use);
  }

  #hold(key: DataKey, as: { active?: boolean; openOnly?: boolean }): void {
    const known = this.#cache.contains(key.dekId);
    this.#cache.insert(key, as);
    if (!known) this.#refresher.loaded(key.dekId, key.tenant);
    if (this.#closed) this.#cache.clear();
    if (this.#destroyed.has(hex(key.dekId))) this.#cache.evict(key.dekId);
  }
}

/** What the record's wraps are bound to (SPEC section 6). */
export function contextOf({ tenant, dekId, dekPurpose, suite }: StoredDek): Context {
  return wrapContext({ tenant, dekId, dekPurpose, suite });
}

/** Uses the bare key from one of these wraps of the record, and wipes it afterwards. Nothing proves yet that it is the record's. */
export async function unwrapped<T>(
  keks: Keks,
  record: StoredDek,
  wraps: readonly WrapRecord[],
  authenticated: boolean,
  use: (secret: SecretKey, authentic: boolean) => T | Promise<T>,
): Promise<T> {
  const { secret, authentic } = await keks.unwrap(wraps, contextOf(record), authenticated);
  try {
    return await use(secret, authentic);
  } finally {
    secret.dispose();
  }
}

/** The key, proved to be the record's (`keyCheck`). */
export function openedKey(secret: SecretKey, { dekId, tenant, dekPurpose, version, suite, keyCheck }: StoredDek): DataKey {
  return DataKey.fromSecret(secret, { dekId, tenant, dekPurpose, version, suite, keyCheck });
}

function flightOf(dekId: Uint8Array, tenant: string, purpose: number): string {
  return JSON.stringify(["dek", Array.from(dekId), tenant, purpose]);
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}
