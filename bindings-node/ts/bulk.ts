/**
 * Large messages without blocking: the module derives the message's key and says what stands around the payload, WebCrypto encrypts the chunks. The same bytes.
 *
 * The payload is copied once, into the output, before the first `await`: what is sealed or opened is what was passed, whatever happens to it meanwhile. Plaintext
 * and chunks share that buffer. Sealing, the inner plaintext lies at its end and each chunk is written to the left of what is still to be read; opening, the
 * other way round.
 */

import { backend, core } from "./backend.js";
import { allocate, type Bytes, type BytesIn, payloadBytes } from "./check.js";
import type { CoreContext, CoreDek, CoreMessage } from "./core.js";
import { fail } from "./errors.js";
import { type Opened, openTypedNow, type Sealing, sealedBytes, sealNow } from "./seal.js";

/** How to follow a long call. */
export interface WatchOptions {
  /** Called now and then with the bytes that are done and the bytes that were passed; last with both equal. */
  onProgress?: (done: number, total: number) => void;
  /** Ends the call between two pieces: it rejects with the signal's reason. */
  signal?: AbortSignal;
}

export const WATCH_OPTIONS = ["onProgress", "signal"] as const;

/**
 * From how many bytes on WebCrypto is used. In WebAssembly that is where it overtakes the synchronous call: between 2 and 4 KiB in Chromium, between 8 and 16 KiB in
 * Firefox. The native module is faster than WebCrypto at any size; there the sizes are those that would hold up other work for a millisecond and more.
 */
export const BULK_FROM = { native: 4 << 20, wasm: 8 << 10 };

const CHUNK = 16_384;
const SEALED_CHUNK = CHUNK + 16;
/** Chunks under way at once: 1 MiB. */
const WINDOW = 64;

export function watching(watch: WatchOptions): WatchOptions {
  const { onProgress, signal } = watch;
  if (onProgress !== undefined && typeof onProgress !== "function") throw fail("invalid_argument", "onProgress is a function");
  if (signal !== undefined && (typeof signal !== "object" || signal === null || typeof signal.aborted !== "boolean")) {
    throw fail("invalid_argument", "signal is an AbortSignal");
  }
  return { onProgress, signal } as WatchOptions;
}

/** Neither `dek` nor `context` is used after the first `await`. */
export async function sealBulk(dek: CoreDek, payload: BytesIn, context: CoreContext, how: Sealing, watch: WatchOptions): Promise<Bytes> {
  checkAbort(watch);
  const data = payloadBytes(payload);
  const total = data.length;
  const subtle = webCrypto(total);
  if (subtle === undefined) {
    const sealed = sealNow(dek, data, context, how);
    watch.onProgress?.(total, total);
    return sealed;
  }
  const message = dek.beginSeal(total, how.contentType, how.pad, context);
  try {
    const [head, prefix, innerLen] = [message.head(), message.prefix(), message.innerLen()];
    const out = allocate(core.sealedLen(total, how.contentType.length, how.pad));
    const from = out.length - innerLen;
    out.set(prefix, from);
    out.set(data, from + prefix.length);
    const suffix = message.suffix();
    const behind = from + prefix.length + total;
    out.set(suffix, behind);
    out.fill(0, behind + suffix.length);
    out.set(head);
    const key = await importKey(subtle, message, "encrypt");
    const encrypt: Cipher = (iv, chunk) => subtle.encrypt({ name: "AES-GCM", iv }, key, chunk);
    await chunks(message, encrypt, out, { innerLen, from, read: CHUNK, to: head.length, write: SEALED_CHUNK }, total, watch);
    return out;
  } finally {
    message.free();
  }
}

/** Neither `dek` nor `context` is used after the first `await`. */
export async function openBulk(dek: CoreDek, sealed: BytesIn | string, context: CoreContext, watch: WatchOptions): Promise<Opened> {
  checkAbort(watch);
  const data = sealedBytes(sealed);
  const total = data.length;
  const subtle = webCrypto(total);
  if (subtle === undefined) {
    const opened = openTypedNow(dek, data, context);
    watch.onProgress?.(total, total);
    return opened;
  }
  const headLen = core.headLen();
  const message = dek.beginOpen(data.subarray(0, headLen), total, context);
  try {
    const work = allocate(total);
    work.set(data);
    const innerLen = message.innerLen();
    const key = await importKey(subtle, message, "decrypt");
    const decrypt: Cipher = (iv, chunk) => subtle.decrypt({ name: "AES-GCM", iv }, key, chunk);
    await chunks(message, decrypt, work, { innerLen, from: headLen, read: SEALED_CHUNK, to: 0, write: CHUNK }, total, watch);
    const { contentType, start, end } = message.payload(work.subarray(0, message.innerHeadLen()));
    return { contentType, payload: work.subarray(start, end) };
  } finally {
    message.free();
  }
}

type Cipher = (iv: Bytes, chunk: Bytes) => Promise<ArrayBuffer>;

/** Where chunk `k` is read, `from + k * read`, and where its other form is written, `to + k * write`. */
interface Layout {
  innerLen: number;
  from: number;
  read: number;
  to: number;
  write: number;
}

/** Every chunk of a message, within one buffer. After a failure it is wiped. */
async function chunks(message: CoreMessage, cipher: Cipher, buffer: Bytes, layout: Layout, total: number, watch: WatchOptions): Promise<void> {
  const { innerLen, from, read, to, write } = layout;
  const count = Math.floor(innerLen / CHUNK) + 1;
  const end = from + innerLen + (read - CHUNK) * count;
  try {
    for (let first = 0; first < count; first += WINDOW) {
      const many = Math.min(WINDOW, count - first);
      const nonces = message.nonces(first, many) as Bytes;
      const under: Promise<ArrayBuffer>[] = [];
      for (let i = 0; i < many; i++) {
        const at = from + (first + i) * read;
        under.push(cipher(nonces.subarray(12 * i, 12 * i + 12), buffer.subarray(at, Math.min(at + read, end))));
      }
      const done = await Promise.all(under).catch(() => {
        throw fail("authentication_failed", "the envelope does not authenticate: wrong key, wrong context, or changed bytes");
      });
      for (let i = 0; i < many; i++) buffer.set(new Uint8Array(done[i] as ArrayBuffer), to + (first + i) * write);
      watch.onProgress?.(Math.min(total, Math.floor(((first + many) / count) * total)), total);
      if (first + many < count) checkAbort(watch);
    }
  } catch (error) {
    buffer.fill(0);
    throw error;
  }
}

/** Non-extractable; WebCrypto has copied the bytes when the call returns, so ours are wiped. */
function importKey(subtle: SubtleCrypto, message: CoreMessage, use: "encrypt" | "decrypt"): Promise<CryptoKey> {
  const bytes = message.key() as Bytes;
  const key = subtle.importKey("raw", bytes, "AES-GCM", false, [use]);
  bytes.fill(0);
  return key;
}

/** Undefined where the message is short, or where the platform has no WebCrypto (a page that was not loaded securely). */
function webCrypto(length: number): SubtleCrypto | undefined {
  return length < BULK_FROM[backend] ? undefined : globalThis.crypto?.subtle;
}

function checkAbort({ signal }: WatchOptions): void {
  if (signal?.aborted) throw signal.reason;
}
