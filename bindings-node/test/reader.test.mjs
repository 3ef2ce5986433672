// `readCheckpoint` where no Python is needed: what is refused, and single payloads. Threads of both languages: bindings-python/tests/langgraph/test_javascript.py.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ExtData, encode } from "@msgpack/msgpack";
import { Context, DataKey, DekCache, manifestPayload } from "sealpoint";
import { readCheckpoint } from "sealpoint/langgraph";

const { key } = DataKey.generate({ tenant: "acme" });
const cache = new DekCache({ ttl: 3600, pointerTtl: 3600, capacity: 10 });
cache.insert(key, { active: true });
const keyring = { _cache: cache, openTyped: async () => assert.fail("the key is held") };

const at = (purpose, more) => new Context({ tenant: "acme", purpose: `langgraph.${purpose}`, thread: "t", ns: "", ...more });

/** A pool that answers with one sealed row, whose channel `c` holds this payload. */
function holding(contentType, payload) {
  const fields = { v: 4, id: "1", ts: "now", channel_versions: { c: 1 }, versions_seen: {} };
  const manifest = manifestPayload([4, "1", "now", { c: 1 }, {}, null, {}], {
    parent: null,
    exact: false,
    channels: [["c", null]],
    metadata: Buffer.from("{}"),
  });
  const sealpoint = key.sealText(manifest, at("metadata", { checkpoint: "1" }), { contentType: "json", pad: true });
  const blob = Buffer.from(key.seal(payload, at("channel", { channel: "c", version: 1 }), { contentType })).toString("base64");
  const row = {
    id: "1",
    parent: null,
    checkpoint: JSON.stringify(fields),
    metadata: JSON.stringify({ sealpoint }),
    blobs: JSON.stringify([["c", "bytes", blob]]),
    writes: null,
  };
  return { query: async () => ({ rows: [row] }) };
}

const ask = { tenant: "acme", threadId: "t" };
const read = async (contentType, payload) => readCheckpoint(holding(contentType, payload), keyring, ask);
const ext = (type, ...parts) => encode(new ExtData(type, encode(parts)));
const refused = (call, code, pattern = /./) =>
  assert.rejects(call, (error) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  });

for (const [name, contentType, payload, expected] of [
  ["null", "null", "", null],
  ["bytes", "bytes", Uint8Array.of(0), { base64: "AA==" }],
  ["integers", "msgpack", encode([1, 2n ** 64n - 1n, 5n], { useBigInt64: true }), [1, "18446744073709551615", 5]],
  ["what is not finite", "msgpack", encode([Number.NaN, Number.POSITIVE_INFINITY]), ["NaN", "Infinity"]],
  ["keys of other types", "msgpack", Uint8Array.of(0x82, 0x01, 0xc0, 0xc3, 0xc0), { 1: null, true: null }],
  ["a UUID", "msgpack", ext(0, "uuid", "UUID", "12345678123456781234567812345678"), "12345678-1234-5678-1234-567812345678"],
  ["a day", "msgpack", ext(1, "datetime", "date", [2026, 1, 2]), "2026-01-02"],
  ["a path", "msgpack", ext(1, "pathlib", "PosixPath", ["/", "a", "b"]), "/a/b"],
  ["a path of Windows", "msgpack", ext(1, "pathlib", "WindowsPath", ["C:\\", "a", "b"]), "C:\\a\\b"],
  ["a Send", "msgpack", ext(1, "langgraph.types", "Send", ["node", { a: 1 }]), { node: "node", args: { a: 1 } }],
  ["a model", "msgpack", ext(5, "app", "Model", { a: Uint8Array.of(0) }, "model_validate_json"), { a: { base64: "AA==" } }],
  ["a command", "json", '{"lc":1,"type":"constructor","id":["os","system"],"kwargs":{"command":"false"}}', { command: "false" }],
  ["a message", "json", '{"lc":1,"type":"constructor","id":["x","AIMessageChunk"],"kwargs":{"content":"c"}}', { type: "ai", content: "c" }],
  ["a Map of numbers", "json", '{"lc":2,"type":"constructor","id":["Map"],"args":[[[1,2]]]}', [[1, 2]]],
  ["the name __proto__", "json", '{"__proto__":1}', JSON.parse('{"__proto__":1}')],
]) {
  test(`${name} as plain JSON`, async () => {
    const found = await read(contentType, typeof payload === "string" ? Buffer.from(payload) : payload);
    assert.deepEqual(found.values, { c: expected });
    assert.deepEqual(found.unreadable, []);
  });
}

