// A new DEK becomes active, the old one opens only.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Keyring } from "sealpoint";
import { allRows, code, DAY_US, dekIdOf, liftConstraints, memoryStore, OTHER_TENANT, opens, paged, query, ready, seal, storeOf } from "./lifecycle-support.mjs";
import { contextOf, FakeKms, PLAINTEXT, STORES, TENANT } from "./support.mjs";

const states = (store, tenant = TENANT, purpose = 1) =>
  query(store, "SELECT version, state FROM sealpoint_deks WHERE tenant = ? AND purpose = ? ORDER BY version", tenant, purpose);

for (const [name, make] of Object.entries(STORES)) {
  describe(`rotate in ${name}`, () => {
    test("a new key seals and the old one opens", async () => {
      const store = await make();
      const keyring = await ready(store);
      const old = await seal(keyring);
      const done = await keyring.rotate(TENANT);
      const sealed = await seal(keyring);
      assert.deepEqual(done, { tenant: TENANT, dekPurpose: "data", dekId: dekIdOf(sealed), version: 2, retired: dekIdOf(old), rotated: true });
      assert.ok(Object.isFrozen(done));
      assert.deepEqual(await states(store), [
        [1, "retired"],
        [2, "active"],
      ]);
      const fresh = await ready(store);
      for (const one of [keyring, fresh]) {
        await opens(one, old);
        await opens(one, sealed);
      }
      const [[retiredAt, rotatedBy]] = await query(store, "SELECT retired_at, rotated_by FROM sealpoint_deks WHERE version = 1");
      assert.ok(Math.abs(retiredAt / 1000 - Date.now()) < 60_000);
      assert.equal(rotatedBy, done.dekId);
      await Promise.all([keyring, fresh].map((one) => one.close()));
    });

    test("the new key is wrapped by every KEK and verified", async () => {
      const keks = [new FakeKms("fake:one"), new FakeKms("fake:two")];
      const store = await make();
      const keyring = await ready(store, keks);
      await keyring.load(TENANT);
      for (const kek of keks) kek.calls = { wrap: 0, unwrap: 0 };
      await keyring.rotate(TENANT);
      // the old one is opened once
      assert.deepEqual(
        keks.map(({ calls }) => calls),
        [
          { wrap: 1, unwrap: 2 },
          { wrap: 1, unwrap: 1 },
        ],
      );
      const sql = "SELECT count(*) FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE version = 2 AND verified_at > 0";
      assert.deepEqual(await query(store, sql), [[2]]);
      await keyring.close();
    });

    test("another keyring seals under the old key until it reads the store", async () => {
      const store = await make();
      const [keyring, other] = [await ready(store), await ready(store)];
      const old = await seal(other);
      await keyring.rotate(TENANT);
      assert.equal(dekIdOf(await seal(other)), dekIdOf(old));
      other._cache._advance(60);
      assert.notEqual(dekIdOf(await seal(other)), dekIdOf(old));
      await Promise.all([keyring, other].map((one) => one.close()));
    });

    test("purposes and tenants keep theirs", async () => {
      const store = await make();
      const keyring = await ready(store);
      await keyring.load(TENANT);
      await keyring.load(TENANT, { dekPurpose: "client" });
      await keyring.load(OTHER_TENANT);
      await keyring.rotate(TENANT, { dekPurpose: "client" });
      assert.deepEqual(await states(store, TENANT, 3), [
        [1, "retired"],
        [2, "active"],
      ]);
      assert.deepEqual([await states(store), await states(store, OTHER_TENANT)], [[[1, "active"]], [[1, "active"]]]);
      await keyring.close();
    });

    test("a dry run changes nothing", async () => {
      const store = await make();
      const kms = new FakeKms();
      const keyring = await ready(store, kms);
      await keyring.load(TENANT);
      const rows = await allRows(store);
      kms.calls = { wrap: 0, unwrap: 0 };
      const done = await keyring.rotate(TENANT, { dryRun: true });
      assert.deepEqual([done.rotated, done.version, done.dekId], [false, 1, done.retired]);
      assert.equal((await keyring.rotateAll({ dryRun: true })).rotated, 1);
      assert.deepEqual(await allRows(store), rows);
      assert.equal(kms.calls.wrap, 0);
      await keyring.close();
    });

    test("nothing to rotate", async () => {
      const keyring = await ready(await make());
      await code(keyring.rotate("nobody"), "key_not_found", "load(tenant)");
      await keyring.load(TENANT);
      await keyring.shred(TENANT, { confirm: TENANT });
      await code(keyring.rotate(TENANT), "key_destroyed");
      assert.equal((await keyring.rotateAll()).rotated, 0);
      await keyring.close();
    });

    test("an outage rotates nothing and ends the job", async () => {
      const store = await make();
      const kms = new FakeKms();
      const keyring = await ready(store, kms);
      const sealed = await seal(keyring);
      for (const answer of ["kms_unavailable", "kms_denied"]) {
        kms.fail(answer);
        await code(keyring.rotate(TENANT), answer);
        await code(keyring.rotateAll(), answer);
      }
      kms.fail(undefined);
      assert.deepEqual(await states(store), [[1, "active"]]);
      await opens(keyring, sealed);
      await keyring.close();
    });

    test("of two rotations at once one wins", async () => {
      const store = await make();
      const kms = new FakeKms();
      const keyrings = [await ready(store, kms), await ready(store, kms)];
      for (const keyring of keyrings) await keyring.load(TENANT);
      // both have read the old active DEK before one of them stores its own
      let [here, both] = [0, () => {}];
      const met = new Promise((resolve) => {
        both = resolve;
      });
      kms.before = async (call) => {
        if (call !== "wrap") return;
        here += 1;
        if (here === 2) both();
        await met;
      };
      const [first, second] = await Promise.all(keyrings.map((keyring) => keyring.rotate(TENANT)));
      kms.before = async () => {};
      assert.deepEqual([first.rotated, second.rotated].sort(), [false, true]);
      assert.deepEqual([first.dekId, first.version, first.retired], [second.dekId, second.version, second.retired]);
      assert.deepEqual(await states(store), [
        [1, "retired"],
        [2, "active"],
      ]);
      for (const keyring of keyrings) {
        assert.equal(dekIdOf(await seal(keyring)), first.dekId); // the loser too, at once
        await keyring.close();
      }
    });

    test("sealing, opening and rotating at once", async () => {
      const store = await make();
      const keyrings = [await ready(store), await ready(store), await ready(store)];
      await keyrings[0].load(TENANT);
      const sealed = [];
      let over = false;
      const rotating = Promise.all(
        [0, 1].map(async (number) => {
          for (let i = 0; i < 6; i += 1) await keyrings[number].rotate(TENANT);
        }),
      ).finally(() => {
        over = true;
      });
      const working = keyrings.map(async (keyring) => {
        while (!over) {
          sealed.push(await seal(keyring));
          await opens(keyring, sealed.at(-1));
          keyring._cache._advance(61);
        }
      });
      await Promise.all([rotating, ...working]);
      const found = await states(store);
      assert.deepEqual([found.filter(([, state]) => state === "active").length, found.at(-1)[1]], [1, "active"]);
      assert.ok(found.length > 6);
      assert.ok(new Set(sealed.map(dekIdOf)).size > 1);
      const fresh = await ready(store);
      for (const one of sealed) await opens(fresh, one);
      await Promise.all([fresh, ...keyrings].map((one) => one.close()));
    });

    test("a tenant shredded meanwhile gets no new key", async () => {
      const store = await make();
      const kms = new FakeKms();
      const [keyring, other] = [await ready(store, kms), await ready(store, new FakeKms())];
      await keyring.load(TENANT);
      kms.before = async (call) => void (call === "wrap" && (await other.shred(TENANT, { confirm: TENANT })));
      await code(keyring.rotate(TENANT), "key_destroyed");
      assert.deepEqual(await states(store), [[1, "destroyed"]]);
      await Promise.all([keyring, other].map((one) => one.close()));
    });

    test("all, and those that are due, in pages", async () => {
      const store = await make();
      const keyring = await ready(paged(storeOf(store), 2));
      const names = Array.from({ length: 5 }, (_, i) => `tenant-${i}`);
      for (const tenant of names) await keyring.load(tenant);
      await query(store, "UPDATE sealpoint_deks SET created_at = created_at - ? WHERE tenant IN ('tenant-1', 'tenant-4')", 2 * DAY_US);
      const madeBefore = new Date(Date.now() - 86_400_000);
      const seen = [];
      const report = await keyring.rotateAll({ madeBefore, progress: (done) => seen.push(done) });
      assert.deepEqual(report, { dryRun: false, madeBefore, tenants: 5, rotated: 2, failed: 0, failures: [] });
      assert.deepEqual(seen, [2, 4, 5]);
      assert.equal((await keyring.rotateAll({ madeBefore })).rotated, 0); // what was rotated is due no more
      await query(store, "UPDATE sealpoint_deks SET created_at = created_at - 1000000");
      const start = new Date(Date.now() - 500);
      assert.equal((await keyring.rotateAll({ madeBefore: start })).rotated, 5);
      assert.equal((await keyring.rotateAll({ madeBefore: start })).rotated, 0);
      assert.deepEqual(await Promise.all(names.map(async (tenant) => (await states(store, tenant)).length)), [2, 3, 2, 2, 3]);
      await keyring.close();
    });

    const PLANTED = {
      "another tenant's wrap": [
        `UPDATE sealpoint_wraps SET wrapped = (SELECT wrapped FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE d.tenant = '${OTHER_TENANT}')`,
        "authentication_failed",
      ],
      "an unknown kek_uri": [
        `UPDATE sealpoint_wraps SET kek_uri = 'fake:unknown' WHERE dek_id = (SELECT dek_id FROM sealpoint_deks WHERE tenant = '${TENANT}')`,
        "key_not_found",
      ],
      "a wrong version": [`UPDATE sealpoint_deks SET version = 7 WHERE tenant = '${TENANT}'`, "authentication_failed"],
      "no key check": [`UPDATE sealpoint_deks SET key_check = NULL WHERE tenant = '${TENANT}'`, "store_invalid"],
    };
    for (const [what, [change, expected]] of Object.entries(PLANTED)) {
      test(`a planted active row is reported and left alone: ${what}`, async () => {
        const store = await make();
        const keyring = await ready(store);
        await keyring.load(TENANT);
        await keyring.load(OTHER_TENANT);
        await liftConstraints(store);
        await query(store, change);
        const of = "SELECT * FROM sealpoint_deks d LEFT JOIN sealpoint_wraps w ON w.dek_id = d.dek_id WHERE d.tenant = ?";
        const rows = await query(store, of, TENANT);
        await code(keyring.rotate(TENANT), expected);
        const { rotated, failed, failures } = await keyring.rotateAll();
        assert.deepEqual([rotated, failed, failures.map((one) => [one.tenant, one.code])], [1, 1, [[TENANT, expected]]]);
        assert.deepEqual(await query(store, of, TENANT), rows);
        await keyring.close();
      });
    }

    test("a state that was set back", async () => {
      const store = await make();
      const keyring = await ready(store);
      await keyring.load(TENANT);
      await keyring.rotate(TENANT);
      await query(store, "UPDATE sealpoint_deks SET state = 'retired' WHERE version = 2");
      await query(store, "UPDATE sealpoint_deks SET state = 'active' WHERE version = 1");
      const rows = await allRows(store);
      await code(keyring.rotate(TENANT), "store_invalid", "set back", "status");
      const { rotated, failed, failures } = await keyring.rotateAll();
      assert.deepEqual([rotated, failed, failures[0].code], [0, 1, "store_invalid"]);
      assert.deepEqual(await allRows(store), rows);
      await keyring.close();
    });
  });
}

