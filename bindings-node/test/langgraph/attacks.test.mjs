// What one who can write the database may try: each is refused. The whole suite over the real databases is in the attack tests.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { emptyCheckpoint, MemorySaver, uuid6 } from "@langchain/langgraph-checkpoint";
import { fromConfig } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { backends, code, collect } from "./backends.mjs";
import { connect } from "./keyring.mjs";

const tenant = fromConfig("ws");
const keyring = await connect();
const metadata = { source: "loop", step: 1, parents: {}, note: "sealed" };
const refused = code("authentication_failed");

/** Two checkpoints of one thread, with a pending write each. */
async function thread(saver, id, ws = "acme", ns = "") {
  const at = { configurable: { thread_id: id, checkpoint_ns: ns, ws } };
  const make = (values, versions) => ({
    ...emptyCheckpoint(),
    id: uuid6(0),
    channel_values: values,
    channel_versions: versions,
    versions_seen: { node: { a: 1 } },
  });
  const one = await saver.put(at, make({ a: `old-${id}`, b: "b" }, { a: 1, b: 1 }), metadata, { a: 1, b: 1 });
  await saver.putWrites(
    one,
    [
      ["a", "w-old"],
      ["b", "w-b"],
    ],
    "task-1",
  );
  const two = await saver.put(one, make({ a: `new-${id}`, b: "b" }, { a: 2, b: 1 }), metadata, { a: 2 });
  await saver.putWrites(
    two,
    [
      ["a", "w-new"],
      ["b", "w-b"],
    ],
    "task-2",
  );
  return { one, two, ids: [one.configurable.checkpoint_id, two.configurable.checkpoint_id] };
}

