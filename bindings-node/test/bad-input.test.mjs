// What JavaScript can pass that no other language could. Everything is answered with a typed error, and the process goes on.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import vm from "node:vm";
import { MessageChannel, Worker } from "node:worker_threads";
import { backends, code, sample } from "./backends.mjs";

const GIB = 2 ** 30;

for (const { name, sealpoint } of backends) {
  const { Context, DataKey, DekCache, LocalKek, SecretKey } = sealpoint;
  const pairs = { tenant: "acme", purpose: "x" };
  const context = new Context(pairs);
  const { key, secret } = DataKey.generate({ tenant: "acme" });
  const sealed = key.seal(sample(100), context);
  const cache = new DekCache({ ttl: 36_000, pointerTtl: 36_000, capacity: 10 });
  cache.insert(key, { active: true });

  /** Every call that takes bytes, with the rest of its arguments good. */
  const takesBytes = {
    seal: (bytes) => key.seal(bytes, context),
    "seal with a plain context": (bytes) => key.seal(bytes, pairs),
    open: (bytes) => key.open(bytes, context),
    openTyped: (bytes) => key.openTyped(bytes, context),
    "cache.seal": (bytes) => cache.seal(bytes, context),
    "cache.open": (bytes) => cache.open(bytes, context),
    "cache.contains": (bytes) => cache.contains(bytes),
    "cache.evict": (bytes) => cache.evict(bytes),
    envelopeDekId: (bytes) => sealpoint.envelopeDekId(bytes),
    isSealed: (bytes) => sealpoint.isSealed(bytes),
    toText: (bytes) => sealpoint.toText(bytes),
    "SecretKey.fromBytes": (bytes) => SecretKey.fromBytes(bytes),
    "LocalKek.parse": (bytes) => LocalKek.parse(bytes),
    unwrap: (bytes) => LocalKek.parse(SecretKey.generate().expose()).unwrap(bytes, context),
    wrapContext: (dekId) => sealpoint.wrapContext({ tenant: "acme", dekId, dekPurpose: 1, suite: 1 }),
    fromSecret: (dekId) => DataKey.fromSecret(secret, { tenant: "acme", dekId, dekPurpose: 1, suite: 1, version: 1, keyCheck: key.keyCheck }),
    "fromSecret's key check": (keyCheck) => DataKey.fromSecret(secret, { tenant: "acme", dekId: key.dekId, dekPurpose: 1, suite: 1, version: 1, keyCheck }),
    fromCanonical: (bytes) => Context.fromCanonical(bytes),
    "manifest's metadata": (metadata) => sealpoint.manifestPayload([1], { parent: null, exact: true, channels: [], metadata }),
    manifestOpen: (bytes) => sealpoint.manifestOpen(bytes, [1], { parent: null, channels: [] }),
  };
  const takesBytesAsync = {
    sealAsync: (bytes) => key.sealAsync(bytes, context),
    openAsync: (bytes) => key.openAsync(bytes, context),
    openTypedAsync: (bytes) => key.openTypedAsync(bytes, context),
    "cache.sealAsync": (bytes) => cache.sealAsync(bytes, context),
    "cache.openTypedAsync": (bytes) => cache.openTypedAsync(bytes, context),
  };

  describe(`${name}: bytes`, () => {
    const wrong = [
      undefined,
      null,
      1,
      1n,
      true,
      {},
      [1, 2],
      Symbol("x"),
      () => {},
      new Date(),
      { length: 3, 0: 1 },
      new DataView(new ArrayBuffer(8)),
      new Float32Array(4),
      new Uint16Array(4),
      new SharedArrayBuffer(8),
      Object.create(Uint8Array.prototype),
      new Proxy(sample(3), {}),
      structuredClone(key),
    ];

    for (const [call, run] of Object.entries(takesBytes)) {
      test(`${call}: other types`, () => {
        for (const value of wrong) assert.throws(() => run(value), code("invalid_argument"), String(typeof value));
      });

      test(`${call}: a detached buffer`, () => {
        for (const bytes of [sample(100), Buffer.from(sample(5000)), sample(100).buffer]) {
          const buffer = bytes.buffer ?? bytes;
          structuredClone(buffer, { transfer: [buffer] });
          assert.throws(() => run(bytes), code("invalid_argument"));
        }
      });
    }

    for (const [call, run] of Object.entries(takesBytesAsync)) {
      test(`${call}: other types, and a detached buffer`, async () => {
        const gone = sample(100);
        structuredClone(gone, { transfer: [gone.buffer] });
        for (const value of [...wrong, gone]) await assert.rejects(run(value), code("invalid_argument"));
      });
    }

    test("strings are no bytes, and the error says what to do", () => {
      for (const run of [takesBytes.seal, takesBytes["cache.seal"], takesBytes["SecretKey.fromBytes"], takesBytes.toText, takesBytes["cache.contains"]]) {
        assert.throws(
          () => run("text"),
          (error) => code("invalid_argument")(error) && /TextEncoder/.test(error.message),
        );
      }
    });

    test("2 GiB are refused before anything is read", async () => {
      const huge = new Uint8Array(2 * GIB);
      for (const call of [
        "seal",
        "open",
        "openTyped",
        "cache.seal",
        "cache.open",
        "envelopeDekId",
        "toText",
        "SecretKey.fromBytes",
        "unwrap",
        "manifestOpen",
      ]) {
        assert.throws(() => takesBytes[call](huge), code("limit_exceeded"), call);
      }
      for (const run of Object.values(takesBytesAsync)) await assert.rejects(run(huge), code("limit_exceeded"));
      assert.equal(sealpoint.isSealed(huge), false);
      huge[0] = 0xc1;
      assert.equal(sealpoint.isSealed(huge), true);
      assert.throws(() => takesBytes.open(huge), code("limit_exceeded"));
      const shared = new Uint8Array(new SharedArrayBuffer(2 * GIB));
      assert.throws(() => takesBytes.seal(shared), code("limit_exceeded"));
    });

    test("one byte more than the limit is refused", () => {
      const limit = sealpoint.limits.MAX_PAYLOAD_LEN;
      assert.throws(() => key.seal(new Uint8Array(limit + 1), context), code("limit_exceeded"));
    });

    test("a view with an offset, a Buffer of the pool, another realm's array and shared memory are what they show", async () => {
      const whole = sample(4096);
      const foreign = vm.runInNewContext("Uint8Array.from({ length: 50 }, (_, i) => i)");
      const shared = new Uint8Array(new SharedArrayBuffer(300), 7, 200).fill(9);
      const pooled = Buffer.from("a buffer of the pool");
      for (const view of [whole.subarray(100, 400), pooled, foreign, shared, whole.subarray(4096), new (class extends Uint8Array {})(5)]) {
        const expected = Uint8Array.from(view);
        assert.deepEqual(key.open(key.seal(view, context), context), expected);
        assert.deepEqual(await key.openAsync(await key.sealAsync(view, context), context), expected);
        const within = new Uint8Array(sealed.length + 9);
        within.set(sealed, 5);
        assert.deepEqual(key.open(within.subarray(5, 5 + sealed.length), context), sample(100));
      }
      assert.deepEqual(key.open(key.seal(whole.buffer, context), context), whole);
    });

    test("a resizable buffer is taken as long as it is, and none after it shrank below the view", async () => {
      const buffer = new ArrayBuffer(64, { maxByteLength: 1 << 20 });
      const [tracking, fixed] = [new Uint8Array(buffer), new Uint8Array(buffer, 32, 32).fill(3)];
      buffer.resize(100_000);
      assert.equal(key.open(key.seal(tracking, context), context).length, 100_000);
      const under = key.sealAsync(tracking, context);
      buffer.resize(16);
      assert.equal(key.open(await under, context).length, 100_000);
      assert.throws(() => key.seal(fixed, context), code("invalid_argument"));
      assert.equal(key.open(key.seal(tracking, context), context).length, 16);
    });

    test("a context's getter that transfers the payload away, or disposes the key, comes too early to harm", () => {
      const payload = sample(100);
      const thief = {
        tenant: "acme",
        get purpose() {
          structuredClone(payload, { transfer: [payload.buffer] });
          return "x";
        },
      };
      assert.throws(() => key.seal(payload, thief), code("invalid_argument"));
      const gone = DataKey.generate({ tenant: "acme" }).key;
      const killer = {
        tenant: "acme",
        get purpose() {
          gone.dispose();
          return "x";
        },
      };
      assert.throws(() => gone.seal(sample(1), killer), code("invalid_argument"));
      assert.throws(() => gone.open(sealed, killer), code("invalid_argument"));
    });

    test("memory that another thread writes to during the calls", async () => {
      const memory = new SharedArrayBuffer(200_000);
      const stop = new Int32Array(new SharedArrayBuffer(4));
      const source = `const { workerData: [memory, stop], parentPort } = require("node:worker_threads");
        const view = new Uint8Array(memory); let i = 0; parentPort.postMessage("up");
        while (!Atomics.load(stop, 0)) view[Math.floor(Math.random() * view.length)] = i++;`;
      const worker = new Worker(source, { eval: true, workerData: [memory, stop] });
      await new Promise((resolve) => worker.once("message", resolve));
      const view = new Uint8Array(memory);
      for (let i = 0; i < 20; i++) {
        // Whatever was read is sealed as a whole: it authenticates.
        assert.equal(key.open(key.seal(view, context), context).length, view.length);
        assert.equal((await key.openAsync(await key.sealAsync(view, context), context)).length, view.length);
        view.set(sealed);
        try {
          key.open(view.subarray(0, sealed.length), context);
        } catch (error) {
          assert.ok(sealpoint.isSealpointError(error), String(error));
        }
      }
      Atomics.store(stop, 0, 1);
      await worker.terminate();
    });
  });

  describe(`${name}: strings, numbers, options`, () => {
    test("lone surrogates are refused everywhere", () => {
      const bad = "a\ud800b";
      for (const pair of [{ [bad]: "x" }, { x: bad }, { x: [bad] }, { tenant: bad }])
        assert.throws(() => new Context({ ...pairs, ...pair }), code("invalid_context"));
      assert.throws(() => key.sealText(bad, context), code("invalid_argument"));
      assert.throws(() => key.seal(sample(1), context, { contentType: bad }), code("invalid_argument"));
      assert.throws(() => DataKey.generate({ tenant: bad }), code("invalid_argument"));
      assert.throws(() => sealpoint.canaryContext(bad), code("invalid_argument"));
      assert.throws(() => sealpoint.canarySecret(bad), code("invalid_argument"));
      assert.throws(() => LocalKek.parse(bad), code("invalid_argument"));
      assert.throws(() => key.open(bad, context), code("plaintext_refused"));
      assert.throws(() => key.open(`sealpoint:v1:${bad}`, context), code("malformed"));
      assert.throws(() => cache.setActive(bad, 1, key.dekId), code("invalid_argument"));
      assert.throws(() => cache.evictTenant(bad), code("invalid_argument"));
      assert.throws(() => sealpoint.manifestPayload([bad], { parent: null, exact: true, channels: [], metadata: sample(1) }), code("invalid_argument"));
      assert.throws(
        () => sealpoint.manifestPayload([{ [bad]: 1 }], { parent: null, exact: true, channels: [], metadata: sample(1) }),
        code("invalid_argument"),
      );
      assert.throws(() => sealpoint.manifestPayload([], { parent: bad, exact: true, channels: [], metadata: sample(1) }), code("invalid_argument"));
      assert.throws(() => sealpoint.manifestPayload([], { parent: null, exact: true, channels: [[bad, null]], metadata: sample(1) }), code("invalid_argument"));
    });

    test("a tenant is required", () => {
      for (const value of [{}, { purpose: "x" }, { tenant: undefined, purpose: "x" }, { tenant: null, purpose: "x" }, { tenant: "", purpose: "x" }]) {
        assert.throws(() => new Context(value), code("tenant_required"));
        assert.throws(() => key.seal(sample(1), value), code("tenant_required"));
      }
      for (const value of [undefined, {}, { tenant: null }, { tenant: "" }]) assert.throws(() => DataKey.generate(value), code("tenant_required"));
      assert.throws(() => cache.evictTenant(), code("tenant_required"));
    });

    test("contexts of other values", () => {
      const cycle = [];
      cycle.push(cycle);
      for (const value of [
        undefined,
        null,
        true,
        {},
        Symbol("x"),
        () => {},
        NaN,
        Infinity,
        -Infinity,
        2n ** 64n,
        -(2n ** 63n) - 1n,
        new Date(),
        new String("x"),
        [1],
        [undefined],
        [["x"]],
        cycle,
        new Map(),
        sample(3),
      ]) {
        assert.throws(() => new Context({ ...pairs, x: value }), code("invalid_context"), String(typeof value));
      }
      assert.throws(() => new Context({ ...pairs, x: Array(3) }), code("invalid_context"));
      assert.throws(() => new Context({ ...pairs, [Symbol("x")]: "x" }), code("invalid_context"));
      assert.throws(() => new Context({ tenant: 3, purpose: "x" }), code("invalid_context"));
      assert.throws(() => new Context({ tenant: "acme" }), code("invalid_context"));
      assert.throws(() => new Context({ ...pairs, UPPER: "x" }), code("invalid_context"));
      assert.throws(() => new Context({ ...pairs, x: "y".repeat(65_536) }), code("invalid_context"));
      class Pairs {
        tenant = "acme";
        purpose = "x";
      }
      for (const value of [undefined, null, "acme", 3, [], new Map(), new Pairs(), Symbol("x"), () => {}]) {
        assert.throws(() => new Context(value), code("invalid_context"), String(typeof value));
        assert.throws(() => key.seal(sample(1), value), code("invalid_context"), String(typeof value));
      }
      assert.equal(new Context(vm.runInNewContext('({ tenant: "acme", purpose: "x" })')).tenant, "acme");
      assert.equal(new Context(Object.assign(Object.create(null), pairs)).tenant, "acme");
    });

    test("fields of a manifest of other values", () => {
      const cycle = {};
      cycle.self = cycle;
      const write = (value) => sealpoint.manifestPayload([value], { parent: null, exact: true, channels: [], metadata: sample(1) });
      for (const value of [
        undefined,
        Symbol("x"),
        () => {},
        NaN,
        Infinity,
        2n ** 64n,
        -(2n ** 63n) - 1n,
        new Date(),
        new Map(),
        sample(3),
        cycle,
        [[cycle]],
        { a: undefined },
        Array(2),
        { [Symbol("x")]: 1 },
      ]) {
        assert.throws(() => write(value), code("invalid_argument"), String(typeof value));
      }
      let deep = 1;
      for (let i = 0; i < 20; i++) deep = [deep];
      assert.throws(
        () => write(deep),
        (error) => /^(invalid_argument|limit_exceeded)$/.test(error.code),
      );
      for (let i = 0; i < 100_000; i++) deep = [deep];
      assert.throws(() => write(deep), code("invalid_argument"));
      assert.throws(() => sealpoint.manifestPayload({}, { parent: null, exact: true, channels: [], metadata: sample(1) }), code("invalid_argument"));
    });

    test("arguments of a manifest", () => {
      const good = { parent: null, exact: true, channels: [], metadata: sample(1) };
      for (const bad of [
        { exact: undefined },
        { exact: 1 },
        { parent: undefined },
        { parent: 3 },
        { channels: undefined },
        { channels: {} },
        { channels: ["ab"] },
        { channels: [["a"]] },
        { channels: [["a", undefined]] },
        { channels: [[1, null]] },
        { more: 1 },
      ]) {
        assert.throws(() => sealpoint.manifestPayload([], { ...good, ...bad }), code("invalid_argument"), JSON.stringify(bad));
      }
      assert.throws(() => sealpoint.manifestPayload([], { ...good, channels: [["a", "text"]] }), code("plaintext_refused"));
      assert.throws(() => sealpoint.manifestPayload([], undefined), code("invalid_argument"));
    });

    test("options with other names or types", async () => {
      for (const options of [
        { padding: true },
        { pad: 1 },
        { pad: "false" },
        { pad: null },
        { contentType: 3 },
        { contentType: null },
        "text",
        3,
        null,
        [],
        Object.create({ inherited: 1 }),
      ]) {
        assert.throws(() => key.seal(sample(1), context, options), code("invalid_argument"), JSON.stringify(options));
        assert.throws(() => key.sealText("x", context, options), code("invalid_argument"));
        assert.throws(() => cache.seal(sample(1), context, options), code("invalid_argument"));
        await assert.rejects(key.sealAsync(sample(1), context, options), code("invalid_argument"));
      }
      for (const options of [{ onProgress: 1 }, { signal: {} }, { signal: "x" }, { progress() {} }]) {
        await assert.rejects(key.openAsync(sealed, context, options), code("invalid_argument"));
      }
      assert.deepEqual(key.open(key.seal(sample(1), context, { pad: undefined, contentType: undefined }), context), sample(1));
      assert.throws(() => DataKey.generate({ tenant: "acme", purpose: 1 }), code("invalid_argument"));
      assert.throws(() => new DekCache({ ttl: 1, pointerTtl: 1, capacity: 1, size: 1 }), code("invalid_argument"));
      assert.throws(() => cache.insert(key, { active: 1 }), code("invalid_argument"));
    });

    test("numbers that would be cut or guessed at", () => {
      for (const dekPurpose of [0, 5, 257, 1.5, -1, NaN, "1", null, 1n, 2 ** 53]) {
        assert.throws(() => DataKey.generate({ tenant: "acme", dekPurpose }), code("invalid_argument"), String(dekPurpose));
        assert.throws(() => cache.seal(sample(1), context, { dekPurpose }), code("invalid_argument"), String(dekPurpose));
        assert.throws(() => cache.setActive("acme", dekPurpose, key.dekId), code("invalid_argument"), String(dekPurpose));
      }
      for (const version of [0, 2 ** 32, 2 ** 32 + 1, 1.5, "1", null])
        assert.throws(() => DataKey.generate({ tenant: "acme", version }), code("invalid_argument"));
      assert.equal(DataKey.generate({ tenant: "acme", version: 2 ** 32 - 1 }).key.version, 2 ** 32 - 1);
      for (const suite of [0, 2])
        assert.throws(() => sealpoint.wrapContext({ tenant: "acme", dekId: key.dekId, dekPurpose: 1, suite }), code("unsupported_suite"));
      for (const suite of [256, 257, "1"])
        assert.throws(() => sealpoint.wrapContext({ tenant: "acme", dekId: key.dekId, dekPurpose: 1, suite }), code("invalid_argument"));
      for (const length of [0, 15, 17, 4096]) assert.throws(() => cache.contains(new Uint8Array(length)), code("invalid_argument"));
      for (const bounds of [
        { ttl: 0 },
        { ttl: -1 },
        { ttl: NaN },
        { ttl: Infinity },
        { ttl: "1" },
        { capacity: 0 },
        { capacity: 1.5 },
        { pointerTtl: 11 },
        { ttl: undefined },
      ]) {
        assert.throws(() => new DekCache({ ttl: 10, pointerTtl: 1, capacity: 1, ...bounds }), code("invalid_argument"), JSON.stringify(bounds));
      }
    });
  });

  describe(`${name}: objects that are not, or no longer, ours`, () => {
    test("after dispose every call says so", async () => {
      const made = DataKey.generate({ tenant: "acme" });
      const kek = LocalKek.parse(SecretKey.generate().expose());
      const held = new DekCache({ ttl: 1, pointerTtl: 1, capacity: 1 });
      const under = made.key.sealAsync(sample(5_000_000), context);
      for (const object of [made.key, made.secret, kek, held]) {
        object.dispose();
        object[Symbol.dispose]();
      }
      assert.equal((await under).length > 5_000_000, true);
      const said = (error) => code("invalid_argument")(error) && /disposed/.test(error.message);
      for (const run of [
        () => made.key.seal(sample(1), context),
        () => made.key.open(sealed, context),
        () => made.key.openTyped(sealed, context),
        () => made.key.sealText("x", context),
        () => made.key.openText(sealed, context),
        () => made.key.dekId,
        () => made.key.tenant,
        () => made.key.keyCheck,
        () => cache.insert(made.key),
        () => made.secret.expose(),
        () => made.secret.equals(secret),
        () => secret.equals(made.secret),
        () => DataKey.fromSecret(made.secret, key),
        () => sealpoint.exportKey(made.secret, key),
        () => kek.kekId,
        () => kek.wrap(secret, context),
        () => kek.unwrap(sealed, context),
        () => held.seal(sample(1), context),
        () => held.open(sealed, context),
        () => held.size,
        () => held.insert(key),
        () => held.clear(),
      ]) {
        assert.throws(run, said, String(run));
      }
      for (const run of [
        () => made.key.sealAsync(sample(1), context),
        () => made.key.openAsync(sealed, context),
        () => held.sealAsync(sample(1), context),
        () => held.openTypedAsync(sealed, context),
      ]) {
        await assert.rejects(run, said);
      }
      assert.equal(String(made.key), "DataKey(disposed)");
    });

    test("constructors without a factory", () => {
      for (const type of [DataKey, SecretKey, LocalKek]) {
        for (const args of [[], [{}], [Symbol("adopt"), {}]]) assert.throws(() => new type(...args), code("invalid_argument"));
      }
    });

    test("a clone, and what arrives in another thread, is no key", async () => {
      const { port1, port2 } = new MessageChannel();
      const arrived = new Promise((resolve) => port2.once("message", resolve));
      port1.postMessage([key, context, secret]);
      const [keySent, contextSent, secretSent] = await arrived;
      port1.close();
      for (const [copy, original] of [
        [structuredClone(key), key],
        [keySent, key],
        [secretSent, secret],
      ]) {
        assert.deepEqual(Reflect.ownKeys(copy), []);
        assert.notEqual(Object.getPrototypeOf(copy), Object.getPrototypeOf(original));
        assert.throws(() => cache.insert(copy), code("invalid_argument"));
        assert.throws(() => secret.equals(copy), code("invalid_argument"));
      }
      assert.throws(() => key.seal(sample(1), contextSent), code("tenant_required"));
    });

    test("objects of another copy of the package", () => {
      for (const other of backends.filter((backend) => backend.name !== name)) {
        const theirs = new other.sealpoint.Context(pairs);
        const said = (error) => code("invalid_argument")(error) && /another copy/.test(error.message);
        assert.throws(() => key.seal(sample(1), theirs), said);
        assert.throws(() => key.open(sealed, theirs), said);
        assert.throws(() => context.equals(theirs), said);
        const made = other.sealpoint.DataKey.generate({ tenant: "acme" });
        assert.throws(() => cache.insert(made.key), code("invalid_argument"));
        assert.throws(() => secret.equals(made.secret), code("invalid_argument"));
      }
    });

    test("methods on other objects", () => {
      for (const type of [Context, DataKey, SecretKey, LocalKek, DekCache]) {
        for (const method of Object.getOwnPropertyNames(type.prototype).filter((name) => name !== "constructor")) {
          const { value, get } = Object.getOwnPropertyDescriptor(type.prototype, method);
          const outcome = () => (value ?? get).call({}, sample(1), context);
          if (!/Async$|^to/.test(method))
            assert.throws(outcome, (error) => error instanceof TypeError || sealpoint.isSealpointError(error), `${type.name}.${method}`);
        }
      }
    });
  });
}
