/** The manifest of a checkpoint or of a store's item (SPEC sections 7.2 and 7.3). */

import { core } from "./backend.js";
import { type Bytes, type BytesIn, flag, options, payloadBytes, text } from "./check.js";
import { fail, isSealpointError } from "./errors.js";
import { sealedBytes } from "./seal.js";
import { type ManifestValue, writeFields } from "./transport.js";

/** `[v, id, ts, channel_versions, versions_seen, updated_channels, clear metadata]`; for an item of a store `[clear fields]`. */
export type ManifestFields = readonly ManifestValue[];

/** Each channel with its envelope, or null where the value does not live in the checkpoint's row; each field of an item that is sealed by itself. Any order. */
export type ManifestChannels = readonly (readonly [name: string, sealed: BytesIn | string | null])[];

/**
 * The payload of a metadata envelope: manifest record and serialized metadata.
 *
 * Throws: `invalid_argument` (a value that deterministic CBOR does not take), `limit_exceeded`, and the parse errors of SPEC section 8 for an envelope.
 */
export function manifestPayload(fields: ManifestFields, rest: { parent: string | null; exact: boolean; channels: ManifestChannels; metadata: BytesIn }): Bytes {
  const { parent, exact, channels, metadata } = options(rest, ["parent", "exact", "channels", "metadata"]);
  const cbor = core.encodeFields(writeFields(fields));
  const [names, commitments] = commitmentsOf(channels);
  return core.manifestPayload(cbor, parentOf(parent), flag(exact, "exact"), names, commitments, payloadBytes(metadata)) as Bytes;
}

/**
 * Verifies a manifest against what the saver gave back. `channels` lists what is present, each with its envelope; its commitment is compared where the manifest
 * names one. Returns the serialized metadata, and the parent's id as it was sealed.
 *
 * Throws: `authentication_failed`, `malformed`, and the parse errors of SPEC section 8 for an envelope.
 */
export function manifestOpen(
  payload: BytesIn,
  fields: ManifestFields,
  rest: { parent: string | null; channels: ManifestChannels },
): { metadata: Bytes; parent: string | null } {
  const { parent, channels } = options(rest, ["parent", "channels"]);
  const [names, commitments] = commitmentsOf(channels);
  const opened = core.manifestOpen(payloadBytes(payload), readFields(fields), parentOf(parent), names, commitments);
  return { metadata: opened.metadata as Bytes, parent: opened.parent ?? null };
}

/** What no writer can have sealed is not the reader's mistake. */
function readFields(fields: ManifestFields): Uint8Array {
  try {
    return core.encodeFields(writeFields(fields));
  } catch (error) {
    if (!isSealpointError(error) || error.code !== "invalid_argument") throw error;
    throw fail("malformed", "the fields are none that a manifest covers");
  }
}

function commitmentsOf(channels: ManifestChannels | undefined): [string[], Uint8Array] {
  if (!Array.isArray(channels)) throw fail("invalid_argument", "channels is an array of [name, envelope or null]");
  const commitments = new Uint8Array(16 * channels.length);
  const names = (channels as ManifestChannels).map((channel, i) => {
    if (!Array.isArray(channel) || channel.length !== 2) throw fail("invalid_argument", "a channel is [name, envelope or null]");
    const [name, sealed] = channel as readonly [string, BytesIn | string | null];
    if (sealed !== null) commitments.set(core.shortCommitment(sealedBytes(sealed)), 16 * i);
    return text(name, "a channel's name");
  });
  return [names, commitments];
}

function parentOf(parent: string | null | undefined): string | undefined {
  if (parent === undefined) throw fail("invalid_argument", "parent is given: an id, or null for none");
  return parent === null ? undefined : text(parent, "parent");
}
