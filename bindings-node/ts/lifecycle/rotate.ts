/** A new DEK becomes active, the old one is retired: for one tenant, or for all whose DEK is due. */

import { fail } from "../errors.js";
import { type DekPurpose, purposeNumber } from "../keyring/purposes.js";
import { checkedDek, hex, NO_ACTIVE_DEK, type StoredDek } from "../stores/records.js";
import { DamagedDek, Failures, type Keys, type Progress, SET_BACK } from "./jobs.js";
import { at, frozen, type Rotation, type RotationReport } from "./reports.js";

/** See `Keyring.rotate`. */
export async function rotate(keys: Keys, tenant: string, dekPurpose: DekPurpose, dryRun: boolean): Promise<Rotation> {
  const purpose = purposeNumber(dekPurpose);
  const old = await keys.activeDek(tenant, purpose);
  if (old === undefined) {
    if (((await keys.tenant(tenant))?.shreddedAt ?? null) !== null) throw fail("key_destroyed", "this tenant was shredded");
    throw fail("key_not_found", NO_ACTIVE_DEK);
  }
  keys.loader.check(old, tenant, purpose);
  const version = await keys.store.nextVersion(tenant, purpose);
  if (version !== old.version + 1) {
    const winner = await keys.activeDek(tenant, purpose);
    if (winner === undefined || hex(winner.dekId) === hex(old.dekId)) throw fail("store_invalid", `the active key is not its tenant's newest: ${SET_BACK}`);
    return lost(keys, old, winner, dekPurpose);
  }
  await keys.prove(old, old.wraps);
  const retired = hex(old.dekId);
  if (dryRun) return frozen({ tenant, dekPurpose, dekId: retired, version: old.version, retired, rotated: false });
  const { record, key } = await keys.loader.make(tenant, purpose, version);
  try {
    const active = checkedDek(await keys.store.replaceActive(old.dekId, record));
    if (hex(active.dekId) !== hex(record.dekId)) return await lost(keys, old, active, dekPurpose);
    await keys.loader.succeed(old.dekId, active, key);
    return frozen({ tenant, dekPurpose, dekId: hex(record.dekId), version, retired, rotated: true });
  } finally {
    key.dispose();
  }
}

/** See `Keyring.rotateAll`. `madeBefore`: microseconds. */
export async function rotateAll(
  keys: Keys,
  dekPurpose: DekPurpose,
  madeBefore: number,
  dryRun: boolean,
  progress: Progress | undefined,
): Promise<RotationReport> {
  const purpose = purposeNumber(dekPurpose);
  const failures = new Failures();
  let [tenants, rotated] = [0, 0];
  for await (const page of keys.tenants()) {
    for (const row of await keys.deksOf(page.map(([name]) => name))) {
      if (row instanceof DamagedDek) {
        failures.damaged(row);
        continue;
      }
      if (row.dekPurpose !== purpose || row.state !== "active" || row.createdAt >= madeBefore) continue;
      try {
        const done = await rotate(keys, row.tenant, dekPurpose, dryRun);
        rotated += Number(done.rotated || dryRun);
      } catch (error) {
        failures.add(row, error);
      }
    }
    tenants += page.length;
    progress?.(tenants);
  }
  return frozen({ dryRun, madeBefore: at(madeBefore), tenants, rotated, ...failures.report });
}

async function lost(keys: Keys, old: StoredDek, winner: StoredDek, dekPurpose: DekPurpose): Promise<Rotation> {
  await keys.loader.succeed(old.dekId, winner);
  return frozen({ tenant: winner.tenant, dekPurpose, dekId: hex(winner.dekId), version: winner.version, retired: hex(old.dekId), rotated: false });
}
