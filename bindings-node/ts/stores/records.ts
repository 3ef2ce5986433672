/**
 * Key stores: where tenants, DEKs, their wraps and the canaries lie. Nothing in a key store is secret, and nothing in it is trusted.
 *
 * The tables are those of the Python package (`sealpoint/stores/__init__.py` spells them out; prefix `sealpoint_`, schema version 2), and both use them at the same time.
 * Times are integers: microseconds since 1970-01-01 UTC.
 */

import { isWellFormed } from "../check.js";
import { fail } from "../errors.js";
import type { DekRecord } from "../keys.js";

export const SCHEMA_VERSION = 2;
/** For how long after a rotation others may go on sealing under the DEK that was active before. */
export const POINTER_TTL_S = 60;
export const NOT_SET_UP = "the key store has no sealpoint tables yet: run setup() once, on the keyring or on the saver that uses it";
export const NO_ACTIVE_DEK = "this tenant has no active key of this purpose: load(tenant) makes its first one";

const DEK_STATES = ["active", "retired", "pending_destroy", "destroyed"] as const;

export type DekState = (typeof DEK_STATES)[number];

/** A DEK under one KEK. */
export interface WrapRecord {
  readonly kekUri: string;
  readonly kekVersion: string;
  readonly wrapAlg: string;
  /** 1 to 65,536 bytes. */
  readonly wrapped: Uint8Array;
  /** Microseconds since 1970-01-01 UTC. */
  readonly createdAt: number;
  /** When this wrap was last opened and compared; null: never. */
  readonly verifiedAt: number | null;
}

/** A DEK with its wraps. */
export interface StoredDek extends DekRecord {
  readonly state: DekState;
  /** 32 bytes (SPEC section 2). */
  readonly keyCheck: Uint8Array;
  /** Microseconds since 1970-01-01 UTC. */
  readonly createdAt: number;
  readonly wraps: readonly WrapRecord[];
  /** The tenant's tombstone; null: it has none. */
  readonly shreddedAt: number | null;
  /** When another DEK became the active one. */
  readonly retiredAt?: number | null;
  readonly destroyedAt?: number | null;
}

/** A tenant that has, or had, DEKs. Microseconds since 1970-01-01 UTC. */
export interface TenantRecord {
  readonly createdAt: number;
  readonly shreddedAt: number | null;
}

/** What all who use a key store share. */
export interface StoreSettings {
  readonly schemaVersion: number;
  /** Seconds. Nobody caches a DEK for longer, so a destroyed one is gone everywhere after this time. */
  readonly maxTtl: number;
  /** URIs of KEKs: no DEK is made without a wrap under each. Absent: none is required. */
  readonly requiredKeks?: readonly string[];
}

/**
 * Calls overlap. What they return is checked by the keyring: a field of another type or size is `store_invalid`.
 *
 * Errors: `store_unavailable` and `store_invalid`, the latter naming setup() if the tables are missing.
 */
export interface KeyStore {
  /** Creates what is missing and migrates what is old, atomically; settings that are there stay. `maxTtl`: seconds. */
  setup(maxTtl: number): Promise<void>;
  /** Undefined: no sealpoint tables at all. */
  settings(): Promise<StoreSettings | undefined>;
  /** Wrapped canaries by kekUri. */
  canaries(): Promise<ReadonlyMap<string, Uint8Array>>;
  /** Leaves one that is there as it is. */
  addCanary(kekUri: string, wrapped: Uint8Array): Promise<void>;
  tenant(tenant: string): Promise<TenantRecord | undefined>;
  dek(dekId: Uint8Array): Promise<StoredDek | undefined>;
  activeDek(tenant: string, dekPurpose: number): Promise<StoredDek | undefined>;
  /** One more than the highest version there ever was. */
  nextVersion(tenant: string, dekPurpose: number): Promise<number>;
  /**
   * Registers the tenant if need be and stores the record as its active DEK, atomically, unless there is an active one already. Returns the active one: the record given, or the
   * winner's. Throws: `key_destroyed` (a tombstoned tenant).
   */
  createDek(record: StoredDek): Promise<StoredDek>;
  /** Closes what was opened here; called where the keyring made the store itself. */
  close?(): Promise<void>;
}

