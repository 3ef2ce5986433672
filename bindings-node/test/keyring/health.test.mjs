// Health: what the keyring says of its KEKs.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { Keyring } from "sealpoint";
import { contextOf, DUE, FakeKms, OTHER_KEK, passTime, TENANT, touch } from "./support.mjs";

const bytes = new Uint8Array([1]);
const HOUR_MS = 3_600_000;
const near = (moment, expectedMs) => assert.ok(Math.abs(moment.getTime() - expectedMs) < 60_000, `${moment.toISOString()}`);

async function ready(kms = new FakeKms()) {
  return { kms, keyring: await Keyring.connect("memory:", { kek: kms }) };
}

describe("health()", () => {
  test("an outage is served from the cache until the first DEK expires", async () => {
    const { keyring, kms } = await ready();
    await keyring.seal(bytes, contextOf());
    const began = Date.now();
    passTime(keyring, 600);
    await keyring.seal(bytes, contextOf("umbrella"));
    const ok = { scheme: "fake", status: "ok", code: null, cachedUntil: null };
    assert.deepEqual(await keyring.health(), { status: "ok", store: null, keks: [ok], cachedUntil: null, affected: 0 });
    kms.fail("kms_unavailable");
    const found = await keyring.health();
    assert.deepEqual([found.status, found.keks[0].status, found.keks[0].code, found.affected], ["cached", "cached", "kms_unavailable", 0]);
    assert.deepEqual(found.cachedUntil, found.keks[0].cachedUntil);
    near(found.cachedUntil, began + HOUR_MS);
    passTime(keyring, 3001);
    assert.ok((await keyring.health()).cachedUntil > found.cachedUntil);
    passTime(keyring, 600);
    const failed = await keyring.health();
    assert.deepEqual([failed.status, failed.keks[0].status, failed.cachedUntil], ["failed", "failed", null]);
  });

  for (const code of ["kms_denied", "key_disabled", "authentication_failed", "internal"]) {
    test(`a refusal is no outage, whatever is held: ${code}`, async () => {
      const { keyring, kms } = await ready();
      await keyring.seal(bytes, contextOf());
      kms.fail(code);
      const found = await keyring.health();
      assert.deepEqual([found.status, found.keks[0].status, found.keks[0].code, found.cachedUntil], ["failed", "failed", code, null]);
    });
  }

  test("what was evicted serves nobody", async () => {
    const { keyring, kms } = await ready();
    await keyring.seal(bytes, contextOf());
    passTime(keyring, DUE);
    kms.fail("kms_denied");
    await touch(keyring);
    kms.fail("kms_unavailable");
    const found = await keyring.health();
    assert.deepEqual([found.status, found.cachedUntil, found.affected], ["failed", null, 1]);
  });

  test("one KEK of two that works is enough", async () => {
    const pair = [new FakeKms("fake:first"), new FakeKms("fake:second", { kek: OTHER_KEK })];
    const { keyring } = await ready(pair);
    await keyring.seal(bytes, contextOf());
    pair[0].fail("kms_unavailable");
    const found = await keyring.health();
    assert.deepEqual([found.status, found.keks.map(({ status }) => status), found.cachedUntil], ["degraded", ["cached", "ok"], null]);
    pair[1].fail("kms_denied");
    const [first, second] = (await keyring.health()).keks;
    assert.deepEqual([first.status, second.status, (await keyring.health()).status], ["cached", "failed", "cached"]);
  });

  test("affected tenants are counted and not named", async () => {
    const { keyring, kms } = await ready();
    await keyring.seal(bytes, contextOf());
    passTime(keyring, DUE);
    kms.fail("kms_throttled");
    await touch(keyring);
    const found = await keyring.health();
    assert.deepEqual([found.affected, keyring.affected().length], [1, 1]);
    assert.ok(!`${inspect(found, { depth: null })}${JSON.stringify(found)}`.includes(TENANT));
  });
});
