// A tenant is erased, and stays so after a restore.
import assert from "node:assert/strict";
import { copyFileSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, test } from "node:test";
import Database from "better-sqlite3";
import { allRows, code, memoryStore, OTHER_TENANT, opens, query, ready, seal, storeOf } from "./lifecycle-support.mjs";
import { FakeKms, folder, STORES, TENANT } from "./support.mjs";

const states = async (store, tenant = TENANT) => new Set((await query(store, "SELECT state FROM sealpoint_deks WHERE tenant = ?", tenant)).flat());
const close = (...keyrings) => Promise.all(keyrings.map((one) => one.close()));

for (const [name, make] of Object.entries(STORES)) {
  describe(`shred in ${name}`, () => {
    /** Two data keys and a client key of a tenant, a key of another tenant, and what they sealed. */
    async function prepared(kms = new FakeKms()) {
      const store = await make();
      const keyring = await ready(store, kms);
      const first = await seal(keyring);
      await keyring.rotate(TENANT);
      await keyring.load(TENANT, { dekPurpose: "client" });
      return { store, keyring, kms, sealed: [first, await seal(keyring), await seal(keyring, OTHER_TENANT)] };
    }

    test("everything of a tenant goes", async () => {
      const { store, keyring, sealed } = await prepared();
      const rows = await allRows(store);
      for (const confirm of [undefined, OTHER_TENANT, TENANT.toUpperCase(), "", true]) {
        await code(keyring.shred(TENANT, { confirm }), "confirmation_required", "confirm");
      }
      await code(keyring.shred(TENANT), "confirmation_required");
      assert.deepEqual(await allRows(store), rows);
      const report = await keyring.shred(TENANT, { confirm: TENANT });
      assert.deepEqual([report.deks, report.dryRun, report.tombstones.map(({ tenant }) => tenant)], [3, false, [TENANT]]);
      assert.ok([report, report.unreached, report.tombstones, report.tombstones[0]].every(Object.isFrozen));
      assert.deepEqual(await states(store), new Set(["destroyed"]));
      const left = "SELECT tenant FROM sealpoint_deks d JOIN sealpoint_wraps w ON w.dek_id = d.dek_id";
      assert.deepEqual(await query(store, left), [[OTHER_TENANT]]);
      for (const words of ["backups", "exportDataKey", "1.1 hours"])
        assert.ok(
          report.unreached.some((what) => what.includes(words)),
          words,
        );
      if (name === "postgres") assert.ok(report.unreached.some((what) => what.includes("VACUUM")));
      const fresh = await ready(store);
      // here the cache was evicted at once
      for (const one of [keyring, fresh]) {
        for (const envelope of sealed.slice(0, 2)) await code(opens(one, envelope), "key_destroyed");
        await code(seal(one), "key_destroyed");
        await code(one.load(TENANT, { dekPurpose: "client" }), "key_destroyed");
        await code(one.exportDataKey(TENANT, { reason: "a test" }), "key_destroyed");
        await opens(one, sealed[2], OTHER_TENANT);
      }
      await close(keyring, fresh);
    });

    test("elsewhere within the TTL", async () => {
      const { store, keyring, sealed } = await prepared();
      const other = await ready(store);
      await opens(other, sealed[0]);
      await keyring.shred(TENANT, { confirm: TENANT });
      await opens(other, sealed[0]);
      other._cache._advance(3600);
      await code(opens(other, sealed[0]), "key_destroyed");
      await close(keyring, other);
    });

    test("a load that is under way leaves nothing in the cache", async () => {
      const { keyring, kms, sealed } = await prepared();
      keyring._cache.clear();
      let [entered, proceed] = [() => {}, () => {}];
      const held = new Promise((resolve) => {
        entered = resolve;
      });
      const go = new Promise((resolve) => {
        proceed = resolve;
      });
      kms.before = () => {
        entered();
        return go;
      };
      const loading = opens(keyring, sealed[0]);
      await held;
      await keyring.shred(TENANT, { confirm: TENANT });
      proceed();
      await loading;
      assert.equal(keyring._cache.size, 0);
      await code(opens(keyring, sealed[0]), "key_destroyed");
      await close(keyring);
    });

    test("a dry run changes nothing; again it finishes what was interrupted", async () => {
      const { store, keyring, sealed } = await prepared();
      const rows = await allRows(store);
      await code(keyring.shred(TENANT, { dryRun: true }), "confirmation_required");
      const dry = await keyring.shred(TENANT, { confirm: TENANT, dryRun: true });
      assert.deepEqual([dry.dryRun, dry.deks, dry.tombstones], [true, 3, []]);
      assert.deepEqual(await allRows(store), rows);
      await opens(keyring, sealed[0]);
      const first = await keyring.shred(TENANT, { confirm: TENANT });
      assert.deepEqual((await keyring.shred(TENANT, { confirm: TENANT })).tombstones, first.tombstones);
      assert.deepEqual(await keyring.tombstones(), first.tombstones);
      await close(keyring);
    });

    test("an unknown tenant gets its tombstone", async () => {
      const keyring = await ready(await make());
      assert.equal((await keyring.shred("nobody", { confirm: "nobody" })).deks, 0);
      await code(keyring.load("nobody"), "key_destroyed");
      await close(keyring);
    });

    test("readmitting", async () => {
      const { keyring, sealed } = await prepared();
      assert.equal(await keyring.readmit(TENANT), false);
      await keyring.shred(TENANT, { confirm: TENANT });
      assert.equal(await keyring.readmit(TENANT), true);
      await opens(keyring, await seal(keyring));
      await code(opens(keyring, sealed[0]), "key_destroyed");
      assert.equal((await keyring.status(TENANT))[0].purposes[0].activeVersion, 3);
      await close(keyring);
    });

    test("replaying after a restore", async () => {
      const { store, keyring, sealed } = await prepared();
      const backup = await allRows(store);
      const report = await keyring.shred(TENANT, { confirm: TENANT });
      await restore(store, backup);
      const restored = await ready(store);
      await opens(restored, sealed[0]); // what a backup brings back
      const stones = [...report.tombstones, { tenant: "gone before", shreddedAt: new Date("2026-01-01T00:00:00Z") }];
      const rows = await allRows(store);
      assert.equal((await restored.replayTombstones(stones, { dryRun: true })).shredded, 2);
      assert.deepEqual(await allRows(store), rows);
      const seen = [];
      const { shredded, already, failed } = await restored.replayTombstones(stones, { progress: (done) => seen.push(done) });
      assert.deepEqual([shredded, already, failed, seen], [2, 0, 0, [1, 2]]);
      await code(opens(restored, sealed[0]), "key_destroyed");
      assert.deepEqual(await restored.tombstones(), stones);
      const file = JSON.parse(JSON.stringify({ tombstones: stones })); // as it comes from a file
      const again = await restored.replayTombstones(file.tombstones);
      assert.deepEqual([again.shredded, again.already], [0, 2]);
      await opens(restored, sealed[2], OTHER_TENANT);
      await close(keyring, restored);
    });

    test("a readmitted tenant is not shredded by an old tombstone", async () => {
      const { store, keyring } = await prepared();
      const { tombstones } = await keyring.shred(TENANT, { confirm: TENANT });
      await keyring.readmit(TENANT);
      const again = await seal(keyring);
      await query(store, "UPDATE sealpoint_deks SET created_at = created_at + 1000 WHERE state = 'active'"); // a millisecond later, however fast this was
      const report = await keyring.replayTombstones(tombstones);
      assert.deepEqual([report.shredded, report.failed, report.failures[0].code], [0, 1, "confirmation_required"]);
      assert.deepEqual([report.failures[0].tenant, report.failures[0].dekId], [TENANT, null]);
      await opens(keyring, again);
      await close(keyring);
    });

    test("what is no tombstone", async () => {
      const { store, keyring, sealed } = await prepared();
      const rows = await allRows(store);
      const good = { tenant: TENANT, shreddedAt: new Date() };
      const bad = [
        TENANT,
        undefined,
        null,
        [TENANT, 1],
        { tenant: TENANT },
        { tenant: 7, shreddedAt: new Date() },
        { tenant: TENANT, shreddedAt: new Date("never") },
        { tenant: TENANT, shreddedAt: Date.now() },
        { tenant: TENANT, shreddedAt: "2026-01-01T00:00:00" },
        { tenant: TENANT, shredded_at: "2026-01-01" },
      ];
      for (const one of bad) await code(keyring.replayTombstones([good, one]), "invalid_argument");
      for (const none of [undefined, TENANT, good, { tombstones: [good] }]) await code(keyring.replayTombstones(none), "invalid_argument");
      assert.deepEqual(await allRows(store), rows);
      await opens(keyring, sealed[0]);
      await close(keyring);
    });
  });
}

