import type { NextConfig } from "next";

const config: NextConfig = {
  // Loaded by Node as they are installed. In a bundle sealpoint cannot find its native module, and falls back to WebAssembly; LangGraph, which it imports, goes with it.
  serverExternalPackages: ["sealpoint", "@langchain/core", "@langchain/langgraph", "@langchain/langgraph-checkpoint-postgres", "pg"],
};

export default config;
