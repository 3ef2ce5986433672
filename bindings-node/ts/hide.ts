/** Lets Node's `inspect` (and so `console.log`) show what `toString` shows, and nothing else. */
export function hide(type: { readonly prototype: { toString(): string } }): void {
  Object.defineProperty(type.prototype, Symbol.for("nodejs.util.inspect.custom"), {
    value(this: { toString(): string }): string {
      return this.toString();
    },
  });
}
