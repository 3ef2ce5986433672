/** LangGraph configs on their way in. */

import type { TenantConfig } from "sealpoint";

const KEPT = ["thread_id", "checkpoint_ns", "checkpoint_id", "thread_ts"] as const;

/** What a row must turn out to be. Undefined: whatever the saver says. */
export interface Asked {
  readonly thread: string | undefined;
  readonly ns: string | undefined;
  readonly checkpoint: string | undefined;
}

/** What the inner saver may see of a config: with the whole of it, it could store the user's keys in the clear itself. */
export function stripped(config: TenantConfig): TenantConfig {
  const configurable = config.configurable;
  if (configurable === undefined) return {};
  return { configurable: Object.fromEntries(KEPT.filter((key) => key in configurable).map((key) => [key, asText(configurable[key])])) };
}

/** A thread by its number is sealed as the text of it: SQLite would keep 7 as "7.0". */
export function asText<T>(id: T): T | string {
  return typeof id === "number" ? String(id) : id;
}

/** What a row must be to answer this config. `ns` is what an absent namespace means: the root for one row, any for a list. */
export function askedOf(config: TenantConfig | undefined, ns?: string): Asked {
  const { thread_id, checkpoint_ns, checkpoint_id } = config?.configurable ?? {};
  return {
    thread: thread_id === undefined || thread_id === null ? undefined : String(thread_id),
    ns: checkpoint_ns === undefined || checkpoint_ns === null ? ns : String(checkpoint_ns),
    checkpoint: checkpoint_id ? String(checkpoint_id) : undefined,
  };
}
