// Real servers for tests. Each is started when the first test of a process asks for it and ends with that process, however it ends: it watches a pipe.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = new URL("../../../", import.meta.url);
const local = ["bin/python", "Scripts/python.exe"].map((path) => fileURLToPath(new URL(`.venv/${path}`, root))).find(existsSync);

/** The Python that has this repository's package and test dependencies. SEALPOINT_PYTHON names another. */
export const python = process.env.SEALPOINT_PYTHON ?? local ?? "python3";

/** A file of the Python package's tests. */
export const pythonTest = (name) => fileURLToPath(new URL(`bindings-python/tests/${name}`, root));

let shared;

/** The DSN of a new, empty database: on a server of this process's own, or on that of SEALPOINT_TEST_POSTGRES (a URL). It is dropped at the end. */
export async function postgres() {
  shared ??= new Served(pythonTest("postgres.py"));
  return shared.ask("database");
}

let redises;

/** The URL (`unix://…`) of a new, empty Redis Stack server: searches know database 0 alone, so that one server is not for two tests at once. */
export async function redis() {
  redises ??= new Served(pythonTest("redis_server.py"));
  return redises.ask("server");
}

/** A Postgres server for one test, which may stop and start it. */
export async function postgresServer() {
  const server = new Served(pythonTest("postgres.py"), "own");
  const dsn = await server.ask("database");
  return {
    dsn,
    stop: () => server.ask("stop"),
    crash: () => server.ask("crash"),
    start: () => server.ask("start"),
    pid: async () => Number(await server.ask("pid")),
    close: () => server.close(),
  };
}

/** A Python program that keeps servers, asked over its standard input: a line for a line. */
export class Served {
  #child;
  #lines;
  #last = Promise.resolve();
  #errors = "";

  constructor(...args) {
    this.#child = spawn(python, args, { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.on("error", () => {}); // no such program: the first question says so
    this.#child.stdin.on("error", () => {});
    this.#child.stderr.setEncoding("utf8").on("data", (text) => {
      this.#errors += text;
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    // It must not keep this process alive; when the process ends, its input does.
    this.#hold(false);
  }

  /** One question at a time. */
  ask(question) {
    const answer = this.#last.then(async () => {
      this.#hold(true);
      this.#child.stdin.write(`${question}\n`);
      const { value, done } = await this.#lines.next();
      this.#hold(false);
      if (done) throw new Error(`${python} ended instead of answering: ${this.#errors}`);
      return value;
    });
    this.#last = answer.catch(() => {});
    return answer;
  }

  async close() {
    const ended = this.#child.exitCode === null && new Promise((resolve) => this.#child.once("exit", resolve));
    this.#hold(true);
    this.#child.stdin.end();
    await ended;
  }

  #hold(alive) {
    for (const part of [this.#child, this.#child.stdin, this.#child.stdout, this.#child.stderr]) alive ? part?.ref?.() : part?.unref?.();
  }
}
