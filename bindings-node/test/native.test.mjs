// The native module without the package around it: what it is called with here, TypeScript would have refused.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

const built = new URL("../build/native/", import.meta.url);
const path =
  process.env.SEALPOINT_NATIVE ??
  new URL(
    readdirSync(built).find((name) => name.endsWith(".node")),
    built,
  ).pathname;
const core = createRequire(import.meta.url)(path);

const context = core.newContext('{"tenant":"acme","purpose":"test","n":1}');
const { dek, secret } = core.generateDek("acme", 1, 1);
const record = dek.record();
const kek = core.kekFromBytes(core.generateSecret().expose());
const message = dek.beginSeal(3, "t", true, context);
const newCache = () => core.newDekCache(60_000, 60_000, 8);
const recovery = core.generateRecovery();
const handles = { CoreContext: context, CoreSecret: secret, CoreKek: kek, CoreDek: dek, CoreMessage: message, CoreDekCache: newCache() };
Object.assign(handles, { CoreRecovery: recovery, CoreRecoveryPublic: recovery.public() });

const bytes = (...items) => Uint8Array.from(items);
const hex = (text) => Uint8Array.from(Buffer.from(text, "hex"));
const seal = (payload, contentType = "t", pad = false) => {
  const out = new Uint8Array(core.sealedLen(payload.length, contentType.length, pad));
  dek.sealInto(payload, contentType, pad, context, out);
  return out;
};
const open = (sealed, key = dek, bound = context) => {
  const out = new Uint8Array(core.payloadBound(sealed.length));
  const { contentType, length } = key.openTypedInto(sealed, bound, out);
  return { contentType, payload: out.subarray(0, length) };
};
const refuses = (call, code, message) =>
  assert.throws(call, (error) => {
    assert.equal(Object.getPrototypeOf(error), Error.prototype);
    assert.equal(error.code, code);
    assert.equal(error.retryable, core.errorCodes()[code]);
    if (message) assert.match(error.message, message);
    return true;
  });

const contract = readFileSync(new URL("../ts/core.ts", import.meta.url), "utf8");
const members = (name) =>
  [...contract.match(new RegExp(`interface ${name}(?: extends Core)? \\{\\n(.*?)\\n\\}`, "s"))[1].matchAll(/^ {2}(\w+)\(/gm)].map((match) => match[1]).sort();

test("exports the contract and nothing else", () => {
  assert.deepEqual(
    Object.keys(core)
      .filter((name) => !/^Core[A-Z]/.test(name))
      .sort(),
    [...members("Core"), ...members("NativeCore")].sort(),
  );
  assert.deepEqual(
    Object.keys(core)
      .filter((name) => /^Core[A-Z]/.test(name))
      .sort(),
    Object.keys(handles).sort(),
  );
  for (const [name, handle] of Object.entries(handles)) {
    const { constructor: made, ...methods } = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(handle));
    assert.equal(made.value.name, name);
    assert.deepEqual(Object.keys(methods).sort(), members(name), name);
  }
});

test("errors carry the core's code and message", () => {
  refuses(() => core.newContext('{"purpose":"p"}'), "tenant_required", /a tenant is required/);
  refuses(() => core.newContext("["), "invalid_context");
  refuses(() => context.extend('{"tenant":"other"}'), "invalid_context", /twice/);
  refuses(() => core.contextFromCanonical(bytes(0, 1)), "invalid_context");
  refuses(() => core.decodeText("hello", "data"), "plaintext_refused");
  refuses(() => core.decodeText("sealpoint:v2:AAAA", "data"), "unsupported_version");
  refuses(() => core.decodeText("sealpoint:v1:AAAA", "text"), "invalid_argument", /a kind is/);
  refuses(() => core.sealedLen(2 ** 31, 0, false), "limit_exceeded");
  refuses(() => core.sealedLen(0, 256, false), "limit_exceeded");
  refuses(() => core.sealedLen(0, 2 ** 52, false), "limit_exceeded");
  refuses(() => core.newDekCache(1, 2, 1), "invalid_argument");
  refuses(() => seal(bytes(1), "é"), "invalid_argument", /printable ASCII/);
  refuses(() => dek.sealInto(bytes(1), "x".repeat(300), false, context, new Uint8Array(500)), "limit_exceeded");
  refuses(() => dek.sealInto(bytes(1), "x".repeat(256), false, context, new Uint8Array(500)), "limit_exceeded");
  assert.equal(open(seal(bytes(1), "x".repeat(255))).contentType.length, 255);
  refuses(() => core.dekFromSecret(core.generateSecret(), record, dek.keyCheck()), "authentication_failed");
  assert.equal(Object.keys(core.errorCodes()).length, 21);
  assert.equal(core.errorCodes().store_unavailable, true);
});

