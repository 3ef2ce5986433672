import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { backends, code, sample } from "./backends.mjs";

test("the native module is the one that Node loads here", () => {
  assert.equal(backends[0].sealpoint.backend, "native");
  assert.equal(backends[1].sealpoint.backend, "wasm");
});

for (const { name, sealpoint } of backends) {
  const { Context, DataKey, DekCache, LocalKek, SecretKey } = sealpoint;
  const pairs = { tenant: "acme", purpose: "field", document: "u-42", path: "/card" };

  describe(`${name}: sealing`, () => {
    const { key } = DataKey.generate({ tenant: "acme" });
    const context = new Context(pairs);

    for (const length of [0, 1, 1024, 16_382, 16_383, 16_384, 100_000]) {
      test(`${length} bytes open as they were sealed, padded or not, under a prepared context or a plain one`, () => {
        const payload = sample(length);
        for (const pad of [false, true]) {
          const sealed = key.seal(payload, context, { pad, contentType: "x/y" });
          assert.equal(sealed.constructor, Uint8Array);
          assert.equal(sealed.buffer.byteLength, sealed.length);
          assert.deepEqual(key.open(sealed, pairs), payload);
          assert.deepEqual(key.openTyped(sealed, context), { contentType: "x/y", payload });
          assert.deepEqual(key.open(sealpoint.toText(sealed), context), payload);
        }
      });
    }

    test("what is returned shows nothing else through its buffer", () => {
      const opened = key.open(key.seal(sample(500), context, { contentType: "application/json", pad: true }), context);
      assert.ok(new Uint8Array(opened.buffer, opened.length).every((byte) => byte === 0));
    });

    test("text", () => {
      const sealed = key.sealText("4111 – é", context);
      assert.match(sealed, /^sealpoint:v1:[\w-]+$/);
      assert.equal(key.openText(sealed, context), "4111 – é");
      assert.equal(key.openText(key.sealText("\ufeff", context), context), "\ufeff");
      assert.equal(key.sealText("yes", context).length, key.sealText("no", context).length);
      assert.notEqual(key.sealText("yes", context, { pad: false }).length, key.sealText("no", context, { pad: false }).length);
      assert.deepEqual(key.open(key.sealText(sample(5), context), context), sample(5));
      assert.throws(() => key.openText(key.seal(Uint8Array.of(0xff), context), context), code("malformed"));
    });

    test("refusals of the core come through with their codes", () => {
      const sealed = key.seal(sample(40), context);
      const other = DataKey.generate({ tenant: "acme" }).key;
      const flipped = sealed.slice();
      flipped[sealed.length - 1] ^= 1;
      assert.throws(() => key.open(flipped, context), code("authentication_failed"));
      assert.throws(() => key.open(sealed, context.extend({ more: 1 })), code("authentication_failed"));
      assert.throws(() => other.open(sealed, context), code("key_not_found"));
      assert.throws(() => key.open(sample(3), context), code("plaintext_refused"));
      assert.throws(() => key.open("hello", context), code("plaintext_refused"));
      assert.throws(() => key.open(sealed.subarray(0, 50), context), code("malformed"));
      assert.throws(() => key.open("sealpoint:v2:AAAA", context), code("unsupported_version"));
      assert.throws(() => key.seal(sample(1), { tenant: "globex", purpose: "x" }), code("invalid_context"));
      assert.throws(() => key.seal(sample(1), context, { contentType: "é" }), code("invalid_argument"));
      assert.throws(
        () => key.seal(sample(1), context, { contentType: "x".repeat(256) }),
        (error) => /^(invalid_argument|limit_exceeded)$/.test(error.code),
      );
    });
  });

  describe(`${name}: contexts`, () => {
    test("are immutable, extended and encoded by the core", () => {
      const base = new Context({ tenant: "acme", purpose: "x" });
      const more = base.extend({ version: 3, ns: ["a", "bc"], half: 0.5, big: 2n ** 64n - 1n, "dek.id": "z" });
      assert.deepEqual(base.pairs(), { purpose: "x", tenant: "acme" });
      assert.deepEqual(more.pairs(), {
        big: "i:18446744073709551615",
        "dek.id": "z",
        half: "f:3fe0000000000000",
        ns: "1:a,2:bc,",
        purpose: "x",
        tenant: "acme",
        version: "i:3",
      });
      assert.equal(more.tenant, "acme");
      assert.equal(more.purpose, "x");
      assert.ok(Context.fromCanonical(more.canonical).equals(more));
      assert.ok(!base.equals(more));
      assert.throws(() => base.extend({ tenant: "acme" }), code("invalid_context"));
    });

    test("numbers are integers up to 2^53 and floats beyond, bigints are integers", () => {
      const encoded = (value) => new Context({ tenant: "t", purpose: "p", n: value }).pairs().n;
      const float = (value) =>
        `f:${Buffer.from(new Float64Array([value]).buffer)
          .reverse()
          .toString("hex")}`;
      for (const [value, expected] of [
        [0, "i:0"],
        [-0, "i:0"],
        [3, "i:3"],
        [2 ** 53, "i:9007199254740992"],
        [-(2 ** 53), "i:-9007199254740992"],
        [-(2n ** 63n), "i:-9223372036854775808"],
        [2n ** 53n + 1n, "i:9007199254740993"],
        ...[2 ** 53 + 2, -(2 ** 60), 1e21, 1e300, 5e-324, 0.1, -1.5, 1 / 3, Number.MAX_VALUE].map((value) => [value, float(value)]),
      ]) {
        assert.equal(encoded(value), expected, String(value));
      }
      for (let i = 0; i < 500; i++) {
        const value = new DataView(crypto.getRandomValues(new Uint8Array(8)).buffer).getFloat64(0);
        if (Number.isFinite(value) && !Number.isInteger(value)) assert.equal(encoded(value), float(value));
      }
    });

    test("a key that is a name of JavaScript's own is a key", () => {
      const context = new Context(JSON.parse('{"tenant": "t", "purpose": "p", "__proto__": "x"}'));
      assert.equal(Object.getOwnPropertyDescriptor(context.pairs(), "__proto__").value, "x");
    });
  });

  describe(`${name}: keys`, () => {
    test("a DEK is wrapped, unwrapped and opened again", () => {
      const { key, secret } = DataKey.generate({ tenant: "acme", dekPurpose: 3, version: 7 });
      const kek = LocalKek.parse(SecretKey.generate().expose());
      const context = sealpoint.wrapContext({ tenant: "acme", dekId: key.dekId, dekPurpose: 3, suite: 1 });
      const wrapped = kek.wrap(secret, context);
      assert.equal(wrapped.length, 125);
      assert.equal(kek.kekId.length, 16);
      const again = DataKey.fromSecret(kek.unwrap(sealpoint.toText(wrapped, "wrapped-key"), context), key);
      assert.deepEqual([again.dekId, again.tenant, again.dekPurpose, again.suite, again.version, again.keyCheck], [key.dekId, "acme", 3, 1, 7, key.keyCheck]);
      const bound = { tenant: "acme", purpose: "x" };
      assert.deepEqual(again.open(key.seal(sample(9), bound), bound), sample(9));
      assert.throws(() => LocalKek.parse(SecretKey.generate().expose()).unwrap(wrapped, context), code("key_not_found"));
      assert.throws(() => kek.unwrap(wrapped, bound), code("authentication_failed"));
      assert.throws(() => DataKey.fromSecret(SecretKey.generate(), key), code("authentication_failed"));
      assert.throws(() => LocalKek.parse("a passphrase"), code("invalid_argument"));
      assert.equal(LocalKek.parse(`${Buffer.from(sample(32)).toString("hex")}\n`).toString(), "LocalKek([redacted])");
    });

    test("a secret is taken from bytes, which are wiped, and given as a copy", () => {
      const bytes = sample(32);
      const secret = SecretKey.fromBytes(bytes);
      assert.ok(bytes.every((byte) => byte === 0));
      assert.deepEqual(secret.expose(), sample(32));
      secret.expose().fill(0);
      assert.ok(secret.equals(SecretKey.fromBytes(sample(32))));
      assert.ok(!secret.equals(SecretKey.generate()));
      const short = sample(31);
      assert.throws(() => SecretKey.fromBytes(short), code("invalid_argument"));
      assert.ok(short.every((byte) => byte === 0));
      const shared = new Uint8Array(new SharedArrayBuffer(32)).fill(1);
      SecretKey.fromBytes(shared);
      assert.ok(shared.every((byte) => byte === 0));
      const buffer = sample(32).buffer;
      SecretKey.fromBytes(buffer);
      assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
    });

    test("an exported key is imported", () => {
      const { key, secret } = DataKey.generate({ tenant: "acme", dekPurpose: 3 });
      const text = sealpoint.exportKey(secret, key);
      assert.match(text, /^sealpoint-key:v1:/);
      const imported = DataKey.import(text);
      const bound = { tenant: "acme", purpose: "x" };
      assert.deepEqual(imported.open(key.seal(sample(9), bound), bound), sample(9));
      assert.throws(() => DataKey.import(text.slice(0, -1)), code("malformed"));
      assert.throws(() => DataKey.import("hello"), code("plaintext_refused"));
      assert.throws(() => DataKey.import(undefined), code("invalid_argument"));
    });

    test("canaries", () => {
      const uri = "env:SEALPOINT_KEK";
      assert.equal(sealpoint.canaryContext(uri).pairs().kek_uri, uri);
      assert.ok(sealpoint.canarySecret(uri).equals(sealpoint.canarySecret(uri)));
      assert.ok(!sealpoint.canarySecret(uri).equals(sealpoint.canarySecret("env:OTHER")));
    });

    test("nothing shows a secret", () => {
      const { key, secret } = DataKey.generate({ tenant: "acme-tenant" });
      const context = new Context({ tenant: "acme-tenant", purpose: "secret-purpose", document: "u-42" });
      const kek = LocalKek.parse(SecretKey.fromBytes(sample(32)).expose());
      const cache = new DekCache({ ttl: 10, pointerTtl: 10, capacity: 2 });
      for (const object of [key, secret, context, kek, cache]) {
        for (const shown of [
          inspect(object, { showHidden: true, depth: 9 }),
          String(object),
          JSON.stringify(object),
          JSON.stringify({ ...object }),
          `${object}`,
        ]) {
          assert.doesNotMatch(shown, /acme|u-42|secret-purpose/);
          assert.ok(shown.length < 90, shown);
        }
        assert.deepEqual(Reflect.ownKeys(object), []);
      }
      assert.equal(String(context), "Context(document, purpose, tenant)");
      const id = Buffer.from(key.dekId).toString("hex");
      assert.equal(inspect(key), `DataKey(dekId=${id})`);
    });
  });

  describe(`${name}: the cache`, () => {
    const bound = { tenant: "acme", purpose: "x" };

    test("seals under the active key, opens under the named one, and says when it has none", () => {
      const cache = new DekCache({ ttl: 36_000, pointerTtl: 3600, capacity: 10 });
      const { key } = DataKey.generate({ tenant: "acme" });
      assert.equal(cache.seal(sample(3), bound), undefined);
      assert.equal(cache.sealText("a", bound), undefined);
      cache.insert(key);
      assert.equal(cache.seal(sample(3), bound), undefined);
      assert.ok(cache.setActive("acme", 1, key.dekId));
      const sealed = cache.seal(sample(3), new Context(bound), { contentType: "a/b", pad: true });
      assert.deepEqual(cache.openTyped(sealed, bound), { contentType: "a/b", payload: sample(3) });
      assert.deepEqual(cache.open(sealed, bound), sample(3));
      assert.deepEqual(key.open(cache.sealText("é", bound), bound), new TextEncoder().encode("é"));
      assert.throws(() => cache.open(sealed, bound, { dekPurpose: 3 }), code("authentication_failed"));
      assert.equal(cache.open(DataKey.generate({ tenant: "acme" }).key.seal(sample(3), bound), bound), undefined);
      assert.equal(cache.openTyped(DataKey.generate({ tenant: "acme" }).key.seal(sample(3), bound), bound), undefined);
      assert.equal(cache.size, 1);
      key.dispose();
      assert.deepEqual(cache.open(sealed, bound), sample(3));
      assert.ok(cache.evict(sealpoint.envelopeDekId(sealed)));
      assert.equal(cache.open(sealed, bound), undefined);
    });

    test("forgets after its TTLs, a tenant, and all", () => {
      const cache = new DekCache({ ttl: 36_000, pointerTtl: 3600, capacity: 10 });
      const [a, b] = ["acme", "globex"].map((tenant) => DataKey.generate({ tenant }).key);
      cache.insert(a, { active: true });
      cache.insert(b, { active: true });
      cache._advance(3601);
      assert.equal(cache.seal(sample(1), bound), undefined);
      assert.ok(cache.contains(a.dekId));
      assert.equal(cache.evictTenant("acme"), 1);
      assert.ok(!cache.contains(a.dekId));
      cache._advance(32_400);
      assert.ok(!cache.contains(b.dekId));
      cache.insert(b);
      cache.clear();
      assert.equal(cache.size, 0);
    });

    test("asynchronously too", async () => {
      const cache = new DekCache({ ttl: 36_000, pointerTtl: 3600, capacity: 10 });
      assert.equal(await cache.sealAsync(sample(1), bound), undefined);
      const { key } = DataKey.generate({ tenant: "acme" });
      for (const length of [10, 100_000, 5_000_000]) {
        cache.insert(key, { active: true });
        const sealed = await cache.sealAsync(sample(length), bound, { contentType: "t" });
        assert.deepEqual(await cache.openTypedAsync(sealed, bound), { contentType: "t", payload: sample(length) });
        await assert.rejects(cache.openTypedAsync(sealed, bound, { dekPurpose: 3 }), code("authentication_failed"));
        cache.clear();
        assert.equal(await cache.openTypedAsync(sealed, bound), undefined);
      }
    });
  });

  describe(`${name}: envelopes and manifests`, () => {
    test("what is sealed is known without a key", () => {
      const { key } = DataKey.generate({ tenant: "acme" });
      const sealed = key.seal(sample(3), { tenant: "acme", purpose: "x" });
      for (const value of [sealed, sealpoint.toText(sealed), Uint8Array.of(0xc1), "sealpoint:", "sealpoint-key:v1:x"]) assert.ok(sealpoint.isSealed(value));
      for (const value of [new Uint8Array(0), "", "hello", sample(4), "\ud800", new ArrayBuffer(3)]) assert.ok(!sealpoint.isSealed(value));
      assert.deepEqual(sealpoint.envelopeDekId(sealed), key.dekId);
      assert.deepEqual(sealpoint.fromText(sealpoint.toText(sealed)), sealed);
      assert.throws(() => sealpoint.fromText(sealpoint.toText(sealed), "wrapped-key"), code("malformed"));
      assert.throws(() => sealpoint.toText(sealed, "dat"), code("invalid_argument"));
    });

    test("a manifest covers fields, parent and channels", () => {
      const { key } = DataKey.generate({ tenant: "acme" });
      const sealed = key.seal(sample(3), { tenant: "acme", purpose: "x" });
      const fields = [4, "id", "2026-11-25", { a: 1, b: "2" }, { node: { a: 1n } }, null, { source: "loop", step: -1, half: 0.5, ok: true }];
      const channels = [
        ["a", sealpoint.toText(sealed)],
        ["b", null],
      ];
      const payload = sealpoint.manifestPayload(fields, { parent: "p", exact: true, channels, metadata: sample(20) });
      const open = (changes) => sealpoint.manifestOpen(payload, changes.fields ?? fields, { parent: "p", channels, ...changes.rest });
      assert.deepEqual(open({}), { metadata: sample(20), parent: "p" });
      assert.equal(open({ rest: { parent: null } }).parent, "p");
      for (const changes of [
        { rest: { parent: "q" } },
        { rest: { channels: [["a", sealed]] } },
        { rest: { channels: [...channels, ["c", null]] } },
        {
          rest: {
            channels: [
              ["a", key.seal(sample(3), { tenant: "acme", purpose: "x" })],
              ["b", null],
            ],
          },
        },
        { fields: [4, "other", ...fields.slice(2)] },
      ]) {
        assert.throws(() => open(changes), code("authentication_failed"));
      }
      assert.throws(() => open({ fields: [undefined] }), code("malformed"));
      assert.throws(() => sealpoint.manifestOpen(sample(10), fields, { parent: null, channels }), code("malformed"));
    });
  });
}
