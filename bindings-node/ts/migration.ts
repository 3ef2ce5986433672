/** The window in which a wrapper still reads unsealed data: for named tenants, until a date, counted. */

import { fail } from "./errors.js";
import { hide } from "./hide.js";

export type Mode = "strict" | "migrating";

/** What was read unsealed: whole checkpoints, single values of sealed checkpoints, pending writes, items of a store. */
export type Unsealed = "checkpoints" | "values" | "writes" | "items";

const LOG_EVERY = 1000;

/**
 * Lets wrappers with `mode: "migrating"` read unsealed data; one object may serve several wrappers, and counts for all of them.
 *
 * While it lasts, whoever can write the database can put unsealed data in the place of sealed data for these tenants: keep it short. What is written is sealed
 * all the same. Afterwards unsealed data is refused again (`plaintext_refused`), without a restart.
 */
export class Migration {
  readonly #until: number | ReadonlyMap<string, number>;
  readonly #counts = new Map<string, Partial<Record<Unsealed, number>>>();
  readonly #totals: Partial<Record<Unsealed, number>> = {};

  /** `until`: when it ends, for every tenant, or for each tenant that migrates by its name; others are strict. Throws: `invalid_argument`. */
  constructor(until: Date | Readonly<Record<string, Date>>) {
    if (isDate(until)) {
      this.#until = endOf(until);
      return;
    }
    if (typeof until !== "object" || until === null || Array.isArray(until) || Object.keys(until).length === 0 || "" in until) {
      throw fail("invalid_argument", "a Migration takes a Date, or an object with a Date for each tenant that migrates");
    }
    this.#until = new Map(Object.entries(until).map(([tenant, end]) => [tenant, endOf(end)]));
  }

  /** How much unsealed data was read, by tenant and kind, since this object was made. Nothing for a while: time to go strict. */
  counts(): Record<string, Partial<Record<Unsealed, number>>> {
    return Object.fromEntries(Array.from(this.#counts, ([tenant, kinds]) => [tenant, { ...kinds }]));
  }

  /** @internal The tenant's open window; undefined once it has ended, or for a tenant that does not migrate. */
  _window(tenant: string): Window | undefined {
    const until = typeof this.#until === "number" ? this.#until : this.#until.get(tenant);
    return until !== undefined && Date.now() < until ? { let: (kind) => this.#count(tenant, kind) } : undefined;
  }

  /** Shows totals, no tenants. */
  toString(): string {
    return `Migration(read unsealed: ${JSON.stringify(this.#totals)})`;
  }

  toJSON(): string {
    return this.toString();
  }

  #count(tenant: string, kind: Unsealed): void {
    const kinds = this.#counts.get(tenant) ?? {};
    this.#counts.set(tenant, kinds);
    kinds[kind] = (kinds[kind] ?? 0) + 1;
    const total = (this.#totals[kind] ?? 0) + 1;
    this.#totals[kind] = total;
    if (total % LOG_EVERY === 1) console.warn(`sealpoint: unsealed data was read while migrating: ${total} ${kind} so far`);
  }
}
hide(Migration);

/** An open window of one tenant. */
export interface Window {
  /** Counts one unsealed thing that was let through. */
  let(kind: Unsealed): void;
}

/** The migration of a wrapper that is given these options. Throws: `invalid_argument`. */
export function checkMode(mode: unknown, migration: unknown): Migration | undefined {
  if (mode !== "strict" && mode !== "migrating") throw fail("invalid_argument", 'mode is "strict" or "migrating"');
  if (mode === "strict") {
    if (migration !== undefined) throw fail("invalid_argument", 'migration needs mode: "migrating"');
    return undefined;
  }
  if (!(migration instanceof Migration)) {
    throw fail("invalid_argument", 'mode: "migrating" needs an end: migration: new Migration(new Date("2027-03-31T00:00:00Z"))');
  }
  return migration;
}

function isDate(value: unknown): value is Date {
  return Object.prototype.toString.call(value) === "[object Date]";
}

function endOf(value: unknown): number {
  const end = isDate(value) ? value.getTime() : Number.NaN;
  if (Number.isNaN(end)) throw fail("invalid_argument", "a migration ends at a valid Date");
  return end;
}