test("arguments of another type are refused, with whatever code: TypeScript lets none through", () => {
  for (const value of [undefined, null, "text", 1, {}, [], new ArrayBuffer(4), new DataView(new ArrayBuffer(4)), new Uint16Array(2)]) {
    assert.throws(() => core.isSealed(value));
    assert.throws(() => dek.sealInto(bytes(1), "", false, context, value));
  }
  for (const value of [undefined, null, 1, {}, bytes(1)]) {
    assert.throws(() => core.newContext(value));
    assert.throws(() => dek.sealInto(bytes(1), value, false, context, bytes()));
    assert.throws(() => core.manifestPayload(bytes(), undefined, true, [value], bytes(), bytes()));
  }
  for (const number of [-1, 2 ** 53, "1", 1n, null, undefined]) assert.throws(() => dek.beginSeal(number, "", false, context));
  for (const purpose of [0, 5]) refuses(() => core.generateDek("acme", purpose, 1), "invalid_argument");
  refuses(() => core.generateDek("acme", 1, 0), "invalid_argument");
  for (const value of [undefined, null, {}]) assert.throws(() => core.dekFromSecret(secret, value, dek.keyCheck()));
  for (const name of ["sealInto", "openInto", "openTypedInto", "beginSeal", "beginOpen"]) assert.throws(() => dek[name]());
});

test("a handle of another class, or of none, is refused", () => {
  const all = [...Object.values(handles), {}, null, undefined, 7, () => {}, Object.create(context), new Proxy(context, {})];
  all.push(Object.setPrototypeOf({}, Object.getPrototypeOf(context)), new WebAssembly.Memory({ initial: 1 }));
  const except = (handle) => all.filter((other) => other !== handle);
  assert.throws(() => new context.constructor());
  for (const other of except(context)) {
    assert.throws(() => dek.sealInto(bytes(1), "", false, other, new Uint8Array(core.sealedLen(1, 0, false))));
    assert.throws(() => kek.wrap(secret, other));
  }
  for (const other of except(secret)) {
    assert.throws(() => secret.equals(other));
    assert.throws(() => core.dekFromSecret(other, record, dek.keyCheck()));
  }
  for (const other of except(dek)) assert.throws(() => newCache().insert(other, false, false));
  for (const other of except(context)) assert.throws(() => context.tenant.call(other));
});

test("a freed handle is refused, everywhere, and what used it before stays whole", () => {
  const own = core.generateDek("acme", 1, 1);
  const mine = core.newContext('{"tenant":"acme","purpose":"x"}');
  const cache = newCache();
  cache.insert(own.dek, true, false);
  const begun = own.dek.beginSeal(1, "", false, mine);
  own.dek.free();
  own.dek.free();
  own.secret.free();
  refuses(() => own.dek.record(), "invalid_argument", /disposed of/);
  refuses(() => own.dek.sealInto(bytes(1), "", false, mine, bytes()), "invalid_argument", /disposed of/);
  refuses(() => cache.insert(own.dek, true, false), "invalid_argument", /disposed of/);
  refuses(() => own.secret.expose(), "invalid_argument", /disposed of/);
  refuses(() => secret.equals(own.secret), "invalid_argument", /disposed of/);
  assert.equal(begun.key().length, 32);
  const out = new Uint8Array(core.sealedLen(1, 0, false));
  assert.equal(cache.sealInto(bytes(9), "", false, mine, 1, out), true);
  assert.deepEqual(open(out, cache.named(out, 1), mine).payload, bytes(9));
  mine.free();
  refuses(() => cache.sealInto(bytes(9), "", false, mine, 1, out), "invalid_argument", /disposed of/);
  cache.free();
  assert.equal(cache.size(), 0);
});

