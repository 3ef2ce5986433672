/** Envelopes that can be stored again without sealing again. */

import { envelopeDekId } from "sealpoint";
import type { Position } from "./positions.js";

/** Characters or bytes of an envelope from which on sealing again costs more than what else a step does with a value. */
const LARGE = 16 << 10;
const MAX_THREADS = 1024;
const MAX_BYTES = 64 << 20;

/** One channel's envelope, with the version and the very object that it was made from or opened to. */
export class Kept {
  #dekId: string | undefined;

  constructor(
    readonly version: unknown,
    readonly value: unknown,
    readonly envelope: string | Uint8Array,
  ) {}

  /** Two forks can hold different values under one version, and an equal object is not worth comparing. */
  holds(version: unknown, value: unknown): boolean {
    return Object.is(this.value, value) && this.version === version;
  }

  /** Hexadecimal. */
  get dekId(): string {
    this.#dekId ??= dekIdOf(this.envelope);
    return this.#dekId;
  }

  /** Bytes, roughly: the envelope, the value, and what holds them. Objects take some four times their serialized form. */
  get cost(): number {
    return 256 + this.envelope.length * (isImmutable(this.value) ? 2 : 5);
  }
}

export function dekIdOf(envelope: string | Uint8Array): string {
  return Buffer.from(envelopeDekId(beginning(envelope))).toString("hex");
}

/** Enough of an envelope for its DEK's id and its commitment: 93 bytes, as the shortest one has, which 124 characters of text hold. */
export function beginning(envelope: string | Uint8Array): string | Uint8Array {
  return typeof envelope === "string" ? envelope.slice(0, TEXT_PREFIX.length + 124) : envelope.subarray(0, 93);
}

const TEXT_PREFIX = "sealpoint:v1:";

/** Small values that can change in place are sealed at each step, so that what changed is stored as a bare saver stores it. */
export function isWorthKeeping(value: unknown, envelope: string | Uint8Array): boolean {
  return isImmutable(value) || envelope.length >= LARGE;
}

/** Not null or undefined: channels that hold these are signals, new at each step. */
function isImmutable(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

/** The envelopes of each thread's last checkpoint, least recently used threads dropped, bounded in threads and in bytes. */
export class SealedValues {
  readonly #places = new Map<string, { channels: ReadonlyMap<string, Kept>; cost: number }>();
  #bytes = 0;

  constructor(
    readonly maxThreads: number = MAX_THREADS,
    readonly maxBytes: number = MAX_BYTES,
  ) {}

  /** By channel. */
  of(at: Position): ReadonlyMap<string, Kept> | undefined {
    const found = this.#places.get(at.place);
    if (found === undefined) return undefined;
    this.#places.delete(at.place);
    this.#places.set(at.place, found);
    return found.channels;
  }

  /** In place of what was kept there. More than the bound is not kept at all. */
  keep(at: Position, channels: ReadonlyMap<string, Kept>): void {
    this.#drop(at.place);
    let cost = 0;
    for (const kept of channels.values()) cost += kept.cost;
    if (channels.size === 0 || cost > this.maxBytes) return;
    this.#places.set(at.place, { channels, cost });
    this.#bytes += cost;
    while (this.#bytes > this.maxBytes || this.#places.size > this.maxThreads) this.#drop(this.#places.keys().next().value as string);
  }

  get heldBytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#places.size;
  }

  #drop(place: string): void {
    const old = this.#places.get(place);
    if (old === undefined) return;
    this.#places.delete(place);
    this.#bytes -= old.cost;
  }
}
