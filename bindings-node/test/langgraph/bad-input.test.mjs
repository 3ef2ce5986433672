// What goes wrong around a SealedSaver: it ends as over the bare saver, or with a typed error that says what to do; nothing else of the database suffers.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { Worker } from "node:worker_threads";
import { HumanMessage } from "@langchain/core/messages";
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import Database from "better-sqlite3";
import pg from "pg";
import { fixed, fromConfig, isSealpointError, Keyring } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { backends, code, collect } from "./backends.mjs";
import { graphOver, opened } from "./interrupted.mjs";
import { connect } from "./keyring.mjs";
import { postgres, postgresServer } from "./servers.mjs";

const tenant = fromConfig("ws");
const metadata = { source: "loop", step: 1, parents: {} };
const at = (thread_id, extra = {}) => ({ configurable: { thread_id, checkpoint_ns: "", ws: "acme", ...extra } });
const make = (values, versions) => ({
  ...emptyCheckpoint(),
  id: uuid6(0),
  channel_values: values,
  channel_versions: versions ?? Object.fromEntries(Object.keys(values).map((name) => [name, 1])),
});
const put = (saver, config, one, meta = metadata) => saver.put(config, one, meta, one.channel_versions);
const folder = mkdtempSync(join(tmpdir(), "sealpoint-bad-"));
after(() => rmSync(folder, { recursive: true }));

/** The value, or the name of the error. */
const outcome = async (call) => {
  try {
    return { value: await call() };
  } catch (error) {
    return { error: error.code ?? error.name };
  }
};

class Point {
  constructor() {
    this.x = 1;
  }
}
const cyclic = { name: "c" };
cyclic.self = cyclic;
const VALUES = {
  bigint: 2n ** 70n,
  "bigint inside": { deep: [1n] },
  map: new Map([["a", new Map([[1, 2]])]]),
  "map with objects for keys": new Map([[{ a: 1 }, 1]]),
  set: new Set([1, "a"]),
  date: new Date(0),
  cyclic,
  instance: new Point(),
  message: new HumanMessage({ content: "hi", id: "1" }),
  undefined,
  "undefined inside": { a: undefined, b: [undefined] },
  null: null,
  nan: Number.NaN,
  "infinity inside": [Number.POSITIVE_INFINITY, -0],
  "lone surrogate": "a\ud800b",
  nul: "a\u0000b",
  function: () => 1,
  symbol: Symbol("s"),
  regexp: /x/g,
  error: new RangeError("e"),
  bytes: Uint8Array.of(0, 255),
  buffer: Buffer.of(0, 255),
  floats: Float32Array.of(1.5),
  sparse: Object.assign(new Array(3), { 2: 1 }),
  throwing: {
    toJSON() {
      throw new EvalError("no");
    },
  },
  proto: JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}'),
  "like an envelope": "sealpoint:v1:AAAA",
  "like a constructor": { lc: 1, type: "constructor", id: ["x"], kwargs: {} },
  "like undefined": { lc: 2, type: "undefined" },
  "like a snapshot": { lc: 2, type: "delta_snapshot", value: 1 },
  deep: Array.from({ length: 500 }).reduce((inner) => [inner], 1),
};

/**
 * Sealed as bare. But where a bare saver fails, or gives nothing at all of a checkpoint that had a value (`lost`), sealed can be no worse; and bytes, which it makes
 * an object of or cannot read, stay bytes.
 */
function kept(label, { bare, sealed }, lost = () => false) {
  if (bare.error || lost()) return;
  if (["bytes", "buffer"].includes(label)) assert.match(JSON.stringify(sealed), /\{"0":0,"1":255\}|"data":\[0,255\]/);
  else if (label === "proto")
    assert.equal(inspect(sealed), inspect(bare)); // it has a prototype of its own
  else assert.deepEqual(sealed, bare);
}

