/** What an item of a store looks like sealed (SPEC section 7.3): the only place that seals or opens one. */

import { _internal, Context, isSealed, isSealpointError, type Keyring, type ManifestValue, manifestOpen, manifestPayload } from "sealpoint";
import type { Window } from "../migration.js";
import { dumped, isPlain, loaded, written } from "./json.js";
import { where } from "./sealer.js";
import { openTyped, sealText } from "./seals.js";

const { fail } = _internal;

export type Value = Record<string, unknown>;

/** The field under which an item's envelope is kept. */
export const SEALED_KEY = "sealpoint";

const HOW = { contentType: "json", pad: true };
/** Up to here databases and every language give a number back as it was. */
const EXACT = 2 ** 53;

/** A value as it was when it was given, divided: nothing of it is read later. */
export interface Prepared {
  clear: { [name: string]: ManifestValue };
  apart: [name: string, payload: Uint8Array][];
  rest: Uint8Array;
}

export class ItemSealer {
  /** `apart` is the fields that are sealed by themselves; undefined: all that are not clear. */
  constructor(
    private readonly keys: Keyring,
    private readonly clear: ReadonlySet<string>,
    private readonly apart: ReadonlySet<string> | undefined,
  ) {}

  /** Throws: `invalid_argument` (JSON cannot hold it, or a clear field cannot be clear). */
  prepare(value: unknown): Prepared {
    if (!isPlain(value)) throw fail("invalid_argument", "the value of an item is a plain object");
    const clear: [string, ManifestValue][] = [];
    const apart: [string, Uint8Array][] = [];
    const rest: [string, unknown][] = [];
    if (Reflect.ownKeys(value).length !== Object.keys(value).length) written(value); // refuses what it lists
    for (const [name, field] of Object.entries(value)) {
      if (this.clear.has(name)) clear.push([name, readable(field)]);
      else if (name !== SEALED_KEY && (this.apart === undefined || this.apart.has(name))) apart.push([name, dumped(field)]);
      else rest.push([name, field]);
    }
    written(apart.map(([name]) => name)); // well-formed
    return { clear: Object.fromEntries(clear), apart, rest: dumped(Object.fromEntries(rest)) };
  }

  /** The value that the inner store gets. */
  async seal(tenant: string, namespace: readonly string[], key: string, { clear, apart, rest }: Prepared): Promise<Value> {
    const fields: [string, string][] = [];
    for (const [name, payload] of apart) {
      fields.push([name, await sealText(this.keys, payload, fieldPosition(tenant, namespace, key, name), HOW)]);
    }
    let payload: Uint8Array;
    try {
      payload = manifestPayload([clear], { parent: null, exact: true, channels: fields, metadata: rest });
    } catch (error) {
      throw where(error, "the clear fields of an item");
    }
    const envelope = await sealText(this.keys, payload, position(tenant, namespace, key), HOW);
    return Object.fromEntries([...Object.entries(clear), ...fields, [SEALED_KEY, envelope]]);
  }

  /** The value of an item that was found at this namespace and key. An open `window` lets an unsealed one through. Throws: SPEC sections 7.3 and 8. */
  async open(tenant: string, namespace: readonly string[], key: string, stored: unknown, window: Window | undefined): Promise<Value> {
    const sealed = isPlain(stored) && Object.hasOwn(stored, SEALED_KEY) ? stored[SEALED_KEY] : undefined;
    if (typeof sealed !== "string" || !isSealed(sealed)) return unsealed(stored, window);
    try {
      return await this.#open(tenant, namespace, key, stored as Value, sealed);
    } catch (error) {
      throw where(error, "an item of the store");
    }
  }

  async #open(tenant: string, namespace: readonly string[], key: string, stored: Value, sealed: string): Promise<Value> {
    const payload = await this.#payload(sealed, position(tenant, namespace, key));
    const others = Object.entries(stored).filter(([name]) => name !== SEALED_KEY);
    const apart = others.filter((field): field is [string, string] => looksSealed(field[1]));
    const clear = Object.entries(structuredClone(Object.fromEntries(others.filter(([, field]) => !looksSealed(field)))));
    const rest = loaded(restOf(payload, Object.fromEntries(clear), apart));
    if (!isPlain(rest) || others.some(([name]) => Object.hasOwn(rest, name))) throw fail("malformed", "the sealed fields are not those of an item");
    const fields: [string, unknown][] = [];
    for (const [name, envelope] of apart) {
      fields.push([name, loaded(await this.#payload(envelope, fieldPosition(tenant, namespace, key, name)))]);
    }
    return Object.fromEntries([...clear, ...fields, ...Object.entries(rest)]);
  }

  async #payload(sealed: string, at: Context): Promise<Uint8Array> {
    const { contentType, payload } = await openTyped(this.keys, sealed, at);
    if (contentType !== HOW.contentType) throw fail("malformed", "what was sealed here is not JSON");
    return payload;
  }
}

/** Every item that is not sealed ends here, and nowhere else. */
function unsealed(stored: unknown, window: Window | undefined): Value {
  if (window === undefined || !isPlain(stored)) {
    throw fail("plaintext_refused", 'an item of the store is not sealed: it was stored without SealedStore (migrate it: mode: "migrating"), or was replaced');
  }
  if (Object.hasOwn(stored, SEALED_KEY) || Object.values(stored).some(looksSealed)) {
    throw fail(
      "authentication_failed",
      "an item of the store has a field that begins like an envelope, but no manifest: that was removed, or it is old data that begins so, which never passes as plaintext",
    );
  }
  window.let("items");
  return structuredClone(stored);
}

function restOf(payload: Uint8Array, clear: Value, apart: [string, string][]): Uint8Array {
  try {
    return manifestOpen(payload, [clear as { [name: string]: ManifestValue }], { parent: null, channels: apart }).metadata;
  } catch (error) {
    if (!isSealpointError(error) || error.code !== "authentication_failed") throw error;
    throw fail("authentication_failed", "a clear field was changed, or a field was dropped, added or put back from another version");
  }
}

function looksSealed(field: unknown): field is string {
  return typeof field === "string" && isSealed(field);
}

/** A copy of a clear field as any database gives it back. */
function readable(field: unknown): ManifestValue {
  const plain = JSON.parse(written(field)) as ManifestValue;
  if (looksSealed(plain)) throw fail("invalid_argument", "a clear field starts like an envelope: take it out of clearFields");
  if (hasInexact(plain)) {
    throw fail("invalid_argument", "a clear field holds a number beyond 2^53, or -0, which databases give back changed: take it out of clearFields");
  }
  return plain;
}

function hasInexact(value: unknown): boolean {
  if (typeof value === "number") return Math.abs(value) > EXACT || Object.is(value, -0);
  return typeof value === "object" && value !== null && Object.values(value).some(hasInexact);
}

/** SPEC section 3.2. */
function position(tenant: string, ns: readonly string[], key: string): Context {
  return new Context({ tenant, purpose: "langgraph.store", ns, key });
}

function fieldPosition(tenant: string, ns: readonly string[], key: string, name: string): Context {
  return new Context({ tenant, purpose: "langgraph.store.field", ns, key, path: `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}` });
}