test("outputs: of another length, too short, overlapping, detached", () => {
  const payload = bytes(1, 2, 3);
  const len = core.sealedLen(3, 1, false);
  for (const wrong of [0, 1, len - 1, len + 1]) refuses(() => dek.sealInto(payload, "t", false, context, new Uint8Array(wrong)), "internal", /length/);
  const sealed = seal(payload);
  for (const short of [0, 2]) refuses(() => dek.openInto(sealed, context, new Uint8Array(short)), "invalid_argument", /shorter/);
  assert.equal(dek.openInto(sealed, context, new Uint8Array(1000)), 3);

  const memory = new Uint8Array(2 * len);
  const at = (start, length) => memory.subarray(start, start + length);
  for (const start of [0, 1, len - 3, len - 1]) refuses(() => dek.sealInto(at(start, 3), "t", false, context, at(0, len)), "invalid_argument", /overlaps/);
  for (const start of [1, 2, 3])
    refuses(() => dek.sealInto(at(0, 3).subarray(0, start), "t", false, context, at(start - 1, len)), "invalid_argument", /overlaps/);
  dek.sealInto(at(len, 3), "t", false, context, at(0, len));
  refuses(() => dek.openInto(at(0, len), context, at(len - 1, len)), "invalid_argument", /overlaps/);
  assert.equal(dek.openInto(at(0, len), context, at(len, len)), 3);
  dek.sealInto(at(5, 0), "t", false, context, at(0, core.sealedLen(0, 1, false)));

  const gone = new Uint8Array(len);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  refuses(() => dek.sealInto(payload, "t", false, context, gone), "internal", /length/);
  refuses(() => dek.openInto(gone, context, new Uint8Array(9)), "plaintext_refused");
});

test("round trips", () => {
  for (const length of [0, 1, 255, 16_384, 100_000]) {
    for (const pad of [false, true]) {
      const payload = Uint8Array.from({ length }, (_, i) => i * 31 + 7);
      const { contentType, payload: opened } = open(seal(payload, "msgpack", pad));
      assert.equal(contentType, "msgpack");
      assert.deepEqual(opened, payload);
    }
  }
  const wrapped = kek.wrap(secret, core.wrapContext("acme", record.dekId, 1, 1));
  assert.deepEqual(core.decodeText(core.encodeText(wrapped, "wrapped-key"), "wrapped-key"), wrapped);
  const again = core.dekFromSecret(kek.unwrap(wrapped, core.wrapContext("acme", record.dekId, 1, 1)), record, dek.keyCheck());
  assert.deepEqual(open(seal(bytes(5)), again).payload, bytes(5));
  assert.deepEqual(again.record(), record);
  assert.equal(core.canarySecret("local:x").equals(core.canarySecret("local:x")), true);
  assert.equal(core.canaryContext("local:x").purpose(), "canary");
  assert.deepEqual(context.extend('{"list":["a","é"]}').pairs(), ["list", "1:a,2:é,", "n", "i:1", "purpose", "test", "tenant", "acme"]);
  assert.deepEqual(core.contextFromCanonical(context.canonical()).pairs(), context.pairs());
  const fields = core.encodeFields('[4,"id","ts",{},{},null,{}]');
  const payload = core.manifestPayload(fields, "parent", true, ["b", "a"], new Uint8Array(32).fill(7, 0, 16), bytes(1, 2));
  assert.deepEqual(core.manifestOpen(payload, fields, "parent", ["a", "b"], new Uint8Array(32).fill(7, 16)), { metadata: bytes(1, 2), parent: "parent" });
  refuses(() => core.manifestOpen(payload, fields, "parent", ["a", "b"], new Uint8Array(32).fill(7, 0, 16)), "authentication_failed");
  refuses(() => core.manifestOpen(payload, fields, "parent", ["a", "b"], new Uint8Array(31)), "invalid_argument");
});

test("the cache: found, missing, of another purpose, expired", () => {
  const cache = newCache();
  const payload = bytes(1, 2, 3);
  const sealed = new Uint8Array(core.sealedLen(3, 1, false));
  const out = new Uint8Array(core.payloadBound(sealed.length));
  assert.equal(cache.sealInto(payload, "t", false, context, 1, sealed), false);
  assert.equal(cache.openInto(seal(payload), context, 1, out), -1);
  assert.equal(cache.openTypedInto(seal(payload), context, 1, out), undefined);
  assert.equal(cache.active(context, 1), undefined);
  cache.insert(dek, false, false);
  assert.equal(cache.setActive("other", 1, record.dekId), false);
  assert.equal(cache.setActive("acme", 1, record.dekId), true);
  assert.deepEqual(cache.active(context, 1).record(), record);
  assert.equal(cache.sealInto(payload, "t", false, context, 1, sealed), true);
  assert.equal(cache.openInto(sealed, context, 1, out), 3);
  assert.deepEqual(cache.openTypedInto(sealed, context, 1, out), { contentType: "t", length: 3 });
  refuses(() => cache.openInto(sealed, context, 3, out), "authentication_failed");
  refuses(() => cache.named(bytes(1), 1), "plaintext_refused");
  assert.equal(cache.size(), 1);
  cache.advance(60_000);
  assert.equal(cache.contains(record.dekId), false);
  assert.equal(cache.size(), 0);
  cache.insert(dek, true, false);
  assert.equal(cache.evict(record.dekId), true);
  assert.equal(cache.evict(record.dekId), false);
  cache.insert(dek, true, false);
  assert.equal(cache.evictTenant("acme"), 1);
  cache.insert(dek, true, false);
  cache.clear();
  assert.equal(cache.size(), 0);
});

