// The agent, with everything that it stores sealed: one pool and one keyring for the process.
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import pg from "pg";
import { fromConfig, Keyring } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { agent } from "./agent.ts";

async function connect() {
  const connectionString = process.env.DATABASE_URL;
  if (!connectionString) throw new Error("DATABASE_URL is not set");
  const pool = new pg.Pool({ connectionString });
  // A connection that breaks while idle is replaced; without a listener it would end the process.
  pool.on("error", () => console.error("lost an idle connection to Postgres"));
  try {
    const keyring = await Keyring.connect(pool, { kek: "env:SEALPOINT_KEK" });
    const saver = new SealedSaver(new PostgresSaver(pool), keyring, { tenant: fromConfig("workspace_id") });
    await saver.setup(); // state and key tables; changes nothing where they are
    const close = async () => {
      await keyring.close();
      await pool.end();
    };
    return { keyring, graph: agent.compile({ checkpointer: saver }), close };
  } catch (error) {
    await pool.end();
    throw error;
  }
}

// In development Next.js loads a module again after each edit; what is on globalThis stays.
const kept = globalThis as { sealed?: ReturnType<typeof connect> };

/** Connected at the first call. If that failed, the next call tries again. */
export function sealed() {
  kept.sealed ??= connect().catch((error) => {
    delete kept.sealed;
    throw error;
  });
  return kept.sealed;
}
