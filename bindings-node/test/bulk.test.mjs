// The asynchronous calls, whose AES is WebCrypto's from some size on: the same bytes as the synchronous ones read and write.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backends, code, sample } from "./backends.mjs";

const CHUNK = 16_384;
const MIB = 1 << 20;

/** Runs with WebCrypto watched: the calls to it, in order. */
async function watched(run) {
  const calls = [];
  const { subtle } = globalThis.crypto;
  const original = {};
  for (const name of ["importKey", "encrypt", "decrypt"]) {
    original[name] = subtle[name];
    subtle[name] = (...args) => {
      calls.push({ name, args });
      return original[name].apply(subtle, args);
    };
  }
  try {
    return { result: await run(), calls };
  } finally {
    Object.assign(subtle, original);
  }
}

for (const { name, sealpoint } of backends) {
  const { Context, DataKey } = sealpoint;
  const context = new Context({ tenant: "acme", purpose: "x" });
  const { key } = DataKey.generate({ tenant: "acme" });
  const large = name === "native" ? 4 * MIB : 2 * MIB;
  /** From here on WebCrypto works. */
  const from = name === "native" ? 4 * MIB : 8192;

  describe(`${name}: the asynchronous calls`, () => {
    const lengths =
      name === "native" ? [0, 1000, from + CHUNK - 2] : [0, 1000, 8191, 8192, CHUNK - 2, CHUNK - 1, CHUNK, 3 * CHUNK - 1, 3 * CHUNK, MIB - 1, MIB + 5];
    for (const length of lengths) {
      for (const pad of [false, true]) {
        test(`${length} bytes${pad ? ", padded" : ""}: either opens what the other sealed`, async () => {
          const payload = sample(length);
          const options = { pad, contentType: "a/b" };
          const sealed = await key.sealAsync(payload, context, options);
          assert.equal(sealed.length, key.seal(payload, context, options).length);
          assert.deepEqual(key.openTyped(sealed, context), { contentType: "a/b", payload });
          assert.deepEqual(await key.openTypedAsync(key.seal(payload, context, options), context), { contentType: "a/b", payload });
          assert.deepEqual(await key.openAsync(sealpoint.toText(sealed), context), payload);
          assert.equal(sealed.buffer.byteLength, sealed.length);
        });
      }
    }

    test("WebCrypto does the AES of large ones, with a key that cannot be read and whose bytes are wiped, and a nonce once", async () => {
      const payload = sample(large);
      const { result: sealed, calls } = await watched(() => key.sealAsync(payload, context));
      const opening = await watched(() => key.openAsync(sealed, context));
      const chunks = Math.floor((large + 1) / CHUNK) + 1;
      for (const [{ calls: made }, use] of [
        [{ calls }, "encrypt"],
        [opening, "decrypt"],
      ]) {
        assert.equal(made.length, 1 + chunks);
        const [format, bytes, algorithm, extractable, uses] = made[0].args;
        assert.deepEqual([made[0].name, format, algorithm, extractable, uses], ["importKey", "raw", "AES-GCM", false, [use]]);
        assert.ok(bytes.length === 32 && bytes.every((byte) => byte === 0));
        const nonces = new Set(made.slice(1).map(({ name, args }) => `${name} ${Buffer.from(args[0].iv).toString("hex")}`));
        assert.equal(nonces.size, chunks);
        assert.ok([...nonces].every((nonce) => nonce.startsWith(use)));
      }
      const small = await watched(() => key.sealAsync(sample(100), context));
      assert.equal(small.calls.length, 0);
    });

    test("what is passed may change as soon as the call returned", async () => {
      const payload = sample(large);
      const expected = payload.slice();
      const under = key.sealAsync(payload, context);
      payload.fill(0);
      structuredClone(payload, { transfer: [payload.buffer] });
      const sealed = await under;
      assert.deepEqual(key.open(sealed, context), expected);
      const opening = key.openAsync(sealed, context);
      sealed.fill(0);
      assert.deepEqual(await opening, expected);
    });

    test("changed bytes anywhere, another context or another key are refused as by the synchronous calls", async () => {
      const sealed = await key.sealAsync(sample(large), context);
      for (const at of [30, 50, 77, 77 + 16_400, sealed.length >> 1, sealed.length - 20, sealed.length - 1]) {
        const changed = sealed.slice();
        changed[at] ^= 1;
        await assert.rejects(key.openAsync(changed, context), code("authentication_failed"), String(at));
      }
      for (const [bytes, expected] of [
        [sealed.subarray(0, sealed.length - 16_400), "authentication_failed"],
        [sealed.subarray(0, 77 + 16_400 * Math.floor((sealed.length - 77) / 16_400)), "malformed"],
        [sealed.subarray(1), "plaintext_refused"],
        [new Uint8Array(large), "plaintext_refused"],
      ]) {
        await assert.rejects(key.openAsync(bytes, context), code(expected), expected);
      }
      const swapped = sealed.slice();
      swapped.set(sealed.subarray(77, 77 + 16_400), 77 + 16_400);
      swapped.set(sealed.subarray(77 + 16_400, 77 + 32_800), 77);
      await assert.rejects(key.openAsync(swapped, context), code("authentication_failed"));
      await assert.rejects(key.openAsync(sealed, { tenant: "acme", purpose: "y" }), code("authentication_failed"));
      await assert.rejects(DataKey.generate({ tenant: "acme" }).key.openAsync(sealed, context), code("key_not_found"));
      await assert.rejects(key.sealAsync(sample(large), { tenant: "globex", purpose: "x" }), code("invalid_context"));
      await assert.rejects(key.sealAsync(sample(large), context, { contentType: "é" }), code("invalid_argument"));
    });

    test("progress goes up to all of it", async () => {
      for (const length of [100, large, large + 3 * MIB]) {
        const payload = sample(length);
        const steps = [];
        const sealed = await key.sealAsync(payload, context, { onProgress: (done, total) => steps.push([done, total]) });
        const opened = [];
        await key.openAsync(sealed, context, { onProgress: (done, total) => opened.push([done, total]) });
        for (const [seen, total] of [
          [steps, length],
          [opened, sealed.length],
        ]) {
          assert.deepEqual(seen.at(-1), [total, total]);
          assert.ok(
            seen.every(([done, of], i) => of === total && done > (seen[i - 1]?.[0] ?? 0)),
            JSON.stringify(seen),
          );
          if (length > 3 * MIB) assert.ok(seen.length > 3);
        }
      }
    });

    test("a signal ends it, before or in between, with its reason", async () => {
      const sealed = await key.sealAsync(sample(large + 3 * MIB), context);
      const reason = new Error("enough");
      await assert.rejects(key.sealAsync(sample(10), context, { signal: AbortSignal.abort(reason) }), reason);
      await assert.rejects(key.openAsync(sealed, context, { signal: AbortSignal.abort() }), { name: "AbortError" });
      for (const run of [(options) => key.openAsync(sealed, context, options), (options) => key.sealAsync(sample(large + 3 * MIB), context, options)]) {
        const controller = new AbortController();
        let seen = 0;
        const onProgress = () => {
          seen += 1;
          controller.abort(reason);
        };
        await assert.rejects(run({ signal: controller.signal, onProgress }), reason);
        assert.equal(seen, 1);
        await assert.rejects(
          run({
            onProgress: () => {
              throw reason;
            },
          }),
          reason,
        );
      }
    });

    test("after a failure in the middle nothing that was decrypted is left in the buffer", async () => {
      const sealed = await key.sealAsync(sample(large + 3 * MIB), context);
      sealed[sealed.length - 1] ^= 1;
      const { calls } = await watched(() => key.openAsync(sealed, context).catch((error) => code("authentication_failed")(error)));
      const buffer = calls.find(({ name }) => name === "decrypt").args[2].buffer;
      assert.equal(buffer.byteLength, sealed.length);
      assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
    });

    test("without WebCrypto the synchronous path does it", async () => {
      const descriptor = Object.getOwnPropertyDescriptor(globalThis, "crypto");
      const { crypto } = globalThis;
      Object.defineProperty(globalThis, "crypto", { configurable: true, value: { getRandomValues: (array) => crypto.getRandomValues(array) } });
      try {
        const steps = [];
        const sealed = await key.sealAsync(sample(large), context, { onProgress: (...step) => steps.push(step) });
        assert.deepEqual(await key.openAsync(sealed, context), sample(large));
        assert.deepEqual(steps, [[large, large]]);
      } finally {
        Object.defineProperty(globalThis, "crypto", descriptor);
      }
    });
  });
}
