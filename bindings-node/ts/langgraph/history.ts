/** A walk over many checkpoints: the history of delta channels. */

import type { BaseCheckpointSaver, CheckpointPendingWrite, DeltaChannelHistory } from "@langchain/langgraph-checkpoint";
import type { TenantConfig } from "sealpoint";
import { askedOf, stripped } from "./configs.js";
import type { Opening, Sealer } from "./sealer.js";

/**
 * `BaseCheckpointSaver.getDeltaChannelHistory`, with each checkpoint on the way verified.
 *
 * The savers' own histories give writes without the checkpoint that they belong to, which is part of their position: so this walks the parents, and opens of each no
 * more than the writes and the seeds of the channels that are asked for.
 */
export async function deltaHistory(
  sealer: Sealer,
  fetch: (config: TenantConfig) => ReturnType<BaseCheckpointSaver["getTuple"]>,
  window: Opening["window"],
  tenant: string,
  config: TenantConfig,
  channels: readonly string[],
): Promise<Record<string, DeltaChannelHistory>> {
  const writes = new Map<string, CheckpointPendingWrite[]>(channels.map((channel) => [channel, []]));
  const seeds = new Map<string, unknown>();
  const remaining = new Set(channels);
  const walked = new Set<string>();
  let cursor: TenantConfig | undefined = stripped(config);
  while (cursor !== undefined && remaining.size > 0) {
    const row = await fetch(cursor);
    if (row === undefined) break;
    // The writes stored at the target itself are pending, not history.
    const only: ReadonlySet<string> = walked.size === 0 ? new Set() : new Set(remaining);
    const found = await sealer.openTuple(tenant, row, askedOf(cursor, ""), { only, linked: true, window });
    if (found === undefined || walked.has(found.checkpoint.id)) break;
    walked.add(found.checkpoint.id);
    for (const write of [...(found.pendingWrites ?? [])].reverse()) writes.get(write[1])?.push(write);
    for (const channel of only) {
      if (!Object.hasOwn(found.checkpoint.channel_values ?? {}, channel)) continue;
      seeds.set(channel, found.checkpoint.channel_values[channel]);
      remaining.delete(channel);
    }
    cursor = found.parentConfig && stripped(found.parentConfig);
  }
  return Object.fromEntries(
    channels.map((channel): [string, DeltaChannelHistory] => {
      const found = (writes.get(channel) ?? []).reverse();
      return [channel, seeds.has(channel) ? { writes: found, seed: seeds.get(channel) } : { writes: found }];
    }),
  );
}
