/** The keyring's methods for the life of keys. What they do is in the modules beside this one. */

import { flag, integer, options, text } from "../check.js";
import { Context } from "../context.js";
import { fail } from "../errors.js";
import { Closable } from "../hide.js";
import type { DekPurpose } from "../keyring/purposes.js";
import { now } from "../stores/records.js";
import { cancelDestroy, destroy, isDate, microseconds, replay, scheduleDestroy, shred, tombstones } from "./destroy.js";
import type { Keys, Progress } from "./jobs.js";
import type { DropReport, ReplayReport, RewrapReport, Rotation, RotationReport, ShredReport, StoredTombstone, TenantStatus, Tombstone } from "./reports.js";
import { dropWraps, rewrap } from "./rewrap.js";
import { rotate, rotateAll } from "./rotate.js";
import { DAY_US, status } from "./status.js";

const POLICY_DAYS = 90;
const MAX_PAGE = 1000;

/** What every job takes. */
export interface JobOptions {
  /** Looks, and changes nothing; false by default. */
  dryRun?: boolean;
  /** Called with how many keys, or tenants, have been looked at. */
  progress?: Progress;
}

/**
 * The half of `Keyring` that changes keys instead of using them.
 *
 * Every method throws, beside what it says: `invalid_argument` (closed; a key store that lacks `KeyLifecycle`; an argument that is none), `store_*`. Those that meet a KEK: `kms_*`. An
 * outage ends a job; run it again, and it goes on. What is wrong with one key does not: the report names it, and the key is left alone.
 */
export abstract class Lifecycle extends Closable {
  /** @internal What the verbs work on, of an open keyring. */
  protected abstract _keys(): Keys;

  /**
   * Makes a new active DEK, wrapped by every configured KEK, and retires the old one, in one transaction.
   *
   * The old one opens what it sealed, for as long as it is not destroyed. This process seals under the new one at once; others go on under the old one for up to 60 seconds, until they
   * read the key store again. Nothing is lost by that. Of two rotations at the same moment one wins, and the other returns the winner's DEK. DEKs of other purposes stay: an index
   * survives a rotation of data.
   *
   * Throws: `key_not_found` (no active DEK), `key_destroyed` (shredded), `authentication_failed`, `store_invalid` (the old one does not open, or is not the newest: somebody changed the
   * key store).
   */
  async rotate(tenant: string, given?: { dekPurpose?: DekPurpose; dryRun?: boolean }): Promise<Rotation> {
    const { dekPurpose = "data", dryRun = false } = options(given, ["dekPurpose", "dryRun"]);
    return rotate(this._keys(), tenantOf(tenant), dekPurpose, flag(dryRun, "dryRun"));
  }

  /**
   * Rotates for every tenant whose active DEK was made before this moment (now, unless given). See `rotate`.
   *
   * `madeBefore: new Date(Date.now() - 90 * 86_400_000)` rotates what a policy of 90 days says is due. A job that was interrupted goes on when it is given the same moment again: what it
   * has rotated is newer.
   */
  async rotateAll(given?: JobOptions & { dekPurpose?: DekPurpose; madeBefore?: Date }): Promise<RotationReport> {
    const { dekPurpose = "data", madeBefore, ...job } = options(given, ["dekPurpose", "madeBefore", "dryRun", "progress"]);
    if (madeBefore !== undefined && !isDate(madeBefore)) throw fail("invalid_argument", "madeBefore is a Date");
    return rotateAll(this._keys(), dekPurpose, madeBefore === undefined ? now() : microseconds(madeBefore), ...jobOf(job));
  }

  /**
   * Gives every DEK that is not destroyed a wrap under the KEK `toUri`, or, where both are the same, under its current version.
   *
   * No payload is touched and no wrap under another KEK removed (`dropWraps`). Both KEKs are named in `kek`. A DEK is opened through `fromUri`, or where it has no wrap under that, through
   * another configured KEK; it is compared with its key check, and each new wrap is opened and compared before it is stored. The new KEK's canary is made first. Passes over all DEKs
   * follow until one finds nothing to do; the last has opened every new wrap once more. Configure both KEKs in the whole fleet first: DEKs that others make with the old one alone, after
   * the last pass, have no wrap under the new one.
   *
   * Killed and run again it goes on. `dryRun`: one pass that opens what it would wrap, and stores nothing.
   */
  async rewrap(fromUri: string, toUri: string, given?: JobOptions): Promise<RewrapReport> {
    return rewrap(this._keys(), text(fromUri, "fromUri"), text(toUri, "toUri"), ...jobOf(given));
  }

  /**
   * Removes the wraps under a KEK that `kek` does not name any more.
   *
   * Refused (`invalid_argument`, nothing is removed) until every DEK that has one also has a verified wrap under a configured KEK that authenticates, as old as the fleet's largest
   * `cacheTtl` and 5 minutes. That wrap is opened once more before the old one goes.
   */
  async dropWraps(fromUri: string, given?: JobOptions): Promise<DropReport> {
    return dropWraps(this._keys(), text(fromUri, "fromUri"), ...jobOf(given));
  }

