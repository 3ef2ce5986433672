import type { NextConfig } from "next";

const config: NextConfig = {
  // Loaded by Node as they are installed: sealpoint has a native module, and it must see the very LangGraph that the agent runs on.
  serverExternalPackages: ["sealpoint", "@langchain/core", "@langchain/langgraph", "@langchain/langgraph-checkpoint-postgres", "pg"],
};

export default config;
