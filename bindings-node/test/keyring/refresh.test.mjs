// A DEK in use is unwrapped again before it expires, off the hot path; an outage leaves it its time, a refusal takes it at once.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { Keyring, SecretKey } from "sealpoint";
import { contextOf, DUE, FakeKms, heldUp, OTHER_KEK, passTime, refused, settle, TENANT, touch } from "./support.mjs";

const bytes = new Uint8Array([1]);
const HOUR_MS = 3_600_000;

async function ready(kms = new FakeKms(), options = {}) {
  const keyring = await Keyring.connect("memory:", { kek: kms, ...options });
  const sealed = await keyring.seal(bytes, contextOf());
  for (const one of [kms].flat()) one.calls.unwrap = 0;
  return { keyring, kms, sealed };
}

const near = (moment, expectedMs) =>
  assert.ok(Math.abs(moment.getTime() - expectedMs) < 60_000, `${moment.toISOString()} is not near ${new Date(expectedMs).toISOString()}`);

describe("a refresh", () => {
  test("begins a new TTL", async () => {
    const { keyring, kms, sealed } = await ready();
    passTime(keyring, DUE);
    await touch(keyring);
    assert.equal(kms.calls.unwrap, 1);
    passTime(keyring, 1700); // the first TTL has ended
    await touch(keyring);
    assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    assert.equal(kms.calls.unwrap, 1);
  });

  test("does not come before half the time, nor without use", async () => {
    const { keyring, kms } = await ready();
    await keyring.seal(bytes, contextOf("umbrella"));
    kms.calls.unwrap = 0;
    passTime(keyring, 1790);
    await touch(keyring);
    assert.equal(kms.calls.unwrap, 0);
    passTime(keyring, DUE - 1790);
    await touch(keyring);
    assert.equal(kms.calls.unwrap, 1);
  });

  test("holds up neither seals nor opens, and is the only one", async () => {
    const { keyring, kms, sealed } = await ready();
    passTime(keyring, DUE);
    const proceed = heldUp(kms);
    await keyring.seal(bytes, contextOf());
    while (kms.calls.unwrap === 0) await new Promise(setImmediate);
    for (let i = 0; i < 5; i += 1) {
      passTime(keyring, 61);
      await keyring.seal(bytes, contextOf());
      assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
    }
    assert.deepEqual([kms.calls.unwrap, keyring._refresher.running], [1, 1]);
    proceed();
    await settle(keyring);
    await keyring.open(sealed, contextOf());
    assert.equal(kms.calls.unwrap, 1);
  });

  test("is waited for by whoever comes after the DEK has expired", async () => {
    const { keyring, kms, sealed } = await ready();
    passTime(keyring, DUE);
    const proceed = heldUp(kms);
    await keyring.seal(bytes, contextOf());
    while (kms.calls.unwrap === 0) await new Promise(setImmediate);
    passTime(keyring, 3600);
    const opening = Promise.all(Array.from({ length: 10 }, () => keyring.open(sealed, contextOf())));
    proceed();
    assert.equal((await opening).length, 10);
    assert.equal(kms.calls.unwrap, 1);
  });

  for (const outage of ["kms_unavailable", "kms_throttled"]) {
    test(`that meets an outage leaves a key the rest of its time and no more: ${outage}`, async () => {
      const { keyring, kms, sealed } = await ready();
      const began = Date.now();
      passTime(keyring, DUE);
      kms.fail(outage);
      for (let i = 0; i < 3; i += 1) {
        kms.calls.unwrap = 0;
        await touch(keyring);
        assert.equal(kms.calls.unwrap, 1);
        passTime(keyring, 61);
      }
      const [affected, ...more] = keyring.affected();
      assert.deepEqual([affected.tenant, affected.code, more.length], [TENANT, outage, 0]);
      near(affected.until, began + HOUR_MS);
      assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
      passTime(keyring, 3601 - DUE - 3 * 61);
      for (const call of [() => keyring.open(sealed, contextOf()), () => keyring.seal(bytes, contextOf())]) {
        const error = await refused(call());
        assert.deepEqual([error.code, error.retryable], [outage, true]);
      }
      assert.deepEqual([keyring._cache.size, keyring.affected()], [0, []]);
    });
  }

  test("mends it once the outage is over", async () => {
    const { keyring, kms } = await ready();
    passTime(keyring, DUE);
    kms.fail("kms_unavailable");
    await touch(keyring);
    assert.equal(keyring.affected().length, 1);
    kms.fail(undefined);
    passTime(keyring, 61);
    await touch(keyring);
    assert.deepEqual(keyring.affected(), []);
    kms.fail("kms_unavailable");
    passTime(keyring, 1700); // the first TTL has ended, the second one is not due
    await touch(keyring);
    assert.deepEqual(keyring.affected(), []);
  });

  for (const refusal of ["kms_denied", "key_disabled", "key_destroyed", "key_not_found", "authentication_failed", "internal"]) {
    test(`that is refused takes the key at once: ${refusal}`, async () => {
      const { keyring, kms, sealed } = await ready();
      await keyring.seal(bytes, contextOf("umbrella"));
      passTime(keyring, DUE);
      kms.fail(refusal);
      await touch(keyring);
      assert.equal(keyring._cache.size, 1, "the other tenant's");
      for (const call of [() => keyring.open(sealed, contextOf()), () => keyring.seal(bytes, contextOf())]) {
        assert.equal((await refused(call())).code, refusal);
      }
      assert.deepEqual(
        keyring.affected().map(({ tenant, code, until }) => [tenant, code, until]),
        [[TENANT, refusal, null]],
      );
      kms.fail(undefined);
      assert.deepEqual([...(await keyring.open(sealed, contextOf()))], [1]);
      assert.deepEqual(keyring.affected(), []);
    });
  }

  test("that was refused is forgotten when the DEK would have expired", async () => {
    const { keyring, kms } = await ready();
    passTime(keyring, DUE);
    kms.fail("kms_denied");
    await touch(keyring);
    passTime(keyring, 3590 - DUE);
    assert.equal(keyring.affected().length, 1);
    passTime(keyring, 20);
    assert.deepEqual(keyring.affected(), []);
  });

  test("that brings another key takes the one that is held", async () => {
    const { keyring, kms } = await ready();
    passTime(keyring, DUE);
    kms.unwrap = async () => SecretKey.generate();
    await touch(keyring);
    assert.deepEqual([keyring._cache.size, keyring.affected()[0].code], [0, "authentication_failed"]);
  });

  test("is no outage where one of two KEKs is down", async () => {
    const pair = [new FakeKms("fake:first"), new FakeKms("fake:second", { kek: OTHER_KEK })];
    const { keyring } = await ready(pair);
    passTime(keyring, DUE);
    pair[0].fail("kms_unavailable");
    await touch(keyring);
    assert.deepEqual([keyring.affected(), pair[1].calls.unwrap], [[], 1]);
  });

  test("that hangs holds up nobody, and there are at most 64, two at a time", async () => {
    const { keyring, kms } = await ready();
    const contexts = Array.from({ length: 70 }, (_, i) => contextOf(`tenant ${i}`));
    for (const context of contexts) await keyring.seal(bytes, context);
    kms.calls.unwrap = 0;
    passTime(keyring, DUE);
    const proceed = heldUp(kms);
    for (const context of contexts) await keyring.seal(bytes, context);
    while (kms.calls.unwrap < 2) await new Promise(setImmediate);
    assert.deepEqual([keyring._refresher.running, kms.calls.unwrap], [64, 2]);
    proceed();
    await settle(keyring);
    assert.equal(kms.calls.unwrap, 64);
  });

  test("that lands after close leaves nothing behind", async () => {
    const { keyring, kms } = await ready();
    await keyring.seal(bytes, contextOf("umbrella"));
    await keyring.seal(bytes, contextOf("a third"));
    passTime(keyring, DUE);
    kms.calls.unwrap = 0;
    const proceed = heldUp(kms);
    for (const tenant of [TENANT, "umbrella", "a third"]) await keyring.seal(bytes, contextOf(tenant));
    while (kms.calls.unwrap < 2) await new Promise(setImmediate);
    await keyring.close();
    proceed();
    for (let i = 0; i < 20; i += 1) await new Promise(setImmediate);
    assert.deepEqual([keyring._cache.size, keyring._refresher.holdings(), kms.calls.unwrap], [0, [], 2], "the third one waited, and was dropped");
    assert.equal((await refused((async () => keyring.affected())())).code, "invalid_argument");
  });

  for (const [clock, owner, method] of [
    ["monotonic", performance, "now"],
    ["wall", Date, "now"],
  ]) {
    test(`is due when the ${clock} clock says so: that of a machine that slept may stand still`, async (t) => {
      const { keyring, kms } = await ready();
      keyring._cache._advance(61); // the pointer alone
      await touch(keyring);
      assert.equal(kms.calls.unwrap, 0);
      const now = owner[method].bind(owner);
      t.mock.method(owner, method, () => now() + DUE * 1000);
      keyring._cache._advance(61);
      await touch(keyring);
      assert.equal(kms.calls.unwrap, 1);
    });
  }
});

