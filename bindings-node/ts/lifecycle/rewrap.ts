/** Every DEK under another KEK, or under the current version of its own; and the old KEK's wraps removed, later, by a step of their own. */

import { canaryContext } from "../context.js";
import { fail } from "../errors.js";
import { type Keks, wrapVerified } from "../keyring/keks.js";
import { contextOf } from "../keyring/loader.js";
import { canarySecret } from "../keys.js";
import { canUnwrap, type KeyManagementProvider } from "../kms/provider.js";
import type { KeyLifecycle, WrapChange, WrapDrop } from "../stores/lifecycle.js";
import { now, type StoredDek, type WrapRecord } from "../stores/records.js";
import { DamagedDek, Failures, type Keys, type Progress, SET_BACK, SKEW_S } from "./jobs.js";
import { type DropReport, frozen, type RewrapReport, shown } from "./reports.js";

const MAX_PASSES = 10;

/** See `Keyring.rewrap`. */
export async function rewrap(keys: Keys, from: string, to: string, dryRun: boolean, progress: Progress | undefined): Promise<RewrapReport> {
  const [source, target] = [keys.keks.named(from), keys.keks.named(to)];
  const [fromUri, toUri] = [source.uri, target.uri];
  if (!source.capabilities.authenticates) {
    throw fail("invalid_argument", "wraps of the KEK to rewrap from can be made by anyone: name one whose wraps authenticate");
  }
  const kekVersion = await versionOf(target);
  if (fromUri === toUri && kekVersion === "") {
    throw fail("invalid_argument", "this KEK does not tell its versions, so what is done could not be told from what is not: rewrap to another KEK");
  }
  if (!dryRun && canUnwrap(target)) await ensureCanary(keys.store, keys.keks, target);
  const job = new Rewrap(keys, fromUri, target, kekVersion, dryRun, progress);
  let last = await job.runPass(false);
  let [wrapped, passes] = [last, 1];
  while (!dryRun && passes < MAX_PASSES && (last > 0 || passes === 1)) {
    last = await job.runPass(true);
    wrapped += last;
    passes += 1;
  }
  const { deks, verified, failures } = job;
  const complete = !dryRun && last === 0 && failures.count === 0;
  return frozen({ dryRun, fromUri, toUri, kekVersion, deks, wrapped, verified, passes, complete, ...failures.report });
}

/**
 * Passes over all DEKs. What is done is recognised from the rows: so the first pass goes on where a killed job stopped, and the last one, which finds nothing to do, has opened every
 * new wrap once more and seen the DEKs that others made meanwhile.
 */
class Rewrap {
  deks = 0;
  verified = 0;
  failures = new Failures();

  constructor(
    private readonly keys: Keys,
    private readonly from: string,
    private readonly target: KeyManagementProvider,
    private readonly version: string,
    private readonly dryRun: boolean,
    private readonly progress: Progress | undefined,
  ) {}

  /** How many wraps it stored, or in a dry run would store. */
  async runPass(verify: boolean): Promise<number> {
    [this.deks, this.verified, this.failures] = [0, 0, new Failures()];
    let stored = 0;
    for await (const page of this.keys.deks()) {
      const changes: WrapChange[] = [];
      for (const row of page) {
        const change = await this.examine(row, verify);
        if (change !== undefined) changes.push(change);
      }
      if (changes.length > 0) stored += this.dryRun ? changes.length : await this.keys.store.putWraps(changes);
      this.progress?.(this.deks);
    }
    return stored;
  }

  private async examine(row: StoredDek | DamagedDek, verify: boolean): Promise<WrapChange | undefined> {
    if (row instanceof DamagedDek) {
      this.deks += 1;
      this.failures.damaged(row);
      return undefined;
    }
    try {
      if (row.state === "destroyed") {
        requireGone(row);
        return undefined;
      }
      this.deks += 1;
      return await this.change(row, verify);
    } catch (error) {
      this.failures.add(row, error);
      return undefined;
    }
  }

  private async change(record: StoredDek, verify: boolean): Promise<WrapChange | undefined> {
    if (record.shreddedAt !== null) throw fail("key_destroyed", `the tenant was shredded, but this key is not destroyed: ${SET_BACK}`);
    const old = record.wraps.find(({ kekUri }) => kekUri === this.target.uri);
    const done = old?.kekVersion === this.version;
    if (done && !verify) return undefined;
    if (old !== undefined && canUnwrap(this.target)) {
      await this.keys.prove(record, [old], undefined, false); // a planted one is not replaced
      this.verified += Number(done);
    }
    if (done) return undefined;
    const under = record.wraps.filter(({ kekUri }) => kekUri === this.from);
    const wrap = await this.keys.prove(record, under.length > 0 ? under : record.wraps, (secret) =>
      this.dryRun ? record.wraps[0] : wrapVerified(this.target, secret, contextOf(record)),
    );
    return wrap && { dekId: record.dekId, wrap, replaces: old?.wrapped ?? null };
  }
}

