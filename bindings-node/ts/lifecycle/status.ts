/** What keys there are, and what is due. Nothing is opened. */

import { fail } from "../errors.js";
import { isOpenOnly, type Keks } from "../keyring/keks.js";
import { checkedSettings, hex, now, type StoredDek, type TenantRecord } from "../stores/records.js";
import { DamagedDek, type Keys, NAMES, shownId } from "./jobs.js";
import { at, type DekStatus, frozen, type PurposeStatus, type TenantStatus } from "./reports.js";

export const DAY_US = 86_400_000_000;

/** See `Keyring.status`. `policy`: microseconds. */
export async function status(
  keys: Keys,
  tenant: string | undefined,
  policy: number,
  after: string | undefined,
  limit: number,
): Promise<readonly TenantStatus[]> {
  const page = tenant === undefined ? await keys.pageTenants(after, limit) : [[tenant, await keys.tenant(tenant)] as const];
  const rows = page.length > 0 ? await keys.deksOf(page.map(([name]) => name)) : [];
  const of = (name: string) => rows.filter((row) => row.tenant === name);
  if (tenant !== undefined && page[0]?.[1] === undefined && rows.length === 0) throw fail("key_not_found", "the key store does not know this tenant");
  const settings = await keys.store.settings();
  const required = (settings && checkedSettings(settings).requiredKeks) ?? [];
  return Object.freeze(page.map(([name, known]) => tenantStatus(keys.keks, required, name, known, of(name), policy)));
}

function tenantStatus(
  keks: Keks,
  required: readonly string[],
  tenant: string,
  known: TenantRecord | undefined,
  rows: readonly (StoredDek | DamagedDek)[],
  policy: number,
): TenantStatus {
  const deks = rows.filter((row): row is StoredDek => !(row instanceof DamagedDek));
  const problems = rows.filter((row) => row instanceof DamagedDek).map(({ dekId }) => `key ${shownId(dekId)}: its row is damaged`);
  if (known === undefined) problems.push("it has no row of its own, or a damaged one");
  const shreddedAt = known?.shreddedAt ?? null;
  for (const dek of deks) problems.push(...problemsOf(dek, shreddedAt).map((what) => `key ${hex(dek.dekId)}: ${what}`));
  const purposes: PurposeStatus[] = [];
  for (const purpose of new Set(deks.map(({ dekPurpose }) => dekPurpose))) {
    const theirs = deks.filter(({ dekPurpose }) => dekPurpose === purpose);
    const active = theirs.find(({ state }) => state === "active");
    if (active !== undefined && theirs.some(({ version }) => version > active.version)) {
      problems.push(`key ${hex(active.dekId)}: it is active but not the newest: a state was set back, or a key planted`);
    }
    purposes.push(purposeStatus(keks, required, NAMES[purpose] as string, active, theirs, policy));
  }
  return frozen({ tenant, shreddedAt: shreddedAt === null ? null : at(shreddedAt), purposes, problems });
}

function problemsOf(dek: StoredDek, shreddedAt: number | null): string[] {
  const destroyed = dek.state === "destroyed";
  const found: [boolean, string][] = [
    [destroyed && dek.wraps.length > 0, "it is destroyed and has wraps"],
    [!destroyed && dek.wraps.length === 0, "it has no wraps"],
    [!destroyed && shreddedAt !== null, "its tenant was shredded and it is not destroyed"],
    [(dek.state === "retired" || dek.state === "pending_destroy") && (dek.retiredAt ?? null) === null, "it is retired but not since when"],
    [dek.createdAt > now() + DAY_US, "it was made in the future"],
  ];
  return found.filter(([is]) => is).map(([, what]) => what);
}

function purposeStatus(
  keks: Keks,
  required: readonly string[],
  name: string,
  active: StoredDek | undefined,
  deks: readonly StoredDek[],
  policy: number,
): PurposeStatus {
  const due: ("rotate" | "rewrap")[] = [];
  if (active !== undefined && ["data", "client"].includes(name) && active.createdAt + policy <= now()) due.push("rotate");
  const wanted = [...required, ...keks.providers.map(({ uri }) => uri)];
  const lacks = (dek: StoredDek) => wanted.some((uri) => dek.wraps.every(({ kekUri }) => kekUri !== uri));
  if (deks.some((dek) => dek.state !== "destroyed" && lacks(dek))) due.push("rewrap");
  const ageDays = active === undefined ? null : Math.round(((now() - active.createdAt) / DAY_US) * 100) / 100;
  return frozen({ dekPurpose: name, activeVersion: active?.version ?? null, ageDays, due, deks: deks.map((dek) => dekStatus(dek, required)) });
}

function dekStatus({ dekId, version, state, createdAt, retiredAt, destroyedAt, wraps }: StoredDek, required: readonly string[]): DekStatus {
  const time = (microseconds: number | null | undefined) => (typeof microseconds === "number" ? at(microseconds) : null);
  const keks = wraps.map(({ kekUri }) => kekUri);
  const lacks = state === "destroyed" ? [] : required.filter((uri) => !keks.includes(uri)).sort();
  return frozen({
    dekId: hex(dekId),
    version,
    state,
    createdAt: at(createdAt),
    retiredAt: time(retiredAt),
    destroyedAt: time(destroyedAt),
    keks,
    lacks,
    opensOnly: wraps.some(isOpenOnly),
  });
}
