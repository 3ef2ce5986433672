/** A key store that nothing keeps: tests, scripts, pages. */

import { fail } from "../errors.js";
import { type KeyStore, NOT_SET_UP, now, SCHEMA_VERSION, type StoredDek, type StoreSettings, type TenantRecord } from "./records.js";

/** `memory:`. Needs no setup() before use: connecting does it. */
export class MemoryStore implements KeyStore {
  #settings: StoreSettings | undefined;
  readonly #canaries = new Map<string, Uint8Array>();
  readonly #tenants = new Map<string, TenantRecord>();
  #deks: readonly StoredDek[] = [];

  async setup(maxTtl: number): Promise<void> {
    this.#settings ??= { schemaVersion: SCHEMA_VERSION, maxTtl };
  }

  async settings(): Promise<StoreSettings | undefined> {
    return this.#settings;
  }

  async canaries(): Promise<ReadonlyMap<string, Uint8Array>> {
    this.#requireSetup();
    return new Map(this.#canaries);
  }

  async addCanary(kekUri: string, wrapped: Uint8Array): Promise<void> {
    this.#requireSetup();
    if (!this.#canaries.has(kekUri)) this.#canaries.set(kekUri, wrapped);
  }

  async tenant(tenant: string): Promise<TenantRecord | undefined> {
    this.#requireSetup();
    return this.#tenants.get(tenant);
  }

  async dek(dekId: Uint8Array): Promise<StoredDek | undefined> {
    this.#requireSetup();
    return this.#deks.find((dek) => dek.dekId.length === dekId.length && dek.dekId.every((byte, i) => byte === dekId[i]));
  }

  async activeDek(tenant: string, dekPurpose: number): Promise<StoredDek | undefined> {
    this.#requireSetup();
    return this.#of(tenant, dekPurpose).find((dek) => dek.state === "active");
  }

  async nextVersion(tenant: string, dekPurpose: number): Promise<number> {
    this.#requireSetup();
    return 1 + Math.max(0, ...this.#of(tenant, dekPurpose).map((dek) => dek.version));
  }

  async createDek(record: StoredDek): Promise<StoredDek> {
    this.#requireSetup();
    const tenant = this.#tenants.get(record.tenant) ?? { createdAt: now(), shreddedAt: null };
    if (tenant.shreddedAt !== null) throw fail("key_destroyed", "this tenant was shredded");
    const winner = this.#of(record.tenant, record.dekPurpose).find((dek) => dek.state === "active");
    if (winner !== undefined) return winner;
    this.#tenants.set(record.tenant, tenant);
    this.#deks = [...this.#deks, record];
    return record;
  }

  #of(tenant: string, dekPurpose: number): StoredDek[] {
    return this.#deks.filter((dek) => dek.tenant === tenant && dek.dekPurpose === dekPurpose);
  }

  #requireSetup(): void {
    if (this.#settings === undefined) throw fail("store_invalid", NOT_SET_UP);
  }
}
