/** A key store that nothing keeps: tests, scripts, pages. */

import { fail } from "../errors.js";
import type { KeyLifecycle, WrapChange, WrapDrop } from "./lifecycle.js";
import { type DekState, hex, NO_ACTIVE_DEK, NOT_SET_UP, now, SCHEMA_VERSION, type StoredDek, type StoreSettings, type TenantRecord } from "./records.js";

/** `memory:`. Needs no setup() before use: connecting does it. */
export class MemoryStore implements KeyLifecycle {
  #settings: StoreSettings | undefined;
  readonly #canaries = new Map<string, Uint8Array>();
  readonly #tenants = new Map<string, TenantRecord>();
  /** By dekId in hex. */
  readonly #deks = new Map<string, StoredDek>();

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
    const found = this.#deks.get(hex(dekId));
    return found && this.#withTombstone(found);
  }

  async activeDek(tenant: string, dekPurpose: number): Promise<StoredDek | undefined> {
    this.#requireSetup();
    return this.#active(tenant, dekPurpose);
  }

  async nextVersion(tenant: string, dekPurpose: number): Promise<number> {
    this.#requireSetup();
    return 1 + this.#of([tenant]).reduce((most, dek) => (dek.dekPurpose === dekPurpose ? Math.max(most, dek.version) : most), 0);
  }

  async createDek(record: StoredDek): Promise<StoredDek> {
    this.#admit(record.tenant);
    const winner = this.#active(record.tenant, record.dekPurpose);
    if (winner !== undefined) return winner;
    this.#put(record);
    return record;
  }

  async pageTenants(after: string | undefined, limit: number): Promise<[string, TenantRecord | undefined][]> {
    this.#requireSetup();
    const names = new Set([...this.#tenants.keys(), ...Array.from(this.#deks.values(), ({ tenant }) => tenant)]);
    const page = [...names].filter((name) => after === undefined || bytewise(name, after) > 0).sort(bytewise);
    return page.slice(0, limit).map((name) => [name, this.#tenants.get(name)]);
  }

  async pageDeks(after: Uint8Array | undefined, limit: number): Promise<StoredDek[]> {
    this.#requireSetup();
    const page = [...this.#deks.keys()].filter((dekId) => after === undefined || dekId > hex(after)).sort();
    return page.slice(0, limit).map((dekId) => this.#withTombstone(this.#deks.get(dekId) as StoredDek));
  }

  async deksOf(tenants: readonly string[]): Promise<StoredDek[]> {
    this.#requireSetup();
    return this.#of(tenants).sort((a, b) => bytewise(a.tenant, b.tenant) || a.dekPurpose - b.dekPurpose || a.version - b.version);
  }

  async replaceActive(retired: Uint8Array, successor: StoredDek): Promise<StoredDek> {
    this.#admit(successor.tenant);
    const active = this.#active(successor.tenant, successor.dekPurpose);
    if (active === undefined) throw fail("key_not_found", NO_ACTIVE_DEK);
    if (hex(active.dekId) !== hex(retired)) return active;
    this.#put({ ...active, state: "retired", retiredAt: now() });
    this.#put(successor);
    return successor;
  }

  async putWraps(changes: readonly WrapChange[]): Promise<number> {
    this.#requireSetup();
    return changes.filter((change) => this.#putWrap(change)).length;
  }

  async dropWraps(drops: readonly WrapDrop[]): Promise<number> {
    this.#requireSetup();
    return drops.filter((drop) => this.#dropWrap(drop)).length;
  }

  async setState(dekId: Uint8Array, expected: DekState, state: DekState): Promise<boolean> {
    this.#requireSetup();
    const found = this.#deks.get(hex(dekId));
    if (found?.state !== expected) return false;
    this.#put(state === "destroyed" ? destroyed(found, now()) : { ...found, state });
    return true;
  }

  async shredTenant(tenant: string, at: number): Promise<Uint8Array[]> {
    this.#requireSetup();
    const known = this.#tenants.get(tenant) ?? { createdAt: at, shreddedAt: null };
    this.#tenants.set(tenant, { ...known, shreddedAt: known.shreddedAt ?? at });
    const theirs = this.#of([tenant]);
    for (const dek of theirs) if (dek.state !== "destroyed") this.#put(destroyed(dek, at));
    return theirs.map(({ dekId }) => dekId);
  }

  async readmitTenant(tenant: string): Promise<boolean> {
    this.#requireSetup();
    const known = this.#tenants.get(tenant);
    if (known === undefined || known.shreddedAt === null) return false;
    this.#tenants.set(tenant, { ...known, shreddedAt: null });
    return true;
  }

  async scrub(): Promise<string> {
    return "";
  }

  #putWrap({ dekId, wrap, replaces }: WrapChange): boolean {
    const found = this.#deks.get(hex(dekId));
    if (found === undefined || found.state === "destroyed") return false;
    const old = found.wraps.find(({ kekUri }) => kekUri === wrap.kekUri);
    if ((old && hex(old.wrapped)) !== (replaces ? hex(replaces) : undefined)) return false;
    this.#put({ ...found, wraps: [...without(found, wrap.kekUri), wrap] });
    return true;
  }

  #dropWrap({ dekId, dropped, kept }: WrapDrop): boolean {
    const found = this.#deks.get(hex(dekId));
    const there = (one: typeof kept) => found?.wraps.some(({ kekUri, wrapped }) => kekUri === one.kekUri && hex(wrapped) === hex(one.wrapped));
    if (found === undefined || !there(dropped) || !there(kept)) return false;
    this.#put({ ...found, wraps: without(found, dropped.kekUri) });
    return true;
  }

  #put(dek: StoredDek): void {
    this.#deks.set(hex(dek.dekId), dek);
  }

  #active(tenant: string, dekPurpose: number): StoredDek | undefined {
    return this.#of([tenant]).find((dek) => dek.dekPurpose === dekPurpose && dek.state === "active");
  }

  #of(tenants: readonly string[]): StoredDek[] {
    const wanted = new Set(tenants);
    return [...this.#deks.values()].filter((dek) => wanted.has(dek.tenant)).map((dek) => this.#withTombstone(dek));
  }

  #withTombstone(dek: StoredDek): StoredDek {
    return { ...dek, shreddedAt: this.#tenants.get(dek.tenant)?.shreddedAt ?? null };
  }

  #admit(tenant: string): void {
    this.#requireSetup();
    const known = this.#tenants.get(tenant);
    if (known === undefined) this.#tenants.set(tenant, { createdAt: now(), shreddedAt: null });
    else if (known.shreddedAt !== null) throw fail("key_destroyed", "this tenant was shredded");
  }

  #requireSetup(): void {
    if (this.#settings === undefined) throw fail("store_invalid", NOT_SET_UP);
  }
}

/** As databases compare text of SQLite's BINARY or Postgres' "C" collation: by code points, which UTF-16 units do not follow. */
function bytewise(left: string, right: string): number {
  const [a, b] = [left, right].map((text) => hex(new TextEncoder().encode(text))) as [string, string];
  return a < b ? -1 : Number(a > b);
}

function without(dek: StoredDek, kekUri: string): StoredDek["wraps"] {
  return dek.wraps.filter((wrap) => wrap.kekUri !== kekUri);
}

function destroyed(dek: StoredDek, at: number): StoredDek {
  return { ...dek, state: "destroyed", destroyedAt: at, wraps: [] };
}
