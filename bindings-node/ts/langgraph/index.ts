/** LangGraph's persistence, sealed: `SealedSaver` around any checkpoint saver; `readCheckpoint` for what another language wrote. */

export type { Plain } from "./plain.js";
export { type PlainCheckpoint, type PlainWrite, type Queries, type ReadOptions, readCheckpoint, type Unreadable } from "./reader.js";
export { SealedSaver, type SealedSaverOptions } from "./saver.js";
