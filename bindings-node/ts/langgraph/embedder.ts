/** The embeddings object of the inner store: it is handed envelopes, and embeds what they hold. */

import { _internal, isSealed } from "sealpoint";

const { fail } = _internal;

/** What a store embeds with: an object of LangChain's, or (PostgresStore) a function. */
export type Embeddings =
  | { embedDocuments(texts: string[]): Promise<number[][]>; embedQuery(text: string): Promise<number[]> }
  | ((texts: string[]) => Promise<number[][]>);

/** Knows the plaintext of an envelope only while the call that sealed it lasts. Queries pass as they are. */
export class Embedder {
  readonly #inner: Embeddings;
  readonly #texts = new Map<string, string>();

  constructor(inner: Embeddings) {
    this.#inner = inner;
  }

  /** Lends the texts of these envelopes while `use` runs. No two envelopes are equal, so calls do not meet. */
  async lend<T>(texts: ReadonlyMap<string, string>, use: () => Promise<T>): Promise<T> {
    for (const [envelope, text] of texts) this.#texts.set(envelope, text);
    try {
      return await use();
    } finally {
      for (const envelope of texts.keys()) this.#texts.delete(envelope);
    }
  }

  /** Throws: `internal`. */
  async embedDocuments(texts: string[]): Promise<number[][]> {
    const plain = texts.map((text) => {
      const lent = this.#texts.get(text);
      if (lent === undefined && isSealed(text)) {
        throw fail("internal", "this store embeds an envelope after the call that sealed it: embed does not work with it");
      }
      return lent ?? text;
    });
    return typeof this.#inner === "function" ? this.#inner(plain) : this.#inner.embedDocuments(plain);
  }

  async embedQuery(text: string): Promise<number[]> {
    return typeof this.#inner === "function" ? ((await this.#inner([text]))[0] ?? []) : this.#inner.embedQuery(text);
  }
}
