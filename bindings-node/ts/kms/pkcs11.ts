/**
 * Hardware security modules: `pkcs11:token=…;object=…?module-path=…&pin-source=…` (RFC 7512), by pkcs11js (`npm install pkcs11js`, which needs a C compiler). Node only.
 *
 * The KEK is an AES-256 key on the token. What comes after the question mark is how to get there: it is no part of `uri`, the KEK's name in the key store. The PIN is read from
 * `pin-source=env:NAME` or `pin-source=file:PATH` (mode 600), never from the URI itself.
 */

import type * as Pkcs11js from "pkcs11js";
import type { Context } from "../context.js";
import { type ErrorCode, fail, type SealpointError } from "../errors.js";
import { hide } from "../hide.js";
import type { SecretKey } from "../keys.js";
import { needed, optional } from "../platform.js";
import { Budget, DEADLINE_S, exposed, secretFrom, type Translate } from "./calls.js";
import { answerOf, type Handle, type Module, moduleAt } from "./pkcs11-module.js";
import { Pkcs11Uri } from "./pkcs11-uri.js";
import type { KeyManagementProvider, ProviderCapabilities, WrappedKey } from "./provider.js";

const GCM = "CKM_AES_GCM";
const KEY_WRAP = "CKM_AES_KEY_WRAP_PAD";
const NONCE_LEN = 12;
const GCM_LEN = NONCE_LEN + 32 + 16;
const KEY_WRAP_LEN = 40;
const SERVICE = "the PKCS#11 token";

/**
 * One AES-256 key of a token. Calls go to the token one at a time; nothing but the module itself bounds how long it takes. Wrapping and unwrapping happen in a thread of Node's
 * pool; finding the key and logging in, once for a process and again when a session is lost, hold up the event loop.
 *
 * With AES-GCM the token binds the context's canonical bytes. A token without it wraps by AES key wrap with padding (RFC 5649), which binds nothing: `capabilities` says so once the
 * token was reached, and until then claims nothing.
 */
export class Pkcs11Provider implements KeyManagementProvider {
  readonly uri: string;
  readonly #parsed: Pkcs11Uri;
  readonly #js: typeof Pkcs11js;
  readonly #module: Module;
  readonly #budget = new Budget(DEADLINE_S, SERVICE, { cutsShort: false });
  #token: Token | undefined;
  #refused = "";
  #bindsContext = false;

  /**
   * `uri`: `pkcs11:` with `token` or `serial`, and `object` or `id`; then `module-path` and `pin-source`.
   *
   * Throws: `invalid_argument`, `missing_dependency` (pkcs11js is not installed).
   */
  constructor(uri: string) {
    if (typeof uri !== "string") throw fail("invalid_argument", "a Pkcs11Provider takes a pkcs11: URI");
    this.#js = optional<typeof Pkcs11js>("pkcs11js", "a KEK of pkcs11:");
    this.#parsed = new Pkcs11Uri(uri);
    this.uri = this.#parsed.name;
    this.#module = moduleAt(this.#parsed.modulePath, this.#js);
  }

  get capabilities(): ProviderCapabilities {
    return { bindsContext: this.#bindsContext, authenticates: true };
  }

  /** CKM_AES_GCM: nonce, ciphertext, tag. Otherwise CKM_AES_KEY_WRAP_PAD. Keys of a token have no versions. */
  wrap(secret: SecretKey, context: Context): Promise<WrappedKey> {
    return exposed(secret, (bytes) => {
      const plaintext = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length); // a view: it is wiped
      return this.#run(async (token) => {
        if (token.gcm) return { wrapped: await token.encrypt(plaintext, context.canonical), wrapAlg: GCM, kekVersion: "" };
        return { wrapped: await token.wrap(plaintext), wrapAlg: KEY_WRAP, kekVersion: "" };
      }, translate);
    });
  }

  /** The length tells how it was wrapped: a token that has learned AES-GCM still opens what it wrapped before. */
  async unwrap({ wrapped }: WrappedKey, context: Context): Promise<SecretKey> {
    if (wrapped.length !== GCM_LEN && wrapped.length !== KEY_WRAP_LEN) {
      throw fail("store_invalid", "a key wrapped by a PKCS#11 token is not as it was written: it has another length");
    }
    const sealed = Buffer.from(wrapped);
    return this.#run(
      async (token) => secretFrom(await (sealed.length === GCM_LEN ? token.decrypt(sealed, context.canonical) : token.unwrap(sealed)), SERVICE),
      translateOpening,
    );
  }

  toString(): string {
    return `Pkcs11Provider(${JSON.stringify(this.uri)})`;
  }

  toJSON(): string {
    return this.toString();
  }

  #run<T>(work: (token: Token) => Promise<T>, translate: Translate): Promise<T> {
    return this.#budget.run(() => this.#module.exclusively(() => this.#call(work)), translate);
  }

  /** Alone with the token: what others wait for is seen before it is their turn. */
  async #call<T>(work: (token: Token) => Promise<T>): Promise<T> {
    if (this.#refused) throw fail("kms_denied", `${DENIED} (${this.#refused})`);
    try {
      this.#token ??= new Token(this.#module, this.#js, this.#parsed);
      this.#bindsContext = this.#token.gcm;
      return await work(this.#token);
    } catch (error) {
      const answer = answerOf(error) ?? "";
      if (PIN.includes(answer)) this.#refused = answer;
      if (LOST.includes(answer)) {
        this.#token?.close();
        this.#token = undefined;
      }
      throw error;
    }
  }
}
hide(Pkcs11Provider);

