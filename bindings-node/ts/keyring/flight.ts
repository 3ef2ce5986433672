/** One load in flight per name, however many callers wait for it. */

import type { DataKey } from "../data-key.js";

/** A DEK that was just opened, or undefined: the cache holds it. */
export type Loaded = DataKey | undefined;

/** The first caller does the work; callers that come meanwhile get its result or its error. Nothing is kept once it has landed. Flights can nest. */
export class SingleFlight {
  readonly #running = new Map<string, Promise<Loaded>>();

  /** `work()`, or the result of the same work that is under way. */
  run(name: string, work: () => Promise<Loaded>): Promise<Loaded> {
    let flight = this.#running.get(name);
    if (flight === undefined) {
      flight = work().finally(() => this.#running.delete(name));
      this.#running.set(name, flight);
    }
    return flight;
  }
}