test("messages whose chunks are encrypted elsewhere", async () => {
  const { subtle } = globalThis.crypto;
  for (const [length, pad] of [
    [0, false],
    [40_000, false],
    [40_000, true],
  ]) {
    const payload = Uint8Array.from({ length }, (_, i) => i);
    const begun = dek.beginSeal(length, "t", pad, context);
    const inner = Buffer.concat([begun.prefix(), payload, begun.suffix()], begun.innerLen());
    const key = await subtle.importKey("raw", begun.key(), "AES-GCM", false, ["encrypt"]);
    const count = Math.floor(inner.length / 16_384) + 1;
    const nonces = begun.nonces(0, count);
    assert.deepEqual(begun.nonces(1, count), dek.beginSeal(1, "", false, context) && Uint8Array.from([...nonces.subarray(12), ...begun.nonces(count, 1)]));
    const chunks = [];
    for (let i = 0; i < count; i++) {
      const iv = nonces.subarray(12 * i, 12 * i + 12);
      chunks.push(Buffer.from(await subtle.encrypt({ name: "AES-GCM", iv }, key, inner.subarray(16_384 * i, 16_384 * (i + 1)))));
    }
    const sealed = Uint8Array.from(Buffer.concat([begun.head(), ...chunks]));
    assert.deepEqual(open(sealed).payload, payload);

    const reader = dek.beginOpen(sealed.subarray(0, core.headLen()), sealed.length, context);
    assert.deepEqual(reader.key(), begun.key());
    const { start, end, contentType } = reader.payload(Uint8Array.from(inner.subarray(0, reader.innerHeadLen())));
    assert.deepEqual({ contentType, payload: Uint8Array.from(inner.subarray(start, end)) }, { contentType: "t", payload });
  }
  const sealed = seal(bytes(1));
  sealed[60] ^= 1;
  refuses(() => dek.beginOpen(sealed.subarray(0, core.headLen()), sealed.length, context), "authentication_failed");
});

// Vectors that the independent reference in tests/reference/ made, in Python.
const { vectors } = JSON.parse(readFileSync(new URL("../../tests/vectors/envelope.json", import.meta.url), "utf8"));
const byId = new Map(vectors.map((vector) => [vector.id, vector]));
const sha256 = (data) => createHash("sha256").update(data).digest("hex");

function envelopeOf({ envelope }) {
  if (envelope.hex !== undefined) return hex(envelope.hex);
  if (envelope.base === undefined) return undefined;
  const base = envelopeOf(byId.get(envelope.base));
  const joined = Uint8Array.from(Buffer.concat(envelope.pieces.map(([start, end]) => base.subarray(start, end))));
  assert.deepEqual([joined.length, sha256(joined)], [envelope.len, envelope.sha256]);
  return joined;
}

function contextOf(pairs) {
  const value = ([kind, given]) =>
    ({
      text: () => JSON.stringify(given),
      int: () => given,
      float: () => JSON.stringify(`\0${given}`),
      repeat: () => JSON.stringify(given.text?.repeat(given.count)),
    })[kind]();
  return core.newContext(`{${pairs.map(([key, given]) => `${JSON.stringify(key)}:${value(Object.entries(given)[0])}`).join()}}`);
}

