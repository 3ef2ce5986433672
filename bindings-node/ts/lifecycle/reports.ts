/** What the verbs return: plain frozen objects. They name tenants and dekIds, which the key store holds in the clear, and nothing secret. */

import type { ErrorCode } from "../errors.js";
import type { DekPurpose } from "../keyring/purposes.js";
import type { DekState } from "../stores/records.js";

/** Failures that a report names; all are counted. */
export const MAX_LISTED = 1000;

const LAST_MS = 8.64e15;

/** A key store's time, cut to milliseconds; as far as a `Date` reaches, if it was planted. */
export function at(microseconds: number): Date {
  const ms = Math.floor(microseconds / 1000);
  return new Date(Math.abs(ms) <= LAST_MS ? ms : LAST_MS);
}

/** For messages: ISO 8601 in UTC, to the second. */
export function shown(microseconds: number): string {
  return at(microseconds)
    .toISOString()
    .replace(/\.\d+Z$/, "Z");
}

/** Frozen, with all that it holds. */
export function frozen<Report extends object>(report: Report): Report {
  for (const part of Object.values(report)) if (Array.isArray(part)) Object.freeze(part);
  return Object.freeze(report);
}

/** A key that was left exactly as it was. */
export interface Failure {
  readonly tenant: string | null;
  /** In hex; null: it is not known, or it has none yet. */
  readonly dekId: string | null;
  readonly code: ErrorCode;
  readonly message: string;
}

/** The tenant's active DEK after a rotation. */
export interface Rotation {
  readonly tenant: string;
  readonly dekPurpose: DekPurpose;
  readonly dekId: string;
  readonly version: number;
  /** The dekId of the DEK that was active before. */
  readonly retired: string;
  /** False: somebody else rotated at the same moment, and this is theirs; or it was a dry run, and this is what is active. */
  readonly rotated: boolean;
}

/** What a rotation of many tenants did, or with `dryRun` would do. */
export interface RotationReport {
  readonly dryRun: boolean;
  /** Active DEKs from before this moment were due. Given again, it lets an interrupted job go on. */
  readonly madeBefore: Date;
  /** Looked at. */
  readonly tenants: number;
  readonly rotated: number;
  readonly failed: number;
  /** The first 1,000. */
  readonly failures: readonly Failure[];
}

/** What a rewrap did, or with `dryRun` would do. */
export interface RewrapReport {
  readonly dryRun: boolean;
  readonly fromUri: string;
  readonly toUri: string;
  /** Of the new wraps. */
  readonly kekVersion: string;
  /** That are not destroyed, as the last pass saw them. */
  readonly deks: number;
  /** Wraps that were stored. */
  readonly wrapped: number;
  /** Wraps that the last pass opened and compared with the key check. */
  readonly verified: number;
  readonly passes: number;
  /** Every DEK that is not destroyed has a verified wrap under the KEK's current version. */
  readonly complete: boolean;
  readonly failed: number;
  /** The first 1,000. */
  readonly failures: readonly Failure[];
}

/** What removing a KEK's wraps did, or with `dryRun` would do. */
export interface DropReport {
  readonly dryRun: boolean;
  readonly fromUri: string;
  readonly dropped: number;
  /** Where copies of the wraps may still lie in the key store's own files. Empty: nowhere. */
  readonly leftBehind: string;
  readonly failed: number;
  /** The first 1,000. */
  readonly failures: readonly Failure[];
}

/** A tenant that was shredded. It must be replayed into a key store that is restored from a backup. */
export interface Tombstone {
  readonly tenant: string;
  readonly shreddedAt: Date;
}

/** A tombstone as it comes out of a file of JSON: a report or an export of this package, or of the Python package (`shredded_at`). Times are ISO 8601 with a time zone. */
export type StoredTombstone = { readonly tenant: string } & ({ readonly shreddedAt: string } | { readonly shredded_at: string });

/** What a shredding did, or with `dryRun` would do. */
export interface ShredReport {
  readonly dryRun: boolean;
  /** Of every purpose: destroyed, their wraps gone. */
  readonly deks: number;
  /** What may still open the tenant's data, and until when. */
  readonly unreached: readonly string[];
  /** Of the one tenant: the report, as JSON, is a file for `sealpoint shred --replay`. Empty in a dry run. */
  readonly tombstones: readonly Tombstone[];
}

/** What replaying tombstones did, or with `dryRun` would do. */
export interface ReplayReport {
  readonly dryRun: boolean;
  readonly shredded: number;
  /** Tenants that had their tombstone. */
  readonly already: number;
  readonly unreached: readonly string[];
  readonly failed: number;
  /** Tenants with DEKs from after the tombstone: somebody readmitted them. They were left alone. */
  readonly failures: readonly Failure[];
}

/** One DEK. */
export interface DekStatus {
  readonly dekId: string;
  readonly version: number;
  readonly state: DekState;
  readonly createdAt: Date;
  readonly retiredAt: Date | null;
  readonly destroyedAt: Date | null;
  /** The URI of each KEK that it is wrapped by. */
  readonly keks: readonly string[];
  /** The URIs of KEKs that the key store requires and that it is not wrapped by. */
  readonly lacks: readonly string[];
  /** It came back by a recovery key: it opens, and nothing is sealed under it (SPEC section 6.5). */
  readonly opensOnly: boolean;
}

/** A tenant's DEKs of one purpose. */
export interface PurposeStatus {
  readonly dekPurpose: string;
  readonly activeVersion: number | null;
  /** Of the active one. */
  readonly ageDays: number | null;
  /** `rotate`: the active one is older than the policy allows. `rewrap`: a DEK lacks a wrap under a configured KEK. */
  readonly due: readonly ("rotate" | "rewrap")[];
  readonly deks: readonly DekStatus[];
}

/** One tenant. */
export interface TenantStatus {
  readonly tenant: string;
  readonly shreddedAt: Date | null;
  readonly purposes: readonly PurposeStatus[];
  /** Rows that are not as sealpoint writes them. Nothing here was opened: what only a key proves, this does not find. */
  readonly problems: readonly string[];
}
