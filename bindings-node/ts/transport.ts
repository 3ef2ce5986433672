/** Pairs and fields as JSON for the core, in which numbers are integers; a float is a string of U+0000 and its bits, and a string that begins with U+0000 gets another one. */

import { isWellFormed } from "./check.js";
import type { Transport } from "./core.js";
import { type ErrorCode, fail, type SealpointError } from "./errors.js";

/** A context's values: strings stand for themselves, numbers and bigints are typed, lists of strings become netstrings (SPEC section 3.1). */
export type ContextValue = string | number | bigint | readonly string[];

/** A context's pairs, but for `tenant` and `purpose` any names of `a-z`, `0-9`, `_`, `.` and `-`. */
export interface ContextPairs {
  readonly tenant: string;
  readonly purpose: string;
  readonly [key: string]: ContextValue;
}

/** What a manifest's fields may hold: JSON, and bigints of 64 bits. */
export type ManifestValue = null | boolean | number | bigint | string | readonly ManifestValue[] | { readonly [key: string]: ManifestValue };

const MIN_INT = -(2n ** 63n);
const MAX_INT = 2n ** 64n - 1n;
/** The core's own bound is 16 (`MAX_CBOR_DEPTH`), and it says so: this one only ends a cycle. */
const MAX_DEPTH = 64;
const bits = new DataView(new ArrayBuffer(8));

/** Throws: `tenant_required` (a tenant that is undefined or null), `invalid_context`. */
export function writePairs(pairs: unknown): Transport {
  if (!isPlain(pairs)) throw context("a context is a Context or a plain object of pairs");
  let json = "";
  for (const key of ownKeys(pairs, "invalid_context")) {
    const value = pairs[key];
    if (key === "tenant" && (value === undefined || value === null)) {
      throw fail("tenant_required", "a tenant is required: nothing is sealed or opened for nobody");
    }
    json += `${json === "" ? "" : ","}${quote(key, "invalid_context")}:${contextValue(value)}`;
  }
  return `{${json}}`;
}

/** Throws: `invalid_argument`. */
export function writeFields(fields: readonly unknown[]): Transport {
  if (!Array.isArray(fields)) throw fail("invalid_argument", "a manifest's fields are an array");
  return fieldValue(fields, 0);
}

function contextValue(value: unknown): string {
  if (typeof value === "string") return quoteValue(value, "invalid_context");
  if (typeof value === "number" || typeof value === "bigint") return number(value, "invalid_context");
  if (!Array.isArray(value)) throw context("a context's values are strings, numbers, bigints and lists of strings");
  const items = Array.from(value, (item) => {
    if (typeof item !== "string") throw context("a list in a context holds strings");
    return quoteValue(item, "invalid_context");
  });
  return `[${items.join(",")}]`;
}

function fieldValue(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) throw fail("invalid_argument", "a manifest's fields are nested too deeply, or hold themselves");
  switch (typeof value) {
    case "string":
      return quoteValue(value, "invalid_argument");
    case "number":
    case "bigint":
      return number(value, "invalid_argument");
    case "boolean":
      return String(value);
    case "object":
      if (value === null) return "null";
      if (Array.isArray(value)) return `[${Array.from(value, (item) => fieldValue(item, depth + 1)).join(",")}]`;
      if (isPlain(value)) {
        const entry = (key: string) => `${quote(key, "invalid_argument")}:${fieldValue(value[key], depth + 1)}`;
        return `{${ownKeys(value, "invalid_argument").map(entry).join(",")}}`;
      }
  }
  throw fail("invalid_argument", "a manifest's fields are null, booleans, finite numbers, bigints, strings, arrays and plain objects");
}

function number(value: number | bigint, code: ErrorCode): string {
  if (typeof value === "bigint") {
    if (value < MIN_INT || value > MAX_INT) throw fail(code, "an integer is at least -2^63 and less than 2^64");
    return String(value);
  }
  if (!Number.isFinite(value)) throw fail(code, "NaN and infinities cannot be sealed over");
  // Beyond 2^53 a number is not known to be an integer.
  if (Number.isInteger(value) && Math.abs(value) <= 2 ** 53) return String(value);
  bits.setFloat64(0, value);
  return `"\\u0000${bits.getBigUint64(0).toString(16).padStart(16, "0")}"`;
}

/** A string that is a value. */
function quoteValue(text: string, code: ErrorCode): string {
  return quote(text.startsWith("\0") ? `\0${text}` : text, code);
}

function quote(text: string, code: ErrorCode): string {
  if (!isWellFormed(text)) throw fail(code, "a string holds lone surrogates, which no UTF-8 can carry");
  return JSON.stringify(text);
}

function ownKeys(object: object, code: ErrorCode): string[] {
  if (Object.getOwnPropertySymbols(object).length > 0) throw fail(code, "keys are strings, not symbols");
  return Object.keys(object);
}

/** An object literal, of whatever realm: not a class's instance, whose fields may not be all there is to it. */
function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "isPrototypeOf"));
}

function context(message: string): SealpointError {
  return fail("invalid_context", message);
}
