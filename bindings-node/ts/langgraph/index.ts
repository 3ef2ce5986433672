/** LangGraph's persistence, sealed. */

export {};
