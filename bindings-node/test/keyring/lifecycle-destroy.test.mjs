// The end of one DEK: its waiting time, the scan, and another process, of Node or Python, that goes on sealing meanwhile.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { python } from "../langgraph/servers.mjs";
import { age, allRows, code, dekIdOf, memoryStore, opens, paged, query, ready, seal, storeOf, WAIT_S, wait } from "./lifecycle-support.mjs";
import { FakeKms, STORES, TENANT } from "./support.mjs";

const kek = "env:SEALPOINT_KEK";
const raw = (dekId) => new Uint8Array(Buffer.from(dekId, "hex"));
const state = async (store, dekId) => (await query(store, "SELECT state FROM sealpoint_deks WHERE dek_id = ?", raw(dekId)))[0][0];

/** Seals each time that it is given by how many seconds its clock goes on first. */
const SEALERS = {
  Python: [
    python,
    "-c",
    `
import sys
from sealpoint import Context, Keyring
context = Context(tenant=sys.argv[2], purpose="field", document="u-42", path="/card")
with Keyring.connect(sys.argv[1], kek="env:SEALPOINT_KEK") as keyring:
    for line in sys.stdin:
        keyring._cache._advance(float(line))
        print(keyring.seal(b"the plaintext nobody may see", context).hex(), flush=True)
`,
  ],
  Node: [
    process.execPath,
    "--input-type=module",
    "-e",
    `
import { createInterface } from "node:readline";
import { Keyring } from "sealpoint";
const context = { tenant: process.argv[2], purpose: "field", document: "u-42", path: "/card" };
const keyring = await Keyring.connect(process.argv[1], { kek: "env:SEALPOINT_KEK" });
for await (const line of createInterface({ input: process.stdin })) {
  keyring._cache._advance(Number(line));
  console.log(Buffer.from(await keyring.seal(new TextEncoder().encode("the plaintext nobody may see"), context)).toString("hex"));
}
await keyring.close();
`,
  ],
};

/** A process of its own that seals. */
class Sealer {
  constructor(t, [command, ...args], store) {
    this.child = spawn(command, [...args, store, TENANT], { stdio: ["pipe", "pipe", "inherit"] });
    t.after(() => this.child.kill()); // a test that fails does not wait for it
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async seal(after) {
    this.child.stdin.write(`${after}\n`);
    const { value, done } = await this.lines.next();
    assert.ok(!done, "the sealer ended early");
    return new Uint8Array(Buffer.from(value, "hex"));
  }

  async end() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin.end();
    assert.equal(await ended, 0);
  }
}

