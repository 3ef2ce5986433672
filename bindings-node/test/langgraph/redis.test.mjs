// What is particular to LangGraph's savers for Redis, over a real Redis Stack.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint";
import { fromConfig, isSealed, Migration } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { code, collect, redisBackends } from "./backends.mjs";
import { connect } from "./keyring.mjs";

const tenant = fromConfig("ws");
const keyring = await connect();
const refused = code("authentication_failed");
const metadata = { source: "loop", step: 1, parents: {}, note: "sealed" };
const at = (thread_id, extra = {}) => ({ configurable: { thread_id, checkpoint_ns: "", ws: "acme", ...extra } });
const make = (values, versions) => ({
  ...emptyCheckpoint(),
  id: uuid6(0),
  channel_values: values,
  channel_versions: versions,
  versions_seen: { node: { a: 1 } },
});
const put = (saver, config, values, versions, changed = versions, meta = metadata) => saver.put(config, make(values, versions), meta, changed);

/** Two checkpoints of one thread, with two pending writes each. */
async function thread(saver, id, ns = "") {
  const one = await put(saver, at(id, { checkpoint_ns: ns }), { a: `old-${id}`, b: "b" }, { a: 1, b: 1 });
  const writes = (text) => [
    ["a", text],
    ["b", "w-b"],
  ];
  await saver.putWrites(one, writes("w-old"), "task-1");
  const two = await put(saver, one, { a: `new-${id}`, b: "b" }, { a: 2, b: 1 }, { a: 2 });
  await saver.putWrites(two, writes("w-new"), "task-2");
  return { one, two, ids: [one.configurable.checkpoint_id, two.configurable.checkpoint_id] };
}

