/** Where a sealed value belongs (SPEC sections 3.2 and 7.1). */

import { Context } from "sealpoint";

export const TASKS = "__pregel_tasks";

/** The contexts of one checkpoint namespace of one thread, to be extended with what differs from value to value. */
export class Position {
  readonly #channel: Context;
  readonly #latest = new Map<string, { version: string | number; context: Context }>();
  readonly tasks: Context;
  readonly delta: Context;
  readonly field: Context;
  readonly write: Context;
  readonly metadata: Context;

  constructor(
    readonly tenant: string,
    readonly thread: string,
    readonly ns: string,
  ) {
    const base = (purpose: string) => new Context({ tenant, purpose: `langgraph.${purpose}`, thread, ns });
    this.#channel = base("channel");
    this.tasks = base("tasks").extend({ channel: TASKS });
    this.delta = base("delta");
    this.field = base("field");
    this.write = base("write");
    this.metadata = base("metadata");
  }

  /** Where a channel's value of one version belongs. Most of them are the same at the next step: the latest of each channel is kept. */
  of(channel: string, version: string | number): Context {
    const latest = this.#latest.get(channel);
    if (latest?.version === version) return latest.context;
    const context = this.#channel.extend({ channel, version });
    if (latest !== undefined || this.#latest.size < MAX_CHANNELS) this.#latest.set(channel, { version, context });
    return context;
  }

  /** The place of this position in a map. */
  get place(): string {
    return placeOf(this.tenant, this.thread, this.ns);
  }
}

const MAX_POSITIONS = 1024;
const MAX_CHANNELS = 256;
const positions = new Map<string, Position>();

/** Contexts are immutable and hold names only; encoding the common pairs once saves half the cost of a small seal. The least recently used are dropped. */
export function position(tenant: string, thread: string, ns: string): Position {
  const place = placeOf(tenant, thread, ns);
  const found = positions.get(place) ?? new Position(tenant, thread, ns);
  positions.delete(place);
  positions.set(place, found);
  if (positions.size > MAX_POSITIONS) positions.delete(positions.keys().next().value as string);
  return found;
}

function placeOf(tenant: string, thread: string, ns: string): string {
  return JSON.stringify([tenant, thread, ns]);
}
