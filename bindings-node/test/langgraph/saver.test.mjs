import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { DeltaSnapshot, emptyCheckpoint, MemorySaver, uuid6 } from "@langchain/langgraph-checkpoint";
import { envelopeDekId, fixed, fromConfig, isSealed, Keyring, Migration, tenantScope } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { backends, code, collect, known, redisBackends } from "./backends.mjs";
import { connect, rotate } from "./keyring.mjs";

const tenant = fromConfig("ws");
const config = (extra = {}) => ({ configurable: { thread_id: "t", checkpoint_ns: "", ws: "acme", ...extra } });
const checkpoint = (values, versions) => ({
  ...emptyCheckpoint(),
  id: uuid6(0),
  channel_values: values,
  channel_versions: versions ?? Object.fromEntries(Object.keys(values).map((name) => [name, 1])),
});
const metadata = { source: "loop", step: 1, parents: {}, note: "needle-note" };
const put = (saver, at, one, meta = metadata) => saver.put(at, one, meta, one.channel_versions);

for (const [name, make] of Object.entries(known)) {
  describe(name, async () => {
    const backend = await make();
    const keyring = await connect();
    const saver = new SealedSaver(backend.inner, keyring, { tenant });
    after(() => backend.close());
    /** With older checkpoints than the newest. */
    const historyTest = name === "shallow" ? () => {} : test;

    test("values come back as they were, and nothing of them is stored", async () => {
      const values = {
        text: "needle-text",
        number: 2517342,
        flag: true,
        none: null,
        list: [{ deep: "needle-deep" }],
        bytes: new TextEncoder().encode("needle-bytes"),
        map: new Map([["needle-key", new Set([1])]]),
        date: undefined,
        'needs "quoting"': 1,
        канал: 2,
        long: "needle-long".repeat(10_000),
        snapshot: new DeltaSnapshot(["needle-snapshot"]),
      };
      const at = await put(saver, config({ thread_id: "values" }), checkpoint(values));
      await saver.putWrites(
        at,
        [
          ["text", "needle-write"],
          ["__pregel_tasks", { node: "n", args: "needle-task" }],
          ["flag", undefined],
        ],
        "task-1",
      );
      const found = await saver.getTuple(at);
      assert.deepEqual(found.checkpoint.channel_values, values);
      assert.deepEqual(found.metadata, metadata);
      assert.deepEqual(found.pendingWrites, [
        ["task-1", "text", "needle-write"],
        ["task-1", "__pregel_tasks", { node: "n", args: "needle-task" }],
        ["task-1", "flag", undefined],
      ]);
      const bytes = Buffer.from(await backend.bytes());
      for (const needle of ["needle", "2517342", "acme"]) assert.equal(bytes.includes(needle), false, `${needle} is stored`);
      assert.ok(bytes.includes("sealpoint:v1:"));
    });

    historyTest("configs that come back carry the tenant's key, and the inner saver sees no more of a config than where the row lies", async () => {
      const first = await put(saver, config({ thread_id: "configs", secret: "needle-config" }), checkpoint({ a: 1 }));
      assert.equal(first.configurable.ws, "acme");
      const second = await put(saver, first, checkpoint({ a: 2 }, { a: 2 }));
      const found = await saver.getTuple({ configurable: { thread_id: "configs", ws: "acme" } });
      assert.equal(found.config.configurable.checkpoint_id, second.configurable.checkpoint_id);
      assert.equal(found.config.configurable.ws, "acme");
      assert.equal(found.parentConfig.configurable.ws, "acme");
      assert.equal((await saver.getTuple(found.parentConfig)).checkpoint.channel_values.a, 1);
      const [row] = await collect(saver.list({ configurable: { thread_id: "configs", ws: "acme" } }, { limit: 1 }));
      assert.equal(row.config.configurable.ws, "acme");
      assert.equal(Buffer.from(await backend.bytes()).includes("needle-config"), false);
    });

    test("no tenant: refused before anything is written", async () => {
      const bare = { configurable: { thread_id: "nobody", checkpoint_ns: "", checkpoint_id: "c" } };
      await assert.rejects(put(saver, bare, checkpoint({ a: 1 })), code("tenant_required"));
      await assert.rejects(saver.putWrites(bare, [["a", 1]], "task"), code("tenant_required"));
      await assert.rejects(saver.getTuple(bare), code("tenant_required"));
      await assert.rejects(saver.getDeltaChannelHistory({ config: bare, channels: ["a"] }), code("tenant_required"));
      assert.throws(() => saver.list(bare), code("tenant_required"));
      assert.throws(() => saver.list({}), code("tenant_required"));
      await assert.rejects(saver.getTuple({ configurable: { ...bare.configurable, ws: "" } }), code("tenant_required"));
      assert.equal(Buffer.from(await backend.bytes()).includes("nobody"), false);
    });

    test("a list has the tenant of where it was asked for, wherever it is read", async () => {
      await put(saver, config({ thread_id: "scoped" }), checkpoint({ a: 1 }));
      const rows = tenantScope("acme", () => saver.list({ configurable: { thread_id: "scoped" } }));
      assert.equal((await collect(rows)).length, 1);
      const others = tenantScope("globex", () => saver.list({ configurable: { thread_id: "scoped" } }));
      await assert.rejects(collect(others), (error) => ["authentication_failed", "key_not_found"].includes(error.code));
    });

    historyTest("filters: clear metadata by the database, sealed metadata after opening, with a limit", async () => {
      let at = config({ thread_id: "filters" });
      for (let step = 0; step < 6; step += 1) {
        at = await put(saver, at, checkpoint({ a: step }, { a: step + 1 }), {
          source: step === 3 ? "input" : "loop",
          step,
          parents: {},
          even: step % 2 === 0,
          deep: { x: step },
        });
      }
      const asked = config({ thread_id: "filters" });
      const steps = async (given, of = saver) => (await collect(of.list(asked, given))).map((row) => row.metadata.step);
      assert.deepEqual(await steps({ filter: { source: "input" } }), [3]);
      assert.deepEqual(await steps({ filter: { even: true } }), [4, 2, 0]);
      assert.deepEqual(await steps({ filter: { even: true }, limit: 2 }), [4, 2]);
      assert.deepEqual(await steps({ filter: { even: true }, limit: 0 }), []);
      assert.deepEqual(await steps({ filter: { even: false, source: "input" } }), [3]);
      assert.deepEqual(await steps({ filter: { deep: { x: 5 } } }), [5]);
      assert.deepEqual(await steps({ filter: { even: "true" } }), []);
      assert.deepEqual(await steps({ before: at, limit: 2 }), [4, 3]);
      const strict = new SealedSaver(backend.inner, keyring, { tenant, strictFilters: true });
      assert.deepEqual(await steps({ filter: { source: "input" } }, strict), [3]);
      assert.throws(() => strict.list(asked, { filter: { even: true } }), code("invalid_argument", /"even"/));
    });

    test("another tenant's rows do not open, and what is not sealed is refused", async () => {
      const at = await put(saver, config({ thread_id: "tenants" }), checkpoint({ a: "x" }));
      rotate(keyring, "globex");
      await assert.rejects(saver.getTuple({ configurable: { ...at.configurable, ws: "globex" } }), code("authentication_failed", /thread "tenants"/));
      const inward = { configurable: { thread_id: "plain", checkpoint_ns: "" } };
      await put(backend.inner, inward, checkpoint({ a: "needle" }));
      await assert.rejects(saver.getTuple(config({ thread_id: "plain" })), (error) => {
        assert.equal(error.message.includes("needle"), false);
        return code("plaintext_refused", /thread "plain"/)(error);
      });
    });

    historyTest("migrating: what was stored before is read, counted, and sealed when it is written again; others are strict", async () => {
      const migration = new Migration({ acme: new Date(Date.now() + 60_000) });
      const migrating = new SealedSaver(backend.inner, keyring, { tenant, mode: "migrating", migration });
      // RedisSaver serializes nothing: what JSON cannot hold is lost there, sealed or not.
      const json = name in redisBackends;
      const values = { text: "old", map: json ? { 1: 2 } : new Map([[1, 2]]), bytes: json ? [1, 2] : Buffer.of(1, 2) };
      const write = json ? ["w"] : new Set([1]);
      const inward = { configurable: { thread_id: "old", checkpoint_ns: "" } };
      const stored = await put(backend.inner, inward, checkpoint(values));
      await backend.inner.putWrites(stored, [["text", write]], "task-1");
      const found = await migrating.getTuple(config({ thread_id: "old" }));
      const bare = await backend.inner.getTuple(stored);
      assert.deepEqual(found.checkpoint, bare.checkpoint);
      assert.deepEqual(found.metadata, bare.metadata);
      assert.deepEqual(found.pendingWrites, [["task-1", "text", write]]);
      assert.deepEqual(migration.counts(), { acme: { checkpoints: 1, writes: 1 } });
      // The next step names what lies in the table from before.
      const next = { ...checkpoint(values, { text: 2, map: 1, bytes: 1 }), channel_values: { ...values, text: "new" } };
      await migrating.put(found.config, next, metadata, { text: 2 });
      const { text, map, bytes } = (await migrating.getTuple(config({ thread_id: "old" }))).checkpoint.channel_values;
      assert.deepEqual([text, map, [...bytes]], ["new", values.map, [1, 2]]);
      await assert.rejects(
        migrating.getTuple(config({ thread_id: "old", checkpoint_id: stored.configurable.checkpoint_id, ws: "globex" })),
        code("plaintext_refused"),
      );
      await assert.rejects(saver.getTuple(config({ thread_id: "old", checkpoint_id: stored.configurable.checkpoint_id })), code("plaintext_refused"));
      const over = new SealedSaver(backend.inner, keyring, { tenant, mode: "migrating", migration: new Migration(new Date(Date.now() - 1)) });
      await assert.rejects(over.getTuple(config({ thread_id: "old", checkpoint_id: stored.configurable.checkpoint_id })), code("plaintext_refused"));
      // Neither does another tenant's old row pass, nor what begins like an envelope.
      await put(backend.inner, { configurable: { thread_id: "globex-old", checkpoint_ns: "" } }, checkpoint({ a: 1 }), { ...metadata, ws: "globex" });
      await assert.rejects(migrating.getTuple(config({ thread_id: "globex-old" })), code("authentication_failed"));
      await put(backend.inner, { configurable: { thread_id: "alike", checkpoint_ns: "" } }, checkpoint({ a: "sealpoint:v1:AAAA" }));
      await assert.rejects(migrating.getTuple(config({ thread_id: "alike" })), code("authentication_failed"));
    });

    const movingTest = name.startsWith("mongodb") ? () => {} : historyTest; // its saver moves none
    movingTest("v3 checkpoints: the writes to __pregel_tasks that savers move into the checkpoint are opened", async () => {
      const parent = await put(saver, config({ thread_id: "v3" }), { ...checkpoint({ a: 1 }), v: 3 });
      await saver.putWrites(
        parent,
        [
          ["__pregel_tasks", "send-1"],
          ["__pregel_tasks", "send-2"],
        ],
        "task-1",
      );
      const at = await put(saver, parent, { ...checkpoint({ a: 2 }, { a: 2 }), v: 3 });
      const found = await saver.getTuple(at);
      assert.deepEqual(found.checkpoint.channel_values, { a: 2, __pregel_tasks: ["send-1", "send-2"] });
    });

    test("after a rotation no envelope of the old key is stored again", async () => {
      const large = "x".repeat(50_000);
      const first = await put(saver, config({ thread_id: "rotated" }), checkpoint({ large, a: 1 }));
      const second = checkpoint({ large, a: 2 }, { large: 1, a: 2 });
      const at = await saver.put(first, second, metadata, { a: 2 });
      rotate(keyring, "acme");
      const third = checkpoint({ large, a: 3 }, { large: 1, a: 3 });
      const last = await saver.put(at, third, metadata, { a: 3 });
      assert.deepEqual((await saver.getTuple(last)).checkpoint.channel_values, { large, a: 3 });
      const row = await backend.inner.getTuple(last);
      const dekOf = (sealed) => Buffer.from(envelopeDekId(sealed)).toString("hex");
      if (!["postgres", "redis"].includes(name)) assert.equal(dekOf(row.checkpoint.channel_values.large), dekOf(row.metadata.sealpoint));
    });

    test("deleteThread needs no tenant", async () => {
      await put(saver, config({ thread_id: "deleted" }), checkpoint({ a: 1 }));
      await saver.deleteThread("deleted");
      assert.equal(await saver.getTuple(config({ thread_id: "deleted" })), undefined);
    });

    test("a serializer's error is its own, and nothing is stored", async () => {
      const value = {};
      const failing = {
        dumpsTyped: async (one) => (one === value ? Promise.reject(new RangeError("none")) : backend.inner.serde.dumpsTyped(one)),
        loadsTyped: backend.inner.serde.loadsTyped,
      };
      const inner = Object.create(backend.inner, { serde: { value: failing } });
      const over = new SealedSaver(inner, keyring, { tenant });
      await assert.rejects(put(over, config({ thread_id: "failing" }), checkpoint({ a: value, b: value })), RangeError);
      await assert.rejects(over.putWrites(config({ thread_id: "failing", checkpoint_id: "c" }), [["a", value]], "task"), RangeError);
      assert.equal(await saver.getTuple(config({ thread_id: "failing" })), undefined);
    });
  });
}

