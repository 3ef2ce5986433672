// Every DEK under another KEK; the old one's wraps go later, by a step of their own.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Keyring, LocalKek, SecretKey, wrapContext } from "sealpoint";
import {
  allRows,
  code,
  liftConstraints,
  memoryStore,
  NEW,
  OLD,
  OTHER_TENANT,
  opens,
  other,
  paged,
  query,
  ready,
  seal,
  storeOf,
  WAIT_S,
} from "./lifecycle-support.mjs";
import { FakeKms, KEK, OTHER_KEK, STORES, TENANT } from "./support.mjs";

const wraps = (store) => query(store, "SELECT kek_uri, count(*) FROM sealpoint_wraps GROUP BY kek_uri ORDER BY kek_uri");
const age = (store, seconds = WAIT_S) => query(store, "UPDATE sealpoint_wraps SET verified_at = verified_at - ?", seconds * 1_000_000);
const both = (old, young) => [
  [OLD, old],
  [NEW, young],
];

for (const [name, make] of Object.entries(STORES)) {
  describe(`rewrap in ${name}`, () => {
    /** Three DEKs of two tenants under the old KEK, what they sealed, and a keyring that has both KEKs. */
    async function prepared(page = 500) {
      const store = await make();
      const [kms, young] = [new FakeKms(), other()];
      const first = await ready(store, kms);
      const sealed = [
        [TENANT, await seal(first)],
        [OTHER_TENANT, await seal(first, OTHER_TENANT)],
      ];
      await first.rotate(TENANT);
      sealed.push([TENANT, await seal(first)]);
      await first.close();
      kms.calls = { wrap: 0, unwrap: 0 };
      const inner = storeOf(store);
      const keyring = await Keyring.connect(paged(inner, page), { kek: [kms, young] });
      const close = async () => {
        await keyring.close();
        await inner.close?.();
      };
      return { store, kms, young, sealed, keyring, close };
    }

    async function allOpen(store, kek, sealed) {
      const keyring = await Keyring.connect(store, { kek });
      for (const [tenant, envelope] of sealed) await opens(keyring, envelope, tenant);
      await keyring.close();
    }

    const withOnly = async (store, kek, work) => {
      const keyring = await Keyring.connect(store, { kek });
      await work(keyring).finally(() => keyring.close());
    };

    test("every key gets a verified wrap, in pages", async () => {
      const { store, kms, young, sealed, keyring, close } = await prepared(2);
      const before = await allRows(store);
      const seen = [];
      const report = await keyring.rewrap(OLD, NEW, { progress: (deks) => seen.push(deks) });
      const counts = { dryRun: false, deks: 3, wrapped: 3, verified: 3, passes: 2, complete: true, failed: 0, failures: [] };
      assert.deepEqual(report, { ...counts, fromUri: OLD, toUri: NEW, kekVersion: "1" });
      assert.ok(Object.isFrozen(report) && Object.isFrozen(report.failures));
      assert.deepEqual(seen, [2, 3, 2, 3]);
      assert.deepEqual(await wraps(store), both(3, 3));
      const after = await allRows(store);
      assert.deepEqual(after.deks, before.deks);
      assert.deepEqual(
        after.wraps.filter(([, uri]) => uri === OLD),
        before.wraps,
      );
      assert.equal(kms.calls.unwrap, 1 + 3, "the canary, and each key once");
      await allOpen(store, young, sealed);
      await allOpen(store, kms, sealed);
      young.calls = { wrap: 0, unwrap: 0 };
      const again = await keyring.rewrap(OLD, NEW);
      assert.deepEqual([again.wrapped, again.verified, again.complete, young.calls.wrap], [0, 3, true, 1]); // which tells the version
      assert.deepEqual(await allRows(store), after);
      await close();
    });

    test("a dry run changes nothing", async () => {
      const { store, keyring, close } = await prepared();
      const rows = await allRows(store);
      const report = await keyring.rewrap(OLD, NEW, { dryRun: true });
      assert.deepEqual([report.dryRun, report.wrapped, report.complete, report.passes], [true, 3, false, 1]);
      assert.deepEqual(await allRows(store), rows);
      await close();
    });

    test("the canary comes first, and another KEK of that name is refused", async () => {
      const { store, kms, keyring, close } = await prepared();
      kms.before = async () => kms.fail("kms_unavailable");
      await code(keyring.rewrap(OLD, NEW), "kms_unavailable");
      assert.deepEqual(await query(store, "SELECT kek_uri FROM sealpoint_canaries ORDER BY kek_uri"), [[OLD], [NEW]]);
      assert.deepEqual(await wraps(store), [[OLD, 3]]);
      await code(Keyring.connect(store, { kek: new FakeKms(NEW, { kek: KEK }) }), "authentication_failed", NEW);
      await close();
    });

    test("the current version of the same KEK", async () => {
      const { store, kms, sealed, close } = await prepared();
      const wrap = kms.wrap.bind(kms);
      kms.wrap = async (...given) => ({ ...(await wrap(...given)), kekVersion: "2" });
      await query(store, `UPDATE sealpoint_wraps SET kek_version = '2' WHERE dek_id = (SELECT dek_id FROM sealpoint_deks WHERE tenant = '${OTHER_TENANT}')`);
      await withOnly(store, kms, async (keyring) => {
        const report = await keyring.rewrap(OLD, OLD);
        assert.deepEqual([report.wrapped, report.verified, report.kekVersion, report.complete], [2, 3, "2", true]);
        assert.deepEqual(await query(store, "SELECT DISTINCT kek_version FROM sealpoint_wraps"), [["2"]]);
        assert.deepEqual(await wraps(store), [[OLD, 3]]);
        kms.wrap = async (...given) => ({ ...(await wrap(...given)), kekVersion: "" });
        await code(keyring.rewrap(OLD, OLD), "invalid_argument", "versions");
      });
      await allOpen(store, kms, sealed);
      await close();
    });

    test("KEKs that cannot serve", async () => {
      const { store, kms, keyring, close } = await prepared();
      await code(keyring.rewrap("fake:three", NEW), "invalid_argument", "kek");
      await code(keyring.rewrap(OLD, "fake:three"), "invalid_argument", "kek");
      await code(keyring.rewrap(OLD), "invalid_argument", "toUri");
      await code(keyring.rewrap(OLD, NEW, { from: OLD }), "invalid_argument", "option");
      await withOnly(store, [kms, new FakeKms("rsa:one", { authenticates: false })], async (one) => {
        await code(one.rewrap("rsa:one", OLD), "invalid_argument", "anyone");
        assert.ok((await one.rewrap(OLD, "rsa:one")).complete); // as a further way to open
      });
      await close();
    });

    for (const answer of ["kms_unavailable", "kms_throttled", "kms_denied"]) {
      test(`${answer} ends it, and it goes on`, async () => {
        const { store, kms, keyring, close } = await prepared(1);
        kms.before = async () => void (kms.calls.unwrap === 3 && kms.fail(answer));
        await code(keyring.rewrap(OLD, NEW), answer);
        assert.deepEqual(await wraps(store), both(3, 1));
        kms.before = async () => {};
        kms.fail(undefined);
        assert.equal((await keyring.rewrap(OLD, NEW)).wrapped, 2);
        assert.deepEqual(await wraps(store), both(3, 3));
        await close();
      });
    }

    test("a wrap that opens to another key is never stored", async () => {
      const { store, young, keyring, close } = await prepared();
      const wrap = young.wrap.bind(young);
      young.wrap = (secret, context) => wrap(context.purpose === "wrap" ? SecretKey.generate() : secret, context);
      const report = await keyring.rewrap(OLD, NEW);
      assert.deepEqual([report.wrapped, report.failed, report.complete], [0, 3, false]);
      assert.deepEqual(new Set(report.failures.map((one) => one.code)), new Set(["authentication_failed"]));
      assert.deepEqual(await wraps(store), [[OLD, 3]]);
      await close();
    });

    test("keys that others make meanwhile", async () => {
      // Another process still has the old KEK alone, and makes a key in each of the first passes, before or after the pass has come by.
      const { store, young, keyring, close } = await prepared();
      const names = ["late-1", "late-2", "late-3", "late-4"];
      await withOnly(store, new FakeKms(), async (late) => {
        young.before = async (call) => {
          const tenant = call === "unwrap" ? names.shift() : undefined;
          if (tenant !== undefined) await late.load(tenant);
        };
        const report = await keyring.rewrap(OLD, NEW);
        assert.deepEqual([report.complete, report.wrapped, report.deks, report.verified], [true, 7, 7, 7]);
      });
      assert.deepEqual(await wraps(store), both(7, 7));
      await close();
    });

    test("writers that never end are reported", async () => {
      const { store, young, keyring, close } = await prepared();
      await withOnly(store, new FakeKms(), async (late) => {
        young.before = async (call) => void (call === "wrap" && (await late.load(`late-${young.calls.wrap}`)));
        const report = await keyring.rewrap(OLD, NEW);
        assert.deepEqual([report.complete, report.passes], [false, 10]);
      });
      await close();
    });

    test("two at once", async () => {
      const { store, kms, young, keyring, close } = await prepared();
      await withOnly(store, [kms, young], async (second) => {
        const reports = await Promise.all([keyring, second].map((one) => one.rewrap(OLD, NEW)));
        assert.deepEqual(
          reports.map(({ complete }) => complete),
          [true, true],
        );
        assert.equal(reports[0].wrapped + reports[1].wrapped, 3);
      });
      assert.deepEqual(await wraps(store), both(3, 3));
      await close();
    });

    test("a tenant shredded meanwhile gets no wrap back", async () => {
      // The wraps are made, but not stored yet, when the DEKs are destroyed.
      const { store, kms, young, keyring, close } = await prepared();
      await withOnly(store, kms, async (second) => {
        young.before = async (call) => void (call === "wrap" && young.calls.wrap === 4 && (await second.shred(TENANT, { confirm: TENANT })));
        const report = await keyring.rewrap(OLD, NEW);
        assert.deepEqual([report.complete, report.deks], [true, 1]);
      });
      assert.deepEqual(await wraps(store), both(1, 1));
      await close();
    });

    const PLANTED = {
      "another tenant's wrap": [
        `UPDATE sealpoint_wraps SET wrapped = (SELECT wrapped FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE d.tenant = '${OTHER_TENANT}') WHERE dek_id = ?`,
        "authentication_failed",
      ],
      "an unknown kek_uri": ["UPDATE sealpoint_wraps SET kek_uri = 'fake:unknown' WHERE dek_id = ?", "key_not_found"],
      "no key check": ["UPDATE sealpoint_deks SET key_check = NULL WHERE dek_id = ?", "store_invalid"],
      "a wrong version": ["UPDATE sealpoint_deks SET version = 9 WHERE dek_id = ?", "authentication_failed"],
      "a wrong purpose": ["UPDATE sealpoint_deks SET purpose = 3 WHERE dek_id = ?", "authentication_failed"],
      "destroyed, with wraps": ["UPDATE sealpoint_deks SET state = 'destroyed' WHERE dek_id = ?", "store_invalid"],
    };
    for (const [what, [change, expected]] of Object.entries(PLANTED)) {
      test(`a planted row is reported and left alone: ${what}`, async () => {
        const { store, keyring, close } = await prepared();
        await liftConstraints(store);
        const [[dekId]] = await query(store, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ? AND version = 1", TENANT);
        const raw = new Uint8Array(Buffer.from(dekId, "hex"));
        await query(store, change, raw);
        const of = "SELECT * FROM sealpoint_deks d LEFT JOIN sealpoint_wraps w ON w.dek_id = d.dek_id WHERE d.dek_id = ?";
        const rows = await query(store, of, raw);
        const report = await keyring.rewrap(OLD, NEW);
        assert.deepEqual([report.wrapped, report.failed, report.complete], [2, 1, false]);
        assert.deepEqual(
          report.failures.map((one) => [one.tenant, one.dekId, one.code]),
          [[TENANT, dekId, expected]],
        );
        assert.deepEqual(await query(store, of, raw), rows);
        await close();
      });
    }

    test("a planted tombstone", async () => {
      const { store, keyring, close } = await prepared();
      await query(store, "UPDATE sealpoint_tenants SET shredded_at = 1 WHERE tenant = ?", OTHER_TENANT);
      const report = await keyring.rewrap(OLD, NEW);
      assert.deepEqual([report.wrapped, report.failures.map((one) => one.code)], [2, ["key_destroyed"]]);
      assert.match(report.failures[0].message, /set back/);
      assert.deepEqual(await wraps(store), both(3, 2));
      await close();
    });

    for (const version of ["1", "0"]) {
      test(`a planted wrap under the new KEK, of version ${version}, is found and not replaced`, async () => {
        const { store, keyring, close } = await prepared();
        const [[dekId]] = await query(store, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ?", OTHER_TENANT);
        const raw = new Uint8Array(Buffer.from(dekId, "hex"));
        const context = wrapContext({ tenant: OTHER_TENANT, dekId: raw, dekPurpose: 1, suite: 1 });
        const planted = LocalKek.parse(OTHER_KEK).wrap(SecretKey.generate(), context);
        await query(store, "INSERT INTO sealpoint_wraps VALUES (?, ?, ?, 'fake', ?, 1, 1)", raw, NEW, version, planted);
        const report = await keyring.rewrap(OLD, NEW);
        assert.deepEqual([report.complete, report.failed, report.failures[0].code], [false, 1, "authentication_failed"]);
        assert.deepEqual(await query(store, "SELECT wrapped FROM sealpoint_wraps WHERE dek_id = ? AND kek_uri = ?", raw, NEW), [
          [Buffer.from(planted).toString("hex")],
        ]);
        await close();
      });
    }

    // dropping the old wraps

    test("old wraps go after their time", async () => {
      const { store, young, sealed, keyring, close } = await prepared();
      await keyring.rewrap(OLD, NEW);
      await age(store, -1); // as seen from here they were verified just now, whatever this machine's speed
      await withOnly(store, young, async (one) => {
        await age(store, 1);
        await code(one.dropWraps(OLD), "invalid_argument", "not before", "nothing was dropped");
        await age(store, WAIT_S - 60);
        await code(one.dropWraps(OLD), "invalid_argument", "not before");
        await age(store, 60);
        const rows = await allRows(store);
        assert.equal((await one.dropWraps(OLD, { dryRun: true })).dropped, 3);
        assert.deepEqual(await allRows(store), rows);
        const seen = [];
        const { dropped, failed, fromUri } = await one.dropWraps(OLD, { progress: (deks) => seen.push(deks) });
        assert.deepEqual([dropped, failed, fromUri, seen], [3, 0, OLD, [3]]);
      });
      assert.deepEqual(await wraps(store), [[NEW, 3]]);
      await allOpen(store, young, sealed);
      await close();
    });

    test("a KEK that is configured keeps its wraps", async () => {
      const { store, keyring, close } = await prepared();
      await keyring.rewrap(OLD, NEW);
      await age(store);
      await code(keyring.dropWraps(OLD), "invalid_argument", "kek");
      assert.deepEqual(await wraps(store), both(3, 3));
      await close();
    });

    for (const missing of ["DELETE FROM sealpoint_wraps", "UPDATE sealpoint_wraps SET verified_at = NULL"]) {
      test(`one key without a verified wrap holds up all: ${missing}`, async () => {
        const { store, young, keyring, close } = await prepared();
        await keyring.rewrap(OLD, NEW);
        await age(store);
        await query(store, `${missing} WHERE kek_uri = ? AND dek_id = (SELECT dek_id FROM sealpoint_deks WHERE tenant = ?)`, NEW, OTHER_TENANT);
        const rows = await allRows(store);
        await withOnly(store, young, (one) => code(one.dropWraps(OLD), "invalid_argument", "1 keys", "rewrap"));
        assert.deepEqual(await allRows(store), rows);
        await close();
      });
    }

    test("a wrap that anyone can make is not enough", async () => {
      const { store, kms, young, keyring, close } = await prepared();
      const minted = new FakeKms("rsa:one", { authenticates: false });
      await withOnly(store, [kms, minted], (one) => one.rewrap(OLD, "rsa:one"));
      await keyring.rewrap(OLD, NEW);
      await age(store);
      await query(store, "DELETE FROM sealpoint_wraps WHERE kek_uri = ?", NEW);
      await withOnly(store, [young, minted], (one) => code(one.dropWraps(OLD), "invalid_argument", "3 keys"));
      assert.deepEqual(await wraps(store), [
        [OLD, 3],
        ["rsa:one", 3],
      ]);
      await close();
    });

    test("a wrap that only says it was verified", async () => {
      // Each is opened once more before the old one goes.
      const { store, young, keyring, close } = await prepared();
      await keyring.rewrap(OLD, NEW);
      await age(store);
      const [[dekId]] = await query(store, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ?", OTHER_TENANT);
      const raw = new Uint8Array(Buffer.from(dekId, "hex"));
      await query(store, "UPDATE sealpoint_wraps SET wrapped = ? WHERE dek_id = ? AND kek_uri = ?", new Uint8Array(125), raw, NEW);
      await withOnly(store, young, async (one) => {
        const { dropped, failed, failures } = await one.dropWraps(OLD);
        assert.deepEqual([dropped, failed, failures[0].dekId], [2, 1, dekId]);
      });
      assert.deepEqual(await query(store, "SELECT kek_uri FROM sealpoint_wraps WHERE dek_id = ? ORDER BY kek_uri", raw), [[OLD], [NEW]]);
      await close();
    });

    test("a wrap that changes while it is dropped", async () => {
      const { store, young, keyring, close } = await prepared();
      await keyring.rewrap(OLD, NEW);
      await age(store);
      await withOnly(store, young, async (one) => {
        young.before = () => query(store, "UPDATE sealpoint_wraps SET wrapped = ? WHERE kek_uri = ?", new Uint8Array(125), NEW);
        assert.equal((await one.dropWraps(OLD)).dropped, 0);
      });
      assert.deepEqual(await wraps(store), both(3, 3));
      await close();
    });
  });
}

test("in memory", async () => {
  const store = await memoryStore();
  const [kms, young] = [new FakeKms(), other()];
  const first = await ready(store, kms);
  const sealed = await seal(first);
  assert.ok((await (await ready(store, [kms, young])).rewrap(OLD, NEW)).complete);
  const last = await ready(store, young);
  await opens(last, sealed);
  await code(last.dropWraps(OLD), "invalid_argument", "not before");
  await code(last.dropWraps(), "invalid_argument", "fromUri");
});

test("what a job holds is one page, however many keys there are", async () => {
  // A fake: any number of keys, of which only the page that is asked for exists. Both KEKs wrap them, so there is nothing to store.
  const size = 2000;
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  const store = await memoryStore();
  const keyring = await ready(store, [new FakeKms(), other()]);
  await keyring.load(TENANT);
  const [one] = await store.pageDeks(undefined, 1);
  const made = [];
  let [most, at] = [0, 0];
  store.pageDeks = async (after, limit) => {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    most = Math.max(most, made.filter((row) => row.deref() !== undefined).length);
    at = after === undefined ? 0 : at;
    const page = Array.from({ length: Math.min(limit, size - at) }, () => ({ ...one, wraps: one.wraps.map((wrap) => ({ ...wrap })) }));
    at += page.length;
    made.push(...page.map((row) => new WeakRef(row)));
    return page;
  };
  const report = await keyring.rewrap(OLD, NEW);
  assert.deepEqual([report.deks, report.verified, made.length], [size, size, 2 * size]);
  assert.ok(most <= 1000, `${most} at once`);
  await keyring.close();
});