for (const [name, open] of Object.entries(backends)) {
  describe(name, async () => {
    const db = await open();
    const keyring = await connect();
    const saver = new SealedSaver(db.inner, keyring, { tenant });
    const both = { bare: db.inner, sealed: saver };
    after(() => db.close());

    /** What each saver makes of it, bare and sealed, on threads of their own. */
    async function each(label, does) {
      const found = {};
      for (const [kind, one] of Object.entries(both)) found[kind] = await outcome(() => does(one, `${kind} ${label}`));
      return found;
    }

    for (const [label, value] of Object.entries(VALUES)) {
      test(`a value as the bare saver keeps it: ${label}`, async () => {
        const channel = await each(
          label,
          async (one, thread) => (await one.getTuple(await put(one, at(thread), make({ a: value })))).checkpoint.channel_values,
        );
        kept(label, channel, () => channel.bare.value === undefined);
        const write = await each(`write ${label}`, async (one, thread) => {
          const stored = await put(one, at(thread), make({ a: 1 }));
          await one.putWrites(stored, [["a", value]], "task");
          return (await one.getTuple(stored)).pendingWrites;
        });
        kept(label, write);
        const note = await each(`note ${label}`, async (one, thread) => {
          const { note } = (await one.getTuple(await put(one, at(thread), make({ a: 1 }), { ...metadata, note: value }))).metadata;
          return note;
        });
        if (["bigint", "bigint inside", "throwing"].includes(label))
          assert.equal(note.sealed.error, "invalid_argument"); // bare all metadata is gone
        else if (name !== "postgres") kept(label, note);
        // Postgres' metadata is JSON of its own, which loses classes: sealed it is as MemorySaver's.
        else if ("value" in note.bare) assert.ok("value" in note.sealed, label);
      });
    }

    test("names that every object has, as channels, tasks and metadata", async () => {
      const names = JSON.parse('{"__proto__": 1, "constructor": 2, "toString": 3, "hasOwnProperty": 4, "": 5, "a:b\\"c\\n": 6}');
      const versions = JSON.parse('{"__proto__": 1, "constructor": 1, "toString": 1, "hasOwnProperty": 1, "": 1, "a:b\\"c\\n": 1}');
      const found = await each("names", async (one, thread) => {
        const stored = await put(one, at(thread), make(names, versions), { ...metadata, ...JSON.parse('{"constructor": 7}') });
        await one.putWrites(
          stored,
          [
            ["constructor", 1],
            ["__proto__", 2],
          ],
          "__proto__",
        );
        const row = await one.getTuple(stored);
        return [Object.entries(row.checkpoint.channel_values).sort(), row.pendingWrites, row.metadata.constructor];
      });
      assert.deepEqual(found.sealed, found.bare);
      assert.equal({}.polluted, undefined);
    });

    for (const [label, thread] of Object.entries({
      long: "x".repeat(2000),
      unicode: "ü😀/../'\"",
      number: 7,
      float: 1.5,
      empty: "",
      object: { a: 1 },
      null: null,
    })) {
      test(`a thread id that is ${label}`, async () => {
        const found = {};
        const apart = [await open(), await open()];
        const savers = { bare: apart[0].inner, sealed: new SealedSaver(apart[1].inner, keyring, { tenant }) };
        for (const [kind, one] of Object.entries(savers)) {
          found[kind] = await outcome(async () => {
            const stored = await put(one, at(thread), make({ a: 1 }));
            await one.putWrites(stored, [["a", 1]], "task");
            const rows = [await one.getTuple(stored), await one.getTuple(at(thread)), ...(await collect(one.list(at(thread))))];
            await one.deleteThread(thread);
            return [rows.map((row) => row && [row.checkpoint.channel_values, row.pendingWrites]), (await one.getTuple(at(thread))) === undefined];
          });
        }
        for (const one of apart) await one.close();
        if (label === "object" && name === "postgres")
          assert.equal(found.sealed.error, "authentication_failed"); // bare it is JSON
        else if (found.bare.error === undefined) assert.deepEqual(found.sealed, found.bare);
        else assert.ok(found.sealed.error !== undefined || found.sealed.value[0].every((row) => row[0].a === 1), inspect(found));
      });
    }

    test("a saver that fails in put or putWrites: its own error, and the thread goes on as if nothing had been", async () => {
      const failing = Object.create(db.inner);
      let [left, which] = [-1, "put"];
      for (const method of ["put", "putWrites"]) {
        failing[method] = async function (...given) {
          if (method === which && left-- === 0) throw new RangeError("disk full");
          return Object.getPrototypeOf(db.inner)[method].apply(this, given);
        };
      }
      const over = new SealedSaver(failing, keyring, { tenant });
      const large = "y".repeat(40_000);
      left = 1;
      const first = await put(over, at("failing"), make({ large, a: 1 }, { large: 1, a: 1 }));
      const next = make({ large, a: 2 }, { large: 1, a: 2 });
      await assert.rejects(over.put(first, next, metadata, { a: 2 }), RangeError);
      left = -1;
      const second = await over.put(first, next, metadata, { a: 2 });
      assert.deepEqual((await saver.getTuple(second)).checkpoint.channel_values, { large, a: 2 });
      for (const [method, fails] of [0, 1, 2].flatMap((count) => [
        ["put", count],
        ["putWrites", count],
      ])) {
        const ends = [];
        for (const [kind, one] of Object.entries({ bare: failing, sealed: over })) {
          const calls = [];
          const watched = Object.create(one);
          for (const call of ["put", "putWrites"]) {
            watched[call] = (...given) => {
              calls.push(one[call](...given));
              return calls.at(-1);
            };
          }
          for (const call of ["getTuple", "list", "getNextVersion"]) watched[call] = (...given) => one[call](...given);
          const graph = graphOver(watched);
          const thread = at(`failing ${kind} ${method} ${fails}`);
          [left, which] = [fails, method];
          const first = await outcome(() => graph.invoke({ log: ["in"] }, { ...thread, durability: "sync" }));
          await Promise.allSettled(calls); // LangGraph does not wait for all that it began
          left = -1;
          ends.push([first, await outcome(async () => (await graph.invoke(null, thread)).log)]);
        }
        assert.deepEqual(ends[1], ends[0], `${method} ${fails}`);
        if (fails < 2) assert.deepEqual(ends[1][0], { error: "RangeError" }, `${method} ${fails}`);
      }
    });

    test("a run that is aborted in the middle of a put goes on later", async () => {
      const abort = new AbortController();
      const slow = Object.create(db.inner);
      let calls = 0;
      slow.put = async function (...given) {
        if (++calls === 2) abort.abort();
        return Object.getPrototypeOf(db.inner).put.apply(this, given);
      };
      const over = new SealedSaver(slow, keyring, { tenant });
      await assert.rejects(graphOver(over).invoke({ log: ["in"] }, { ...at("aborted"), signal: abort.signal, durability: "sync" }), /abort/i);
      assert.deepEqual((await graphOver(saver).invoke(null, at("aborted"))).log, ["in", "one", "two"]);
    });

    test("a tenant that has no keys reads nothing, and the error quotes nothing", async () => {
      const stored = await put(saver, at("known"), make({ a: "needle" }));
      await assert.rejects(saver.getTuple({ configurable: { ...stored.configurable, ws: "nobody" } }), (error) => {
        assert.equal(/needle/.test(error.message), false);
        return code("authentication_failed", /thread "known".*tenant/)(error) || true;
      });
    });

    test("rows that are corrupt, foreign or cut short: the errors name thread, channel and remedy; other threads are read", async () => {
      await put(saver, at("good"), make({ a: "fine" }));
      await put(db.inner, at("foreign"), make({ secret: "needle" }));
      const strange = await connect();
      await put(new SealedSaver(db.inner, strange, { tenant }), at("strange"), make({ a: "needle" }));
      const cut = await put(saver, at("cut"), make({ secret: "needle".repeat(9) }));
      const wrong = {
        foreign: code("plaintext_refused", /thread "foreign".*migrat/),
        strange: code("key_not_found", /thread "strange".*key store/),
      };
      for (const [thread, expected] of Object.entries(wrong)) {
        await assert.rejects(saver.getTuple(at(thread)), (error) => isSealpointError(error) && !/needle/.test(error.message) && expected(error));
        await assert.rejects(collect(saver.list(at(thread))), expected);
      }
      const found = await db.inner.getTuple(cut);
      for (const part of [(sealed) => sealed.slice(0, -3), (sealed) => sealed.slice(0, 20), () => "needle", () => 7, () => null]) {
        const { secret } = found.checkpoint.channel_values;
        const checkpoint = { ...found.checkpoint, channel_values: { secret: part(secret) } };
        const lying = new SealedSaver(Object.assign(Object.create(db.inner), { getTuple: async () => ({ ...found, checkpoint }) }), keyring, { tenant });
        await assert.rejects(lying.getTuple(cut), (error) => {
          assert.ok(isSealpointError(error), error.stack);
          assert.match(error.message, /thread "cut".*(channel "secret"|manifest)/);
          assert.equal(/needle/.test(error.message), false);
          return ["malformed", "authentication_failed", "plaintext_refused"].includes(error.code);
        });
      }
      assert.equal((await saver.getTuple(at("good"))).checkpoint.channel_values.a, "fine");
    });
  });
}

