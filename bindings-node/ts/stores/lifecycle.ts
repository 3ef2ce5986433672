/** What a key store needs beyond loading keys, so that they can be rotated, rewrapped, listed and destroyed. */

import type { DekState, KeyStore, StoredDek, TenantRecord, WrapRecord } from "./records.js";

/** A wrap to be stored: beside the others (`replaces` is null), or in place of the one with these bytes under the same KEK. */
export interface WrapChange {
  readonly dekId: Uint8Array;
  readonly wrap: WrapRecord;
  readonly replaces: Uint8Array | null;
}

/** A wrap to be removed, and the one that the DEK keeps. */
export interface WrapDrop {
  readonly dekId: Uint8Array;
  readonly dropped: WrapRecord;
  readonly kept: WrapRecord;
}

/**
 * Each call is one transaction, and changes nothing more when it is repeated. A change names what it expects to find: where something else is found, it is not made. No wrap is ever
 * added to a destroyed DEK. A row that is not as sealpoint writes it is listed as it lies there; the keyring reports it.
 */
export interface KeyLifecycle extends KeyStore {
  /** Tenants in bytewise order, also those that only a DEK names (undefined, or fields that are null: no row of its own). `after`: the last one of the page before. */
  pageTenants(after: string | undefined, limit: number): Promise<readonly (readonly [string, TenantRecord | undefined])[]>;
  /** DEKs in order of dekId; `after` is the last one's of the page before. */
  pageDeks(after: Uint8Array | undefined, limit: number): Promise<readonly StoredDek[]>;
  /** All DEKs of these tenants, in order of tenant, purpose and version. */
  deksOf(tenants: readonly string[]): Promise<readonly StoredDek[]>;
  /**
   * Retires this DEK and stores its successor, if it is the active one of the successor's tenant and purpose. Returns the active one: the successor, or the winner's.
   *
   * Throws: `key_destroyed` (a tombstoned tenant), `key_not_found` (there is no active one).
   */
  replaceActive(retired: Uint8Array, successor: StoredDek): Promise<StoredDek>;
  /** How many were made. */
  putWraps(changes: readonly WrapChange[]): Promise<number>;
  /** How many were made: those where both wraps are as given. */
  dropWraps(drops: readonly WrapDrop[]): Promise<number>;
  /** Whether it was in the expected state. Destroying removes its wraps. */
  setState(dekId: Uint8Array, expected: DekState, state: DekState): Promise<boolean>;
  /** Sets the tombstone (one that is there stays) and destroys all DEKs of the tenant, whom it need not know. Returns their ids. `at`: microseconds. */
  shredTenant(tenant: string, at: number): Promise<readonly Uint8Array[]>;
  /** Takes the tombstone away; destroyed DEKs stay destroyed. Whether there was one. */
  readmitTenant(tenant: string): Promise<boolean>;
  /** Removes from the store's own files what deleted wraps left there. Returns where copies may still lie; empty: nowhere in them. */
  scrub(): Promise<string>;
}

const METHODS = [
  ...["pageTenants", "pageDeks", "deksOf", "replaceActive", "putWraps"],
  ...["dropWraps", "setState", "shredTenant", "readmitTenant", "scrub"],
] as (keyof KeyLifecycle)[];

/** Whether a key store can change keys, not only load them. */
export function isLifecycle(store: KeyStore): store is KeyLifecycle {
  return METHODS.every((name) => typeof (store as Partial<KeyLifecycle>)[name] === "function");
}