test("a DEK that is loaded twice at once expires when the first load says", async () => {
  const minted = new FakeKms("fake:minted", { kek: OTHER_KEK, authenticates: false });
  const { keyring, kms } = await ready([minted, new FakeKms()]); // what the first KEK opens is not held, so each flight asks the second one
  keyring._cache.clear();
  const waiting = [];
  kms[1].before = () => new Promise((resolve) => waiting.push(resolve));
  const loads = [true, false].map((create) => keyring.load(TENANT, { create }));
  while (waiting.length < 2) await new Promise(setImmediate);
  const began = Date.now();
  for (const [i, load] of loads.entries()) {
    waiting[i]();
    await load;
    passTime(keyring, 600);
  }
  near(new Date(keyring._refresher.holdings()[0].expires.wall), began + HOUR_MS);
});

test("what is remembered is bounded, and it is only what the cache still holds", async () => {
  const { keyring } = await ready();
  const idOf = (i) => new Uint8Array(16).fill(i >> 8, 0, 8).fill(i & 255, 8);
  for (let i = 0; i < 10_010; i += 1) keyring._refresher.loaded(idOf(i), TENANT);
  for (const i of [0, 9, 10, 10_009]) keyring._refresher.failed(idOf(i), "kms_denied", false);
  assert.deepEqual(
    keyring._refresher.holdings().map(({ dekId }) => dekId),
    [idOf(10), idOf(10_009)],
  );
});

test("a tenant that is affected shows only where it is asked for", async () => {
  const { keyring, kms } = await ready();
  passTime(keyring, DUE);
  kms.fail("kms_denied");
  await touch(keyring);
  const affected = keyring.affected();
  assert.equal(affected[0].tenant, TENANT);
  for (const shown of [inspect(affected, { depth: null, showHidden: true }), JSON.stringify(affected), String(affected)])
    assert.ok(!shown.includes(TENANT), shown);
  assert.match(inspect(affected), /kms_denied/);
});

test("a keyring with refreshes behind it keeps no process alive", () => {
  const script = `
    import { Keyring } from "sealpoint";
    const keyring = await Keyring.connect("memory:", { kek: "env:SEALPOINT_KEK" });
    const seal = () => keyring.seal(new Uint8Array([1]), { tenant: "acme", purpose: "field" });
    await seal();
    keyring._cache._advance(${DUE});
    keyring._refresher._advance(${DUE});
    await seal();
    console.log(keyring._refresher.running);
  `;
  const env = { ...process.env, SEALPOINT_KEK: OTHER_KEK };
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", script], { cwd: new URL("../..", import.meta.url), env, timeout: 60_000 });
  assert.equal(said.toString(), "1\n");
});
