/** LangGraph's persistence, sealed: `SealedSaver` around any checkpoint saver. */

export { SealedSaver, type SealedSaverOptions } from "./saver.js";