/** Puts back what a backup holds. */
async function restore(store, backup) {
  const binary = { deks: [0, 6], wraps: [0, 4], canaries: [1] };
  for (const table of ["tenants", "deks", "wraps"]) {
    await query(store, `DELETE FROM sealpoint_${table}`);
    for (const row of backup[table]) {
      const values = row.map((value, i) => (binary[table]?.includes(i) ? new Uint8Array(Buffer.from(value, "hex")) : value));
      await query(store, `INSERT INTO sealpoint_${table} VALUES (${row.map(() => "?").join(", ")})`, ...values);
    }
  }
}

test("in memory", async () => {
  const keyring = await ready(await memoryStore());
  const sealed = await seal(keyring);
  const report = await keyring.shred(TENANT, { confirm: TENANT });
  assert.equal(report.deks, 1);
  await code(opens(keyring, sealed), "key_destroyed");
  assert.deepEqual(await keyring.tombstones(), report.tombstones);
  assert.equal((await keyring.replayTombstones(report.tombstones)).already, 1);
  assert.ok(await keyring.readmit(TENANT));
  assert.equal((await keyring.status(TENANT))[0].shreddedAt, null);
  await close(keyring);
});

// the files of SQLite

const contents = (path) => {
  const files = readdirSync(dirname(path)).filter((file) => file.startsWith(basename(path)));
  return Buffer.concat(files.sort().map((file) => readFileSync(join(dirname(path), file))));
};