/** See `Keyring.dropWraps`. */
export async function dropWraps(keys: Keys, fromUri: string, dryRun: boolean, progress: Progress | undefined): Promise<DropReport> {
  if (keys.keks.providers.some(({ uri }) => uri === fromUri)) {
    throw fail("invalid_argument", "this keyring still wraps new keys by that KEK: take it out of kek, here and everywhere, before its wraps are dropped");
  }
  const wait = await keys.wait();
  await requireReplaced(keys, fromUri, wait);
  const failures = new Failures();
  let [dropped, seen] = [0, 0];
  for await (const page of keys.deks()) {
    const drops: WrapDrop[] = [];
    for (const row of page) {
      if (row instanceof DamagedDek || row.state === "destroyed") continue;
      const old = row.wraps.find(({ kekUri }) => kekUri === fromUri);
      if (old === undefined) continue;
      try {
        const kept = keptOf(keys.keks, row, wait);
        if (kept === undefined) throw fail("authentication_failed", "it was changed while this ran, and keeps the wrap");
        await keys.prove(row, [kept]);
        drops.push({ dekId: row.dekId, dropped: old, kept });
      } catch (error) {
        failures.add(row, error);
      }
    }
    if (drops.length > 0) dropped += dryRun ? drops.length : await keys.store.dropWraps(drops);
    seen += page.length;
    progress?.(seen);
  }
  const leftBehind = dryRun ? "" : await keys.store.scrub();
  return frozen({ dryRun, fromUri, dropped, leftBehind, ...failures.report });
}

/** Before the first wrap goes, all could go. Throws: `invalid_argument`. */
async function requireReplaced(keys: Keys, fromUri: string, wait: number): Promise<void> {
  let [without, readyAt] = [0, 0];
  for await (const page of keys.deks()) {
    for (const row of page) {
      if (row instanceof DamagedDek) without += 1;
      else if (row.state !== "destroyed" && row.wraps.some(({ kekUri }) => kekUri === fromUri)) {
        const kept = keptOf(keys.keks, row, 0);
        if (kept === undefined) without += 1;
        else readyAt = Math.max(readyAt, (kept.verifiedAt as number) + wait);
      }
    }
  }
  if (without > 0) {
    throw fail(
      "invalid_argument",
      `${without} keys have no verified wrap under a KEK of this configuration that authenticates: rewrap first, and see to what it reports; nothing was dropped`,
    );
  }
  if (readyAt > now()) {
    throw fail(
      "invalid_argument",
      `the newest wrap has to be as old as the fleet's largest cacheTtl and ${SKEW_S} seconds (${wait / 1_000_000} seconds in all): not before ${shown(readyAt)}; nothing was dropped`,
    );
  }
}

/** The wrap that a DEK could go on with: the one that was verified first, at least `wait` microseconds ago. */
function keptOf(keks: Keks, record: StoredDek, wait: number): WrapRecord | undefined {
  const reliable = new Set(keks.providers.filter(({ capabilities }) => capabilities.authenticates).map(({ uri }) => uri));
  const verified = record.wraps.filter(({ kekUri, verifiedAt }) => reliable.has(kekUri) && verifiedAt !== null && verifiedAt + wait <= now());
  return verified.sort((a, b) => (a.verifiedAt as number) - (b.verifiedAt as number))[0];
}

function requireGone(record: StoredDek): void {
  if (record.wraps.length > 0) throw fail("store_invalid", `it is destroyed and has wraps: ${SET_BACK}`);
}

/** Of the wraps that the KEK makes now. */
async function versionOf(target: KeyManagementProvider): Promise<string> {
  const secret = canarySecret(target.uri);
  try {
    return (await wrapVerified(target, secret, canaryContext(target.uri))).kekVersion;
  } finally {
    secret.dispose();
  }
}

/** The first thing under a new KEK, so that a wrong one shows before anything depends on it. */
async function ensureCanary(store: KeyLifecycle, keks: Keks, target: KeyManagementProvider): Promise<void> {
  if (!(await store.canaries()).has(target.uri)) await store.addCanary(target.uri, await keks.makeCanary(target));
  await keks.checkCanary(target, (await store.canaries()).get(target.uri));
}
