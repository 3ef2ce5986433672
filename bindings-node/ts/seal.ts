/** One message at once: two calls into the module each. What both `DataKey` and `DekCache` do. */

import { core, maxSealedLen } from "./backend.js";
import { allocate, type Bytes, type BytesIn, bytes, flag, options, payloadBytes, sealedText, text } from "./check.js";
import type { CoreContext, CoreDek } from "./core.js";
import { fail } from "./errors.js";

/** How a payload is sealed. */
export interface SealOptions {
  /** What the payload is, for the one who opens it; sealed with it. At most 255 printable ASCII characters; none by default. */
  contentType?: string;
  /** Whether to hide the payload's length in a bucket (SPEC section 4.1): false by default for bytes, true for text. */
  pad?: boolean;
}

/** What was opened, with the content type that it was sealed with. */
export interface Opened {
  contentType: string;
  payload: Bytes;
}

export interface Sealing {
  contentType: string;
  pad: boolean;
}

export const SEAL_OPTIONS = ["contentType", "pad"] as const;

const BARE: Sealing = Object.freeze({ contentType: "", pad: false });
const PADDED: Sealing = Object.freeze({ contentType: "", pad: true });
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function sealing(given: SealOptions | undefined, padByDefault: boolean): Sealing {
  if (given === undefined) return padByDefault ? PADDED : BARE;
  const { contentType = "", pad = padByDefault } = options(given, SEAL_OPTIONS);
  return { contentType: text(contentType, "contentType"), pad: flag(pad, "pad") };
}

/** Bytes as they are, a string as UTF-8. */
export function textPayload(payload: string | BytesIn): BytesIn {
  return typeof payload === "string" ? encoder.encode(text(payload, "the text")) : payload;
}

/** An envelope, of bytes or in text form. */
export function sealedBytes(sealed: unknown): Uint8Array {
  if (typeof sealed === "string") return core.decodeText(sealedText(sealed), "data");
  return bytes(sealed, "the envelope", maxSealedLen);
}

/** Throws: `malformed`. */
export function decodeUtf8(payload: Uint8Array): string {
  try {
    return decoder.decode(payload);
  } catch {
    throw fail("malformed", "what was sealed is no UTF-8 text; open it as bytes");
  }
}

export function sealNow(dek: CoreDek, payload: BytesIn, context: CoreContext, how: Sealing): Bytes {
  const data = payloadBytes(payload);
  const out = allocate(core.sealedLen(data.length, how.contentType.length, how.pad));
  dek.sealInto(data, how.contentType, how.pad, context, out);
  return out;
}

export function openNow(dek: CoreDek, sealed: BytesIn | string, context: CoreContext): Bytes {
  const data = sealedBytes(sealed);
  const out = allocate(core.payloadBound(data.length));
  const length = dek.openInto(data, context, out);
  return length === out.length ? out : beginning(out, length);
}

export function openTypedNow(dek: CoreDek, sealed: BytesIn | string, context: CoreContext): Opened {
  const data = sealedBytes(sealed);
  const out = allocate(core.payloadBound(data.length));
  const { contentType, length } = dek.openTypedInto(data, context, out);
  return { contentType, payload: beginning(out, length) };
}

/** The payload in an output that was as long as the payload could have been. What lies behind can be seen through its `buffer`: that is nothing. */
export function beginning(out: Bytes, length: number): Bytes {
  out.fill(0, length);
  return out.subarray(0, length);
}