describe("MemorySaver and SqliteSaver: values in the checkpoint's row", () => {
  let db;
  let saver;
  before(async () => {
    db = await backends.sqlite();
    saver = new SealedSaver(db.inner, keyring, { tenant });
  });
  after(() => db.close());

  const stored = async (id) => JSON.parse((await db.all("SELECT checkpoint FROM checkpoints WHERE checkpoint_id = ?", id))[0].checkpoint);
  const replace = (id, checkpoint) => db.run("UPDATE checkpoints SET checkpoint = ? WHERE checkpoint_id = ?", Buffer.from(JSON.stringify(checkpoint)), id);
  const rowMetadata = async (id) => JSON.parse((await db.all("SELECT metadata FROM checkpoints WHERE checkpoint_id = ?", id))[0].metadata);
  const replaceMetadata = (id, value) => db.run("UPDATE checkpoints SET metadata = ? WHERE checkpoint_id = ?", Buffer.from(JSON.stringify(value)), id);

  /** Changes the newest checkpoint, sees that it is refused by every way to read it, and puts it back. */
  async function attack(edit, expected = refused) {
    const made = await thread(saver, `t${Math.random()}`);
    const id = made.ids[1];
    const [before, meta] = [await stored(id), await rowMetadata(id)];
    assert.equal((await saver.getTuple(made.two)).checkpoint.id, id);
    const [checkpoint, edited] = [structuredClone(before), structuredClone(meta)];
    await edit(checkpoint, edited, made);
    await replace(id, checkpoint);
    await replaceMetadata(id, edited);
    await assert.rejects(saver.getTuple(made.two), expected);
    await assert.rejects(collect(saver.list({ configurable: { thread_id: made.two.configurable.thread_id, ws: "acme" } })), expected);
    await assert.rejects(saver.getDeltaChannelHistory({ config: made.two, channels: ["a"] }), expected);
    await replace(id, before);
    await replaceMetadata(id, meta);
    assert.equal((await saver.getTuple(made.two)).checkpoint.id, id);
  }

  test("a value from another thread", async () => {
    const other = await stored((await thread(saver, "other")).ids[1]);
    await attack((checkpoint) => {
      checkpoint.channel_values.a = other.channel_values.a;
    });
  });
  test("a value of another channel", () =>
    attack(({ channel_values }) => {
      channel_values.a = channel_values.b;
    }));
  test("two values exchanged", () =>
    attack(({ channel_values }) => {
      [channel_values.a, channel_values.b] = [channel_values.b, channel_values.a];
    }));
  test("an older value with its version", () =>
    attack(async (checkpoint, _, { ids }) => {
      checkpoint.channel_values.a = (await stored(ids[0])).channel_values.a;
      checkpoint.channel_versions.a = 1;
    }));
  test("an older value under the new version", () =>
    attack(async (checkpoint, _, { ids }) => {
      checkpoint.channel_values.a = (await stored(ids[0])).channel_values.a;
    }));
  test("a value of the same channel and version, sealed for another checkpoint", () =>
    attack(async (checkpoint, _, { ids }) => {
      const old = (await stored(ids[0])).channel_values.b;
      checkpoint.channel_values.b = old === checkpoint.channel_values.b ? checkpoint.channel_values.a : old;
    }));
  test("a channel dropped", () =>
    attack(({ channel_values }) => {
      delete channel_values.b;
    }));
  test("a channel added", () =>
    attack(({ channel_values }) => {
      channel_values.c = channel_values.b;
    }));
  test("an old version of __pregel_tasks added", () =>
    attack(
      (checkpoint) => {
        checkpoint.channel_values.__pregel_tasks = [];
      },
      (error) => ["authentication_failed", "plaintext_refused"].includes(error.code),
    ));
  test("versions_seen edited", () =>
    attack(({ versions_seen }) => {
      versions_seen.node.a = 99;
    }));
  test("channel_versions edited", () =>
    attack(({ channel_versions }) => {
      channel_versions.z = 1;
    }));
  test("v lowered", () =>
    attack((checkpoint) => {
      checkpoint.v = 3;
    }));
  test("clear metadata edited", () =>
    attack((_, row) => {
      row.step = 77;
    }));
  test("clear metadata added", () =>
    attack((_, row) => {
      row.run_id = "x";
    }));
  test("the manifest removed", () =>
    attack((_, row) => {
      delete row.sealpoint;
    }, code("plaintext_refused")));
  test("the manifest of another checkpoint", () =>
    attack(async (_, row, { ids }) => {
      row.sealpoint = (await rowMetadata(ids[0])).sealpoint;
    }));
  test("the manifest cut short", () =>
    attack((_, row) => {
      row.sealpoint = row.sealpoint.slice(0, 60);
    }, code("malformed")));
  test("a plain value", () =>
    attack(
      ({ channel_values }) => {
        channel_values.a = "plain";
      },
      code("plaintext_refused", /channel "a"/),
    ));
  test("a plain value that names a class", () =>
    attack(({ channel_values }) => {
      channel_values.a = { lc: 1, type: "constructor", id: ["langchain_core", "messages", "HumanMessage"], kwargs: { content: "x" } };
    }, code("plaintext_refused")));
  test("a delta snapshot of a plain value", () =>
    attack(
      ({ channel_values }) => {
        channel_values.a = { lc: 2, type: "delta_snapshot", value: ["x"] };
      },
      (error) => ["authentication_failed", "plaintext_refused"].includes(error.code),
    ));
  test("a checkpoint that is no map", () =>
    attack(
      (checkpoint) => {
        for (const key of Object.keys(checkpoint)) delete checkpoint[key];
      },
      (error) => ["authentication_failed", "malformed"].includes(error.code),
    ));

  test("a parent changed, or put where none was; one that is removed ends no history unnoticed", async () => {
    const { one, two, ids } = await thread(saver, "parents");
    await db.run("UPDATE checkpoints SET parent_checkpoint_id = ? WHERE checkpoint_id = ?", ids[1], ids[0]);
    await assert.rejects(saver.getTuple(one), refused);
    await db.run("UPDATE checkpoints SET parent_checkpoint_id = ? WHERE checkpoint_id = ?", "x", ids[1]);
    await assert.rejects(saver.getTuple(two), refused);
    await db.run("UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE checkpoint_id = ?", ids[1]);
    assert.equal((await saver.getTuple(two)).parentConfig, undefined);
    await assert.rejects(saver.getDeltaChannelHistory({ config: two, channels: ["a"] }), refused);
  });

  test("a whole row renamed: to another checkpoint, thread or namespace", async () => {
    const { one, two, ids } = await thread(saver, "renamed");
    await db.run("UPDATE checkpoints SET thread_id = 'elsewhere', parent_checkpoint_id = NULL WHERE checkpoint_id = ?", ids[1]);
    await assert.rejects(saver.getTuple({ configurable: { ...two.configurable, thread_id: "elsewhere" } }), refused);
    await db.run("UPDATE checkpoints SET thread_id = 'renamed', checkpoint_ns = 'sub' WHERE checkpoint_id = ?", ids[1]);
    await assert.rejects(saver.getTuple({ configurable: { ...two.configurable, checkpoint_ns: "sub" } }), refused);
    await db.run("UPDATE checkpoints SET checkpoint_ns = '', checkpoint_id = '2' WHERE checkpoint_id = ?", ids[1]);
    await assert.rejects(saver.getTuple({ configurable: { ...one.configurable, checkpoint_id: "2" } }), refused);
  });

  test("pending writes: of another task, channel, checkpoint, thread; plain; damaged", async () => {
    const { two, ids } = await thread(saver, "writes");
    await thread(saver, "writes-2");
    const value = async (where, ...args) => (await db.all(`SELECT value FROM writes WHERE ${where}`, ...args))[0].value;
    const mine = "checkpoint_id = ? AND channel = 'a'";
    const good = await value(mine, ids[1]);
    const set = (one) => db.run(`UPDATE writes SET value = ? WHERE ${mine}`, one, ids[1]);
    const attacks = [
      [await value("checkpoint_id = ? AND channel = 'b'", ids[1]), refused],
      [await value("checkpoint_id = ? AND channel = 'a'", ids[0]), refused],
      [await value("thread_id = 'writes-2' AND channel = 'a'"), refused],
      [Buffer.from('"plain"'), code("plaintext_refused", /a pending write to channel "a"/)],
      [Buffer.from("{"), code("malformed")],
    ];
    for (const [one, expected] of attacks) {
      await set(one);
      await assert.rejects(saver.getTuple(two), expected);
    }
    await set(good);
    await db.run(`UPDATE writes SET task_id = 'task-9' WHERE ${mine}`, ids[1]);
    await assert.rejects(saver.getTuple(two), refused);
    await db.run(`UPDATE writes SET task_id = 'task-2', type = 'pickle' WHERE ${mine}`, ids[1]);
    await assert.rejects(saver.getTuple(two), code("plaintext_refused"));
  });

  test("a damaged row is malformed, and the error does not quote it", async () => {
    const { two, ids } = await thread(saver, "damaged");
    for (const damaged of ["{needle", "null", '"needle"', "[1]", "7"]) {
      await db.run("UPDATE checkpoints SET checkpoint = ? WHERE checkpoint_id = ?", Buffer.from(damaged), ids[1]);
      await assert.rejects(saver.getTuple(two), (error) => {
        assert.equal(error.message.includes("needle"), false);
        assert.equal(error.cause, undefined);
        return code("malformed", /thread "damaged"/)(error);
      });
    }
  });

  test("a storage error stays the saver's own", async () => {
    const closed = await backends.sqlite();
    await closed.close();
    const over = new SealedSaver(closed.inner, keyring, { tenant });
    const at = { configurable: { thread_id: "t", checkpoint_ns: "", ws: "acme" } };
    await assert.rejects(over.getTuple(at), { name: "TypeError", message: "The database connection is not open" });
  });
});