for (const [name, open] of Object.entries(redisBackends)) {
  describe(name, async () => {
    const db = await open();
    const saver = new SealedSaver(db.inner, keyring, { tenant });
    const other = name === "shallow" ? "shallow" : undefined;
    /** The key of a checkpoint's document. */
    const row = ({ configurable: { thread_id, checkpoint_ns, checkpoint_id } }) => `checkpoint:${thread_id}:${checkpoint_ns}:${other ?? checkpoint_id}`;
    after(() => db.close());

    /** Changes documents, sees that every way to read refuses them, and puts them back. */
    async function attack(edit, expected = refused, ways = ["getTuple", "list", "history"]) {
      const made = await thread(saver, `t${Math.random()}`);
      const saved = new Map();
      const change = async (key, how) => {
        const document = await db.get(key);
        saved.set(key, structuredClone(document));
        await how(document);
        await db.set(key, document);
      };
      assert.equal((await saver.getTuple(made.two)).checkpoint.channel_values.a, `new-${made.two.configurable.thread_id}`);
      await edit(made, change);
      const { thread_id } = made.two.configurable;
      const reads = {
        getTuple: () => saver.getTuple(made.two),
        list: () => collect(saver.list(at(thread_id))),
        history: () => saver.getDeltaChannelHistory({ config: made.two, channels: ["a"] }),
      };
      for (const way of ways) await assert.rejects(reads[way](), expected, way);
      for (const [key, document] of saved) await db.set(key, document);
      assert.equal((await saver.getTuple(made.two)).checkpoint.id, made.ids[1]);
    }
    // A history opens of its newest checkpoint no values.
    const editedValue = (edit, expected) => edited((document) => edit(document.checkpoint.channel_values), expected, ["getTuple", "list"]);
    const edited = (edit, expected, ways) =>
      attack(({ two, ...rest }, change) => change(row(two), (document) => edit(document, { two, ...rest })), expected, ways);

    test("the parent is given back as it was sealed, along the whole thread", async () => {
      let last = at("parents");
      for (let step = 1; step <= 4; step += 1) {
        const next = await put(saver, last, { a: step }, { a: step });
        const found = await saver.getTuple(next);
        assert.equal(found.parentConfig?.configurable.checkpoint_id, last.configurable.checkpoint_id);
        last = next;
      }
      assert.equal((await saver.getTuple(at("parents"))).checkpoint.channel_values.a, 4);
      await saver.deleteThread("parents");
      assert.deepEqual(await db.keys("*parents*"), []);
    });

    test("every value in the documents is an envelope as text", async () => {
      const { two } = await thread(saver, "texts");
      const document = await db.get(row(two));
      assert.ok(Object.values(document.checkpoint.channel_values).every((value) => typeof value === "string" && isSealed(value)));
      assert.deepEqual(Object.keys(document.metadata).sort(), ["parents", "sealpoint", "source", "step"]);
      for (const pattern of ["checkpoint_write:texts:*", "checkpoint_blob:texts:*"]) {
        for (const key of await db.keys(pattern)) assert.ok(isSealed((await db.get(key)).value), key);
      }
      assert.equal((await db.keys("checkpoint_blob:texts:*")).length, name === "redis" ? 3 : 0);
      assert.deepEqual((await saver.getTuple(two)).pendingWrites, [
        ["task-2", "a", "w-new"],
        ["task-2", "b", "w-b"],
      ]);
    });

    test("clear metadata, versions, the manifest, another field", async () => {
      await edited((document) => {
        document.metadata.step = 9;
      });
      await edited((document) => {
        document.metadata.run_id = "x";
      });
      await edited((document) => {
        document.checkpoint.versions_seen.node.a = 9;
      });
      await edited((document) => {
        document.checkpoint.ts = "2020";
      });
      await edited((document) => {
        document.checkpoint.channel_versions.z = 1;
      });
      await edited((document) => {
        document.checkpoint.v = 3;
      });
      await edited((document) => {
        delete document.metadata.sealpoint;
      }, code("plaintext_refused"));
      await edited((document) => {
        document.metadata.sealpoint = document.metadata.sealpoint.slice(0, 60);
      }, code("malformed"));
      await edited((document) => {
        document.metadata = null;
      }, code("plaintext_refused"));
      await edited((document) => {
        document.parent_checkpoint_id = "x";
      });
      await edited((document) => {
        document.checkpoint.id = "1";
      });
    });

    test("channel values: exchanged, plain, dropped, added, of another thread or version, a class by its name", async () => {
      const foreign = (await db.get(row((await thread(saver, "foreign")).two))).checkpoint.channel_values.a;
      await editedValue((found) => {
        found.a = foreign;
      });
      await editedValue((found) => {
        found.c = found.a;
      });
      await editedValue(
        (found) => {
          found.a = "plain";
        },
        code("plaintext_refused", /channel "a"/),
      );
      await editedValue((found) => {
        found.a = { lc: 1, type: "constructor", id: ["langchain_core", "messages", "HumanMessage"], kwargs: { content: "x" } };
      }, code("plaintext_refused"));
      await edited((document) => {
        document.checkpoint.channel_versions.a = 1;
      });
      if (name === "redis") return;
      await editedValue((found) => {
        [found.a, found.b] = [found.b, found.a];
      });
      await editedValue((found) => {
        delete found.b;
      });
    });

    test("a field of another name, as the bare saver keeps it", async () => {
      const extra = { updated_channels: ["a"], custom: "needle-custom", called: () => 1 };
      const stored = await saver.put(at("fields"), { ...make({ a: 1 }, { a: 1 }), ...extra }, metadata, { a: 1 });
      const bare = await db.inner.put({ configurable: { thread_id: "bare-fields" } }, { ...make({ a: 1 }, { a: 1 }), ...extra }, metadata, { a: 1 });
      const [found, expected] = [await saver.getTuple(stored), await db.inner.getTuple(bare)];
      for (const field of Object.keys(extra)) assert.deepEqual(found.checkpoint[field], expected.checkpoint[field], field);
      assert.equal(JSON.stringify(await db.get(row(stored))).includes("needle"), false);
    });

    test("a write of the same task and channel in another checkpoint", async () => {
      const one = await put(saver, at("replayed"), { a: 1 }, { a: 1 });
      await saver.putWrites(one, [["a", "old"]], "task");
      const key = ({ configurable: { checkpoint_id } }) => `checkpoint_write:replayed::${checkpoint_id}:task:0`;
      const old = await db.get(key(one));
      const two = await put(saver, one, { a: 2 }, { a: 2 });
      await saver.putWrites(two, [["a", "new"]], "task");
      await db.set(key(two), { ...old, checkpoint_id: two.configurable.checkpoint_id });
      await assert.rejects(saver.getTuple(two), refused);
    });

    test("pending writes: of another channel, task or thread; plain", async () => {
      const foreign = await thread(saver, "foreign-writes");
      const key = ({ configurable: { thread_id, checkpoint_id } }, task, index) => `checkpoint_write:${thread_id}::${checkpoint_id}:${task}:${index}`;
      const value = async (...where) => (await db.get(key(...where))).value;
      const replaced = (with_) =>
        attack(
          ({ two }, change) =>
            change(key(two, "task-2", 0), async (document) => {
              Object.assign(document, await with_(two));
            }),
          (error) => ["authentication_failed", "plaintext_refused"].includes(error.code),
          ["getTuple", "list"],
        );
      await replaced(async (two) => ({ value: await value(two, "task-2", 1) }));
      await replaced(async () => ({ value: await value(foreign.two, "task-2", 0) }));
      await replaced(async () => ({ task_id: "task-9" }));
      await replaced(async () => ({ channel: "b" }));
      await replaced(async () => ({ value: "plain" }));
    });

    test("a document under another's key, and one that is none of LangGraph's", async () => {
      const { two } = await thread(saver, "moved");
      const document = await db.get(row(two));
      await db.set(row({ configurable: { ...two.configurable, thread_id: "moved-2" } }), {
        ...document,
        thread_id: "moved-2",
        parent_checkpoint_id: null,
        has_writes: "false",
      });
      await assert.rejects(saver.getTuple({ configurable: { ...two.configurable, thread_id: "moved-2" } }), refused);
      await db.set(row({ configurable: { ...two.configurable, thread_id: "moved-3" } }), document);
      await assert.rejects(saver.getTuple({ configurable: { ...two.configurable, thread_id: "moved-3" } }), refused);
      for (const damaged of [{}, { checkpoint: "needle" }, { ...document, checkpoint: ["needle"] }, { ...document, checkpoint: null }]) {
        await db.set(row(two), damaged);
        await assert.rejects(saver.getTuple(at("moved")), (error) => {
          assert.equal(error.message.includes("needle"), false);
          return ["malformed", "authentication_failed", "plaintext_refused"].includes(error.code) && /thread "/.test(error.message);
        });
      }
    });

    test("values before sealing are read while migrating, and refused else", async () => {
      const inward = { configurable: { thread_id: "before", checkpoint_ns: "" } };
      const stored = await put(db.inner, inward, { a: "needle" }, { a: 1 });
      await db.inner.putWrites(stored, [["a", "w"]], "task-1");
      await assert.rejects(saver.getTuple(at("before")), code("plaintext_refused"));
      const migrating = new SealedSaver(db.inner, keyring, { tenant, mode: "migrating", migration: new Migration(new Date(Date.now() + 60_000)) });
      const found = await migrating.getTuple(at("before"));
      assert.equal(found.checkpoint.channel_values.a, "needle");
      assert.deepEqual(found.pendingWrites, [["task-1", "a", "w"]]);
      await put(migrating, found.config, { a: "needle" }, { a: 2 });
      assert.equal((await saver.getTuple(at("before"))).checkpoint.channel_values.a, "needle");
    });
  });
}

