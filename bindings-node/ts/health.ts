/** Health for services: a handler for Express, for `node:http`, and for whatever else calls `(request, response)`. */

import { _internal, type Health, isSealpointError } from "sealpoint";

const { fail, options } = _internal;

export interface HealthOptions {
  /** Seconds, from 0 to 300, for which an answer is given again; 10 by default. */
  maxAge?: number;
}

/** What is needed of a request, as far as types go. */
export interface HealthRequest {
  readonly method?: string | undefined;
}

/** What is needed of a response, as far as types go. */
export interface HealthResponse {
  statusCode: number;
  readonly headersSent: boolean;
  setHeader(name: string, value: string | number): unknown;
  end(content?: string): unknown;
}

interface Answer {
  readonly status: number;
  readonly report: object;
}

/**
 * Answers GET and HEAD with the keyring's health as JSON: 200 as long as keys can be had, from a KEK or from the cache, else 503.
 *
 * It names schemes and codes; no tenant, no URI. Whoever asks within `maxAge` seconds gets the same answer: nobody can make the key service's bill by asking. Mount it where your
 * probes look: `app.use("/health/keys", health(keyring))`. It always answers, and never calls the next handler.
 *
 * Throws: `invalid_argument`.
 */
export function health(keyring: { health(): Promise<Health> }, given?: HealthOptions): (request: HealthRequest, response: HealthResponse) => Promise<void> {
  const { maxAge = 10 } = options(given, ["maxAge"]);
  if (typeof keyring?.health !== "function") throw fail("invalid_argument", "health() takes a keyring");
  if (typeof maxAge !== "number" || !(maxAge >= 0 && maxAge <= 300)) throw fail("invalid_argument", "maxAge is a number of seconds: from 0 to 300");
  const probe = new Probe(keyring, maxAge);
  return async (request, response) => {
    if (request.method === "GET" || request.method === "HEAD") respond(response, await probe.answer(), request.method === "GET");
    else respond(response, { status: 405, report: { error: "GET or HEAD" } }, true);
  };
}

/** One look at the keyring at a time, shared by all who ask while it lasts and shortly after. */
class Probe {
  readonly #keyring: { health(): Promise<Health> };
  readonly #maxAgeMs: number;
  #running: Promise<Answer> | undefined;
  #last: { at: number; answer: Answer } | undefined;

  constructor(keyring: { health(): Promise<Health> }, maxAge: number) {
    this.#keyring = keyring;
    this.#maxAgeMs = maxAge * 1000;
  }

  answer(): Promise<Answer> {
    if (this.#last !== undefined && performance.now() - this.#last.at < this.#maxAgeMs) return Promise.resolve(this.#last.answer);
    this.#running ??= this.#look();
    return this.#running;
  }

  async #look(): Promise<Answer> {
    const answer = await look(this.#keyring);
    this.#last = { at: performance.now(), answer };
    this.#running = undefined;
    return answer;
  }
}

/** Never rejects. */
async function look(keyring: { health(): Promise<Health> }): Promise<Answer> {
  try {
    const found = await keyring.health();
    return { status: found.status === "failed" ? 503 : 200, report: reportOf(found) };
  } catch (error) {
    return { status: 503, report: { status: isSealpointError(error) && error.code === "invalid_argument" ? "closed" : "failed" } };
  }
}

/** By the names that the Python package's handler gives them: one probe reads both. */
function reportOf(found: Health): object {
  return {
    status: found.status,
    store: found.store,
    cached_until: found.cachedUntil,
    affected_tenants: found.affected,
    keks: found.keks.map(({ scheme, status, code }) => ({ scheme, status, code })),
  };
}

function respond(response: HealthResponse, { status, report }: Answer, body: boolean): void {
  if (response.headersSent) return; // something else answered meanwhile: a limit of time
  const content = JSON.stringify(report);
  response.statusCode = status;
  if (status === 405) response.setHeader("allow", "GET, HEAD");
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", new TextEncoder().encode(content).length);
  response.setHeader("cache-control", "no-store");
  response.end(body ? content : undefined);
}
