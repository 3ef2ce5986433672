/** What the providers for services share: one budget of time for each call, and what came back. */

import { fail, isSealpointError, type SealpointError } from "../errors.js";
import { SecretKey } from "../keys.js";

/** Seconds for one call, its retries included. */
export const DEADLINE_S = 10;
const MAX_DEADLINE_S = 120;
const ATTEMPTS = 3;

/** From what a client library threw to our error; undefined for what it does not know. */
export type Translate = (error: unknown) => SealpointError | undefined;

/** The time for one call of a service: at most three attempts of `attempt` milliseconds, and pauses with jitter between them. */
export class Budget {
  readonly attempt: number;
  readonly #deadline: number;
  readonly #service: string;
  readonly #cutsShort: boolean;

  /** `deadline`: seconds for everything. `cutsShort`: false where an attempt cannot be given up halfway, so that only retries are bounded. Throws: `invalid_argument`. */
  constructor(deadline: unknown, service: string, { cutsShort = true } = {}) {
    if (typeof deadline !== "number" || !(deadline > 0 && deadline <= MAX_DEADLINE_S)) {
      throw fail("invalid_argument", `deadline is a number of seconds: more than 0 and at most ${MAX_DEADLINE_S}`);
    }
    this.#deadline = deadline * 1000;
    this.#service = service;
    this.#cutsShort = cutsShort;
    this.attempt = this.#deadline * 0.28;
  }

  /**
   * `call()`, again if its error can be cured by a retry and there is time for it. Its signal is aborted when an attempt has had its time, and nothing is waited for any longer,
   * whatever the client does.
   */
  async run<T>(call: (signal: AbortSignal) => Promise<T>, translate: Translate): Promise<T> {
    const started = performance.now();
    for (let number = 1; ; number++) {
      try {
        return await this.once(() => this.#limited(call), translate);
      } catch (error) {
        const pause = (Math.random() * this.#deadline * number) / 50; // spreads callers
        const left = started + this.#deadline - performance.now();
        if (!(error as SealpointError).retryable || number === ATTEMPTS || pause + this.attempt > left) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /**
   * `call()`, for clients that keep their own time: what it throws becomes one of our errors, what `translate` does not know `internal`. The original goes nowhere: libraries put
   * parameters, and services put names, into what they throw.
   */
  async once<T>(call: () => Promise<T> | T, translate: Translate): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (isSealpointError(error)) throw error;
      throw translate(error) ?? fail("internal", `the client of ${this.#service} threw ${nameOf(error)}`);
    }
  }

  async #limited<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const answer = call(controller.signal);
    if (!this.#cutsShort) return answer;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new DOMException("no answer in time", "TimeoutError"));
        controller.abort();
      }, this.attempt);
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What a service unwrapped; the array is wiped. Throws: `authentication_failed`. */
export function secretFrom(plaintext: Uint8Array | undefined, service: string): SecretKey {
  if (plaintext?.length === 32) return SecretKey.fromBytes(plaintext);
  plaintext?.fill(0);
  throw fail("authentication_failed", `${service} unwrapped something that is no key`);
}

/** Lends the secret's bytes to a client library; wiped afterwards. */
export async function exposed<T>(secret: SecretKey, use: (plaintext: Uint8Array<ArrayBuffer>) => Promise<T>): Promise<T> {
  const plaintext = secret.expose();
  try {
    return await use(plaintext);
  } finally {
    plaintext.fill(0);
  }
}

/** What may be said of a client library's error: a code such as ECONNRESET, or its name. */
export function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === "string" && /^[A-Z_0-9]{1,64}$/.test(code) ? code : error.name;
}

/** A failed connection or a timeout, as Node's sockets and `fetch` (there it is the cause) report them. */
export function isNetworkError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, syscall, path } = error as NodeJS.ErrnoException; // with a path it is about a file
  if (error.name === "TimeoutError" || (typeof code === "string" && path === undefined && (syscall !== undefined || NETWORK.test(code)))) return true;
  return isNetworkError(error.cause) || (error instanceof AggregateError && error.errors.some(isNetworkError));
}

/** Sockets, `fetch`, TLS (a certificate that does not hold, too), and what is no HTTP. */
const NETWORK = /^(E[A-Z]+$|UND_ERR_|ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HPE_)/;