test("what cannot be wrapped, or wrapped so, is refused", async () => {
  const [inner, keyring] = [new MemorySaver(), await connect()];
  const invalid = code("invalid_argument");
  assert.throws(() => new SealedSaver({}, keyring, { tenant }), invalid);
  assert.throws(() => new SealedSaver(undefined, keyring, { tenant }), invalid);
  assert.throws(() => new SealedSaver(new SealedSaver(inner, keyring, { tenant }), keyring, { tenant }), invalid);
  assert.throws(() => new SealedSaver(inner, {}, { tenant }), invalid);
  assert.throws(() => new SealedSaver(inner, keyring), invalid);
  assert.throws(() => new SealedSaver(inner, keyring, {}), invalid);
  assert.throws(() => new SealedSaver(inner, keyring, { tenant: "acme" }), invalid);
  assert.throws(() => new SealedSaver(inner, keyring, { tenant, legacySerde: inner.serde }), invalid);
  assert.throws(() => new SealedSaver(inner, keyring, { tenant, mode: "migrating" }), invalid);
  assert.throws(() => new SealedSaver(inner, keyring, { tenant, mode: "lenient" }), invalid);
  assert.throws(() => new SealedSaver(inner, keyring, { tenant, migration: new Migration(new Date()) }), invalid);
  assert.throws(() => new SealedSaver(inner, keyring, { tenant, strictFilters: "yes" }), invalid);
});

