// What a key store does for the life of keys: memory, SQLite and Postgres alike. Each change names what it expects to find.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import pg from "pg";
import { PostgresStore } from "sealpoint";
import { postgres } from "../langgraph/servers.mjs";
import { code, hex, liftConstraints, memoryStore, query, storeOf } from "./lifecycle-support.mjs";
import { STORES, TENANT } from "./support.mjs";

const id = (byte) => new Uint8Array(16).fill(byte);
const text = (bytes) => new TextEncoder().encode(bytes);
const wrap = (kekUri, wrapped = "wrapped") => ({ kekUri, kekVersion: "v1", wrapAlg: "alg", wrapped: text(wrapped), createdAt: 1, verifiedAt: 2 });
const THIRD = wrap("env:C", "third");
const FIRST = id(1);

function dek(dekId = FIRST, given = {}) {
  const base = { tenant: TENANT, dekPurpose: 1, suite: 1, version: 1, state: "active", keyCheck: new Uint8Array(32).fill(9), createdAt: 5, shreddedAt: null };
  return { dekId, ...base, wraps: [wrap("env:A"), wrap("env:B")], ...given };
}

/** A record, comparable whatever kinds of bytes are in it. */
function plain(value) {
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}

const ids = (rows) => rows.map(({ dekId }) => hex(dekId));

for (const [name, make] of Object.entries({
  memory: memoryStore,
  sqlite: async () => storeOf(await STORES.sqlite()),
  postgres: async () => storeOf(await postgres()),
})) {
  describe(`a key store in ${name}`, () => {
    const set = async () => {
      const store = await make();
      await store.setup(3600);
      await store.createDek(dek());
      return store;
    };

    test("pages", async () => {
      const store = await set();
      const tenants = ["b", "a", "ä", "Z", "\u{10000}", "\uffee"];
      for (const [i, tenant] of tenants.entries()) await store.createDek(dek(id(255 - i), { tenant }));
      const names = [...tenants, TENANT].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const page = await store.pageTenants(undefined, 9);
      assert.deepEqual(
        page.map(([tenant]) => tenant),
        names,
      );
      assert.ok(page.every(([, known]) => known.createdAt > 1e15 && known.shreddedAt === null));
      assert.deepEqual(
        (await store.pageTenants(names[1], 2)).map(([tenant]) => tenant),
        names.slice(2, 4),
      );
      assert.deepEqual(await store.pageTenants(names.at(-1), 2), []);
      const all = ids(await store.pageDeks(undefined, 9));
      assert.deepEqual(
        all,
        ["01", "fa", "fb", "fc", "fd", "fe", "ff"].map((byte) => byte.repeat(16)),
      );
      assert.deepEqual(ids(await store.pageDeks(FIRST, 2)), all.slice(1, 3));
      assert.deepEqual(await store.pageDeks(id(255), 2), []);
      assert.deepEqual(
        (await store.deksOf(["a", "Z", "nobody"])).map(({ tenant }) => tenant),
        ["Z", "a"],
      );
      assert.deepEqual(plain(await store.deksOf([TENANT])), plain([await store.dek(FIRST)]));
      await store.close?.();
    });

    test("replacing the active one", async () => {
      const store = await set();
      const successor = dek(id(2), { version: 2 });
      assert.equal(hex((await store.replaceActive(id(0), successor)).dekId), hex(FIRST), "it is not that one");
      assert.equal(await store.dek(id(2)), undefined);
      assert.equal(hex((await store.replaceActive(FIRST, successor)).dekId), hex(id(2)));
      assert.equal(hex((await store.replaceActive(FIRST, successor)).dekId), hex(id(2)), "repeated");
      const old = await store.dek(FIRST);
      assert.deepEqual([old.state, old.retiredAt > 1e15, old.wraps.length], ["retired", true, 2]);
      const { retiredAt = null, destroyedAt = null, ...active } = await store.activeDek(TENANT, 1);
      assert.deepEqual(plain({ ...active, retiredAt, destroyedAt }), plain({ ...successor, retiredAt: null, destroyedAt: null }));
      await code(store.replaceActive(FIRST, dek(id(2), { dekPurpose: 2 })), "key_not_found");
      await store.shredTenant(TENANT, 5);
      await code(store.replaceActive(id(2), dek(id(0), { version: 3 })), "key_destroyed");
      await store.close?.();
    });

    test("putting wraps", async () => {
      const store = await set();
      const before = await store.dek(FIRST);
      const [first] = before.wraps;
      const newer = { ...first, kekVersion: "v2", wrapped: text("newer") };
      const nothing = [
        { dekId: id(0), wrap: THIRD, replaces: null }, // no such DEK
        { dekId: FIRST, wrap: first, replaces: null }, // there is one already
        { dekId: FIRST, wrap: newer, replaces: text("something else") },
        { dekId: FIRST, wrap: THIRD, replaces: text("nothing there") },
      ];
      assert.equal(await store.putWraps(nothing), 0);
      assert.deepEqual(plain(await store.dek(FIRST)), plain(before));
      const changes = [
        { dekId: FIRST, wrap: THIRD, replaces: null },
        { dekId: FIRST, wrap: newer, replaces: first.wrapped },
      ];
      assert.equal(await store.putWraps([...nothing, ...changes]), 2);
      const found = plain((await store.dek(FIRST)).wraps).sort((a, b) => (a.kekUri < b.kekUri ? -1 : 1));
      assert.deepEqual(found, plain([newer, wrap("env:B"), THIRD]));
      assert.equal(await store.putWraps(changes), 0, "repeated");
      await store.close?.();
    });

    test("dropping wraps", async () => {
      const store = await set();
      const [dropped, kept] = (await store.dek(FIRST)).wraps;
      const changed = (one) => ({ ...one, wrapped: text("other") });
      assert.equal(await store.dropWraps([{ dekId: FIRST, dropped, kept: changed(kept) }]), 0);
      assert.equal(await store.dropWraps([{ dekId: FIRST, dropped: changed(dropped), kept }]), 0);
      assert.equal(await store.dropWraps([{ dekId: id(0), dropped, kept }]), 0);
      assert.equal(await store.dropWraps([{ dekId: FIRST, dropped, kept }]), 1);
      assert.equal(await store.dropWraps([{ dekId: FIRST, dropped: kept, kept: dropped }]), 0, "nothing would be left");
      assert.deepEqual(plain((await store.dek(FIRST)).wraps), plain([kept]));
      await store.close?.();
    });

    test("two that would each drop the wrap that the other keeps", async () => {
      const store = await set();
      const [a, b] = (await store.dek(FIRST)).wraps;
      const done = await Promise.all([store.dropWraps([{ dekId: FIRST, dropped: a, kept: b }]), store.dropWraps([{ dekId: FIRST, dropped: b, kept: a }])]);
      assert.deepEqual([done[0] + done[1], (await store.dek(FIRST)).wraps.length], [1, 1]);
      await store.close?.();
    });

    test("states", async () => {
      const store = await set();
      assert.equal(await store.setState(FIRST, "retired", "pending_destroy"), false);
      assert.equal((await store.dek(FIRST)).state, "active");
      assert.equal(await store.setState(FIRST, "active", "retired"), true);
      assert.equal(await store.setState(FIRST, "retired", "destroyed"), true);
      const gone = await store.dek(FIRST);
      assert.deepEqual([gone.state, gone.wraps, gone.destroyedAt > 1e15], ["destroyed", [], true]);
      assert.equal(await store.putWraps([{ dekId: FIRST, wrap: THIRD, replaces: null }]), 0);
      assert.equal(await store.setState(id(0), "active", "retired"), false);
      await store.close?.();
    });

    test("shredding", async () => {
      const store = await set();
      await store.createDek(dek(id(2), { dekPurpose: 2 }));
      await store.createDek(dek(id(0), { tenant: "other" }));
      for (const at of [7, 9]) assert.deepEqual(new Set((await store.shredTenant(TENANT, at)).map(hex)), new Set([hex(FIRST), hex(id(2))]));
      const gone = await store.dek(FIRST);
      assert.deepEqual([gone.state, gone.shreddedAt, gone.destroyedAt, gone.wraps], ["destroyed", 7, 7, []]);
      const spared = await store.dek(id(0));
      assert.deepEqual([spared.state, spared.wraps.length], ["active", 2]);
      await code(store.createDek(dek(id(3), { version: 3 })), "key_destroyed");
      assert.equal(await store.putWraps([{ dekId: FIRST, wrap: THIRD, replaces: null }]), 0);
      assert.deepEqual([await store.readmitTenant(TENANT), await store.readmitTenant(TENANT), await store.readmitTenant("nobody")], [true, false, false]);
      assert.equal(hex((await store.createDek(dek(id(3), { version: 3 }))).dekId), hex(id(3)));
      assert.equal((await store.dek(FIRST)).state, "destroyed");
      assert.deepEqual(await store.shredTenant("never seen", 7), []);
      await code(store.createDek(dek(id(4), { tenant: "never seen" })), "key_destroyed");
      await store.close?.();
    });
  });
}

