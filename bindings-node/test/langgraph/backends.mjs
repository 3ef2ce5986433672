// The real savers that tests run over. Each has an empty storage, and lets a test read and change what is stored, as one can who writes the database.
import { MemorySaver } from "@langchain/langgraph-checkpoint";
import { MongoDBSaver } from "@langchain/langgraph-checkpoint-mongodb";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import { RedisSaver } from "@langchain/langgraph-checkpoint-redis";
import { ShallowRedisSaver } from "@langchain/langgraph-checkpoint-redis/shallow";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import Database from "better-sqlite3";
import pg from "pg";
import { createClient } from "redis";
import { MongoStub } from "./mongo-stub.mjs";
import { postgres, redis } from "./servers.mjs";

async function memory() {
  const inner = new MemorySaver();
  return { inner, bytes: () => Buffer.from(everything(inner)), close: async () => {} };
}

function everything({ storage, writes }) {
  const text = (value) => (value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value);
  return JSON.stringify([storage, writes], (_, value) => text(value));
}

async function sqlite() {
  const db = new Database(":memory:");
  const inner = new SqliteSaver(db);
  inner.setup();
  return {
    inner,
    bytes: () => db.serialize(),
    run: async (sql, ...args) => db.prepare(sql).run(...args),
    all: async (sql, ...args) => db.prepare(sql).all(...args),
    close: async () => db.close(),
  };
}

async function postgresql() {
  const pool = new pg.Pool({ connectionString: await postgres(), max: 8 });
  const inner = new PostgresSaver(pool);
  await inner.setup();
  const numbered = (sql) => {
    let count = 0;
    return sql.replaceAll("?", () => `$${++count}`);
  };
  const all = async (sql, ...args) => (await pool.query(numbered(sql), args)).rows;
  return {
    inner,
    bytes: async () => {
      const tables = ["checkpoints", "checkpoint_blobs", "checkpoint_writes"];
      const rows = await Promise.all(tables.map((table) => all(`SELECT * FROM ${table}`)));
      return Buffer.from(JSON.stringify(rows.flat(), (_, value) => (value?.type === "Buffer" ? Buffer.from(value.data).toString("latin1") : value)));
    },
    run: async (sql, ...args) => pool.query(numbered(sql), args),
    all,
    close: async () => pool.end(),
  };
}

export const backends = { memory, sqlite, postgres: postgresql };

/** A saver for Redis, over a server of its own. `get` and `set`: one document. */
async function redisStack(Saver) {
  const client = await redisClient(await redis());
  return {
    inner: new Saver(client),
    client,
    bytes: async () => {
      const keys = await client.keys("*");
      const documents = keys.filter((key) => !key.startsWith("write_keys_zset"));
      return Buffer.from(JSON.stringify([keys, await Promise.all(documents.map((key) => client.json.get(key)))]));
    },
    keys: async (pattern) => (await client.keys(pattern)).sort(),
    get: (key) => client.json.get(key),
    set: (key, document) => client.json.set(key, "$", document),
    close: async () => client.quit(),
  };
}

/** Over a stub of its driver, not over a database. */
async function mongoStub() {
  const stub = new MongoStub();
  const bytes = () => Buffer.from(stub.json().replaceAll(/"base64":"([^"]*)"/g, (_, text) => Buffer.from(text, "base64").toString("latin1")));
  return { inner: new MongoDBSaver({ client: stub }), stub, bytes, close: async () => {} };
}

export async function redisClient(url) {
  return createClient({ socket: { path: url.slice("unix://".length) } }).connect();
}

export const redisBackends = { redis: () => redisStack(RedisSaver), shallow: () => redisStack(ShallowRedisSaver) };

export function code(expected, pattern) {
  return (error) => {
    if (error.code !== expected) throw error;
    return pattern === undefined || pattern.test(error.message);
  };
}

export async function collect(rows) {
  const found = [];
  for await (const row of rows) found.push(row);
  return found;
}

/** Each saver that sealpoint knows. `shallow` keeps of each namespace the newest checkpoint. */
export const known = { ...backends, ...redisBackends, "mongodb (a stub)": mongoStub };
