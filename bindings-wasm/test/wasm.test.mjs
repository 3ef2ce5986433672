// The module that `bindings-wasm/build.sh DIR` made: SEALPOINT_WASM=DIR (default: bindings-node/build/wasm) node --test bindings-wasm/test/
import assert from "node:assert/strict";
import { createHash, createHmac, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { resolve } from "node:path";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const root = fileURLToPath(new URL("../..", import.meta.url));
const built = resolve(process.env.SEALPOINT_WASM ?? `${root}/bindings-node/build/wasm`);
const bytes = readFileSync(`${built}/sealpoint_bg.wasm`);
const core = await import(pathToFileURL(`${built}/sealpoint.js`).href);
core.initSync({ module: bytes });

const vectors = (name) => JSON.parse(readFileSync(`${root}/tests/vectors/${name}.json`, "utf8")).vectors;
const fromHex = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const toHex = (array) => Buffer.from(array).toString("hex");
const PURPOSES = { data: 1, index: 2, client: 3, audit: 4 };

/** The code of what `call` throws. */
function code(call) {
  try {
    call();
  } catch (error) {
    assert.equal(Object.getPrototypeOf(error), Error.prototype, `a plain Error: ${error}`);
    assert.equal(typeof error.code, "string", `${error.stack}`);
    assert.equal(error.retryable, core.errorCodes()[error.code], error.code);
    assert.ok(error.message.length > 0);
    return error.code;
  }
  return "ok";
}

/** What an interface of core.ts names. */
function members(name) {
  const text = readFileSync(`${root}/bindings-node/ts/core.ts`, "utf8");
  const body = text.match(new RegExp(`export interface ${name} \\{\\n([\\s\\S]*?)\\n\\}`))[1];
  return [...body.matchAll(/^ {2}([a-zA-Z]+)[(:]/gm)].map((match) => match[1]).sort();
}

function newDek({ dek, dek_id, purpose }, tenant) {
  const record = { dekId: fromHex(dek_id), tenant, dekPurpose: PURPOSES[purpose], suite: 1, version: 1 };
  const info = Buffer.concat([
    Buffer.from("sealpoint/v1/key-check\0"),
    Buffer.from([1, record.dekPurpose]),
    record.dekId,
    Buffer.from([0, 0, 0, 1]),
    Buffer.from([Buffer.byteLength(tenant) >> 8, Buffer.byteLength(tenant) & 255]),
    Buffer.from(tenant),
    Buffer.from([1]),
  ]);
  const keyCheck = Uint8Array.from(createHmac("sha512", fromHex(dek)).update(info).digest().subarray(0, 32));
  return core.dekFromSecret(core.secretFromBytes(fromHex(dek)), record, keyCheck);
}

/** A value of a vector as the transport writes it. */
function transported(value) {
  if (value.text !== undefined) return JSON.stringify(value.text.startsWith("\0") ? `\0${value.text}` : value.text);
  if (value.int !== undefined) return value.int;
  if (value.float !== undefined) return JSON.stringify(`\0${value.float}`);
  if (value.list !== undefined) return JSON.stringify(value.list);
  if (value.repeat !== undefined) return JSON.stringify(value.repeat.text.repeat(value.repeat.count));
  return undefined;
}

/** Undefined where JavaScript has no such strings. */
function newContext(pairs) {
  const entries = pairs.map(([key, value]) => [typeof key === "string" ? JSON.stringify(key) : transported(key), transported(value)]);
  if (entries.some(([key, value]) => key === undefined || value === undefined)) return undefined;
  return core.newContext(`{${entries.map(([key, value]) => `${key}:${value}`).join(",")}}`);
}

const payloadOf = ({ hex, len }) => (hex === undefined ? Uint8Array.from({ length: len }, (_, i) => (31 * i + 7) % 251) : fromHex(hex));

function seal(dek, payload, context, contentType = "", pad = false) {
  const out = new Uint8Array(core.sealedLen(payload.length, contentType.length, pad));
  dek.sealInto(payload, contentType, pad, context, out);
  return out;
}

function open(dek, sealed, context) {
  const out = new Uint8Array(core.payloadBound(sealed.length)).fill(0xee);
  try {
    const { contentType, length } = dek.openTypedInto(sealed, context, out);
    return { contentType, payload: out.subarray(0, length) };
  } catch (error) {
    assert.ok(out.every((byte) => byte === 0xee), "nothing was written after an error");
    throw error;
  }
}

test("it exports what core.ts says and nothing else", () => {
  const classes = ["CoreContext", "CoreSecret", "CoreKek", "CoreDek", "CoreMessage", "CoreDekCache"];
  const exported = Object.keys(core).filter((name) => !classes.includes(name) && !["default", "initSync"].includes(name));
  assert.deepEqual(exported.sort(), members("Core"));
  for (const name of classes) {
    const own = Object.getOwnPropertyNames(core[name].prototype).filter((member) => member !== "constructor" && !member.startsWith("__"));
    assert.deepEqual(own.sort(), members(name), name);
  }
});

test("it is small, has no marker of known-answer hooks, and names no path of the machine that built it", () => {
  assert.ok(gzipSync(bytes, { level: 9 }).length <= 60 * 1024);
  const text = Buffer.from(bytes).toString("latin1");
  assert.ok(text.includes("no randomness to give"));
  for (const word of ["sealpoint-hazmat", "/home/", `${homedir()}/`, root]) assert.ok(!text.includes(word), word);
  assert.ok(!readFileSync(`${built}/sealpoint.js`, "utf8").includes("import.meta"));
});

test("every vector of envelope.json", () => {
  const all = vectors("envelope");
  const byId = new Map(all.map((vector) => [vector.id, vector]));
  const envelopeOf = ({ hex, base, pieces }) => {
    if (hex !== undefined) return fromHex(hex);
    if (base === undefined) return undefined;
    const whole = envelopeOf(byId.get(base).envelope);
    return whole && Uint8Array.from(Buffer.concat(pieces.map(([start, end]) => whole.subarray(start, end))));
  };
  const ran = { opened: 0, refused: 0, resealed: 0, sealRefused: 0, inexpressible: 0, unwritten: 0 };
  for (const vector of all) {
    const tenant = vector.context.find(([key]) => key === "tenant")[1].text ?? "acme";
    let context;
    const made = code(() => {
      context = newContext(vector.context);
    });
    if (made !== "ok") {
      assert.equal(made, vector.expect, vector.id);
      ran.refused += 1;
      continue;
    }
    if (context === undefined) {
      ran.inexpressible += 1;
      continue;
    }
    const owner = vector.key.tenant ?? tenant;
    const dek = newDek(vector.key, owner);
    const sealed = vector.envelope && envelopeOf(vector.envelope);
    const pad = vector.encoding === "padded";
    if (vector.op === "seal") {
      assert.equal(code(() => seal(dek, payloadOf(vector.payload), context, vector.content_type, pad)), vector.expect, vector.id);
      ran.sealRefused += 1;
    } else if (sealed === undefined) {
      // Too long to be written down: the salt is this module's own, so that only its own envelope comes back.
      assert.ok(vector.envelope.sha256, vector.id);
      if (vector.op === "seal-open") {
        const own = seal(dek, payloadOf(vector.payload), context, vector.content_type, pad);
        assert.equal(own.length, vector.envelope.len, vector.id);
        assert.equal(createHash("sha256").update(open(dek, own, context).payload).digest("hex"), vector.payload.sha256, vector.id);
        ran.resealed += 1;
      } else ran.unwritten += 1;
    } else if (vector.op === "seal-open") {
      const opened = open(dek, sealed, context);
      assert.equal(opened.contentType, vector.content_type, vector.id);
      assert.equal(toHex(opened.payload), toHex(payloadOf(vector.payload)), vector.id);
      assert.equal(core.sealedLen(opened.payload.length, vector.content_type.length, pad), sealed.length, vector.id);
      assert.equal(toHex(core.envelopeDekId(sealed)), vector.key.dek_id, vector.id);
      assert.equal(toHex(core.shortCommitment(sealed)), toHex(sealed.subarray(45, 61)), vector.id);
      assert.equal(toHex(open(dek, seal(dek, opened.payload, context, vector.content_type, pad), context).payload), toHex(opened.payload));
      ran.opened += 1;
    } else {
      assert.equal(vector.op, "open", vector.id);
      assert.equal(code(() => open(dek, sealed, context)), vector.expect, vector.id);
      ran.refused += 1;
    }
    dek.free();
    context.free();
  }
  console.log("envelope.json:", ran);
  assert.equal(Object.values(ran).reduce((sum, count) => sum + count), all.length);
  assert.ok(ran.opened > 30 && ran.refused > 100, "most vectors can be run here");
});

test("every vector of text.json", () => {
  const sources = new Map([...vectors("envelope"), ...vectors("wrap")].map((vector) => [vector.id, vector]));
  const ran = { decoded: 0, refused: 0 };
  for (const { id, kind, with: source, text, expect, bytes_hex } of vectors("text")) {
    const { key, context, kek, dek_id, dek_purpose, tenant } = sources.get(source);
    if (bytes_hex !== undefined) {
      assert.equal(toHex(core.decodeText(text, kind)), bytes_hex, id);
      assert.equal(core.encodeText(fromHex(bytes_hex), kind), text, id);
      ran.decoded += 1;
    } else ran.refused += 1;
    const opened = code(() => {
      const sealed = core.decodeText(text, kind);
      if (kind === "data") open(newDek(key, context.find(([name]) => name === "tenant")[1].text), sealed, newContext(context));
      else core.kekFromBytes(fromHex(kek)).unwrap(sealed, core.wrapContext(tenant, fromHex(dek_id), PURPOSES[dek_purpose], 1));
    });
    assert.equal(opened, expect, id);
  }
  console.log("text.json:", ran);
  assert.deepEqual([ran.decoded > 0, ran.refused > 0, ran.decoded + ran.refused], [true, true, vectors("text").length]);
});

test("contexts are those of the vectors", () => {
  const ran = { canonical: 0, refused: 0, parsed: 0, inexpressible: 0 };
  for (const vector of vectors("context")) {
    if (vector.op === "canonical") {
      let context;
      const made = code(() => {
        context = newContext(vector.pairs);
      });
      if (made === "ok" && context === undefined) ran.inexpressible += 1;
      else if (vector.expect === "ok") {
        assert.equal(made, "ok", vector.id);
        if (vector.canonical_hex !== undefined) assert.equal(toHex(context.canonical()), vector.canonical_hex, vector.id);
        ran.canonical += 1;
      } else {
        assert.equal(made, vector.expect, vector.id);
        ran.refused += 1;
      }
    } else {
      if (vector.canonical_hex === undefined) ran.inexpressible += 1;
      else {
        assert.equal(code(() => core.contextFromCanonical(fromHex(vector.canonical_hex))), vector.expect, vector.id);
        ran.parsed += 1;
      }
    }
  }
  console.log("context.json:", ran);
  assert.ok(ran.canonical > 30 && ran.refused > 10 && ran.parsed > 10);
});

const context = core.newContext('{"tenant":"acme","purpose":"test","doc":"u-42"}');
const { dek, secret } = core.generateDek("acme", 1, 7);

test("keys, wraps and exported keys", () => {
  const record = dek.record();
  assert.deepEqual([record.tenant, record.dekPurpose, record.suite, record.version, record.dekId.length], ["acme", 1, 1, 7, 16]);
  const kek = core.kekFromBytes(webcrypto.getRandomValues(new Uint8Array(32)));
  const binding = core.wrapContext("acme", record.dekId, 1, 1);
  const unwrapped = kek.unwrap(kek.wrap(secret, binding), binding);
  assert.ok(unwrapped.equals(secret));
  assert.deepEqual(unwrapped.expose(), secret.expose());
  const again = core.dekFromSecret(unwrapped, record, dek.keyCheck());
  assert.equal(toHex(open(again, seal(dek, fromHex("00ff"), context), context).payload), "00ff");
  assert.equal(code(() => core.dekFromSecret(core.generateSecret(), record, dek.keyCheck())), "authentication_failed");
  assert.equal(code(() => core.dekFromSecret(unwrapped, { ...record, dekPurpose: 257 }, dek.keyCheck())), "invalid_argument");
  assert.equal(code(() => core.dekFromSecret(unwrapped, { ...record, dekId: record.dekId.subarray(1) }, dek.keyCheck())), "invalid_argument");
  assert.equal(code(() => core.dekFromSecret(unwrapped, { ...record, suite: 2 }, dek.keyCheck())), "unsupported_suite");
  for (const [purpose, version] of [[257, 1], [0, 1], [1, 0], [1, Number.NaN]]) assert.equal(code(() => core.generateDek("acme", purpose, version)), "invalid_argument");
  assert.equal(code(() => core.kekFromText("hunter2")), "invalid_argument");
  const client = core.generateDek("acme", 3, 1);
  const imported = core.importKey(core.exportKey(client.secret, client.dek.record()));
  assert.deepEqual(imported.record(), client.dek.record());
  assert.equal(code(() => core.exportKey(secret, record)), "invalid_argument");
  assert.equal(code(() => core.importKey("sealpoint-key:v1:AAAA")), "malformed");
});

test("what is too long is refused before it is copied", () => {
  const { MAX_PAYLOAD_LEN } = core.limits();
  assert.equal(MAX_PAYLOAD_LEN, 2 ** 28);
  // Not zero pages: nobody touches them here.
  const huge = new Uint8Array(2 ** 30);
  const before = process.memoryUsage().arrayBuffers;
  for (const len of [MAX_PAYLOAD_LEN + 1, 2 ** 30, 2 ** 32, 2 ** 32 + 5, 2 ** 53]) assert.equal(code(() => core.sealedLen(len, 0, false)), "limit_exceeded");
  assert.equal(code(() => dek.sealInto(huge, "", false, context, new Uint8Array(1))), "limit_exceeded");
  assert.equal(code(() => dek.beginSeal(2 ** 32 + 5, "", false, context)), "limit_exceeded");
  assert.equal(code(() => dek.openInto(huge, context, new Uint8Array(1))), "plaintext_refused");
  huge.set(seal(dek, new Uint8Array(0), context).subarray(0, core.headLen()));
  assert.equal(code(() => dek.openInto(huge, context, new Uint8Array(1))), "limit_exceeded");
  assert.equal(code(() => core.encodeText(huge, "data")), "limit_exceeded");
  assert.equal(code(() => core.contextFromCanonical(huge)), "limit_exceeded");
  assert.equal(core.payloadBound(2 ** 32 + 200), 0);
  assert.ok(process.memoryUsage().arrayBuffers - before < 2 ** 26, "the module's memory has not grown");
  assert.equal(toHex(open(dek, seal(dek, fromHex("01"), context), context).payload), "01");
});

test("outputs of another length than asked for are refused", () => {
  const payload = new Uint8Array(100);
  const len = core.sealedLen(100, 0, false);
  assert.equal(code(() => dek.sealInto(payload, "", false, context, new Uint8Array(len - 1))), "invalid_argument");
  assert.equal(code(() => dek.sealInto(payload, "", false, context, new Uint8Array(len + 1))), "invalid_argument");
  assert.equal(code(() => dek.openInto(seal(dek, payload, context), context, new Uint8Array(99))), "invalid_argument");
  const backing = new Uint8Array(len + 20).fill(9);
  dek.sealInto(payload, "", false, context, backing.subarray(10, 10 + len));
  assert.deepEqual([...backing.subarray(0, 10), ...backing.subarray(10 + len)], new Array(20).fill(9));
  assert.equal(dek.openInto(backing.subarray(10, 10 + len), context, new Uint8Array(100)), 100);
});

test("chunks that WebCrypto encrypts are those that this module opens, and the other way round", async () => {
  const CHUNK = core.limits().CHUNK_LEN;
  const tagged = CHUNK + 16;
  for (const [len, contentType, pad] of [[0, "", false], [5, "json", true], [40_000, "x".repeat(255), false], [CHUNK * 2 - 1, "", false], [70_000, "", true]]) {
    const payload = payloadOf({ len });
    const message = dek.beginSeal(len, contentType, pad, context);
    const inner = new Uint8Array(message.innerLen());
    inner.set(message.prefix());
    inner.set(payload, message.prefix().length);
    inner.set(message.suffix(), message.prefix().length + len);
    const count = Math.floor(inner.length / CHUNK) + 1;
    const nonces = message.nonces(0, count);
    assert.equal(code(() => message.nonces(1, count)), "invalid_argument");
    const crypt = async (of, direction, step, body) => {
      const key = await webcrypto.subtle.importKey("raw", of.key(), "AES-GCM", false, [direction]);
      const used = of.nonces(0, count);
      const parts = [];
      for (let i = 0; i < count; i += 1) {
        const iv = used.subarray(12 * i, 12 * i + 12);
        parts.push(new Uint8Array(await webcrypto.subtle[direction]({ name: "AES-GCM", iv }, key, body.subarray(i * step, (i + 1) * step))));
      }
      return Uint8Array.from(Buffer.concat(parts));
    };
    assert.equal(nonces.length, 12 * count);
    const sealed = Uint8Array.from(Buffer.concat([message.head(), await crypt(message, "encrypt", CHUNK, inner)]));
    const opened = open(dek, sealed, context);
    assert.equal(opened.contentType, contentType);
    assert.equal(toHex(opened.payload), toHex(payload));
    const own = seal(dek, payload, context, contentType, pad);
    const opening = dek.beginOpen(own.subarray(0, core.headLen()), own.length, context);
    const plain = await crypt(opening, "decrypt", tagged, own.subarray(core.headLen()));
    const at = opening.payload(plain.subarray(0, opening.innerHeadLen()));
    assert.deepEqual([at.contentType, toHex(plain.subarray(at.start, at.end))], [contentType, toHex(payload)]);
  }
  const other = core.newContext('{"tenant":"acme","purpose":"other"}');
  const sealed = seal(dek, new Uint8Array(9), context);
  assert.equal(code(() => dek.beginOpen(sealed.subarray(0, core.headLen()), sealed.length, other)), "authentication_failed");
});

test("a cache holds keys for its time", () => {
  const cache = core.newDekCache(1000, 500, 2);
  const out = new Uint8Array(core.sealedLen(3, 1, false));
  assert.equal(cache.sealInto(fromHex("010203"), "t", false, context, 1, out), false);
  cache.insert(dek, true, false);
  assert.equal(cache.sealInto(fromHex("010203"), "t", false, context, 1, out), true);
  const room = new Uint8Array(core.payloadBound(out.length));
  assert.equal(cache.openInto(out, context, 1, room), 3);
  assert.deepEqual(cache.openTypedInto(out, context, 1, room), { contentType: "t", length: 3 });
  assert.equal(code(() => cache.openInto(out, context, 3, room)), "authentication_failed");
  assert.deepEqual(cache.named(out, 1).record(), dek.record());
  assert.equal(code(() => cache.named(out, 3)), "authentication_failed");
  assert.deepEqual(cache.active(context, 1).record(), dek.record());
  assert.equal(code(() => cache.named(fromHex("00"), 1)), "plaintext_refused");
  cache.advance(600);
  assert.equal(cache.active(context, 1), undefined);
  assert.equal(cache.size(), 1);
  cache.advance(600);
  assert.equal(cache.contains(dek.record().dekId), false);
  assert.equal(cache.openInto(out, context, 1, room), -1);
  assert.equal(cache.openTypedInto(out, context, 1, room), undefined);
  assert.equal(cache.named(out, 1), undefined);
  cache.insert(dek, false, false);
  assert.equal(cache.setActive("acme", 1, dek.record().dekId), true);
  assert.equal(cache.evictTenant("acme"), 1);
  assert.equal(cache.evict(dek.record().dekId), false);
  for (const bad of [[0, 0, 1], [10, 20, 1], [10, 10, 0], [Number.NaN, 1, 1]]) assert.equal(code(() => core.newDekCache(...bad)), "invalid_argument");
});

test("manifests", () => {
  const fields = core.encodeFields('[4,"id","ts",{"b":1,"a":"\\u00003ff8000000000000"},{},null,{"step":-1}]');
  const commitments = new Uint8Array(32).fill(7, 0, 16);
  const payload = core.manifestPayload(fields, "p", true, ["x", "y"], commitments, fromHex("0102"));
  assert.deepEqual(core.manifestOpen(payload, fields, undefined, ["y", "x"], Uint8Array.from([...commitments.subarray(16), ...commitments.subarray(0, 16)])), {
    metadata: fromHex("0102"),
    parent: "p",
  });
  const rootless = core.manifestPayload(fields, undefined, false, [], new Uint8Array(0), new Uint8Array(0));
  assert.equal(core.manifestOpen(rootless, fields, undefined, [], new Uint8Array(0)).parent, undefined);
  assert.equal(code(() => core.manifestOpen(payload, fields, "q", ["x", "y"], commitments)), "authentication_failed");
  assert.equal(code(() => core.manifestOpen(payload, fields, "p", ["x"], commitments.subarray(16))), "authentication_failed");
  assert.equal(code(() => core.manifestPayload(fields, "p", true, ["x"], commitments, fromHex(""))), "invalid_argument");
  assert.equal(code(() => core.encodeFields("[1.5]")), "invalid_argument");
});

test("without randomness nothing is sealed", () => {
  const held = Object.getOwnPropertyDescriptor(globalThis, "crypto");
  Object.defineProperty(globalThis, "crypto", { value: undefined, configurable: true });
  try {
    assert.equal(code(() => seal(dek, new Uint8Array(1), context)), "internal");
    assert.equal(code(() => core.generateSecret()), "internal");
    assert.equal(code(() => dek.beginSeal(1, "", false, context)), "internal");
  } finally {
    Object.defineProperty(globalThis, "crypto", held);
  }
});

test("plaintext and keys do not stay in the module's memory", () => {
  const { memory } = core.initSync({ module: bytes });
  const needle = Buffer.from("a needle that stands nowhere else: 7f3c");
  const held = () => Buffer.from(memory.buffer).includes(needle);
  for (const [pad, times] of [[false, 1], [true, 1], [false, 1000], [true, 1000]]) {
    const payload = Uint8Array.from(Buffer.concat(new Array(times).fill(needle)));
    const sealed = seal(dek, payload, context, "", pad);
    assert.equal(held(), false, `after sealing, padded: ${pad}, ${times} times`);
    assert.equal(open(dek, sealed, context).payload.length, payload.length);
    assert.equal(held(), false, `after opening, padded: ${pad}, ${times} times`);
    sealed[sealed.length - 1] ^= 1;
    assert.equal(code(() => open(dek, sealed, context)), "authentication_failed");
    assert.equal(held(), false, `after a failure, padded: ${pad}, ${times} times`);
  }
  const key = core.generateSecret();
  const exposed = Buffer.from(key.expose());
  assert.ok(Buffer.from(memory.buffer).includes(exposed), "a held key can be found, so that this test can fail");
  key.free();
  assert.ok(!Buffer.from(memory.buffer).includes(exposed));
});
