/** The KEKs that the configuration names, in its order: wrapping by each, opening by the first that can, and their canaries. */

import { isWellFormed } from "../check.js";
import { type Context, canaryContext, openOnlyContext } from "../context.js";
import { fail, isSealpointError, type SealpointError } from "../errors.js";
import { canarySecret, SecretKey } from "../keys.js";
import { isNetworkError } from "../kms/calls.js";
import { providerFromUri } from "../kms/local.js";
import { canUnwrap, isUri, type KeyManagementProvider, schemeOf, type WrappedKey } from "../kms/provider.js";
import { checkedCanary, now, type WrapRecord } from "../stores/records.js";

export type KekConfig = string | KeyManagementProvider | readonly (string | KeyManagementProvider)[];

const OPEN_ONLY = "+open-only";
const UNREADABLE = ["malformed", "plaintext_refused", "unsupported_version", "unsupported_suite", "unsupported_encoding"];
const LOST = ["kms_denied", "kms_throttled", "kms_unavailable", "key_disabled", "key_destroyed", "key_not_found"];

/** One provider or more. Only what is in here ever opens a wrap: a row's `kekUri` is looked up, never followed (SPEC section 6.1). */
export class Keks {
  readonly providers: readonly KeyManagementProvider[];
  readonly #configured: ReadonlyMap<unknown, KeyManagementProvider>;

  /** Throws: `invalid_argument`, and what `providerFromUri` throws. */
  constructor(kek: unknown) {
    const listed = Array.isArray(kek) ? [...kek] : [kek];
    this.providers = listed.map(provider);
    this.#configured = new Map(listed.map((one, i) => [one, this.providers[i] as KeyManagementProvider]));
    const uris = this.providers.map(({ uri }) => uri);
    if (uris.length === 0) throw fail("invalid_argument", "kek names no KEK");
    if (new Set(uris).size < uris.length) throw fail("invalid_argument", "kek names one KEK twice");
    if (!this.providers.some(({ capabilities }) => capabilities.authenticates)) {
      throw fail("invalid_argument", "kek needs a KEK whose wraps authenticate: RSA and HPKE wraps, which anyone can mint, only add a way to open");
    }
  }

  /** By its name in the key table, or as the configuration spells it. Throws: `invalid_argument` (the configuration names no such KEK). */
  named(uri: string): KeyManagementProvider {
    const found = this.providers.find((one) => one.uri === uri) ?? this.#configured.get(uri);
    if (found === undefined) throw fail("invalid_argument", "this keyring has no KEK of that URI: name it in kek, beside the others");
    return found;
  }

  /** The DEK under each KEK, each wrap opened again and compared where its KEK opens. Throws: what a provider answers, `authentication_failed`. */
  async wrap(secret: SecretKey, context: Context): Promise<WrapRecord[]> {
    const wraps: WrapRecord[] = [];
    for (const one of this.providers) wraps.push(await wrapVerified(one, secret, context));
    return wraps;
  }