function dekOf({ dek, dek_id, purpose }, tenant) {
  const dekPurpose = ["data", "index", "client", "audit"].indexOf(purpose) + 1;
  const name = Buffer.from(tenant);
  const u32 = Buffer.from([0, 0, 0, 1]);
  const u16 = Buffer.from([name.length >> 8, name.length & 255]);
  const info = Buffer.concat([Buffer.from("sealpoint/v1/key-check\0"), bytes(1, dekPurpose), hex(dek_id), u32, u16, name, bytes(1)]);
  const keyCheck = createHmac("sha512", hex(dek)).update(info).digest().subarray(0, 32);
  return core.dekFromSecret(core.secretFromBytes(hex(dek)), { dekId: hex(dek_id), tenant, dekPurpose, suite: 1, version: 1 }, keyCheck);
}

test("opens and refuses as the vectors of envelope.json say", () => {
  const ran = { "seal-open": 0, open: 0, seal: 0, unwritten: 0 };
  for (const vector of vectors) {
    const bound = contextOf(vector.context);
    const key = dekOf(vector.key, bound.tenant());
    if (vector.op === "seal") {
      const payload = hex(vector.payload.hex);
      refuses(() => key.sealInto(payload, vector.content_type, vector.encoding === "padded", bound, new Uint8Array(500)), vector.expect);
    } else {
      const sealed = envelopeOf(vector);
      if (sealed === undefined) {
        ran.unwritten++;
        continue;
      }
      const out = new Uint8Array(core.payloadBound(sealed.length));
      if (vector.op === "open") refuses(() => key.openInto(sealed, bound, out), vector.expect);
      else {
        const { contentType, payload } = open(sealed, key, bound);
        assert.equal(contentType, vector.content_type, vector.id);
        assert.equal(sha256(payload), vector.payload.sha256 ?? sha256(hex(vector.payload.hex)), vector.id);
      }
    }
    ran[vector.op]++;
  }
  assert.deepEqual(ran, { "seal-open": 46, open: 169, seal: 1, unwritten: 4 });
});

test("works in workers, each with its own handles, also when one ends in the middle", async () => {
  const program = `
    const { parentPort, workerData } = require("node:worker_threads");
    const core = require(workerData.path);
    const context = core.contextFromCanonical(workerData.canonical);
    const dek = core.dekFromSecret(core.secretFromBytes(workerData.secret), workerData.record, workerData.keyCheck);
    for (let i = 0; i < 2000; i++) core.contextFromCanonical(workerData.canonical);
    const out = new Uint8Array(core.sealedLen(4, 0, false));
    dek.sealInto(Uint8Array.of(1, 2, 3, 4), "", false, context, out);
    parentPort.postMessage(out);
    if (workerData.forever) for (;;) dek.sealInto(Uint8Array.of(1, 2, 3, 4), "", false, context, out);`;
  const workerData = { path, canonical: context.canonical(), secret: secret.expose(), record, keyCheck: dek.keyCheck() };
  const run = (forever) =>
    new Promise((resolve, reject) => {
      const worker = new Worker(program, { eval: true, workerData: { ...workerData, forever } });
      let sealed;
      worker.once("message", (out) => {
        sealed = out;
        if (forever) worker.terminate();
      });
      worker.once("error", reject);
      worker.once("exit", () => resolve(sealed));
    });
  for (const sealed of await Promise.all([false, true, false, true].map(run))) assert.deepEqual(open(sealed).payload, bytes(1, 2, 3, 4));
  assert.throws(() => structuredClone(dek).record(), TypeError);
});

test("what the collector finds is dropped; what is loaded twice is one module", () => {
  const program = `
    const core = require(${JSON.stringify(path)});
    const { dek } = core.generateDek("t", 1, 1);
    const canonical = core.newContext('{"tenant":"t","purpose":"p"}').canonical();
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    (async () => {
      const make = async (count) => { for (let i = 0; i < count; i++) { core.contextFromCanonical(canonical).extend(JSON.stringify({ x: "y".repeat(10000) })); if (i % 100 === 0) { gc(); await turn(); } } };
      await make(2000);
      const before = process.memoryUsage().rss;
      await make(20000);
      const grown = process.memoryUsage().rss - before;
      if (grown > 50e6) throw new Error("grew by " + grown);
      process.dlopen({ exports: {} }, ${JSON.stringify(path)});
      const again = { exports: {} };
      process.dlopen(again, ${JSON.stringify(path)});
      const context = again.exports.contextFromCanonical(canonical);
      const out = new Uint8Array(core.sealedLen(1, 0, false));
      dek.sealInto(Uint8Array.of(1), "", false, context, out);
      console.log("good");
    })();`;
  assert.equal(execFileSync(process.execPath, ["--expose-gc", "-e", program], { encoding: "utf8" }), "good\n");
});
