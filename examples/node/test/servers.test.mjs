// Both servers as they are deployed, on a real Postgres: each tenant reads its own threads, the database reads none.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import { errorCodes } from "sealpoint";
import { postgresServer, python } from "../../../bindings-node/test/langgraph/servers.mjs";

const run = promisify(execFile);
const here = fileURLToPath(new URL("..", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "sealpoint-servers-"));
const tokens = { "token-of-ines": "acme", "token-of-tobias": "globex", "token-of-milton": "initech" };
const [ines, tobias, milton] = Object.keys(tokens);
const kek = randomBytes(32).toString("base64");
const environment = {
  PATH: process.env.PATH,
  HOME: home,
  CI: "1", // Next.js installs nothing by itself
  NEXT_TELEMETRY_DISABLED: "1",
  PORT: "0",
  SEALPOINT_KEK: kek,
  EXAMPLE_TOKENS: JSON.stringify(tokens),
};
const node = (...args) => run(process.execPath, args, { cwd: here, env: environment }).catch(({ stdout, stderr }) => assert.fail(`${stdout}${stderr}`));

const database = await postgresServer();
after(async () => {
  await database.close();
  rmSync(home, { recursive: true });
});

/** Python makes the key tables, and a tenant whose keys are destroyed. */
before(async () => {
  const program = `
import os, sealpoint
with sealpoint.Keyring.connect(os.environ["DATABASE_URL"], kek="env:SEALPOINT_KEK") as keyring:
    keyring.setup()
    keyring.load("initech")
    keyring.shred("initech", confirm="initech")`;
  await run(python, ["-c", program], { env: { ...process.env, DATABASE_URL: database.dsn, SEALPOINT_KEK: kek } });
});

async function whileDown(work) {
  await database.stop();
  try {
    await work();
  } finally {
    await database.start();
  }
}

const next = ["node_modules/next/dist/bin/next"];
const servers = {
  Hono: { build: ["node_modules/typescript/bin/tsc", "-p", "tsconfig.server.json"], start: ["build/server.js"], threads: "/threads/", health: "/health" },
  "Next.js": { build: [...next, "build"], start: [...next, "start", "--hostname", "127.0.0.1"], threads: "/api/threads/", health: "/api/health" },
};

/** A server that is up, and one who asks it. */
class Site {
  said = "";
  #child;