test("in memory", async () => {
  const keyring = await Keyring.connect("memory:", { kek: new FakeKms() });
  const sealed = await seal(keyring);
  await seal(keyring, OTHER_TENANT);
  assert.equal((await keyring.rotate(TENANT)).version, 2);
  const all = await keyring.rotateAll({ madeBefore: new Date(Date.now() + 1) });
  assert.equal(all.rotated, 2);
  keyring._cache.clear();
  await opens(keyring, sealed);
  assert.equal((await keyring.status(TENANT))[0].purposes[0].activeVersion, 3);
  await keyring.close();
});

test("a wrap that opens to another key is never stored", async () => {
  const store = await memoryStore();
  const kms = new FakeKms();
  const keyring = await ready(store, kms);
  await keyring.load(TENANT);
  const wrap = kms.wrap.bind(kms);
  const { SecretKey } = await import("sealpoint");
  kms.wrap = (_, context) => wrap(SecretKey.generate(), context);
  await code(keyring.rotate(TENANT), "authentication_failed", "unwraps to another key");
  assert.deepEqual(
    (await store.deksOf([TENANT])).map(({ state }) => state),
    ["active"],
  );
  await keyring.close();
});

test("arguments that are none", async () => {
  const keyring = await Keyring.connect("memory:", { kek: new FakeKms() });
  await keyring.load(TENANT);
  for (const call of [
    () => keyring.rotate(TENANT, { dryRun: 1 }),
    () => keyring.rotate(TENANT, { dryrun: true }),
    () => keyring.rotate(TENANT, { dekPurpose: "audit" }),
    () => keyring.rotate(TENANT, { dekPurpose: "index" }),
    () => keyring.rotate(TENANT, true),
    () => keyring.rotateAll({ madeBefore: "2027-01-01" }),
    () => keyring.rotateAll({ madeBefore: new Date("never") }),
    () => keyring.rotateAll({ madeBefore: Date.now() }),
    () => keyring.rotateAll({ progress: "yes" }),
    () => keyring.rotateAll({ confirm: TENANT }),
  ]) {
    await code(call(), "invalid_argument");
  }
  await code(keyring.rotate(""), "tenant_required");
  await code(keyring.rotate(), "tenant_required");
  assert.equal((await keyring.status(TENANT))[0].purposes[0].activeVersion, 1);
  await keyring.close();
  await code(keyring.rotate(TENANT), "invalid_argument", "closed");
});

