/** Views of the user's stores and caches in which one part is replaced. */

import type { BaseStore } from "@langchain/langgraph-checkpoint";
import type { Embedder, Embeddings } from "./embedder.js";

/** A view of `inner` that shares everything but what is `replaced`; `inner` itself is not changed. Private (`#`) parts of a class cannot be seen through it. */
export function borrowed<T extends object>(inner: T, replaced: object): T {
  return Object.assign(Object.create(inner, Object.fromEntries(Object.keys(replaced).map((name) => [name, { writable: true, value: undefined }]))), replaced);
}

/** The parts of LangGraph's stores that know the index. */
interface Indexed {
  _indexConfig?: { embeddings?: Embeddings };
  indexConfig?: unknown;
  core?: { indexConfig?: { embed?: Embeddings } };
  vectorOps?: object;
  crudOps?: object;
  searchOps?: object;
}

/** Whether a store has an index of vectors. */
export function hasIndex(inner: BaseStore): boolean {
  const { indexConfig, core } = inner as Indexed;
  return (indexConfig ?? core?.indexConfig ?? undefined) !== undefined;
}

/** A view of `inner` that embeds with what `make` gives; undefined if it has no index that can be seen. */
export function embeddingWith(inner: BaseStore, make: (embeddings: Embeddings) => Embedder): { store: BaseStore; embedder: Embedder } | undefined {
  const { _indexConfig, core, vectorOps, crudOps, searchOps } = inner as Indexed;
  if (_indexConfig?.embeddings !== undefined) {
    const embedder = make(_indexConfig.embeddings);
    return { embedder, store: borrowed(inner, { _indexConfig: { ..._indexConfig, embeddings: embedder } }) };
  }
  const embed = core?.indexConfig?.embed;
  if (core === undefined || embed === undefined || !vectorOps || !crudOps || !searchOps) return undefined;
  const embedder = make(embed);
  const parts = { core: borrowed(core, { indexConfig: { ...core.indexConfig, embed: embedder } }) };
  const vectors = { ...parts, vectorOps: borrowed(vectorOps, parts) };
  return { embedder, store: borrowed(inner, { ...vectors, crudOps: borrowed(crudOps, vectors), searchOps: borrowed(searchOps, vectors) }) };
}