/** A session that is logged in, and the key. */
class Token {
  readonly gcm: boolean;
  readonly #js: typeof Pkcs11js;
  readonly #module: Module;
  readonly #library: Pkcs11js.PKCS11;
  readonly #slot: Handle;
  readonly #session: Handle;
  readonly #key: Handle;

  constructor(module: Module, js: typeof Pkcs11js, uri: Pkcs11Uri) {
    this.#js = js;
    this.#module = module;
    this.#library = module.load();
    const [slot, ...others] = this.#library.C_GetSlotList(true).filter((slot) => uri.matches(namesOf(this.#library.C_GetTokenInfo(slot))));
    if (slot === undefined) throw fail("kms_unavailable", `${AWAY} (no such token)`);
    if (others.length > 0) throw fail("invalid_argument", SEVERAL);
    module.logIn(slot, () => uri.readPin());
    this.#slot = slot;
    this.#session = this.#library.C_OpenSession(slot, js.CKF_SERIAL_SESSION);
    try {
      [this.#key, this.gcm] = this.#find(uri);
    } catch (error) {
      this.#library.C_CloseSession(this.#session);
      throw error;
    }
  }

  /** What can be closed of a token that was lost. */
  close(): void {
    this.#module.logInAgain(this.#slot);
    try {
      this.#library.C_CloseSession(this.#session);
    } catch {
      // it was lost
    }
  }

  async encrypt(plaintext: Buffer, aad: Uint8Array): Promise<Buffer> {
    const nonce = needed("crypto", SERVICE).randomBytes(NONCE_LEN);
    this.#library.C_EncryptInit(this.#session, this.#gcm(nonce, aad), this.#key);
    const sealed = await this.#library.C_EncryptAsync(this.#session, plaintext, Buffer.alloc(64));
    return Buffer.concat([nonce, sealed]);
  }

  async decrypt(wrapped: Buffer, aad: Uint8Array): Promise<Buffer> {
    this.#library.C_DecryptInit(this.#session, this.#gcm(wrapped.subarray(0, NONCE_LEN), aad), this.#key);
    const opened = Buffer.alloc(64);
    const ciphertext = wrapped.subarray(NONCE_LEN);
    return await this.#library.C_DecryptAsync(this.#session, ciphertext, opened);
  }

  async wrap(plaintext: Buffer): Promise<Buffer> {
    const inner = this.#library.C_CreateObject(this.#session, [...this.#inner(), { type: this.#js.CKA_VALUE, value: plaintext }]);
    try {
      return await this.#library.C_WrapKeyAsync(this.#session, { mechanism: this.#js.CKM_AES_KEY_WRAP_PAD }, this.#key, inner, Buffer.alloc(64));
    } finally {
      this.#library.C_DestroyObject(this.#session, inner);
    }
  }

  async unwrap(wrapped: Buffer): Promise<Buffer> {
    const mechanism = { mechanism: this.#js.CKM_AES_KEY_WRAP_PAD };
    const inner = await this.#library.C_UnwrapKeyAsync(this.#session, mechanism, this.#key, wrapped, this.#inner());
    try {
      return this.#attribute(inner, this.#js.CKA_VALUE);
    } finally {
      this.#library.C_DestroyObject(this.#session, inner);
    }
  }

  /** The key, and whether it wraps by AES-GCM. */
  #find(uri: Pkcs11Uri): [Handle, boolean] {
    const js = this.#js;
    const template: Pkcs11js.Template = [
      { type: js.CKA_CLASS, value: js.CKO_SECRET_KEY },
      { type: js.CKA_KEY_TYPE, value: js.CKK_AES },
    ];
    if (uri.object !== undefined) template.push({ type: js.CKA_LABEL, value: uri.object });
    if (uri.id !== undefined) template.push({ type: js.CKA_ID, value: uri.id });
    this.#library.C_FindObjectsInit(this.#session, template);
    const found: Handle[] = [];
    let some: Handle[];
    do {
      some = this.#library.C_FindObjects(this.#session, 10);
      found.push(...some);
    } while (some.length > 0);
    this.#library.C_FindObjectsFinal(this.#session);
    const [key, ...others] = found;
    if (key === undefined) throw fail("key_not_found", "the PKCS#11 token has no AES key of this object= and id=");
    if (others.length > 0) throw fail("invalid_argument", SEVERAL);
    if (this.#attribute(key, js.CKA_VALUE_LEN)[0] !== 32) throw fail("invalid_argument", "the PKCS#11 key is no AES key of 256 bits");
    const mechanisms = this.#library.C_GetMechanismList(this.#slot);
    const may = (...rights: number[]) => rights.every((right) => this.#attribute(key, right)[0] === 1);
    if (mechanisms.includes(js.CKM_AES_GCM) && may(js.CKA_ENCRYPT, js.CKA_DECRYPT)) return [key, true];
    if (mechanisms.includes(js.CKM_AES_KEY_WRAP_PAD) && may(js.CKA_WRAP, js.CKA_UNWRAP)) return [key, false];
    throw fail("invalid_argument", `the PKCS#11 token has neither ${GCM} nor ${KEY_WRAP}, or the key's attributes allow neither`);
  }

  #attribute(object: Handle, type: number): Buffer {
    return this.#library.C_GetAttributeValue(this.#session, object, [{ type }])[0]?.value ?? Buffer.alloc(0);
  }

  #gcm(iv: Buffer, aad: Uint8Array): Pkcs11js.Mechanism {
    const parameter: Pkcs11js.AesGCM = { type: this.#js.CK_PARAMS_AES_GCM_v240, iv, ivBits: 8 * NONCE_LEN, aad: Buffer.from(aad), tagBits: 128 };
    return { mechanism: this.#js.CKM_AES_GCM, parameter };
  }

  /** A DEK as an object of the session, which alone a token wraps by key wrap. */
  #inner(): Pkcs11js.Template {
    const js = this.#js;
    return [
      { type: js.CKA_CLASS, value: js.CKO_SECRET_KEY },
      { type: js.CKA_KEY_TYPE, value: js.CKK_GENERIC_SECRET },
      { type: js.CKA_TOKEN, value: false },
      { type: js.CKA_EXTRACTABLE, value: true },
      { type: js.CKA_SENSITIVE, value: false },
    ];
  }
}

function namesOf(info: Pkcs11js.TokenInfo) {
  const trimmed = (padded: string) => padded.replace(/[ \0]+$/, "");
  return { token: trimmed(info.label), manufacturer: trimmed(info.manufacturerID), serial: trimmed(info.serialNumber), model: trimmed(info.model) };
}

const DENIED = "the PKCS#11 token refuses the PIN: correct it and start anew; it is not tried again, since tokens count";
const AWAY = "the PKCS#11 token cannot be reached, or failed: is it there, and are token= and serial= right?";
const SEVERAL = "several tokens or keys match this pkcs11: URI: add serial= or id=";
const WRONG = "the PKCS#11 token does not open this under this key: wrong key, wrong context, or changed bytes";

const LOST = [
  "CKR_SESSION_HANDLE_INVALID",
  "CKR_SESSION_CLOSED",
  "CKR_USER_NOT_LOGGED_IN",
  "CKR_KEY_HANDLE_INVALID",
  "CKR_OBJECT_HANDLE_INVALID",
  "CKR_UNWRAPPING_KEY_HANDLE_INVALID",
  "CKR_WRAPPING_KEY_HANDLE_INVALID",
  "CKR_DEVICE_REMOVED",
  "CKR_DEVICE_ERROR",
  "CKR_TOKEN_NOT_PRESENT",
];
const FAILED = [
  ...LOST,
  "CKR_TOKEN_NOT_RECOGNIZED",
  "CKR_DEVICE_MEMORY",
  "CKR_HOST_MEMORY",
  "CKR_SESSION_COUNT",
  "CKR_FUNCTION_FAILED",
  "CKR_FUNCTION_CANCELED",
  "CKR_GENERAL_ERROR",
];
const PIN = ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED", "CKR_PIN_INVALID", "CKR_PIN_LEN_RANGE", "CKR_USER_PIN_NOT_INITIALIZED"];
const NOT_OPENED = [
  "CKR_GENERAL_ERROR",
  "CKR_ENCRYPTED_DATA_INVALID",
  "CKR_ENCRYPTED_DATA_LEN_RANGE",
  "CKR_WRAPPED_KEY_INVALID",
  "CKR_WRAPPED_KEY_LEN_RANGE",
  "CKR_DATA_INVALID",
  "CKR_SIGNATURE_INVALID",
];
const ANSWERS = new Map<string, readonly [ErrorCode, string]>([
  ...PIN.map((name) => [name, ["kms_denied", DENIED]] as const),
  ...FAILED.map((name) => [name, ["kms_unavailable", AWAY]] as const),
]);

function translate(error: unknown): SealpointError | undefined {
  const answer = answerOf(error) ?? "";
  const known = ANSWERS.get(answer);
  return known && fail(known[0], `${known[1]} (${answer})`);
}

/** SoftHSM answers a wrong tag with CKR_GENERAL_ERROR, as it would anything else: taken for what a retry does not cure. */
function translateOpening(error: unknown): SealpointError | undefined {
  return NOT_OPENED.includes(answerOf(error) ?? "") ? fail("authentication_failed", WRONG) : translate(error);
}