describe("two processes and two threads on one SQLite file", () => {
  const files = (label) => ({
    db: join(folder, `${label}.db`),
    keys: `sqlite:///${join(folder, `${label}-keys.db`)}`,
    kek: "env:SEALPOINT_TEST_KEK",
  });
  const program = fileURLToPath(new URL("interrupted.mjs", import.meta.url));
  async function made(label) {
    const asked = files(label);
    const keyring = await Keyring.connect(asked.keys, { kek: asked.kek });
    await keyring.setup();
    await keyring.close();
    return asked;
  }

  test("a process that is killed between put and putWrites: the thread goes on as over the bare saver", async () => {
    const sealed = await made("killed");
    const { keys, kek, ...rest } = files("killed-bare");
    const ends = [];
    for (const asked of [rest, sealed]) {
      const done = spawnSync(process.execPath, [program, JSON.stringify({ ...asked, thread: "t", killed: true })], { encoding: "utf8" });
      assert.equal(done.signal, "SIGKILL", done.stderr);
      const { saver, inner, keyring } = await opened(asked);
      const graph = graphOver(saver);
      const paused = await graph.getState({ configurable: { thread_id: "t" } });
      const { log } = await graph.invoke(null, { configurable: { thread_id: "t" } });
      ends.push([paused.next, paused.values, log]);
      inner.db.close();
      await keyring?.close();
    }
    assert.deepEqual(ends[1], ends[0]);
    assert.deepEqual(ends[1][2], ["in", "one", "two"]);
  });

  test("a worker thread beside this one", async () => {
    const asked = await made("worker");
    const { saver, inner, keyring } = await opened(asked);
    const worker = new Worker(program, { workerData: { ...asked, thread: "theirs" } });
    const theirs = new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    const mine = await graphOver(saver).invoke({ log: ["in"] }, { configurable: { thread_id: "mine" } });
    assert.deepEqual(
      [await theirs, mine.log],
      [
        ["in", "one", "two"],
        ["in", "one", "two"],
      ],
    );
    assert.deepEqual((await graphOver(saver).getState({ configurable: { thread_id: "theirs" } })).values.log, ["in", "one", "two"]);
    inner.db.close();
    await keyring.close();
  });

  test("a key that is gone from the key store, and one that is marked destroyed", async () => {
    const asked = await made("destroyed");
    const first = await opened(asked);
    const stored = await put(first.saver, at("t"), make({ a: "needle" }));
    await first.keyring.close();
    first.inner.db.close();
    const keys = new Database(asked.keys.slice("sqlite:///".length));
    for (const [sql, expected] of [
      ["UPDATE sealpoint_deks SET state = 'destroyed'", /^(key_destroyed|key_not_found|key_unavailable)$/],
      ["DELETE FROM sealpoint_wraps", /^key_/],
    ]) {
      keys.exec(sql);
      const { saver, inner, keyring } = await opened(asked);
      await assert.rejects(saver.getTuple(stored), (error) => {
        assert.match(error.code, expected);
        assert.match(error.message, /thread "t"/);
        return !/needle/.test(error.message);
      });
      inner.db.close();
      await keyring.close();
    }
    keys.close();
  });
});