for (const [name, make] of Object.entries(STORES)) {
  test(`damaged rows are listed in ${name}`, async () => {
    const url = await make();
    const store = storeOf(url);
    await store.setup(3600);
    await store.createDek(dek());
    await store.createDek(dek(id(2), { tenant: "other" }));
    await liftConstraints(url);
    await query(url, "UPDATE sealpoint_deks SET key_check = NULL WHERE dek_id = ?", FIRST);
    const [first, second] = await store.pageDeks(undefined, 5);
    assert.deepEqual([hex(first.dekId), first.keyCheck, hex(second.dekId), second.wraps.length], [hex(FIRST), null, hex(id(2)), 2]);
    await query(url, "DELETE FROM sealpoint_tenants WHERE tenant = 'other'");
    assert.equal(Object.fromEntries(await store.pageTenants(undefined, 5)).other.createdAt, null);
    await store.close?.();
  });
}

test("a NUL in a list", async () => {
  const store = new PostgresStore(await postgres());
  await store.setup(3600);
  await code(store.deksOf(["a\0b"]), "invalid_argument", "NUL");
  await store.close();
});

test("a wrap waits for whoever destroys its DEK", async (t) => {
  // Not committed yet, the destruction is invisible to others; a wrap that did not wait for it would outlive the DEK.
  const url = await postgres();
  const store = new PostgresStore(url);
  await store.setup(3600);
  await store.createDek(dek());
  const shredding = new pg.Client({ connectionString: url });
  await shredding.connect();
  t.after(() => shredding.end()); // a test that fails does not wait for it
  await shredding.query("BEGIN; UPDATE sealpoint_deks SET state = 'destroyed'; DELETE FROM sealpoint_wraps");
  let done = false;
  const putting = store.putWraps([{ dekId: FIRST, wrap: THIRD, replaces: null }]).finally(() => {
    done = true;
  });
  const until = Date.now() + 8000;
  while (!done && (await query(url, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"))[0][0] === 0) {
    assert.ok(Date.now() < until, "it neither waited nor ended");
  }
  assert.equal(done, false);
  await shredding.query("COMMIT");
  assert.equal(await putting, 0);
  assert.deepEqual(await query(url, "SELECT count(*) FROM sealpoint_wraps"), [[0]]);
  await store.close();
});
