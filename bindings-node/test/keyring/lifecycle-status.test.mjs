// What keys there are and what is due.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Keyring } from "sealpoint";
import { allRows, code, DAY_US, liftConstraints, NEW, OLD, OTHER_TENANT, other, query, ready } from "./lifecycle-support.mjs";
import { FakeKms, STORES, TENANT } from "./support.mjs";

for (const [name, make] of Object.entries(STORES)) {
  describe(`status in ${name}`, () => {
    test("one tenant", async () => {
      const store = await make();
      const kms = new FakeKms();
      const keyring = await ready(store, kms);
      await keyring.load(TENANT);
      await keyring.load(TENANT, { dekPurpose: "client" });
      await keyring.load(OTHER_TENANT);
      const done = await keyring.rotate(TENANT);
      await query(store, "UPDATE sealpoint_deks SET created_at = created_at - ? WHERE purpose = 3", 100 * DAY_US);
      const rows = await allRows(store);
      kms.calls = { wrap: 0, unwrap: 0 };
      const [found, ...more] = await keyring.status(TENANT);
      assert.deepEqual([found.tenant, found.shreddedAt, found.problems, more], [TENANT, null, [], []]);
      const [data, client] = found.purposes;
      assert.deepEqual([data.dekPurpose, data.activeVersion, data.due, client.dekPurpose, client.due], ["data", 2, [], "client", ["rotate"]]);
      assert.ok(Math.abs(data.ageDays) < 0.1 && Math.abs(client.ageDays - 100) < 0.1);
      assert.deepEqual(
        data.deks.map((dek) => [dek.dekId, dek.version, dek.state, dek.keks, dek.retiredAt instanceof Date, dek.destroyedAt]),
        [
          [done.retired, 1, "retired", [OLD], true, null],
          [done.dekId, 2, "active", [OLD], false, null],
        ],
      );
      assert.ok(data.deks.every(({ createdAt }) => Math.abs(createdAt - Date.now()) < 60_000));
      assert.ok([found, data, data.deks, data.deks[0], data.deks[0].keks, found.problems].every(Object.isFrozen));
      assert.deepEqual((await keyring.status(TENANT, { policyDays: 101 }))[0].purposes[1].due, []);
      assert.equal(JSON.parse(JSON.stringify(found)).purposes[0].deks[1].state, "active");
      assert.deepEqual([await allRows(store), kms.calls], [rows, { wrap: 0, unwrap: 0 }]); // nothing is opened
      await keyring.close();
    });

    test("a rewrap that is due", async () => {
      const store = await make();
      const kms = new FakeKms();
      const keyring = await ready(store, kms);
      await keyring.load(TENANT);
      const both = await ready(store, [kms, other()]);
      assert.deepEqual((await both.status(TENANT))[0].purposes[0].due, ["rewrap"]);
      await both.rewrap(OLD, NEW);
      const [{ due, deks }] = (await both.status(TENANT))[0].purposes;
      assert.deepEqual([due, deks[0].keks], [[], [OLD, NEW]]);
      await Promise.all([keyring, both].map((one) => one.close()));
    });

    test("pages", async () => {
      const keyring = await ready(await make());
      const names = ["a", "b", "ä", "Z", "日本", "\u{10000}", "\uffee", "x".repeat(1024)];
      for (const tenant of names) await keyring.load(tenant);
      const pages = [];
      for (;;) {
        const page = await keyring.status(undefined, { limit: 3, after: pages.at(-1)?.at(-1) });
        if (page.length === 0) break;
        pages.push(page.map(({ tenant }) => tenant));
      }
      assert.deepEqual(
        pages.flat(),
        [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
      );
      assert.deepEqual(
        pages.map(({ length }) => length),
        [3, 3, 2],
      );
      await keyring.close();
    });

    test("a shredded tenant", async () => {
      const keyring = await ready(await make());
      await keyring.load(TENANT);
      await keyring.shred(TENANT, { confirm: TENANT });
      const [{ shreddedAt, purposes, problems }] = await keyring.status();
      assert.ok(Math.abs(shreddedAt - Date.now()) < 60_000);
      const [{ activeVersion, ageDays, due, deks }] = purposes;
      assert.deepEqual([activeVersion, ageDays, due, problems, deks[0].destroyedAt], [null, null, [], [], shreddedAt]);
      await keyring.close();
    });

    const PLANTED = {
      damaged: ["UPDATE sealpoint_deks SET key_check = NULL WHERE version = 1"],
      "has wraps": ["UPDATE sealpoint_deks SET state = 'destroyed' WHERE version = 1"],
      "no wraps": ["DELETE FROM sealpoint_wraps"],
      "not since when": ["UPDATE sealpoint_deks SET retired_at = NULL WHERE version = 1"],
      future: ["UPDATE sealpoint_deks SET created_at = created_at * 2"],
      "is not destroyed": ["UPDATE sealpoint_tenants SET shredded_at = 1"],
      "no row of its own": ["DELETE FROM sealpoint_tenants"],
      "not the newest": [
        "UPDATE sealpoint_deks SET state = CASE version WHEN 2 THEN 'retired' ELSE 'pending_destroy' END",
        "UPDATE sealpoint_deks SET state = 'active' WHERE version = 1",
      ],
    };
    for (const [words, changes] of Object.entries(PLANTED)) {
      test(`planted rows are named: ${words}`, async () => {
        const store = await make();
        const keyring = await ready(store);
        await keyring.load(TENANT);
        await keyring.rotate(TENANT);
        await keyring.load(OTHER_TENANT);
        await liftConstraints(store);
        for (const change of changes) await query(store, change);
        const found = (await keyring.status()).find(({ tenant }) => tenant === TENANT);
        assert.ok(
          found.problems.some((problem) => problem.includes(words)),
          JSON.stringify(found.problems),
        );
        assert.deepEqual((await keyring.status(TENANT))[0].problems, found.problems);
        await keyring.close();
      });
    }

    test("times that no date reaches", async () => {
      const store = await make();
      const keyring = await ready(store);
      await keyring.load(TENANT);
      await query(store, "UPDATE sealpoint_deks SET created_at = 9007199254740991");
      const [{ purposes, problems }] = await keyring.status(TENANT);
      assert.equal(purposes[0].deks[0].createdAt.getTime(), Math.floor(9007199254740991 / 1000));
      assert.equal(problems.length, 1);
      await query(store, "UPDATE sealpoint_deks SET created_at = 9223372036854775807"); // no number of JavaScript: a damaged row
      const [damaged] = await keyring.status(TENANT);
      assert.deepEqual([damaged.purposes, damaged.problems.length], [[], 1]);
      await keyring.close();
    });
  });
}

test("arguments that are none", async () => {
  const keyring = await Keyring.connect("memory:", { kek: new FakeKms() });
  for (const tenant of ["b", "a"]) await keyring.load(tenant);
  assert.deepEqual(
    (await keyring.status()).map(({ tenant }) => tenant),
    ["a", "b"],
  );
  assert.deepEqual(await keyring.status(undefined, { after: "b" }), []);
  await code(keyring.status("nobody"), "key_not_found");
  const bad = [{ policyDays: "90" }, { policyDays: 0 }, { policyDays: Number.NaN }, { limit: 0 }, { limit: 1001 }, { limit: true }, { policy: 1 }];
  for (const options of bad) await code(keyring.status(undefined, options), "invalid_argument");
  for (const call of [() => keyring.status(7), () => keyring.status(null), () => keyring.status(undefined, { after: 7 })]) {
    const error = await call().then(assert.fail, (error) => error);
    assert.ok(["invalid_argument", "invalid_context", "tenant_required"].includes(error.code), error.stack);
  }
  await keyring.close();
});