describe("ShallowRedisSaver", async () => {
  const db = await redisBackends.shallow();
  const saver = new SealedSaver(db.inner, keyring, { tenant });
  after(() => db.close());

  test("a value of the same channel and version, sealed for the checkpoint before", async () => {
    const one = await put(saver, at("t"), { a: 1, b: { kept: 1 } }, { a: 1, b: 1 });
    const before = await db.get("checkpoint:t::shallow");
    const two = await put(saver, one, { a: 2, b: { kept: 1 } }, { a: 2, b: 1 }, { a: 2 });
    const document = await db.get("checkpoint:t::shallow");
    assert.deepEqual((await saver.getTuple(two)).checkpoint.channel_values.b, { kept: 1 });
    document.checkpoint.channel_values.b = before.checkpoint.channel_values.b;
    await db.set("checkpoint:t::shallow", document);
    await assert.rejects(saver.getTuple(two), refused);
  });

  test("not detected: the whole document as it once was, with the thread an older one", async () => {
    const one = await put(saver, at("older"), { a: 1 }, { a: 1 });
    const before = await db.get("checkpoint:older::shallow");
    await put(saver, one, { a: 2 }, { a: 2 });
    await db.set("checkpoint:older::shallow", before);
    assert.equal((await saver.getTuple(at("older"))).checkpoint.channel_values.a, 1);
  });

  test("a filter on sealed metadata over all threads looks at every one", async () => {
    await db.client.flushAll();
    for (let i = 0; i < 25; i += 1) await put(saver, at(`f${i}`), { a: i }, { a: 1 }, { a: 1 }, { ...metadata, rare: i < 2 });
    const asked = { configurable: { ws: "acme" } };
    assert.equal((await collect(saver.list(asked, { filter: { rare: true } }))).length, 2);
    assert.equal((await collect(saver.list(asked, { filter: { rare: false } }))).length, 10);
    assert.equal((await collect(saver.list(asked))).length, 10);
  });
});