  /**
   * `retired` to `pending_destroy`: what the DEK sealed does not open any more (`key_disabled`), elsewhere within the caches' TTL.
   *
   * `dekId`: in hex. Refused (`invalid_argument`) until it has been retired for the fleet's largest `cacheTtl` and 5 minutes.
   */
  async scheduleDestroy(dekId: string): Promise<void> {
    await scheduleDestroy(this._keys(), dekId);
  }

  /** `pending_destroy` back to `retired`: it opens again. */
  async cancelDestroy(dekId: string): Promise<void> {
    await cancelDestroy(this._keys(), dekId);
  }

  /**
   * `pending_destroy` to `destroyed`: the wraps are gone, and so is everything that the DEK sealed.
   *
   * `scannedAt`: when a scan began that found nothing under this DEK in any database; refused (`confirmation_required`) if others may have sealed under it after that. `confirm`: the dekId
   * once more. Returns where copies of the wraps may still lie in the key store's own files; for what else may be left see `ShredReport.unreached`.
   */
  async destroy(dekId: string, given: { scannedAt: Date; confirm: string }): Promise<string> {
    const { scannedAt, confirm } = options(given, ["scannedAt", "confirm"]);
    return destroy(this._keys(), dekId, scannedAt, confirm);
  }

  /**
   * Erases a tenant: in one transaction its tombstone is set, all its DEKs of every purpose are destroyed, and their wraps deleted.
   *
   * At once and without a waiting time. This process forgets the opened DEKs now, others within the caches' TTL. Until `readmit` no DEK is made for the tenant. The report says what could
   * not be reached: keep it, to replay it after a restore. A tenant that the key store does not know gets its tombstone all the same. Run again it finishes what was interrupted.
   *
   * `confirm`: the tenant once more, or `confirmation_required`.
   */
  async shred(tenant: string, given?: { confirm?: string; dryRun?: boolean }): Promise<ShredReport> {
    const { confirm, dryRun = false } = options(given, ["confirm", "dryRun"]);
    return shred(this._keys(), tenantOf(tenant), confirm, flag(dryRun, "dryRun"));
  }

  /** All tombstones: what to keep outside of the key store's backups. */
  async tombstones(): Promise<readonly Tombstone[]> {
    return tombstones(this._keys());
  }

  /**
   * Shreds these tenants again, after the key store was restored from a backup. A tenant with DEKs from after its tombstone was readmitted: it is reported, and left alone.
   *
   * They may come straight from `JSON.parse` of a file: a report of `shred`, or an export, of this package or the Python package.
   */
  async replayTombstones(tombstones: Iterable<Tombstone | StoredTombstone>, given?: JobOptions): Promise<ReplayReport> {
    const listed = typeof tombstones === "object" && tombstones !== null && Symbol.iterator in tombstones ? [...tombstones] : undefined;
    if (listed === undefined) throw fail("invalid_argument", "tombstones are given as an array");
    return replay(this._keys(), listed.map(tombstoneOf), ...jobOf(given));
  }

  /** Takes a tenant's tombstone away, so that sealing makes it a new DEK. What was shredded stays so. Whether there was one. */
  async readmit(tenant: string): Promise<boolean> {
    return this._keys().store.readmitTenant(tenantOf(tenant));
  }

  /**
   * What keys a tenant has, or each tenant, and what is due when active DEKs may be no older than `policyDays` (90). Opens nothing.
   *
   * Without a tenant, a page: at most `limit` tenants (100; up to 1,000), bytewise after `after` (the last one of the page before). Throws: `key_not_found` (the key store does not know the
   * tenant).
   */
  async status(tenant?: string, given?: { policyDays?: number; after?: string; limit?: number }): Promise<readonly TenantStatus[]> {
    const { policyDays = POLICY_DAYS, after, limit = 100 } = options(given, ["policyDays", "after", "limit"]);
    if (typeof policyDays !== "number" || !(policyDays > 0 && policyDays < 1e6)) {
      throw fail("invalid_argument", "policyDays is a number of days of more than nothing: the age at which a key is due");
    }
    const [one, last] = [tenant, after].map((name) => (name === undefined ? undefined : tenantOf(name)));
    return status(this._keys(), one, policyDays * DAY_US, last, integer(limit, "limit", 1, MAX_PAGE));
  }
}

/** What a context would refuse never reaches the key store. */
function tenantOf(tenant: unknown): string {
  return new Context({ tenant: tenant as string, purpose: "load" }).tenant;
}

function jobOf(given: JobOptions | undefined): [dryRun: boolean, progress: Progress | undefined] {
  const { dryRun = false, progress } = options(given, ["dryRun", "progress"]);
  if (progress !== undefined && typeof progress !== "function") throw fail("invalid_argument", "progress is a function of how many have been looked at");
  return [flag(dryRun, "dryRun"), progress];
}

function tombstoneOf(given: unknown): Tombstone {
  const { tenant, shreddedAt, shredded_at } = (given ?? {}) as Record<string, unknown>;
  const when = shreddedAt ?? shredded_at;
  const date = typeof when === "string" && /T.*(Z|[+-]\d\d:\d\d)$/.test(when) ? new Date(when) : when;
  if (typeof tenant !== "string" || !isDate(date)) {
    throw fail("invalid_argument", "a tombstone has a tenant, and shreddedAt: a Date, or ISO 8601 with a time zone");
  }
  return { tenant: tenantOf(tenant), shreddedAt: date };
}
