/** JSON without loss (SPEC section 7.3): what `JSON.stringify` would drop or change is refused. */

import { _internal } from "sealpoint";

const { fail, isWellFormed } = _internal;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Compact JSON of what JSON holds without loss, read once. Throws: `invalid_argument`. */
export function written(value: unknown): string {
  try {
    return write(value);
  } catch (error) {
    // The engine's own words for a stack or a string that is too long; whatever else comes from getters is the caller's.
    if (!(error instanceof RangeError)) throw error;
  }
  throw fail("invalid_argument", "a value of an item is nested too deeply or in itself, or is too long: JSON cannot hold it");
}

/** The same as UTF-8. */
export function dumped(value: unknown): Uint8Array {
  return encoder.encode(written(value));
}

/** The value of authenticated JSON. Throws: `malformed`. */
export function loaded(payload: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(payload));
  } catch {
    // its message holds the value
  }
  throw fail("malformed", "what was sealed here is not JSON");
}

/** Whether it is an object of no class: `{…}`, of this realm or another. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const proto: unknown = Object.getPrototypeOf(value);
  return proto === null || (Object.getPrototypeOf(proto) === null && Object.hasOwn(proto as object, "isPrototypeOf"));
}

function write(value: unknown): string {
  switch (typeof value) {
    case "string":
      return quoted(value);
    case "boolean":
      return String(value);
    case "number":
      if (!Number.isFinite(value)) throw fail("invalid_argument", "a value of an item holds NaN or an infinity: JSON has finite numbers only");
      return Object.is(value, -0) ? "-0.0" : String(value); // to Python, "-0" is the integer 0
    case "object":
      if (value === null) return "null";
      if (Array.isArray(value)) return writeArray(value);
      if (isPlain(value)) return writeObject(value);
      throw foreign("an object of a class (such as a Date, a Map or a message)");
    default:
      throw foreign(typeof value === "undefined" ? "undefined (leave the field out, or use null)" : `a ${typeof value}`);
  }
}

function writeArray(array: unknown[]): string {
  const proto = Object.getPrototypeOf(array);
  if (!Array.isArray(proto)) throw foreign("an array of a class");
  if (Reflect.ownKeys(array).length !== array.length + 1) throw foreign("an array with holes or with properties");
  return `[${array.map(write).join(",")}]`;
}

function writeObject(object: Record<string, unknown>): string {
  const names = Object.keys(object);
  if (Reflect.ownKeys(object).length !== names.length) throw foreign("properties that are symbols or hidden");
  return `{${names.map((name) => `${quoted(name)}:${write(object[name])}`).join(",")}}`;
}

function quoted(text: string): string {
  if (!isWellFormed(text)) throw foreign("lone surrogates, which no UTF-8 can carry");
  return JSON.stringify(text);
}

function foreign(what: string): Error {
  return fail("invalid_argument", `a value of an item holds ${what}, which JSON cannot: give it strings, numbers, booleans, null, arrays, plain objects`);
}