describe("RedisSaver", async () => {
  const db = await redisBackends.redis();
  const saver = new SealedSaver(db.inner, keyring, { tenant });
  after(() => db.close());

  test("blobs, which a later checkpoint reads: of another thread, channel or version, plain, removed", async () => {
    const { two } = await thread(saver, "one");
    await thread(saver, "two");
    const key = "checkpoint_blob:one::b:1";
    const good = await db.get(key);
    const value = async (of) => (await db.get(of)).value;
    for (const from of ["checkpoint_blob:two::b:1", "checkpoint_blob:one::a:1"]) {
      await db.set(key, { ...good, value: await value(from) });
      await assert.rejects(saver.getTuple(two), refused);
    }
    await db.set(key, { ...good, value: "plain" });
    await assert.rejects(saver.getTuple(two), code("plaintext_refused", /channel "b"/));
    await db.client.del(key);
    await assert.rejects(saver.getTuple(two), code("authentication_failed", /missing/));
    await db.set(key, good);
    assert.equal((await saver.getTuple(two)).checkpoint.channel_values.b, "b");
  });

  test("two forks that come to the same number keep a value each", async () => {
    const { one } = await thread(saver, "forks");
    const versions = [saver.getNextVersion(1), saver.getNextVersion(1)];
    const forks = [];
    for (const [i, version] of versions.entries()) forks.push(await put(saver, one, { a: `fork-${i}`, b: "b" }, { a: version, b: 1 }, { a: version }));
    const later = [];
    for (const [i, fork] of forks.entries()) later.push(await put(saver, fork, { a: `fork-${i}`, b: "c" }, { a: versions[i], b: 2 + i }, { b: 2 + i }));
    for (const [i, fork] of later.entries()) assert.equal((await saver.getTuple(fork)).checkpoint.channel_values.a, `fork-${i}`);
  });

  test("a filter on sealed metadata that would have to look at more rows than it does says so", async () => {
    await put(saver, at("endless"), { a: 1 }, { a: 1 });
    const [found] = await collect(db.inner.list({ configurable: { thread_id: "endless" } }));
    const endless = Object.assign(Object.create(db.inner), {
      async *list(_, { limit }) {
        for (let i = 0; i < limit; i += 1) yield found;
      },
    });
    const over = new SealedSaver(endless, keyring, { tenant });
    await assert.rejects(collect(over.list(at("endless"), { filter: { note: "none" } })), code("invalid_argument", /10000 /));
  });

  test("pending writes that are dropped, and the newest checkpoints: not detected", async () => {
    const { one, two, ids } = await thread(saver, "dropped");
    await db.client.del(await db.keys(`checkpoint_write:dropped::${ids[1]}:*`));
    assert.equal((await saver.getTuple(two)).pendingWrites, undefined);
    await db.client.del(`checkpoint:dropped::${ids[1]}`);
    assert.equal((await saver.getTuple(at("dropped"))).checkpoint.id, one.configurable.checkpoint_id);
  });

  test("threads whose ids differ in case alone, which the bare saver lists as one, are refused", async () => {
    await thread(saver, "case");
    await thread(saver, "CASE");
    assert.equal((await collect(db.inner.list({ configurable: { thread_id: "case" } }))).length, 4);
    await assert.rejects(collect(saver.list(at("case"))), code("authentication_failed", /another place/));
    assert.equal((await saver.getTuple(at("case"))).checkpoint.channel_values.a, "new-case");
  });

  test("a filter on sealed metadata looks at every row, and then gives as many as the saver does", async () => {
    let last = at("many");
    for (let step = 0; step < 36; step += 1) {
      last = await put(saver, last, { a: step }, { a: step + 1 }, { a: step + 1 }, { ...metadata, step, rare: step < 2, third: step % 3 === 0 });
    }
    const steps = async (given) => (await collect(saver.list(at("many"), given))).map((found) => found.metadata.step);
    assert.deepEqual((await steps({ filter: { rare: true } })).sort(), [0, 1]);
    assert.equal((await steps({ filter: { third: true } })).length, 10);
    assert.equal((await steps({ filter: { third: true }, limit: 12 })).length, 12);
    assert.equal((await steps({ filter: { third: true }, limit: 3 })).length, 3);
    assert.deepEqual(await steps({ filter: { rare: true, step: 1 } }), [1]);
    assert.deepEqual((await steps({ filter: { rare: true }, before: last })).sort(), [0, 1]);
    assert.equal((await collect(saver.list(at("many")))).length, (await collect(db.inner.list({ configurable: { thread_id: "many" } }))).length);
  });
});