for (const [name, make] of Object.entries(STORES)) {
  describe(`destroy in ${name}`, () => {
    /** A retired DEK, and what it sealed. */
    async function retired(kms = new FakeKms()) {
      const store = await make();
      const keyring = await ready(store, kms);
      const sealed = await seal(keyring);
      const { retired: dekId } = await keyring.rotate(TENANT);
      return { store, keyring, dekId, sealed };
    }

    test("step by step", async () => {
      const { store, keyring, dekId, sealed } = await retired();
      const newer = await seal(keyring);
      await code(keyring.scheduleDestroy(dekId), "invalid_argument", "not before");
      await age(store, WAIT_S - 60);
      await code(keyring.scheduleDestroy(dekId), "invalid_argument", "not before");
      await age(store, 61);
      await code(keyring.destroy(dekId, { scannedAt: wait(0), confirm: dekId }), "invalid_argument", "scheduleDestroy");
      await keyring.scheduleDestroy(dekId);
      assert.equal(await state(store, dekId), "pending_destroy");
      await code(opens(keyring, sealed), "key_disabled");
      await code(keyring.scheduleDestroy(dekId), "invalid_argument", "already");
      await keyring.cancelDestroy(dekId);
      await opens(keyring, sealed);
      await keyring.scheduleDestroy(dekId);
      const rows = await allRows(store);
      await code(keyring.destroy(dekId, { scannedAt: wait(0), confirm: TENANT }), "confirmation_required", "dekId");
      await code(keyring.destroy(dekId, { scannedAt: wait(0) }), "confirmation_required", "dekId");
      await code(keyring.destroy(dekId, { scannedAt: wait(120), confirm: dekId }), "confirmation_required", "scan all data again");
      assert.deepEqual(await allRows(store), rows);
      assert.equal(typeof (await keyring.destroy(dekId, { scannedAt: wait(0), confirm: dekId })), "string");
      assert.equal(await state(store, dekId), "destroyed");
      assert.deepEqual(await query(store, "SELECT count(*) FROM sealpoint_wraps"), [[1]]);
      assert.deepEqual(await query(store, "SELECT count(*) FROM sealpoint_deks WHERE destroyed_at > retired_at"), [[1]]);
      const fresh = await ready(store);
      for (const one of [keyring, fresh]) {
        await code(opens(one, sealed), "key_destroyed");
        await opens(one, newer);
      }
      for (const call of [() => keyring.scheduleDestroy(dekId), () => keyring.cancelDestroy(dekId)]) await code(call(), "key_destroyed");
      await Promise.all([keyring, fresh].map((one) => one.close()));
    });

    for (const [language, command] of Object.entries(SEALERS)) {
      test(`another process, of ${language}, that still seals under the old key`, async (t) => {
        // It does so for as long as its pointer lasts. Destroying is refused for all of that time and longer, so the scan, which may only begin afterwards, sees everything.
        const store = await make();
        const keyring = await ready(store, kek);
        const sealer = new Sealer(t, command, store);
        await sealer.seal(0);
        const { retired: dekId } = await keyring.rotate(TENANT);
        const late = await sealer.seal(30);
        assert.equal(dekIdOf(late), dekId); // sealed after it was retired
        const scannedAt = wait(0);
        for (const waited of [0, 30, 60, 3600]) {
          await age(store, waited);
          await code(keyring.scheduleDestroy(dekId), "invalid_argument", "others may still use the key");
          await opens(keyring, late);
        }
        const last = await sealer.seal(30);
        assert.notEqual(dekIdOf(last), dekId); // its pointer has expired
        await age(store, WAIT_S);
        await keyring.scheduleDestroy(dekId);
        await query(store, "UPDATE sealpoint_deks SET retired_at = ?", (wait(WAIT_S).getTime() - 1) * 1000);
        await code(keyring.destroy(dekId, { scannedAt, confirm: dekId }), "confirmation_required", "scan all data again");
        await keyring.cancelDestroy(dekId); // that scan would find `late`: it is sealed again first
        await opens(keyring, late);
        const moved = await seal(keyring);
        await keyring.scheduleDestroy(dekId);
        await keyring.destroy(dekId, { scannedAt: wait(0), confirm: dekId });
        for (const one of [last, moved]) await opens(keyring, one);
        await code(opens(keyring, late), "key_destroyed");
        await sealer.end();
        await keyring.close();
      });
    }

    test("an active key is never destroyed", async () => {
      const { keyring } = await retired();
      const sealed = await seal(keyring);
      const active = dekIdOf(sealed);
      await code(keyring.scheduleDestroy(active), "invalid_argument", "rotate");
      await code(keyring.cancelDestroy(active), "invalid_argument");
      await code(keyring.destroy(active, { scannedAt: wait(0), confirm: active }), "invalid_argument");
      await opens(keyring, sealed);
      await keyring.close();
    });

    test("arguments that are none", async () => {
      const { store, keyring, dekId } = await retired();
      for (const bad of ["", "xyz", "00".repeat(15), 7, undefined, null, new Uint8Array(16), "0".repeat(31), "g".repeat(32)]) {
        await code(keyring.scheduleDestroy(bad), "invalid_argument", "32 hex digits");
      }
      await code(keyring.scheduleDestroy("00".repeat(16)), "key_not_found");
      await age(store, WAIT_S + 1);
      await keyring.scheduleDestroy(dekId);
      for (const scannedAt of [wait(-3600), undefined, null, "now", Date.now(), new Date("never")]) {
        await code(keyring.destroy(dekId, { scannedAt, confirm: dekId }), "invalid_argument", "scannedAt");
      }
      await code(keyring.destroy(dekId, { scannedAt: wait(0), confirm: dekId, force: true }), "invalid_argument", "force");
      assert.equal(await state(store, dekId), "pending_destroy");
      await keyring.close();
    });

    test("a state that was planted", async () => {
      const { store, keyring, dekId } = await retired();
      await query(store, "UPDATE sealpoint_deks SET retired_at = NULL");
      await code(keyring.scheduleDestroy(dekId), "store_invalid", "set back");
      assert.equal(await state(store, dekId), "retired");
      await keyring.close();
    });

    test("a state that changes at the same moment", async () => {
      const { store, keyring, dekId } = await retired();
      await age(store, WAIT_S + 1);
      const change = "UPDATE sealpoint_deks SET state = 'destroyed' WHERE dek_id = ?";
      const inner = storeOf(store);
      const late = await ready(paged(inner, 500, (method) => (method === "setState" ? query(store, change, raw(dekId)) : undefined)));
      await code(late.scheduleDestroy(dekId), "store_unavailable", "another process");
      assert.equal(await state(store, dekId), "destroyed");
      await Promise.all([keyring, late, inner].map((one) => one.close?.()));
    });
  });
}

test("in memory", async () => {
  const store = await memoryStore();
  const keyring = await ready(store);
  const sealed = await seal(keyring);
  const { retired: dekId } = await keyring.rotate(TENANT);
  await code(keyring.scheduleDestroy(dekId), "invalid_argument", "not before");
  const early = paged(store, 500);
  const retiredAt = (Date.now() - (WAIT_S + 1) * 1000) * 1000;
  const aged = await ready(
    new Proxy(early, { get: (_, name) => (name === "dek" ? async (id) => ({ ...(await store.dek(id)), ...(id && { retiredAt }) }) : early[name]) }),
  );
  await aged.scheduleDestroy(dekId);
  keyring._cache.clear();
  await code(opens(keyring, sealed), "key_disabled");
  await aged.cancelDestroy(dekId);
  await opens(keyring, sealed);
  await aged.scheduleDestroy(dekId);
  assert.equal(await aged.destroy(dekId, { scannedAt: wait(0), confirm: dekId }), "");
  keyring._cache.clear();
  await code(opens(keyring, sealed), "key_destroyed");
  await keyring.close();
});
