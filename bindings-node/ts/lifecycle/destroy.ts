/** The end of keys: one retired DEK after its waiting time, or all of a tenant's at once. */

import { fail } from "../errors.js";
import { type DekState, hex, now, type StoredDek } from "../stores/records.js";
import { DamagedDek, Failures, type Keys, type Progress, SET_BACK, SKEW_S } from "./jobs.js";
import { at, frozen, type ReplayReport, type ShredReport, shown, type Tombstone } from "./reports.js";

/** See `Keyring.scheduleDestroy`. */
export async function scheduleDestroy(keys: Keys, dekId: string): Promise<void> {
  const record = await stored(keys, dekId);
  requireState(record, "retired");
  await requireWaited(keys, record);
  await change(keys, record, "pending_destroy");
  keys.loader.evict(record.dekId);
}

/** See `Keyring.cancelDestroy`. */
export async function cancelDestroy(keys: Keys, dekId: string): Promise<void> {
  const record = await stored(keys, dekId);
  requireState(record, "pending_destroy");
  await change(keys, record, "retired");
}

/** See `Keyring.destroy`. */
export async function destroy(keys: Keys, dekId: string, scannedAt: unknown, confirm: unknown): Promise<string> {
  const record = await stored(keys, dekId);
  requireState(record, "pending_destroy");
  requireConfirmed(confirm, dekId, "dekId");
  const since = await requireWaited(keys, record);
  const scanned = isDate(scannedAt) ? microseconds(scannedAt) : Number.NaN;
  if (!(scanned <= now())) throw fail("invalid_argument", "scannedAt is when the scan began: a Date in the past");
  if (scanned < since) {
    throw fail(
      "confirmation_required",
      `that scan began while the key could still seal: scan all data again, and pass when that scan began; not before ${shown(since)}`,
    );
  }
  await change(keys, record, "destroyed");
  keys.loader.forget([record.dekId]);
  return keys.store.scrub();
}

/** See `Keyring.shred`. */
export async function shred(keys: Keys, tenant: string, confirm: unknown, dryRun: boolean): Promise<ShredReport> {
  requireConfirmed(confirm, tenant, "tenant");
  if (dryRun) return frozen({ dryRun, deks: (await keys.deksOf([tenant])).length, unreached: await unreached(keys, ""), tombstones: [] });
  const dekIds = await keys.store.shredTenant(tenant, now());
  keys.loader.forget(dekIds);
  const shreddedAt = (await keys.tenant(tenant))?.shreddedAt ?? null;
  if (shreddedAt === null) throw fail("store_unavailable", "the tenant was readmitted at the same moment: shred it again");
  const left = await unreached(keys, await keys.store.scrub());
  return frozen({ dryRun, deks: dekIds.length, unreached: left, tombstones: [frozen({ tenant, shreddedAt: at(shreddedAt) })] });
}

/** See `Keyring.replayTombstones`. */
export async function replay(keys: Keys, tombstones: readonly Tombstone[], dryRun: boolean, progress: Progress | undefined): Promise<ReplayReport> {
  const failures = new Failures();
  let [shredded, already, seen] = [0, 0, 0];
  for (const { tenant, shreddedAt } of tombstones) {
    const known = await keys.tenant(tenant);
    const rows = await keys.deksOf([tenant]);
    if (known !== undefined && known.shreddedAt !== null && rows.every(isDestroyed)) already += 1;
    else if (rows.some((row) => !(row instanceof DamagedDek) && row.state !== "destroyed" && at(row.createdAt) > shreddedAt)) {
      failures.add(tenant, fail("confirmation_required", "it has keys from after it was shredded: if it was not readmitted, shred it by name"));
    } else {
      shredded += 1;
      if (!dryRun) keys.loader.forget(await keys.store.shredTenant(tenant, microseconds(shreddedAt)));
    }
    seen += 1;
    progress?.(seen);
  }
  const leftBehind = shredded > 0 && !dryRun ? await keys.store.scrub() : "";
  return frozen({ dryRun, shredded, already, unreached: await unreached(keys, leftBehind), ...failures.report });
}

/** See `Keyring.tombstones`. */
export async function tombstones(keys: Keys): Promise<readonly Tombstone[]> {
  const found: Tombstone[] = [];
  for await (const page of keys.tenants()) {
    for (const [tenant, known] of page) {
      if (known !== undefined && known.shreddedAt !== null) found.push(frozen({ tenant, shreddedAt: at(known.shreddedAt) }));
    }
  }
  return Object.freeze(found);
}

/** A `Date` that is one. */
export function isDate(value: unknown): value is Date {
  return value instanceof Date && !Number.isNaN(value.getTime());
}

/** As a key store has it. */
export function microseconds(when: Date): number {
  return when.getTime() * 1000;
}

async function stored(keys: Keys, dekId: string): Promise<StoredDek> {
  if (typeof dekId !== "string" || !/^[0-9a-f]{32}$/.test(dekId)) throw fail("invalid_argument", "a dekId is 32 hex digits, as status shows it");
  const record = await keys.dek(Uint8Array.from(dekId.match(/../g) as string[], (digits) => Number.parseInt(digits, 16)));
  if (record === undefined) throw fail("key_not_found", "the key store holds no key of this dekId");
  if (hex(record.dekId) !== dekId) throw fail("store_invalid", "the key store answered with another key than it was asked for");
  return record;
}

function requireState(record: StoredDek, expected: DekState): void {
  if (record.state === expected) return;
  if (record.state === "destroyed") throw fail("key_destroyed", "the key was destroyed already");
  const remedy = {
    active: "rotate its tenant first, and wait",
    retired: "scheduleDestroy comes first",
    pending_destroy: "it is waiting to be destroyed already",
  }[record.state];
  throw fail("invalid_argument", `the key is ${record.state}: ${remedy}`);
}

/** Since when nobody in the fleet seals under the DEK, in microseconds. */
async function requireWaited(keys: Keys, { retiredAt }: StoredDek): Promise<number> {
  if (retiredAt === null || retiredAt === undefined) throw fail("store_invalid", `it is retired but not since when: ${SET_BACK}`);
  const since = retiredAt + (await keys.wait());
  if (since <= now()) return since;
  throw fail(
    "invalid_argument",
    `others may still use the key: it must have been retired for the fleet's largest cacheTtl and ${SKEW_S} seconds; not before ${shown(since)}`,
  );
}

function requireConfirmed(confirm: unknown, name: string, what: string): void {
  if (confirm !== name) throw fail("confirmation_required", `this cannot be undone: pass the ${what} once more as confirm`);
}

async function change(keys: Keys, record: StoredDek, state: DekState): Promise<void> {
  if (await keys.store.setState(record.dekId, record.state, state)) return;
  throw fail("store_unavailable", "the key was changed by another process at the same moment: look at it, and try again");
}

function isDestroyed(row: StoredDek | DamagedDek): boolean {
  return !(row instanceof DamagedDek) && row.state === "destroyed";
}

async function unreached(keys: Keys, leftBehind: string): Promise<string[]> {
  const hours = (await keys.wait()) / 3_600_000_000;
  return [
    ...(leftBehind === "" ? [] : [leftBehind]),
    `other processes: keys that they have opened serve for up to ${hours.toFixed(1)} hours, or until they restart`,
    "backups, replicas and archived logs of the key store: wraps in them open with the KEK until they expire. Destroying a KEK that wraps this tenant's keys alone reaches them at once; after a restore, replay the tombstones",
    "what was exported (exportDataKey), and plaintext outside of sealpoint",
  ];
}
