/** Envelopes without a key. */

import { core, maxSealedLen } from "./backend.js";
import { type Bytes, type BytesIn, bytes, sealedText } from "./check.js";
import type { Kind } from "./core.js";
import { fail } from "./errors.js";
import { sealedBytes } from "./seal.js";

const encoder = new TextEncoder();
/** Longer than every prefix by which a sealed value is known. */
const START = 64;

/** Whether a value has the magic byte or a text prefix: such a value never passes as plaintext. */
export function isSealed(value: BytesIn | string): boolean {
  const start = typeof value === "string" ? encoder.encode(value.slice(0, START)) : bytes(value, "the value", Number.MAX_SAFE_INTEGER).subarray(0, START);
  return core.isSealed(start);
}

/** The 16 bytes that name the DEK of an envelope. Throws as steps 1 to 6 of SPEC section 8 do. */
export function envelopeDekId(sealed: BytesIn | string): Bytes {
  return core.envelopeDekId(sealedBytes(sealed)) as Bytes;
}

/** The text form of an envelope or a wrapped key (SPEC section 5). */
export function toText(envelope: BytesIn, kind: Kind = "data"): string {
  return core.encodeText(bytes(envelope, "the envelope", maxSealedLen), checkKind(kind));
}

/** The bytes of a text form. The envelope itself is not parsed. Throws: `plaintext_refused`, `unsupported_version`, `malformed`. */
export function fromText(text: string, kind: Kind = "data"): Bytes {
  if (typeof text !== "string") throw fail("invalid_argument", "the text form of an envelope is a string");
  return core.decodeText(sealedText(text), checkKind(kind)) as Bytes;
}

function checkKind(kind: Kind): Kind {
  if (kind !== "data" && kind !== "wrapped-key") throw fail("invalid_argument", 'a kind is "data" or "wrapped-key"');
  return kind;
}
