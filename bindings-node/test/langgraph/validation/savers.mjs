// The savers that LangGraph's own validation suite is run over, bare and sealed: each call of `make` gives one with an empty storage.
import { MemorySaver } from "@langchain/langgraph-checkpoint";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import pg from "pg";

export const savers = {
  memory: () => ({ make: async () => new MemorySaver(), drop: async () => {} }),
  sqlite: () => ({
    make: async () => SqliteSaver.fromConnString(":memory:"),
    drop: async (saver) => saver.db.close(),
  }),
  postgres: (dsn) => {
    let made = 0;
    return {
      async make() {
        const schema = `v${process.pid}_${made++}`;
        const saver = new PostgresSaver(new pg.Pool({ connectionString: dsn, max: 4 }), undefined, { schema });
        await saver.setup();
        return saver;
      },
      async drop(saver) {
        await saver.pool.query(`DROP SCHEMA ${saver.options.schema} CASCADE`);
        await saver.end();
      },
    };
  },
};
