// Bare savers on real databases, and the keyring and the saver that seal.

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { postgres } from "../../bindings-node/test/langgraph/servers.mjs";
import { built, PACKAGE, peer } from "./harness.mjs";

export const [BARE, SEALED, COLD] = ["bare", "sealed", "sealed, cold keys"];
export const [MEMORY, SQLITE, POSTGRES] = ["MemorySaver", "SqliteSaver", "PostgresSaver"];
const KEK = "SEALPOINT_BENCH_KEK";

/** The one that is built already, for the package's tests: it comes as source where there is no binary of it to be had. */
const Database = createRequire(join(PACKAGE, "package.json"))("better-sqlite3");

/** The packages that the figures depend on. */
export const PACKAGES = [
  "@langchain/langgraph",
  "@langchain/langgraph-checkpoint",
  "@langchain/langgraph-checkpoint-sqlite",
  "@langchain/langgraph-checkpoint-postgres",
  "@langchain/core",
  "better-sqlite3",
  "pg",
];

/** Where savers keep what they are given. A Postgres server, that of the tests, is started when the first one asks for it, and ends with this process. */
export class Databases {
  #folder = mkdtempSync(join(tmpdir(), "sealpoint-bench-"));
  #count = 0;
  #pool;
  #dsn;

  /** A new saver of this kind, set up, on an empty database, and what drops that. */
  async saver(kind) {
    const name = `bench_${this.#count++}`;
    if (kind === MEMORY) {
      const { MemorySaver } = await peer("@langchain/langgraph-checkpoint");
      return { saver: new MemorySaver(), drop: async () => {} };
    }
    if (kind === SQLITE) {
      const { SqliteSaver } = await peer("@langchain/langgraph-checkpoint-sqlite");
      const file = this.#file(name);
      const saver = new SqliteSaver(new Database(file));
      saver.setup();
      const drop = async () => {
        saver.db.close();
        rmSync(file);
      };
      return { saver, drop };
    }
    const { PostgresSaver } = await peer("@langchain/langgraph-checkpoint-postgres");
    const pool = await this.#connected();
    const saver = new PostgresSaver(pool, undefined, { schema: name });
    await saver.setup();
    return { saver, drop: () => pool.query(`DROP SCHEMA ${name} CASCADE`) };
  }

  /** The URL of a key store in a database of that kind, the same one at each call. */
  async keys(kind) {
    if (kind === MEMORY) return "memory:";
    if (kind === SQLITE) return `sqlite:///${this.#file("keys")}`;
    await this.#connected();
    return this.#dsn;
  }

  async close() {
    await this.#pool?.end();
    rmSync(this.#folder, { recursive: true });
  }

  #file(name) {
    return join(this.#folder, `${name}.db`);
  }

  async #connected() {
    const { default: pg } = await peer("pg");
    this.#dsn ??= await postgres();
    this.#pool ??= new pg.Pool({ connectionString: this.#dsn, max: 10 });
    return this.#pool;
  }
}

/** What seals, of the built package. */
export async function sealing(directory) {
  const load = (file) => import(pathToFileURL(built(directory, file)));
  const [{ Keyring, fromConfig }, { SealedSaver }] = [await load("node.mjs"), await load("langgraph.mjs")];
  process.env[KEK] ??= randomBytes(32).toString("base64");
  return {
    connect: (store) => Keyring.connect(store, { kek: `env:${KEK}` }),
    sealed: (saver, keyring) => new SealedSaver(saver, keyring, { tenant: fromConfig("workspace_id") }),
  };
}
