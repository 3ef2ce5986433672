/** What the jobs share: what they work on, their pages, what ends them and what is only reported. */

import { fail, isSealpointError, type SealpointError } from "../errors.js";
import type { Keks } from "../keyring/keks.js";
import { type Loader, openedKey, unwrapped } from "../keyring/loader.js";
import type { SecretKey } from "../keys.js";
import type { KeyLifecycle } from "../stores/lifecycle.js";
import {
  checkedDek,
  checkedSettings,
  checkedTenant,
  hex,
  NOT_SET_UP,
  POINTER_TTL_S,
  type StoredDek,
  type TenantRecord,
  type WrapRecord,
} from "../stores/records.js";
import { type Failure, frozen, MAX_LISTED } from "./reports.js";

/** Called with how many keys, or tenants, have been looked at. */
export type Progress = (seen: number) => void;

export const PAGE = 500;
/** Seconds by which clocks of the fleet may differ, together with the time that a transaction or a call to a key service takes. */
export const SKEW_S = 300;

export const NAMES = ["", "data", "index", "client", "audit"] as const;
export const SET_BACK =
  "its state is not one that sealpoint leaves: it was set back, or planted. status(tenant) shows the tenant's keys, as `sealpoint status TENANT` of the Python package does";

/** A DEK's row, or one of its wraps', that is not as sealpoint writes it. Listed, so that a job can name it and leave it alone. */
export class DamagedDek {
  constructor(
    /** As they lie there, whatever that is. */
    readonly dekId: unknown,
    readonly tenant: unknown,
  ) {}
}

/** What the verbs work on. The rows that come out are checked. */
export class Keys {
  constructor(
    readonly store: KeyLifecycle,
    readonly keks: Keks,
    readonly loader: Loader,
  ) {}

  /** Microseconds after which nobody in the fleet uses what was retired or replaced before. Throws: `store_invalid`. */
  async wait(): Promise<number> {
    const settings = await this.store.settings();
    if (settings === undefined) throw fail("store_invalid", NOT_SET_UP);
    return (Math.max(checkedSettings(settings).maxTtl, POINTER_TTL_S) + SKEW_S) * 1_000_000;
  }

  /** Uses the bare key, opened through one of these wraps and compared with the record's key check (SPEC section 6.1), and wipes it. */
  prove<T = void>(record: StoredDek, wraps: readonly WrapRecord[], use?: (secret: SecretKey) => T | Promise<T>, authenticated = true): Promise<T | undefined> {
    return unwrapped(this.keks, record, wraps, authenticated, (secret) => {
      openedKey(secret, record).dispose();
      return use?.(secret);
    });
  }

  async dek(dekId: Uint8Array): Promise<StoredDek | undefined> {
    const found = await this.store.dek(dekId);
    return found && checkedDek(found);
  }

  async activeDek(tenant: string, dekPurpose: number): Promise<StoredDek | undefined> {
    const found = await this.store.activeDek(tenant, dekPurpose);
    return found && checkedDek(found);
  }

  async tenant(tenant: string): Promise<TenantRecord | undefined> {
    const found = await this.store.tenant(tenant);
    return found && checkedTenant(found);
  }

  /** All DEKs of these tenants, in order of tenant, purpose and version. */
  async deksOf(tenants: readonly string[]): Promise<(StoredDek | DamagedDek)[]> {
    return (await this.store.deksOf(tenants)).map(dekOrDamaged);
  }

  /** All DEKs of the key store, in pages. */
  async *deks(): AsyncGenerator<(StoredDek | DamagedDek)[]> {
    let after: Uint8Array | undefined;
    for (;;) {
      const page = await this.store.pageDeks(after, PAGE);
      if (page.length === 0) return;
      yield page.map(dekOrDamaged);
      after = page.at(-1)?.dekId;
    }
  }

  /** All tenants of the key store, in pages. Undefined: no row of its own, or a damaged one. */
  async *tenants(): AsyncGenerator<(readonly [string, TenantRecord | undefined])[]> {
    let after: string | undefined;
    for (;;) {
      const page = await this.pageTenants(after, PAGE);
      if (page.length === 0) return;
      yield page;
      after = page.at(-1)?.[0];
    }
  }

  async pageTenants(after: string | undefined, limit: number): Promise<(readonly [string, TenantRecord | undefined])[]> {
    return (await this.store.pageTenants(after, limit)).map(([name, known]) => [name, known && unlessInvalid(() => checkedTenant(known))] as const);
  }
}

/** What was left alone, and why. */
export class Failures {
  count = 0;
  readonly listed: Failure[] = [];

  /** Throws what is no defect of this row: going on would only meet it again, as with an outage or a key service that refuses. Run again later. */
  add(row: StoredDek | DamagedDek | string, error: unknown): void {
    if (!isSealpointError(error) || error.code.startsWith("kms_") || error.code === "store_unavailable" || error.code === "internal") throw error;
    this.count += 1;
    if (this.listed.length === MAX_LISTED) return;
    const [tenant, dekId] = typeof row === "string" ? [row, null] : [row.tenant, shownId(row.dekId)];
    this.listed.push(frozen({ tenant: typeof tenant === "string" ? tenant : null, dekId, code: error.code, message: error.message }));
  }

  damaged(row: DamagedDek): void {
    this.add(row, fail("store_invalid", "its row in the key store is not as sealpoint writes it"));
  }

  /** As reports have them. */
  get report(): { failed: number; failures: readonly Failure[] } {
    return { failed: this.count, failures: this.listed };
  }
}

export function shownId(dekId: unknown): string | null {
  return dekId instanceof Uint8Array ? hex(dekId) : null;
}

function dekOrDamaged(row: StoredDek): StoredDek | DamagedDek {
  return unlessInvalid(() => checkedDek(row)) ?? new DamagedDek(row.dekId, row.tenant);
}

function unlessInvalid<T>(check: () => T): T | undefined {
  try {
    return check();
  } catch (error) {
    if ((error as SealpointError).code === "store_invalid") return undefined;
    throw error;
  }
}
