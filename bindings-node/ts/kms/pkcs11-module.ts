/** A PKCS#11 library in this process: one for all providers that use it, one call at a time. */

import type * as Pkcs11js from "pkcs11js";
import { fail } from "../errors.js";
import { needed } from "../platform.js";

/** A handle of a slot, session or object. */
export type Handle = Buffer;

/** The name of what a token answered, such as `CKR_PIN_INCORRECT`; undefined for any other error. */
export function answerOf(error: unknown): string | undefined {
  return error instanceof Error ? /\bCKR_[A-Z0-9_]+/.exec(error.message)?.[0] : undefined;
}

export class Module {
  readonly #path: string;
  readonly #js: typeof Pkcs11js;
  readonly #logins = new Map<string, Handle | undefined>();
  #loaded: Pkcs11js.PKCS11 | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string, js: typeof Pkcs11js) {
    this.#path = path;
    this.#js = js;
  }

  /** `work()`, once whatever was asked for before is done. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** Throws: `invalid_argument` (it cannot be loaded), and what it answers. */
  load(): Pkcs11js.PKCS11 {
    if (this.#loaded !== undefined) return this.#loaded;
    const library = new this.#js.PKCS11();
    try {
      library.load(this.#path);
    } catch {
      throw fail("invalid_argument", "module-path names no PKCS#11 library that can be loaded");
    }
    try {
      library.C_Initialize({ flags: this.#js.CKF_OS_LOCKING_OK });
    } catch (error) {
      if (answerOf(error) !== "CKR_CRYPTOKI_ALREADY_INITIALIZED") throw error; // by somebody else of this process
    }
    this.#loaded = library;
    return library;
  }

  /** Once for the process, in a session that stays open: closing the one that logged in logs everybody out. */
  logIn(slot: Handle, pin: () => string): void {
    const name = slot.toString("hex");
    if (this.#logins.has(name)) return;
    const library = this.load();
    const session = library.C_OpenSession(slot, this.#js.CKF_SERIAL_SESSION);
    try {
      library.C_Login(session, this.#js.CKU_USER, pin());
      this.#logins.set(name, session);
    } catch (error) {
      library.C_CloseSession(session);
      if (answerOf(error) !== "CKR_USER_ALREADY_LOGGED_IN") throw error; // by somebody else of this process
      this.#logins.set(name, undefined);
    }
  }

  /** Before the next session: a token that was lost may have forgotten the login. */
  logInAgain(slot: Handle): void {
    this.#logins.delete(slot.toString("hex"));
  }
}

const modules = new Map<string, Module>();

/** The library at a path, whatever links lead there. It is not loaded yet. */
export function moduleAt(path: string, js: typeof Pkcs11js): Module {
  let real = path;
  try {
    real = needed("fs", "a KEK of pkcs11:").realpathSync(path);
  } catch {
    // loading says it
  }
  let found = modules.get(real);
  if (found === undefined) {
    found = new Module(real, js);
    modules.set(real, found);
  }
  return found;
}