test("a progress callback that throws ends the job, and the next one goes on", async () => {
  const store = await memoryStore();
  const keyring = await ready(paged(store, 1));
  for (const tenant of ["a", "b", "c"]) await keyring.load(tenant);
  const stop = new Error("stop");
  const progress = (seen) => {
    if (seen === 2) throw stop;
  };
  await assert.rejects(keyring.rotateAll({ madeBefore: new Date(Date.now() + 1), progress }), stop);
  const active = await Promise.all(["a", "b", "c"].map((tenant) => store.activeDek(tenant, 1)));
  assert.deepEqual(
    active.map(({ version }) => version),
    [2, 2, 1],
  );
  await keyring.close();
});

test("a key store that can only load", async () => {
  const inner = await memoryStore();
  class OnlyLoading {}
  const store = new OnlyLoading();
  for (const name of ["setup", "settings", "canaries", "addCanary", "tenant", "dek", "activeDek", "nextVersion", "createDek"]) {
    store[name] = inner[name].bind(inner);
  }
  const keyring = await ready(store);
  const sealed = await seal(keyring);
  keyring._cache.clear();
  await opens(keyring, sealed);
  for (const verb of [
    () => keyring.rotate(TENANT),
    () => keyring.rotateAll(),
    () => keyring.rewrap("fake:one", "fake:one"),
    () => keyring.dropWraps("fake:two"),
    () => keyring.scheduleDestroy("00".repeat(16)),
    () => keyring.cancelDestroy("00".repeat(16)),
    () => keyring.destroy("00".repeat(16), { scannedAt: new Date(), confirm: "" }),
    () => keyring.shred(TENANT, { confirm: TENANT }),
    () => keyring.tombstones(),
    () => keyring.replayTombstones([]),
    () => keyring.readmit(TENANT),
    () => keyring.status(),
  ]) {
    await code(verb(), "invalid_argument", "OnlyLoading", "KeyLifecycle");
  }
  assert.equal(await keyring.openText(await keyring.sealText(PLAINTEXT, contextOf()), contextOf()), PLAINTEXT);
  await keyring.close();
});
