const INSPECT: unique symbol = Symbol.for("nodejs.util.inspect.custom") as never;

/** Lets Node's `inspect` (and so `console.log`) show what `toString` shows, and nothing else. */
export function hide(type: { readonly prototype: { toString(): string } }): void {
  Object.defineProperty(type.prototype, INSPECT, {
    value(this: { toString(): string }): string {
      return this.toString();
    },
  });
}

/** The same for a class that only servers need: bundlers leave out a class that nobody uses if nothing is done to it, and no member's name is computed. */
export abstract class Hidden {
  /** @internal */
  [INSPECT](): string {
    return this.toString();
  }
}

/** Such a class that is closed, by `await using` too. */
export abstract class Closable extends Hidden {
  abstract close(): Promise<void>;

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
