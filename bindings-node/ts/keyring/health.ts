/** What `Keyring.health()` and `Keyring.affected()` answer. */

import { type ErrorCode, errorCodes } from "../errors.js";
import type { Holding } from "./refresh.js";

/** One KEK, in configured order. */
export interface KekHealth {
  /** What comes before the colon of its URI; the rest stays out of health reports. */
  readonly scheme: string;
  /** `ok`, serving from the cache until `cachedUntil`, or `failed`. */
  readonly status: "ok" | "cached" | "failed";
  /** null: its canary was just unwrapped. Otherwise the error's code; `key_not_found`: it has no canary yet, run setup(). */
  readonly code: ErrorCode | null;
  /** It is unreachable for now, and opened DEKs are held: when the first of them expires. */
  readonly cachedUntil: Date | null;
}

/**
 * `ok`: everything works. `degraded`: at least one KEK works. `cached`: none does, what is not held cannot be opened, and what is held serves until `cachedUntil`, when the first DEK
 * expires. `failed`: what is not held cannot be opened.
 */
export interface Health {
  readonly status: "ok" | "degraded" | "cached" | "failed";
  /** null, or the code of what is wrong with the key store. */
  readonly store: ErrorCode | null;
  readonly keks: readonly KekHealth[];
  readonly cachedUntil: Date | null;
  /** How many tenants `Keyring.affected()` lists. */
  readonly affected: number;
}

/** A tenant with a DEK whose last refresh failed. */
export class AffectedTenant {
  readonly #tenant: string;
  /** What the key service answered. */
  readonly code: ErrorCode;
  /** When the DEK that is held expires. null: it was evicted, calls for this tenant go to the key service and fail. */
  readonly until: Date | null;

  constructor(tenant: string, code: ErrorCode, until: Date | null) {
    this.#tenant = tenant;
    this.code = code;
    this.until = until;
  }

  /** Shown neither by `console.log` nor by `JSON.stringify`, only where it is asked for. */
  get tenant(): string {
    return this.#tenant;
  }
}

/** From each KEK's scheme and code, and what is held. */
export function assess(keks: readonly { scheme: string; code: ErrorCode | null }[], holdings: readonly Holding[]): Health {
  const expiries = holdings.filter(({ held }) => held).map(({ expires }) => expires.wall);
  const until = expiries.length > 0 ? new Date(Math.min(...expiries)) : null;
  const judged = keks.map(({ scheme, code }): KekHealth => {
    const cachedUntil = code !== null && errorCodes[code] ? until : null;
    return { scheme, status: code === null ? "ok" : cachedUntil ? "cached" : "failed", code, cachedUntil };
  });
  const working = judged.filter(({ code }) => code === null).length;
  const affected = affectedTenants(holdings).length;
  if (working > 0) return { status: working === judged.length ? "ok" : "degraded", store: null, keks: judged, cachedUntil: null, affected };
  const cachedUntil = judged.some(({ status }) => status === "cached") ? until : null;
  return { status: cachedUntil ? "cached" : "failed", store: null, keks: judged, cachedUntil, affected };
}

/** One entry for each tenant: the DEK that goes, or went, first. */
export function affectedTenants(holdings: readonly Holding[]): AffectedTenant[] {
  const found = new Map<string, AffectedTenant>();
  const first = (left: Holding, right: Holding) => Number(left.held) - Number(right.held) || left.expires.monotonic - right.expires.monotonic;
  for (const { tenant, code, held, expires } of [...holdings].sort(first)) {
    if (code !== null && !found.has(tenant)) found.set(tenant, new AffectedTenant(tenant, code, held ? new Date(expires.wall) : null));
  }
  return [...found.values()];
}
