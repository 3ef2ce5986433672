/** LangGraph's persistence, sealed: wrappers of savers, stores and caches; `readCheckpoint` for what another language wrote. */

export { SealedCache, type SealedCacheOptions } from "./cache.js";
export type { Plain } from "./plain.js";
export { type PlainCheckpoint, type PlainWrite, type Queries, type ReadOptions, readCheckpoint, type Unreadable } from "./reader.js";
export { SealedSaver, type SealedSaverOptions } from "./saver.js";
export { SealedSerializer, type SealedSerializerOptions } from "./serializer.js";
export { SealedStore, type SealedStoreOptions } from "./store.js";
