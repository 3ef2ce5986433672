// What the tests of the keyring share: key stores of each kind, and a provider that is counted and can be told to fail.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Context, LocalKek } from "sealpoint";
import { postgres } from "../langgraph/servers.mjs";

export const KEK = "7sPazxTa4Ip+THz1+IWURrAWmkTnRM38uEnz0eNoE0k=";
export const OTHER_KEK = "0d4c1be5a1f3b5fbf6ff5d9c7f4f5f0f2f6c7e8d9a0b1c2d3e4f5a6b7c8d9e0f";
export const TENANT = "acme-secret-tenant";
export const PLAINTEXT = "the plaintext nobody may see";

export const contextOf = (tenant = TENANT) => new Context({ tenant, purpose: "field", document: "u-42", path: "/card" });

export const folder = () => mkdtempSync(join(tmpdir(), "sealpoint-"));

/** A key store of each kind that keeps, by its URL. */
export const STORES = {
  sqlite: async () => `sqlite:///${join(folder(), "keys.db")}`,
  postgres,
};

/** A provider whose calls are counted, can be told what to answer, and can be held up. */
export class FakeKms {
  calls = { wrap: 0, unwrap: 0 };
  answer = undefined;
  before = async () => {};
  #kek;

  constructor(uri = "fake:one", { kek = KEK, authenticates = true } = {}) {
    this.uri = uri;
    this.capabilities = { bindsContext: true, authenticates };
    this.#kek = LocalKek.parse(kek);
  }

  fail(code, retryable = code === "kms_unavailable" || code === "kms_throttled") {
    this.answer = code && Object.assign(new Error("the service said so"), { code, retryable });
  }

  async wrap(secret, context) {
    await this.#called("wrap");
    return { wrapped: this.#kek.wrap(secret, context), wrapAlg: "fake", kekVersion: "1" };
  }

  async unwrap({ wrapped }, context) {
    await this.#called("unwrap");
    return this.#kek.unwrap(wrapped, context);
  }

  async #called(what) {
    this.calls[what] += 1;
    await this.before(what);
    if (this.answer) throw this.answer;
  }
}

/** Seconds after which a DEK of an hour is due for a refresh in any case, and not expired. */
export const DUE = 2800;

/** For the cache and for what is known beside it. */
export function passTime(keyring, seconds) {
  keyring._cache._advance(seconds);
  keyring._refresher._advance(seconds);
}

/** Until no refresh runs any more. */
export async function settle(keyring) {
  while (keyring._refresher.running > 0) await new Promise(setImmediate);
}

/** A seal that reads the pointer, and what it starts. */
export async function touch(keyring) {
  await keyring.seal(new Uint8Array([1]), contextOf());
  await settle(keyring);
}

/** Every call of the key service waits until what is returned is called. */
export function heldUp(kms) {
  let proceed;
  const released = new Promise((resolve) => {
    proceed = resolve;
  });
  kms.before = () => released;
  return proceed;
}

/** What a promise rejects with; the code is asserted by the caller. */
export async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was refused");
}
