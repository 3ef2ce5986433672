/**
 * Which DEKs are held until when, and unwrapping them again before that, off the hot path.
 *
 * The cache holds the keys and alone decides when one expires; this is a record beside it. A refresh is started when the active pointer is read from the key store anyway (each 60
 * seconds at most), for the DEK that was just read: one that nobody seals with is not refreshed.
 */

import type { ErrorCode } from "../errors.js";
import type { StoredDek } from "../stores/records.js";

const AT_ONCE = 2;
const MAX_WAITING = 64;
const EARLIEST = 0.5;
const SPREAD = 0.25;

/** On the monotonic clock and on the wall clock, in milliseconds. */
interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

/** One DEK that is held, or was until it was refused. */
export interface Holding {
  readonly dekId: Uint8Array;
  readonly tenant: string;
  readonly due: Moment;
  readonly expires: Moment;
  /** What the last refresh failed with; null: it did not. */
  readonly code: ErrorCode | null;
  readonly held: boolean;
}

export class Refresher {
  readonly #ttlMs: number;
  readonly #capacity: number;
  readonly #contains: (dekId: Uint8Array) => boolean;
  readonly #holdings = new Map<string, Holding>();
  /** What runs, and what waits for that. */
  readonly #running = new Set<string>();
  readonly #waiting: (() => Promise<void>)[] = [];
  #lanes = 0;
  #closed = false;
  #advancedMs = 0;

  /** `ttl`: seconds. `contains`: whether the cache holds a DEK (any more). */
  constructor(ttl: number, capacity: number, contains: (dekId: Uint8Array) => boolean) {
    this.#ttlMs = ttl * 1000;
    this.#capacity = capacity;
    this.#contains = contains;
  }

  /** The cache took the DEK in just now. It is due between half and three quarters of its time, so that not all are at once. */
  loaded(dekId: Uint8Array, tenant: string): void {
    const due = this.#in(this.#ttlMs * (EARLIEST + SPREAD * Math.random())); // spreads calls, hides nothing
    const name = nameOf(dekId);
    this.#holdings.delete(name);
    this.#holdings.set(name, { dekId, tenant, due, expires: this.#in(this.#ttlMs), code: null, held: true });
    for (const oldest of this.#holdings.keys()) {
      if (this.#holdings.size <= this.#capacity) break;
      this.#holdings.delete(oldest);
    }
  }

  /** The last refresh failed; whether the DEK still serves. */
  failed(dekId: Uint8Array, code: ErrorCode, held: boolean): void {
    const holding = this.#holdings.get(nameOf(dekId));
    if (holding !== undefined) this.#holdings.set(nameOf(dekId), { ...holding, code, held });
  }

  /** `work(record)` in the background, unless it is too early, under way, or too many wait: then at the next read of the pointer. */
  startIfDue(record: StoredDek, work: (record: StoredDek) => Promise<unknown>): void {
    const name = nameOf(record.dekId);
    const holding = this.#holdings.get(name);
    if (this.#closed || holding === undefined || !this.#past(holding.due)) return;
    if (this.#running.has(name) || this.#running.size >= MAX_WAITING) return;
    this.#running.add(name);
    this.#waiting.push(async () => {
      try {
        await work(record);
      } catch {
        // is told by `failed`
      } finally {
        this.#running.delete(name);
      }
    });
    if (this.#lanes === AT_ONCE) return;
    this.#lanes += 1;
    // Who reads the pointer goes first. The timer is unref'ed, where there is such a thing: nothing here keeps a process alive.
    (setTimeout(() => void this.#lane(), 0) as Partial<NodeJS.Timeout>).unref?.();
  }

  /** What is held now, or was refused within its time. */
  holdings(): readonly Holding[] {
    for (const [name, { dekId, expires, held }] of this.#holdings) {
      if (this.#past(expires) || (held && !this.#contains(dekId))) this.#holdings.delete(name);
    }
    return [...this.#holdings.values()];
  }

  /** What waits is dropped, what runs finishes. */
  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
    this.#running.clear();
    this.#holdings.clear();
  }

  /** How many run or wait. */
  get running(): number {
    return this.#running.size;
  }

  /** Moves this record's own clocks forward (tests), as `DekCache._advance` does the cache's. Seconds. */
  _advance(seconds: number): void {
    this.#advancedMs += seconds * 1000;
  }

  async #lane(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) await next();
    this.#lanes -= 1;
  }

  #in(ms: number): Moment {
    return { monotonic: performance.now() + this.#advancedMs + ms, wall: Date.now() + this.#advancedMs + ms };
  }

  /** Either clock says so: one jumps, the other may stand still while the machine sleeps. */
  #past(moment: Moment): boolean {
    const now = this.#in(0);
    return now.monotonic >= moment.monotonic || now.wall >= moment.wall;
  }
}

function nameOf(dekId: Uint8Array): string {
  return dekId.join();
}