for (const [contentType, payload, reason] of [
  ["pickle", Uint8Array.of(1), /content type is "pickle"/],
  ["json", Buffer.from("{"), /does not parse as json/],
  ["json", Buffer.from("[".repeat(100_000) + "]".repeat(100_000)), /nested too deeply/],
  ["msgpack", Uint8Array.of(0xc1), /does not parse as msgpack/],
  ["msgpack", ext(6, "<f8"), /numpy/],
  ["msgpack", ext(9), /extension type 9/],
  ["msgpack", ext(2, 1), /none of LangGraph's/],
  ["msgpack", Uint8Array.of(0x82, 0x01, 0xc0, 0xa1, 0x31, 0xc0), /two keys/],
  ["msgpack", Uint8Array.of(0x81, 0xc4, 0x00, 0xc0), /keys that are no names/],
]) {
  test(`what has no plain form is named: ${contentType}, ${reason.source}`, async () => {
    const found = await read(contentType, payload);
    assert.deepEqual(found.values, {});
    assert.equal(found.unreadable.length, 1);
    assert.deepEqual([found.unreadable[0].part, found.unreadable[0].name], ["values", "c"]);
    assert.match(found.unreadable[0].reason, reason);
  });
}

test("questions that are none", async () => {
  const pool = holding("json", Buffer.from("1"));
  await refused(readCheckpoint(pool, keyring, { ...ask, mode: "migrating" }), "invalid_argument", /no option "mode"/);
  await refused(readCheckpoint(pool, keyring, { threadId: "t" }), "invalid_argument", /tenant/);
  await refused(readCheckpoint(pool, keyring, { ...ask, tenant: "" }), "tenant_required");
  await refused(readCheckpoint(pool, keyring, { ...ask, threadId: "a\0" }), "invalid_argument", /NUL/);
  await refused(readCheckpoint(pool, keyring, { ...ask, checkpointId: 7 }), "invalid_argument");
  await refused(readCheckpoint(pool, {}, ask), "invalid_argument", /Keyring/);
  await refused(readCheckpoint({}, keyring, ask), "invalid_argument", /pg\.Pool/);
  await refused(readCheckpoint(pool, keyring, { ...ask, threadId: "u" }), "authentication_failed");
  await refused(readCheckpoint(pool, keyring, { ...ask, checkpointId: "2" }), "authentication_failed");
});

test("a database that cannot be read says no word of its own", async () => {
  const failing = (code) => ({
    query: async () => {
      throw Object.assign(new Error("a secret"), { code });
    },
  });
  for (const [code, expected] of [
    ["42P01", "store_invalid"],
    ["ECONNREFUSED", "store_unavailable"],
  ]) {
    await refused(readCheckpoint(failing(code), keyring, ask), expected, /^(?!.*secret)/);
  }
  await refused(readCheckpoint("postgresql://u:hunter2@127.0.0.1:1/x", keyring, ask), "store_unavailable", /^(?!.*hunter2)/);
});

test("an absent package is named", async () => {
  const hook = 'export async function resolve(name, context, next) { if (name === "@msgpack/msgpack") throw new Error("absent"); return next(name, context); }';
  const hooked = `import { register } from "node:module"; register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)});`;
  const program = `
    import { readCheckpoint } from "sealpoint/langgraph";
    const row = { id: "1", parent: null, checkpoint: "{}", metadata: "{}", blobs: '[["c", "msgpack", ""]]', writes: null };
    const keyring = { _cache: { openTyped() {} } };
    await readCheckpoint({ query: async () => ({ rows: [row] }) }, keyring, { tenant: "acme", threadId: "t" }).catch((error) => console.log(error.code, error.message));
  `;
  const run = promisify(execFile);
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  const { stdout } = await run(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(hooked)}`, "--input-type=module", "-e", program], {
    cwd,
  });
  assert.match(stdout, /^missing_dependency .*npm install @msgpack\/msgpack/);
});