test("the inner saver is left as it is, and what it changes of itself later is seen", async () => {
  const { inner, close } = await backends.sqlite();
  inner.isSetup = false;
  const keyring = await Keyring.connect(`sqlite:///${join(mkdtempSync(join(tmpdir(), "sealpoint-")), "keys.db")}`, { kek: "env:SEALPOINT_TEST_KEK" });
  await assert.rejects(keyring.load("acme"), code("store_invalid"));
  const [serde, saver] = [inner.serde, new SealedSaver(inner, keyring, { tenant: fixed("acme") })];
  await saver.setup();
  assert.equal(inner.isSetup, true);
  await keyring.load("acme");
  assert.equal(inner.serde, serde);
  assert.equal(saver.serde, serde);
  assert.equal(saver.inner, inner);
  const memory = new MemorySaver();
  const over = new SealedSaver(memory, keyring, { tenant: fixed("acme") });
  memory.storage = Object.create(null);
  await put(over, config(), checkpoint({ a: 1 }));
  assert.deepEqual(Object.keys(memory.storage), ["t"]);
  await close();
});

test("versions are the inner saver's; where values lie in a table by version, no two forks have the same", async () => {
  const keyring = await connect();
  const over = new SealedSaver(new MemorySaver(), keyring, { tenant });
  assert.equal(over.getNextVersion(undefined), 1);
  assert.equal(over.getNextVersion(41), 42);
  const { inner, close } = await backends.postgres();
  const table = new SealedSaver(inner, keyring, { tenant });
  const [one, other] = [table.getNextVersion(41), table.getNextVersion(41)];
  for (const version of [one, other]) assert.ok(version > 42 && version < 43);
  assert.notEqual(one, other);
  assert.equal(Math.floor(table.getNextVersion(one)), 43);
  await close();
});