describe("PostgresSaver: values in a table", () => {
  let db;
  let saver;
  before(async () => {
    db = await backends.postgres();
    saver = new SealedSaver(db.inner, keyring, { tenant });
  });
  after(() => db.close());

  test("blobs: moved between threads, channels and versions, put back, dropped, made empty", async () => {
    const { two } = await thread(saver, "one");
    await thread(saver, "two");
    const blob = async (at, channel, version) =>
      (await db.all("SELECT blob FROM checkpoint_blobs WHERE thread_id = ? AND channel = ? AND version = ?", at, channel, version))[0].blob;
    const set = (one) => db.run("UPDATE checkpoint_blobs SET blob = ? WHERE thread_id = 'one' AND channel = 'a' AND version = '2'", one);
    const good = await blob("one", "a", "2");
    for (const one of [await blob("two", "a", "2"), await blob("one", "a", "1"), await blob("one", "b", "1")]) {
      await set(one);
      await assert.rejects(saver.getTuple(two), refused);
    }
    await set(Buffer.from("plain"));
    await assert.rejects(saver.getTuple(two), code("plaintext_refused"));
    await set(good);
    await db.run("UPDATE checkpoint_blobs SET type = 'empty' WHERE thread_id = 'one' AND channel = 'a' AND version = '2'");
    await assert.rejects(saver.getTuple(two), refused);
    await db.run("UPDATE checkpoint_blobs SET type = 'bytes' WHERE thread_id = 'one'");
    await db.run("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_versions,a}', '1') WHERE thread_id = 'one'");
    await assert.rejects(saver.getTuple(two), refused);
    await db.run(
      "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_versions,a}', '2') WHERE checkpoint_id = ?",
      two.configurable.checkpoint_id,
    );
    assert.equal((await saver.getTuple(two)).checkpoint.channel_values.a, "new-one");
    await db.run("DELETE FROM checkpoint_blobs WHERE thread_id = 'one' AND channel = 'b'");
    await assert.rejects(saver.getTuple(two), code("authentication_failed", /missing/));
  });

  test("clear metadata, versions_seen, the parent, the manifest", async () => {
    const edits = [
      ["metadata = jsonb_set(metadata, '{step}', '9')", refused],
      ["metadata = metadata - 'sealpoint'", code("plaintext_refused")],
      ["metadata = 'null'", code("plaintext_refused")],
      ["checkpoint = jsonb_set(checkpoint, '{versions_seen,node,a}', '9')", refused],
      ["checkpoint = jsonb_set(checkpoint, '{ts}', '\"2020\"')", refused],
      ["checkpoint = checkpoint || '{\"extra\": 1}'", code("plaintext_refused", /the field "extra"/)],
      ["checkpoint = '[1]'", code("authentication_failed")],
      ["parent_checkpoint_id = 'x'", refused],
    ];
    for (const [i, [edit, expected]] of edits.entries()) {
      const { two, ids } = await thread(saver, `edit-${i}`);
      await db.run(`UPDATE checkpoints SET ${edit} WHERE checkpoint_id = ?`, ids[1]);
      await assert.rejects(saver.getTuple(two), expected, edit);
    }
  });
});

test("a saver that answers with a row of another place than was asked for", async () => {
  const inner = new MemorySaver();
  const saver = new SealedSaver(inner, keyring, { tenant });
  const { one, two } = await thread(saver, "asked");
  const rows = [await inner.getTuple(one), await inner.getTuple(two)];
  const lying = (answer) => new SealedSaver(Object.assign(Object.create(inner), { getTuple: async () => answer }), keyring, { tenant });
  for (const asked of [one, { configurable: { ...two.configurable, checkpoint_ns: "sub" } }, { configurable: { ...two.configurable, thread_id: "x" } }]) {
    await assert.rejects(lying({ ...rows[1], config: two }).getTuple(asked), refused);
  }
});
