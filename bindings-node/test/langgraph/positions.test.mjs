// What is stored is what SPEC sections 7.1 and 7.2 say: each envelope opens at the position written out here, and nowhere else.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { DeltaSnapshot, emptyCheckpoint, MemorySaver, uuid6 } from "@langchain/langgraph-checkpoint";
import { fixed, manifestOpen } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { backends } from "./backends.mjs";
import { connect } from "./keyring.mjs";

const keyring = await connect();
const open = (sealed, pairs) => {
  const { contentType, payload } = keyring._cache.openTyped(sealed, { tenant: "acme", ...pairs });
  return [contentType, contentType === "json" ? JSON.parse(new TextDecoder().decode(payload)) : [...payload]];
};
const metadata = { source: "loop", step: 1, parents: {}, run_id: "r", note: "n" };
const checkpoint = (values, versions, v = 4) => ({ ...emptyCheckpoint(), v, id: uuid6(0), channel_values: values, channel_versions: versions });
const config = { configurable: { thread_id: "t", checkpoint_ns: "sub" } };
const place = { thread: "t", ns: "sub" };

for (const [name, make] of Object.entries(backends)) {
  describe(name, async () => {
    const backend = await make();
    const saver = new SealedSaver(backend.inner, keyring, { tenant: fixed("acme") });
    after(() => backend.close());
    const isText = name !== "postgres";

    test("channels, snapshots, writes, metadata and manifest", async () => {
      const values = { a: "x", unversioned: 1, bytes: Uint8Array.of(1), snap: new DeltaSnapshot([1]) };
      const versions = { a: 3, bytes: 2.5, snap: "v" };
      const one = checkpoint(values, versions);
      const at = await saver.put(config, one, metadata, versions);
      await saver.putWrites(
        at,
        [
          ["a", "w"],
          ["__pregel_tasks", { node: "n" }],
        ],
        "task-1",
      );
      const found = await backend.inner.getTuple(at);
      const row = found.checkpoint.channel_values;
      assert.deepEqual(open(row.a, { purpose: "langgraph.channel", ...place, channel: "a", version: 3 }), ["json", "x"]);
      assert.deepEqual(open(row.bytes, { purpose: "langgraph.channel", ...place, channel: "bytes", version: 2.5 }), ["bytes", [1]]);
      assert.ok(row.snap instanceof DeltaSnapshot);
      assert.deepEqual(open(row.snap.value, { purpose: "langgraph.delta", ...place, channel: "snap" }), ["json", [1]]);
      assert.equal(typeof row.a, isText ? "string" : "object");
      if (isText) assert.deepEqual(open(row.unversioned, { purpose: "langgraph.channel", ...place, channel: "unversioned", version: "" }), ["json", 1]);
      const [[, , write], [, , task]] = found.pendingWrites;
      const id = one.id;
      assert.deepEqual(open(write, { purpose: "langgraph.write", ...place, checkpoint: id, task: "task-1", channel: "a" }), ["json", "w"]);
      assert.deepEqual(open(task, { purpose: "langgraph.tasks", ...place, channel: "__pregel_tasks" }), ["json", { node: "n" }]);

      const { sealpoint, ...clear } = found.metadata;
      assert.deepEqual(clear, { source: "loop", step: 1, parents: {}, run_id: "r" });
      const { payload } = keyring._cache.openTyped(sealpoint, { tenant: "acme", purpose: "langgraph.metadata", ...place, checkpoint: id });
      const fields = [4, id, one.ts, versions, {}, null, clear];
      const channels = Object.entries(row).map(([channel, value]) => [channel, channel === "snap" ? null : value]);
      const opened = manifestOpen(payload, fields, { parent: null, channels });
      assert.deepEqual(JSON.parse(new TextDecoder().decode(opened.metadata)), { note: "n" });
      assert.equal(opened.parent, null);
      // The record: exact where the values lie in the row.
      assert.equal(payload[4 + 2], isText ? 0xf5 : 0xf4);
    });

    test("the length of a short value does not tell it", async () => {
      const versions = { a: 1, b: 1, c: 1, d: 1 };
      const at = await saver.put(
        { configurable: { thread_id: "pad", checkpoint_ns: "" } },
        checkpoint({ a: true, b: false, c: "denied", d: 7 }, versions),
        metadata,
        versions,
      );
      const { channel_values } = (await backend.inner.getTuple(at)).checkpoint;
      assert.equal(new Set(Object.values(channel_values).map((value) => value.length)).size, 1);
    });
  });
}

test("what a step left as it was is stored as it was; what it changed, or may have changed in place, is sealed anew", async () => {
  const inner = new MemorySaver();
  const saver = new SealedSaver(inner, keyring, { tenant: fixed("acme") });
  const large = ["x".repeat(20_000)];
  const small = ["y"];
  const values = { text: "t", large, small, fresh: 1 };
  const versions = { text: 1, large: 1, small: 1, fresh: 1 };
  const stored = async (at) => (await inner.getTuple(at)).checkpoint.channel_values;
  let at = await saver.put(config, checkpoint(values, versions), metadata, versions);
  at = await saver.put(at, checkpoint({ ...values, fresh: 2 }, { ...versions, fresh: 2 }), metadata, { fresh: 2 });
  const before = await stored(at);
  small.push("changed in place");
  at = await saver.put(at, checkpoint({ ...values, fresh: 3 }, { ...versions, fresh: 3 }), metadata, { fresh: 3 });
  const kept = await stored(at);
  assert.equal(kept.text, before.text);
  assert.equal(kept.large, before.large);
  assert.notEqual(kept.small, before.small);
  assert.deepEqual((await saver.getTuple(at)).checkpoint.channel_values.small, ["y", "changed in place"]);
  // Another object, another version, another tenant, another thread: none of them is what the envelope was made from.
  const others = [
    [saver, at, { ...values, large: structuredClone(large) }, versions, {}],
    [saver, at, values, { ...versions, large: 2 }, {}],
    [saver, at, values, versions, { large: 1 }],
    [new SealedSaver(inner, keyring, { tenant: fixed("globex") }), at, values, versions, {}],
    [saver, { configurable: { ...at.configurable, thread_id: "other" } }, values, versions, {}],
  ];
  for (const [over, where, channels, numbers, news] of others) {
    const made = await over.put(where, checkpoint(channels, numbers), metadata, news);
    assert.notEqual((await stored(made)).large, before.large);
    at = await saver.put(at, checkpoint(values, versions), metadata, {});
  }
});