test("a string that looks like an envelope is a value like any other", async () => {
  const saver = new SealedSaver(new MemorySaver(), await connect(), { tenant });
  const at = await put(saver, config(), checkpoint({ a: "sealpoint:v1:AAAA", b: Uint8Array.of(0xc1, 0x53) }));
  assert.ok(isSealed("sealpoint:v1:AAAA"));
  assert.deepEqual((await saver.getTuple(at)).checkpoint.channel_values, { a: "sealpoint:v1:AAAA", b: Uint8Array.of(0xc1, 0x53) });
});

test("the inner saver sees of a config only where the row lies", async () => {
  const [inner, seen] = [new MemorySaver(), []];
  for (const method of ["put", "putWrites", "getTuple", "list"]) {
    inner[method] = function (config, ...rest) {
      seen.push(config);
      return MemorySaver.prototype[method].call(this, config, ...rest);
    };
  }
  const saver = new SealedSaver(inner, await connect(), { tenant });
  const at = await put(saver, { ...config({ secret: "x" }), metadata: { secret: "x" } }, checkpoint({ a: 1 }));
  const full = { ...at, configurable: { ...at.configurable, secret: "x" }, tags: ["x"] };
  await saver.putWrites(full, [["a", 1]], "task");
  assert.equal((await saver.getTuple(full)).config.configurable.secret, "x");
  await collect(saver.list(full, { before: full }));
  assert.equal(seen.length, 4);
  for (const { configurable, ...rest } of seen) {
    assert.deepEqual(rest, {});
    assert.deepEqual(
      Object.keys(configurable).filter((key) => !["thread_id", "checkpoint_ns", "checkpoint_id"].includes(key)),
      [],
    );
  }
});

test("a saver that copies checkpoints by JSON before it serializes them keeps what it was given", async () => {
  class Copying extends MemorySaver {
    async put(at, one, meta) {
      return super.put(at, JSON.parse(JSON.stringify(one)), meta);
    }
  }
  const saver = new SealedSaver(new Copying(), await connect(), { tenant });
  const values = { text: "needle", long: "needle".repeat(10_000) };
  const at = await put(saver, config(), checkpoint(values));
  assert.deepEqual((await saver.getTuple(at)).checkpoint.channel_values, values);
});