  /**
   * The DEK by the first KEK, in configured order, that has a wrap and answers; and whether that wrap authenticates. The caller disposes of the secret.
   *
   * A KEK that cannot be reached, refuses, is disabled, destroyed or not there leads on to the next one, so that the loss of one loses nothing; anything else ends it. If none
   * answers, an error that a retry can cure comes before one that it cannot. With `authenticated`, wraps that anyone could have minted are passed over, and so are open-only ones
   * (SPEC section 6.1, step 5).
   */
  async unwrap(wraps: readonly WrapRecord[], context: Context, authenticated: boolean): Promise<{ secret: SecretKey; authentic: boolean }> {
    const stored = new Map(wraps.map((wrap) => [wrap.kekUri, wrap]));
    const failures: SealpointError[] = [];
    let opensOnly = false;
    for (const one of this.providers) {
      const wrap = stored.get(one.uri);
      if (wrap === undefined || !canUnwrap(one)) continue;
      const authentic = one.capabilities.authenticates && !isOpenOnly(wrap);
      if (authenticated && !authentic) {
        opensOnly = true;
        continue;
      }
      try {
        const secret = await opened(one, wrap, context);
        if (!isCanary(one, secret)) return { secret, authentic };
        secret.dispose();
        throw fail("authentication_failed", "a KEK's canary lies where a wrapped key should: the key store was changed");
      } catch (error) {
        if (!isSealpointError(error) || !LOST.includes(error.code)) throw error;
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures.find((error) => error.retryable) ?? failures[0];
    if (opensOnly) {
      throw fail(
        "key_not_found",
        "this key came back by a recovery key, so anyone could have chosen it: it opens what it sealed, and nothing is sealed under it; `sealpoint rotate` makes its tenant a new one, as `sealpoint recover` does for all",
      );
    }
    throw fail("key_not_found", "no KEK of this configuration opens this key: add to kek the KEK that it was wrapped by");
  }

  /** All but recovery keys (SPEC section 6.4) and what else only wraps. */
  get withCanary(): readonly KeyManagementProvider[] {
    return this.providers.filter((one) => canUnwrap(one) && !isRecovery(one));
  }

  /** Whether the secret half of a recovery key is here: it proves itself by what it opens, in whatever key store. */
  get recovers(): boolean {
    return this.providers.some((one) => canUnwrap(one) && isRecovery(one));
  }

  /** SPEC section 6.2. */
  async makeCanary(one: KeyManagementProvider): Promise<Uint8Array> {
    const secret = canarySecret(one.uri);
    try {
      return (await wrapVerified(one, secret, canaryContext(one.uri))).wrapped;
    } finally {
      secret.dispose();
    }
  }

  /** SPEC section 6.2. Throws: `authentication_failed` (another KEK), `store_invalid`, and what the provider answers. */
  async checkCanary(one: KeyManagementProvider, wrapped: unknown): Promise<void> {
    const canary: WrappedKey = { wrapped: checkedCanary(wrapped), wrapAlg: "", kekVersion: "" };
    if (await opensCanary(one, canary)) return;
    throw fail("authentication_failed", `the KEK at ${one.uri} is not the one that this key store was set up with: configure that one`);
  }

  /** The schemes alone. */
  toString(): string {
    return this.providers.map(({ uri }) => schemeOf(uri)).join(", ");
  }
}

function provider(kek: unknown): KeyManagementProvider {
  if (typeof kek === "string") return providerFromUri(kek);
  const one = kek as KeyManagementProvider | null | undefined;
  const { bindsContext, authenticates, canDescribe = false, canUnwrap = true }: Partial<KeyManagementProvider["capabilities"]> = one?.capabilities ?? {};
  if (
    typeof one?.wrap !== "function" ||
    typeof one.unwrap !== "function" ||
    [bindsContext, authenticates, canDescribe, canUnwrap].some((flag) => typeof flag !== "boolean")
  ) {
    throw fail("invalid_argument", "kek takes a URI such as env:SEALPOINT_KEK, a KeyManagementProvider, or an array of these");
  }
  if (!isUri(one.uri)) throw fail("invalid_argument", "a provider's uri is a string such as my-kms:key-1");
  return one;
}

function isRecovery(one: KeyManagementProvider): boolean {
  return schemeOf(one.uri) === "recovery";
}

async function opensCanary(one: KeyManagementProvider, canary: WrappedKey): Promise<boolean> {
  const expected = canarySecret(one.uri);
  try {
    const secret = await unwrap(one, canary, canaryContext(one.uri));
    try {
      return secret.equals(expected);
    } finally {
      secret.dispose();
    }
  } catch (error) {
    if (isSealpointError(error) && (error.code === "authentication_failed" || error.code === "key_not_found")) return false;
    throw error;
  } finally {
    expected.dispose();
  }
}

/** The key under one KEK, opened again and compared. Throws: what the provider answers, `authentication_failed`. */
export async function wrapVerified(one: KeyManagementProvider, secret: SecretKey, context: Context): Promise<WrapRecord> {
  const made = await call(one, () => one.wrap(secret, context), isWrappedKey, "WrappedKey");
  const { wrapAlg, kekVersion } = made;
  const wrapped = new Uint8Array(made.wrapped); // neither a Buffer nor the provider's own memory
  if (!canUnwrap(one)) return { kekUri: one.uri, kekVersion, wrapAlg, wrapped, createdAt: now(), verifiedAt: null };
  const again = await opened(one, { wrapped, wrapAlg, kekVersion }, context);
  try {
    if (!again.equals(secret)) {
      throw fail("authentication_failed", `the ${schemeOf(one.uri)} KEK unwraps to another key than it wrapped; nothing was stored`);
    }
  } finally {
    if (again !== secret) again.dispose();
  }
  const created = now();
  return { kekUri: one.uri, kekVersion, wrapAlg, wrapped, createdAt: created, verifiedAt: created };
}

/** SPEC section 6.2: a KEK that does not bind the context opens it in place of a DEK, and everybody knows it. */
function isCanary(one: KeyManagementProvider, secret: SecretKey): boolean {
  const canary = canarySecret(one.uri);
  try {
    return secret.equals(canary);
  } finally {
    canary.dispose();
  }
}

/** SPEC section 6.5. */
export function isOpenOnly({ wrapAlg }: Pick<WrappedKey, "wrapAlg">): boolean {
  return wrapAlg.endsWith(OPEN_ONLY);
}

/** A DEK's wrap, bound to what its `wrapAlg` says it is bound to. */
function opened(one: KeyManagementProvider, wrap: WrappedKey, context: Context): Promise<SecretKey> {
  const { wrapped, wrapAlg, kekVersion } = wrap;
  if (!isOpenOnly(wrap)) return unwrap(one, { wrapped, wrapAlg, kekVersion }, context);
  return unwrap(one, { wrapped, wrapAlg: wrapAlg.slice(0, -OPEN_ONLY.length), kekVersion }, openOnlyContext(context));
}

async function unwrap(one: KeyManagementProvider, wrapped: WrappedKey, context: Context): Promise<SecretKey> {
  try {
    return await call(
      one,
      () => one.unwrap(wrapped, context),
      (value): value is SecretKey => value instanceof SecretKey,
      "SecretKey",
    );
  } catch (error) {
    if (!isSealpointError(error) || !UNREADABLE.includes(error.code)) throw error;
    throw fail("store_invalid", `a key wrapped by the ${schemeOf(one.uri)} KEK is not as it was written: ${error.message}`);
  }
}

/** One call of a provider, which may be anybody's code. */
async function call<Result>(one: KeyManagementProvider, work: () => unknown, is: (value: unknown) => value is Result, expected: string): Promise<Result> {
  const scheme = schemeOf(one.uri);
  let result: unknown;
  try {
    result = await work();
  } catch (error) {
    if (isSealpointError(error)) throw error;
    const name = error instanceof Error ? error.name : typeof error;
    if (isNetworkError(error)) throw fail("kms_unavailable", `the ${scheme} key service cannot be reached (${name})`, { cause: error });
    throw fail("internal", `the provider of the ${scheme} KEK threw ${name}`, { cause: error });
  }
  if (!is(result)) throw fail("internal", `the provider of the ${scheme} KEK returned no ${expected}`);
  return result;
}

function isWrappedKey(value: unknown): value is WrappedKey {
  const { wrapped, wrapAlg, kekVersion } = (value ?? {}) as Partial<WrappedKey>;
  const named = [wrapAlg, kekVersion].every((name) => typeof name === "string" && isWellFormed(name));
  return named && wrapped instanceof Uint8Array && wrapped.length > 0 && wrapped.length <= 65_536;
}