/** The wraps of a tenant with many keys, in a file beside those of another tenant. */
async function many() {
  const path = join(folder(), "keys.db");
  const url = `sqlite:///${path}`;
  const keyring = await ready(url);
  await keyring.load(OTHER_TENANT);
  await keyring.load(TENANT);
  for (let i = 0; i < 40; i += 1) await keyring.rotate(TENANT);
  const found = await query(url, "SELECT wrapped FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE tenant = ?", TENANT);
  const wraps = found.map(([wrap]) => Buffer.from(wrap, "hex"));
  assert.equal(wraps.length, 41);
  assert.ok(wraps.every((wrap) => contents(path).includes(wrap)));
  return { path, url, keyring, wraps };
}

test("the wraps are in no file of SQLite", async () => {
  const { path, url, keyring, wraps } = await many();
  const held = new Database(path); // so that the -wal is kept when others close
  held.prepare("SELECT count(*) FROM sealpoint_deks").get();
  const report = await keyring.shred(TENANT, { confirm: TENANT });
  assert.ok(!report.unreached.some((what) => what.includes(path)));
  assert.equal(statSync(`${path}-wal`).size, 0);
  const left = contents(path);
  assert.deepEqual(
    wraps.filter((wrap) => left.includes(wrap)),
    [],
  );
  held.close();
  assert.deepEqual(await query(url, "SELECT count(*) FROM sealpoint_wraps"), [[1]]);
  await close(keyring);
});

test("a reader in the way is reported", async () => {
  const { path, url, keyring, wraps } = await many();
  const reader = new Database(path);
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM sealpoint_wraps").get();
  const report = await keyring.shred(TENANT, { confirm: TENANT });
  assert.deepEqual(await states(url), new Set(["destroyed"]));
  assert.ok(report.unreached.some((what) => what.includes(path) && what.includes("run it again")));
  reader.exec("COMMIT");
  const again = await keyring.shred(TENANT, { confirm: TENANT });
  assert.ok(!again.unreached.some((what) => what.includes(path)));
  reader.close();
  const left = contents(path);
  assert.deepEqual(
    wraps.filter((wrap) => left.includes(wrap)),
    [],
  );
  await close(keyring);
});

test("a backup of the file and its tombstones", async () => {
  const path = join(folder(), "keys.db");
  const keyring = await ready(`sqlite:///${path}`);
  const sealed = await seal(keyring);
  await storeOf(`sqlite:///${path}`).scrub(); // so that the file alone is a backup
  const backup = join(folder(), "backup");
  copyFileSync(path, backup);
  const { tombstones } = await keyring.shred(TENANT, { confirm: TENANT });
  await close(keyring);
  for (const end of ["-wal", "-shm"]) rmSync(path + end, { force: true });
  copyFileSync(backup, path);
  const restored = await ready(`sqlite:///${path}`);
  await opens(restored, sealed);
  await restored.replayTombstones(tombstones);
  await code(opens(restored, sealed), "key_destroyed");
  await close(restored);
});
