import { core } from "./backend.js";
import { type Bytes, foreign, integer, options, shortBytes, tenantName, text } from "./check.js";
import type { CoreContext } from "./core.js";
import { hide } from "./hide.js";
import { type ContextPairs, type ContextValue, writePairs } from "./transport.js";

const ADOPT = Symbol("adopt");
/** By which one copy of this package knows the contexts of another. */
const TWIN = Symbol.for("sealpoint.Context");

let handleOf: (context: Context) => CoreContext;
let isContext: (value: unknown) => value is Context;

/**
 * What a sealed value is bound to: an immutable set of pairs, encoded once (SPEC section 3). It is not stored: whoever opens says again where the value belongs.
 *
 * `tenant` and `purpose` are required. Strings stand for themselves, numbers and bigints are typed (`i:3`, `f:…`; an integral number is an integer up to 2^53),
 * lists of strings become netstrings, and `version` is always typed.
 *
 * Throws: `tenant_required` (no or empty tenant), `invalid_context` (anything else outside SPEC section 3).
 */
export class Context {
  readonly #handle: CoreContext;

  constructor(pairs: ContextPairs);
  constructor(pairs: ContextPairs | typeof ADOPT, handle?: CoreContext) {
    this.#handle = pairs === ADOPT ? (handle as CoreContext) : core.newContext(writePairs(pairs));
  }

  static {
    handleOf = (context) => context.#handle;
    isContext = (value): value is Context => typeof value === "object" && value !== null && #handle in value;
  }

  /** The context with these canonical bytes (SPEC section 3). Throws: `tenant_required`, `invalid_context`. */
  static fromCanonical(canonical: Uint8Array): Context {
    return adopt(core.contextFromCanonical(shortBytes(canonical, "a canonical context")));
  }

  /** This context with more pairs. Throws: `invalid_context`, also for a key that is already there. */
  extend(pairs: Readonly<Record<string, ContextValue>>): Context {
    return adopt(this.#handle.extend(writePairs(pairs)));
  }

  get tenant(): string {
    return this.#handle.tenant();
  }

  get purpose(): string {
    return this.#handle.purpose();
  }

  /** The canonical bytes (SPEC section 3): the additional data for a key service that binds bytes. A new array each time. */
  get canonical(): Bytes {
    return this.#handle.canonical() as Bytes;
  }

  /** The pairs with their encoded values, in canonical order: the encryption context for a key service that binds pairs. */
  pairs(): Record<string, string> {
    const flat = this.#handle.pairs();
    const entries: [string, string][] = [];
    for (let i = 0; i < flat.length; i += 2) entries.push([flat[i] as string, flat[i + 1] as string]);
    return Object.fromEntries(entries);
  }

  /** Whether both bind the same. */
  equals(other: Context): boolean {
    if (!isContext(other)) throw foreign(other, "Context");
    const [left, right] = [this.canonical, other.canonical];
    return left.length === right.length && left.every((byte, i) => byte === right[i]);
  }

  /** Shows the keys only. */
  toString(): string {
    return `Context(${Object.keys(this.pairs()).join(", ")})`;
  }

  toJSON(): string {
    return this.toString();
  }
}

hide(Context);
Object.defineProperty(Context.prototype, TWIN, { value: true });

function adopt(handle: CoreContext): Context {
  return new (Context as unknown as new (token: symbol, handle: CoreContext) => Context)(ADOPT, handle);
}

/** The context that a wrapped DEK is bound to (SPEC section 6). Throws: `tenant_required`, `invalid_context`, `invalid_argument`, `unsupported_suite`. */
export function wrapContext(dek: { tenant: string; dekId: Uint8Array; dekPurpose: number; suite: number }): Context {
  const { tenant, dekId, dekPurpose, suite } = options(dek, ["tenant", "dekId", "dekPurpose", "suite"]);
  return adopt(
    core.wrapContext(tenantName(tenant), shortBytes(dekId, "a dekId"), integer(dekPurpose, "a dekPurpose", 0, 255), integer(suite, "a suite", 0, 255)),
  );
}

/** The context that an open-only wrap is bound to, from that of an ordinary one (SPEC section 6.5). Throws: `invalid_context`, `invalid_argument`. */
export function openOnlyContext(wrap: Context): Context {
  if (!isContext(wrap)) throw foreign(wrap, "Context");
  return adopt(core.openOnlyContext(handleOf(wrap)));
}

/** The context of a key store's canary (SPEC section 6.2). Throws: `invalid_context`. */
export function canaryContext(kekUri: string): Context {
  return adopt(core.canaryContext(text(kekUri, "a KEK's URI")));
}

/** The handle of a context that was prepared; undefined for anything else, of which `withContext` makes one. */
export function prepared(context: Context | ContextPairs): CoreContext | undefined {
  return isContext(context) ? handleOf(context) : undefined;
}

/** Calls with the handle of a context, which for a plain object lives as long as the call. */
export function withContext<T>(context: Context | ContextPairs, use: (handle: CoreContext) => T): T {
  if (isContext(context)) return use(handleOf(context));
  if (typeof context === "object" && context !== null && TWIN in context) throw foreign(context, "Context");
  const handle = core.newContext(writePairs(context));
  try {
    return use(handle);
  } finally {
    handle.free();
  }
}
