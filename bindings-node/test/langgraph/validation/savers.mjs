// The savers that LangGraph's own validation suite is run over, bare and sealed: each call of `make` gives one with an empty storage.
import { MemorySaver } from "@langchain/langgraph-checkpoint";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import { RedisSaver } from "@langchain/langgraph-checkpoint-redis";
import { ShallowRedisSaver } from "@langchain/langgraph-checkpoint-redis/shallow";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import pg from "pg";
import { redisClient } from "../backends.mjs";

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
  redis: (url) => redis(url, RedisSaver),
  shallow: (url) => redis(url, ShallowRedisSaver),
};

function redis(url, Saver) {
  return {
    make: async () => new Saver(await redisClient(url)),
    async drop({ client }) {
      await client.flushAll();
      await client.quit();
    },
  };
}