/** What is needed of a `pg.Pool`, as far as types go: this package's declarations name no other package. */
export interface PostgresPool {
  connect(): Promise<unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: that of pg has many forms, none of which is called here
  query(...statement: any[]): unknown;
  readonly totalCount: number;
  readonly idleCount: number;
}

/** Microseconds since 1970-01-01 UTC. */
export function now(): number {
  return Date.now() * 1000;
}

/** How a dekId is shown, and compared. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Throws: `store_invalid` (unreadable, or a newer schema than this release knows). */
export function checkedSettings(settings: StoreSettings): StoreSettings {
  demand(isWhole(settings.schemaVersion, 1) && isWhole(settings.maxTtl, 1));
  const { requiredKeks = [] } = settings;
  demand(Array.isArray(requiredKeks) && requiredKeks.every((uri) => isText(uri) && uri !== ""));
  if (settings.schemaVersion > SCHEMA_VERSION) {
    throw fail("store_invalid", `the key store has schema version ${settings.schemaVersion}, this release knows ${SCHEMA_VERSION}: upgrade sealpoint`);
  }
  return settings;
}

/** Throws: `store_invalid` (a field of another type or size). */
export function checkedTenant(tenant: TenantRecord): TenantRecord {
  demand(isTime(tenant.createdAt) && isTimeOrNull(tenant.shreddedAt));
  return tenant;
}

/** Throws: `store_invalid` (a field of another type or size). */
export function checkedDek(dek: StoredDek): StoredDek {
  demand(isBytes(dek.dekId, 16, 16) && isBytes(dek.keyCheck, 32, 32));
  demand(isText(dek.tenant) && dek.tenant !== "");
  demand(isWhole(dek.dekPurpose, 1, 4) && isWhole(dek.suite, 1, 255) && isWhole(dek.version, 1, 2 ** 32 - 1));
  demand(DEK_STATES.includes(dek.state));
  demand(isTime(dek.createdAt) && isTimeOrNull(dek.shreddedAt));
  demand(isTimeOrNull(dek.retiredAt ?? null) && isTimeOrNull(dek.destroyedAt ?? null));
  demand(Array.isArray(dek.wraps));
  for (const wrap of dek.wraps) {
    demand(isText(wrap.kekUri) && isText(wrap.kekVersion) && isText(wrap.wrapAlg));
    demand(isBytes(wrap.wrapped, 1, 65_536));
    demand(isTime(wrap.createdAt) && isTimeOrNull(wrap.verifiedAt));
  }
  return dek;
}

/** Throws: `store_invalid` (anything but bytes). */
export function checkedCanary(wrapped: unknown): Uint8Array {
  if (!isBytes(wrapped, 1, 65_536)) throw fail("store_invalid", "a canary of the key store is not as sealpoint writes it");
  return wrapped;
}

/** The settings from their row, by the names of the columns; one of schema version 1 has no `required_keks`. As far as rows go: the keyring checks them. */
export function settingsFromRow({ schema_version, max_ttl, required_keks = "" }: Record<string, unknown>): StoreSettings {
  const requiredKeks = required_keks === "" || typeof required_keks !== "string" ? required_keks : required_keks.split("\n");
  return { schemaVersion: schema_version, maxTtl: max_ttl, requiredKeks: requiredKeks === "" ? [] : requiredKeks } as StoreSettings;
}

function demand(holds: boolean): void {
  if (!holds) throw fail("store_invalid", "a row of the key store is not as sealpoint writes it: it was changed, or written by something else");
}

function isBytes(value: unknown, min: number, max: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length >= min && value.length <= max;
}

function isText(value: unknown): boolean {
  return typeof value === "string" && isWellFormed(value);
}

function isWhole(value: unknown, min: number, max = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
}

function isTime(value: unknown): boolean {
  return isWhole(value, Number.MIN_SAFE_INTEGER);
}

function isTimeOrNull(value: unknown): boolean {
  return value === null || isTime(value);
}