  async start(...args) {
    const env = { ...environment, DATABASE_URL: database.dsn };
    this.#child = spawn(process.execPath, args, { cwd: here, env, stdio: ["ignore", "pipe", "pipe"] });
    process.once("exit", () => this.#child.kill("SIGKILL"));
    this.origin = await new Promise((resolve, reject) => {
      for (const stream of [this.#child.stdout, this.#child.stderr]) {
        stream.setEncoding("utf8").on("data", (text) => {
          this.said += text;
          const [origin] = /http:\/\/127\.0\.0\.1:\d+(?=\s)/.exec(this.said) ?? [];
          if (origin) resolve(origin);
        });
      }
      this.#child.once("exit", () => reject(new Error(`the server ended: ${this.said}`)));
    });
  }

  async stop() {
    if (this.#child === undefined || this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", (code, signal) => resolve(code ?? signal)));
    this.#child.kill("SIGTERM");
    return ended;
  }

  /** Status and JSON of the answer; `body`, if given, is posted. */
  async ask(path, token, body) {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const answer = await fetch(this.origin + path, { method: body === undefined ? "GET" : "POST", headers, body });
    this.retryAfter = answer.headers.get("retry-after");
    return [answer.status, await answer.json()];
  }
}

const judged = ([status, health]) => [status, health.status, health.store];
const text = (said) => JSON.stringify({ text: said });

async function asAdmin(work) {
  const client = new pg.Client(database.dsn);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Every row of every table, as one who reads the database sees it. */
const everything = () =>
  asAdmin(async (client) => {
    await client.query("SET bytea_output = 'escape'"); // letters stay letters
    const tables = await client.query("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'");
    const dumps = [];
    for (const { name } of tables.rows) {
      const { rows } = await client.query(`SELECT t::text AS row FROM ${name} t`);
      dumps.push(...rows.map(({ row }) => `${name}: ${row}`));
    }
    return dumps.join("\n");
  });

/** How many connections the servers hold. */
const connections = () =>
  asAdmin(async (client) => {
    const { rows } = await client.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    return rows.length;
  });

for (const [name, { build, start, threads, health }] of Object.entries(servers)) {
  describe(name, () => {
    const site = new Site();
    const built = node(...build);
    built.catch(() => {}); // `before` has it
    const thread = `${threads}${name}-1`;
    // Next.js has this in its folders' names.
    const runs = name === "Hono" ? `${thread}/runs` : thread;
    const note = `quicksilver of ${name}`;
    before(async () => {
      await built;
      await site.start(...start);
    });
    after(() => site.stop());

    test("a thread goes on, for its tenant", async () => {
      assert.deepEqual(await site.ask(runs, ines, text(note)), [200, { reply: `Note 1: ${note}` }]);
      assert.deepEqual(await site.ask(runs, ines, text("and more")), [200, { reply: "Note 2: and more" }]);
    });

    test("to another tenant it is as if there were none", async () => {
      const nothing = [404, { code: "not_found" }];
      assert.deepEqual(await site.ask(`${threads}none`, tobias), nothing);
      assert.deepEqual(await site.ask(thread, tobias), nothing);
      assert.deepEqual(await site.ask(runs, tobias, text("mine now")), nothing);
      const [, { messages }] = await site.ask(thread, ines);
      assert.deepEqual(
        messages.map((message) => message.text),
        [note, `Note 1: ${note}`, "and more", "Note 2: and more"],
      );
    });

    test("who is nobody's reads and writes nothing", async () => {
      const before = await everything();
      for (const token of [undefined, "guessed", ""]) {
        assert.deepEqual(await site.ask(thread, token), [401, { code: "tenant_required" }]);
        assert.deepEqual(await site.ask(runs, token, text("quicksilver")), [401, { code: "tenant_required" }]);
      }
      assert.equal(await everything(), before);
    });

    test("a body that is none", async () => {
      for (const body of ["", "{", "[]", "null", '{"text": 3}']) assert.deepEqual(await site.ask(runs, ines, body), [400, { code: "bad_request" }]);
    });

    test("a tenant that Python erased is gone", async () => {
      assert.deepEqual(await site.ask(runs.replace("-1", "-2"), milton, text("stapler")), [410, { code: "key_destroyed" }]);
    });

    test("neither database nor log holds what was said", async () => {
      const rows = await everything();
      assert.match(rows, new RegExp(`checkpoint_blobs: .*${name}-1`));
      const [said, secrets] = [`${rows}${site.said}`, [kek, ...Object.keys(tokens)]];
      for (const word of ["quicksilver", "and more", "mine now", "stapler", ...secrets]) assert.ok(!said.includes(word), word);
      await run(python, ["-m", "sealpoint", "scan", database.dsn]);
    });

    test("sealing is native, not by WebAssembly as in a bundle", () => assert.doesNotMatch(site.said, /SEALPOINT_WASM/));

    test("an outage is said to the load balancer and to the client, and passes", async () => {
      assert.deepEqual(judged(await site.ask(health)), [200, "ok", null]);
      await whileDown(async () => {
        assert.deepEqual(judged(await site.ask(health)), [503, "failed", "store_unavailable"]);
      });
      assert.equal((await site.ask(health))[0], 200);
      assert.equal((await site.ask(thread, ines))[0], 200);
    });
  });
}

test("Hono does not start without its database", async () => {
  await whileDown(() => assert.rejects(new Site().start(...servers.Hono.start), /store_unavailable/));
});

test("Next.js starts without its database, and serves once it is there", async () => {
  const site = new Site();
  try {
    await whileDown(async () => {
      await site.start(...servers["Next.js"].start);
      assert.deepEqual(await site.ask("/api/threads/t-1", ines), [503, { code: "store_unavailable" }]);
      assert.equal(site.retryAfter, "5");
    });
    assert.deepEqual(await site.ask("/api/threads/t-1", ines), [404, { code: "not_found" }]);
  } finally {
    await site.stop();
  }
});

test("Next.js keeps its keyring when a module is edited in development", { timeout: 180_000 }, async () => {
  const copy = join(here, "build/dev"); // within the project, whose packages it finds
  rmSync(copy, { recursive: true, force: true });
  for (const part of ["app", "lib", "next.config.ts", "package.json", "tsconfig.json"]) cpSync(join(here, part), join(copy, part), { recursive: true });
  const site = new Site();
  try {
    await site.start(...next, "dev", copy, "--hostname", "127.0.0.1");
    assert.equal((await site.ask("/api/health"))[0], 200);
    const held = await connections();
    for (const [file, from, to] of [
      ["lib/sealed.ts", "connect() {", 'connect() {\n  console.log("connected anew");'],
      ["lib/health.ts", "503 : 200", "503 : 203"],
    ]) {
      const path = join(copy, file);
      writeFileSync(path, readFileSync(path, "utf8").replace(from, to));
    }
    while ((await site.ask("/api/health"))[0] !== 203); // until both edits are in: the second was made last
    assert.ok((await connections()) <= held);
    assert.doesNotMatch(site.said, /connected anew/);
  } finally {
    await site.stop();
  }
});

test("every code that can pass by itself is 503, and none is a success", async () => {
  const { statusOf } = await import("../build/lib/answers.js");
  for (const [code, retryable] of Object.entries(errorCodes)) {
    const status = statusOf(code, retryable);
    assert.ok(retryable ? status === 503 : status >= 400 && status !== 503, code);
  }
});
