/** What comes in from outside, checked once for both Rust modules. The cheap and common case comes first everywhere: this is on the path of every call. */

import { limits, maxSealedLen } from "./backend.js";
import { fail, type SealpointError } from "./errors.js";

/** Bytes: a `Uint8Array` (so also a `Buffer`), or an `ArrayBuffer` as `fetch` and files give it. Views of other types are refused: their bytes differ between machines. */
export type BytesIn = Uint8Array | ArrayBuffer;

/** Bytes that a call returns: a plain `Uint8Array` over memory of its own. */
export type Bytes = ReturnType<Uint8Array["slice"]>;

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object;
const tagOf = Object.getOwnPropertyDescriptor(typedArray, Symbol.toStringTag)?.get as (this: unknown) => string | undefined;
const bufferLengthOf = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, "byteLength")?.get as (this: unknown) => number;

/**
 * The bytes of an argument, of at most `max`: neither detached nor shared with another thread (those are copied).
 *
 * Throws: `invalid_argument`, `limit_exceeded`; nothing was read then.
 */
export function bytes(value: unknown, what: string, max: number): Uint8Array {
  if (tagOf.call(value) !== "Uint8Array") {
    if (!isArrayBuffer(value)) throw noBytes(value, what);
    return bytes(viewOf(value, what), what, max);
  }
  const view = value as Uint8Array;
  const length = view.length;
  if (length > max) throw fail("limit_exceeded", `${what} has ${length} bytes; ${max} is the limit`);
  const buffer = view.buffer;
  if (!(buffer instanceof ArrayBuffer)) return new Uint8Array(view);
  if (length === 0 && isDetached(view)) throw detached(what);
  return view;
}

/** The bytes of a payload. */
export function payloadBytes(value: unknown): Uint8Array {
  return bytes(value, "the payload", limits.MAX_PAYLOAD_LEN as number);
}

/** Short bytes: an id, a key check, a key. How many they have to be is the core's to say. */
export function shortBytes(value: unknown, what: string): Uint8Array {
  return bytes(value, what, 4096);
}

let make: (length: number) => Bytes = (length) => new Uint8Array(length);

/** A platform's faster way to make an array, which need not be zeros: each output is written in full. */
export function allocateWith(faster: typeof make): void {
  make = faster;
}

/** A new output, over memory of its own: nothing else can be seen through its `buffer`. */
export function allocate(length: number): Bytes {
  try {
    return make(length);
  } catch {
    throw fail("limit_exceeded", `there is no memory for ${length} bytes`);
  }
}

function isArrayBuffer(value: unknown): value is ArrayBuffer {
  if (typeof value !== "object" || value === null) return false;
  try {
    bufferLengthOf.call(value);
    return true;
  } catch {
    return false;
  }
}

function viewOf(buffer: ArrayBuffer, what: string): Uint8Array {
  try {
    return new Uint8Array(buffer);
  } catch {
    throw detached(what);
  }
}

/** A detached buffer looks like an empty one, and so does one that was shrunk to before where the view begins; but a view's methods refuse both. */
function isDetached(view: Uint8Array): boolean {
  try {
    Uint8Array.prototype.keys.call(view);
    return false;
  } catch {
    return true;
  }
}

function detached(what: string): SealpointError {
  return fail("invalid_argument", `${what} is detached: its buffer was transferred, or shrunk below it`);
}

function noBytes(value: unknown, what: string): SealpointError {
  const hint = typeof value === "string" ? "; encode a string with TextEncoder, or use the text calls" : "";
  return fail("invalid_argument", `${what} is no Uint8Array and no ArrayBuffer${hint}`);
}

/** Whether a string has no lone surrogates, which no UTF-8 can carry. */
export const isWellFormed: (text: string) => boolean =
  typeof String.prototype.isWellFormed === "function" ? (text) => text.isWellFormed() : (text) => !/\p{Surrogate}/u.test(text);

/** A string that is text. Throws: `invalid_argument`. */
export function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw fail("invalid_argument", `${what} is no string`);
  if (!isWellFormed(value)) throw fail("invalid_argument", `${what} holds lone surrogates, which no UTF-8 can carry`);
  return value;
}

/** A string for a parser that says itself what is wrong with it: lone surrogates become U+FFFD. */
export function lossy(value: string): string {
  return isWellFormed(value) ? value : value.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** A string that may be an envelope's text form. Throws: `limit_exceeded`. */
export function sealedText(value: string): string {
  if (value.length > 32 + Math.ceil((maxSealedLen * 4) / 3)) throw fail("limit_exceeded", "the text is longer than that of any envelope");
  return lossy(value);
}

/** A tenant given by itself. Throws: `tenant_required`, `invalid_argument`. */
export function tenantName(value: unknown): string {
  if (value === undefined || value === null) throw fail("tenant_required", "a tenant is required: nothing is sealed or opened for nobody");
  return text(value, "the tenant");
}

/** A whole number within bounds, both inclusive. Throws: `invalid_argument`. */
export function integer(value: unknown, what: string, min: number, max: number): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw fail("invalid_argument", `${what} is a whole number from ${min} to ${max}`);
  }
  return (value as number) + 0;
}

/** A boolean, not something that is like one. Throws: `invalid_argument`. */
export function flag(value: unknown, what: string): boolean {
  if (typeof value !== "boolean") throw fail("invalid_argument", `${what} is true or false`);
  return value;
}

/** An object of options with no other names than these. Throws: `invalid_argument`. */
export function options<T extends object>(value: T | undefined, names: readonly (keyof T)[]): Partial<T> {
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw fail("invalid_argument", "options are given as an object");
  for (const name in value) {
    if (!names.includes(name)) throw fail("invalid_argument", `there is no option ${JSON.stringify(name)}; there are: ${names.join(", ")}`);
  }
  return value;
}

/** What is said of a handle after `dispose`. */
export function disposed(what: string): SealpointError {
  return fail("invalid_argument", `this ${what} was disposed: its key is wiped; open it again`);
}

/** What is said of an object that is no instance of ours. */
export function foreign(value: unknown, what: string): SealpointError {
  const twin = typeof value === "object" && value !== null && Symbol.for(`sealpoint.${what}`) in value;
  return fail(
    "invalid_argument",
    twin
      ? `this ${what} was made by another copy of sealpoint; import both from the same place (sealpoint and sealpoint/wasm are two copies)`
      : `a ${what} is needed here; one that was cloned or sent to a worker is none any more`,
  );
}