describe("a Postgres that goes away", () => {
  test("and comes back: the driver's own error, then all as it was", async () => {
    const server = await postgresServer();
    const pool = new pg.Pool({ connectionString: server.dsn, max: 2 });
    pool.on("error", () => {});
    const inner = new PostgresSaver(pool);
    await inner.setup();
    const saver = new SealedSaver(inner, await connect(), { tenant: fixed("acme") });
    await graphOver(saver).invoke({ log: ["in"] }, at("t"));
    await server.crash();
    for (const call of [() => saver.getTuple(at("t")), () => put(saver, at("t"), make({ a: 1 })), () => collect(saver.list(at("t")))]) {
      await assert.rejects(call, (error) => !isSealpointError(error));
    }
    await server.start();
    assert.deepEqual((await graphOver(saver).invoke({ log: ["again"] }, at("t"))).log, ["in", "one", "two", "again", "one", "two"]);
    await pool.end();
    await server.close();
  });

  test("a pool that was ended", async () => {
    const inner = PostgresSaver.fromConnString(await postgres());
    await inner.setup();
    const saver = new SealedSaver(inner, await connect(), { tenant: fixed("acme") });
    const stored = await put(saver, at("t"), make({ a: 1 }));
    await inner.end();
    for (const call of [
      () => saver.getTuple(stored),
      () => put(saver, at("t"), make({ a: 1 })),
      () => saver.putWrites(stored, [["a", 1]], "task"),
      () => saver.deleteThread("t"),
    ]) {
      await assert.rejects(call, /pool after calling end/);
    }
  });
});
