// Python and Node share the life of keys: what the one rotates, rewraps, destroys and erases, the other sees, goes on with, and puts back.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { Keyring } from "sealpoint";
import { python } from "../langgraph/servers.mjs";
import { age, allRows, code, dekIdOf, OTHER_TENANT, opens, paged, query, ready, seal, storeOf, WAIT_S, wait } from "./lifecycle-support.mjs";
import { STORES, TENANT } from "./support.mjs";

const [OLD, NEW] = ["env:SEALPOINT_KEK", "env:OTHER_KEK"];
const bytes = (text) => new Uint8Array(Buffer.from(text, "hex"));

/** Evaluates a line of Python for a line, with a keyring; answers with JSON, or with the code of what was raised. */
const PYTHON = `
import json, sys
from datetime import UTC, datetime, timedelta
from sealpoint import Context, Keyring, SealpointError
from sealpoint.lifecycle import Tombstone, _jobs
def context(tenant):
    return Context(tenant=tenant, purpose="field", document="u-42", path="/card")
def stop(deks):
    if deks == 4:
        raise SealpointError("internal", "stopped on purpose")
keyring = Keyring.connect(sys.argv[1], kek=sys.argv[2:])
for line in sys.stdin:
    try:
        answer = eval(json.loads(line))
        if hasattr(answer, "to_json"):
            answer = json.loads(answer.to_json())
        print(json.dumps({"answer": answer.hex() if isinstance(answer, bytes) else answer}, default=str), flush=True)
    except SealpointError as error:
        print(json.dumps({"code": error.code}), flush=True)
`;

class Python {
  constructor(t, store, ...keks) {
    this.child = spawn(python, ["-c", PYTHON, store, ...keks], { stdio: ["pipe", "pipe", "inherit"] });
    t.after(() => this.child.kill()); // a test that fails does not wait for it
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async ask(line) {
    this.child.stdin.write(`${JSON.stringify(line)}\n`);
    const { value, done } = await this.lines.next();
    assert.ok(!done, "Python ended early");
    return JSON.parse(value);
  }

  /** The value of an expression. */
  async of(line) {
    const { answer, code } = await this.ask(line);
    assert.equal(code, undefined, line);
    return answer;
  }

  async end() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin.end();
    assert.equal(await ended, 0);
  }
}

const sealIn = (peer, tenant = TENANT) => peer.of(`keyring.seal(b"the plaintext nobody may see", context("${tenant}"))`).then(bytes);
const openIn = (peer, sealed, tenant = TENANT) =>
  peer.ask(`keyring.open(bytes.fromhex("${Buffer.from(sealed).toString("hex")}"), context("${tenant}")).decode()`);
const OPENED = { answer: "the plaintext nobody may see" };

for (const [name, make] of Object.entries(STORES)) {
  describe(`Python and Node in ${name}`, () => {
    async function both(t, keks = [OLD]) {
      const store = await make();
      const node = await ready(store, keks);
      const peer = new Python(t, store, ...keks);
      const close = () => Promise.all([node.close(), peer.end()]);
      return { store, node, peer, close };
    }

    test("a rotation by the one is seen by the other", async (t) => {
      const { store, node, peer, close } = await both(t);
      const first = await sealIn(peer);
      const second = await node.rotate(TENANT);
      assert.equal(second.retired, dekIdOf(first));
      await peer.of("keyring._cache._advance(60)"); // it seals under the old one until it reads the key store again
      const sealed = await sealIn(peer);
      assert.equal(dekIdOf(sealed), second.dekId);
      const third = await peer.of(`keyring.rotate("${TENANT}")`);
      assert.deepEqual([third.version, third.retired], [3, second.dekId]);
      node._cache._advance(60);
      const last = await seal(node);
      assert.equal(dekIdOf(last), third.dek_id);
      for (const one of [first, sealed, last]) {
        await opens(node, one);
        assert.deepEqual(await openIn(peer, one), OPENED);
      }
      const rows = await query(store, "SELECT version, state, rotated_by FROM sealpoint_deks ORDER BY version");
      assert.deepEqual(rows, [
        [1, "retired", second.dekId],
        [2, "retired", third.dek_id],
        [3, "active", null],
      ]);
      await close();
    });

    test("of two rotations at once, one by each, one wins", async (t) => {
      const { store, node, peer, close } = await both(t);
      await node.load(TENANT);
      await peer.of(`keyring.load("${TENANT}")`);
      // Node has read the old active DEK, and made its own, when Python rotates.
      const inner = storeOf(store);
      let winner;
      const first = async (method) => {
        if (method === "replaceActive") winner = await peer.of(`keyring.rotate("${TENANT}")`);
      };
      const late = await Keyring.connect(paged(inner, 500, first), { kek: OLD });
      const done = await late.rotate(TENANT);
      assert.deepEqual([done.rotated, done.dekId, done.version, winner.rotated], [false, winner.dek_id, 2, true]);
      const rows = await query(store, "SELECT version, state FROM sealpoint_deks ORDER BY version");
      assert.deepEqual(rows, [
        [1, "retired"],
        [2, "active"],
      ]);
      await late.close();
      await inner.close?.();
      await close();
    });

    test("a rewrap that the one begins and the other finishes", async (t) => {
      for (const [begin, finish] of [
        ["python", "node"],
        ["node", "python"],
      ]) {
        const store = await make();
        const first = await ready(store, OLD);
        const tenants = Array.from({ length: 10 }, (_, i) => `tenant-${i}`);
        const sealed = await Promise.all(tenants.map((tenant) => seal(first, tenant)));
        const inner = storeOf(store);
        const node = await Keyring.connect(paged(inner, 4), { kek: [OLD, NEW] });
        const peer = new Python(t, store, OLD, NEW);
        await peer.of("setattr(_jobs, 'PAGE', 4)");
        const stop = (deks) => {
          if (deks === 4) throw new Error("stop");
        };
        if (begin === "node") await assert.rejects(node.rewrap(OLD, NEW, { progress: stop }), /stop/);
        else assert.equal((await peer.ask(`keyring.rewrap("${OLD}", "${NEW}", progress=stop)`)).code, "internal");
        assert.deepEqual(await query(store, "SELECT count(*) FROM sealpoint_wraps WHERE kek_uri = ?", NEW), [[4]]);
        const kept = await allRows(store);
        const report = finish === "node" ? await node.rewrap(OLD, NEW) : await peer.of(`keyring.rewrap("${OLD}", "${NEW}")`);
        assert.deepEqual([report.wrapped, report.verified, report.complete], [6, 10, true]);
        const rows = await allRows(store);
        assert.ok(kept.wraps.every((row) => rows.wraps.some((one) => JSON.stringify(one) === JSON.stringify(row)))); // none was made again
        await query(store, "UPDATE sealpoint_wraps SET verified_at = verified_at - ?", WAIT_S * 1_000_000);
        const young = new Python(t, store, NEW);
        const youngNode = await Keyring.connect(store, { kek: NEW });
        if (finish === "node") assert.equal((await young.of(`keyring.drop_wraps("${OLD}")`)).dropped, 10);
        else assert.equal((await youngNode.dropWraps(OLD)).dropped, 10);
        for (const [i, tenant] of tenants.entries()) {
          await opens(youngNode, sealed[i], tenant);
          assert.deepEqual(await openIn(young, sealed[i], tenant), OPENED);
        }
        await Promise.all([first.close(), node.close(), youngNode.close(), peer.end(), young.end()]);
        await inner.close?.();
      }
    });

    test("a DEK that the one schedules and the other destroys", async (t) => {
      const { store, node, peer, close } = await both(t);
      const sealed = await sealIn(peer);
      const { retired: dekId } = await node.rotate(TENANT);
      assert.equal((await peer.ask(`keyring.schedule_destroy("${dekId}")`)).code, "invalid_argument");
      await age(store, WAIT_S + 1);
      await peer.of(`keyring.schedule_destroy("${dekId}")`);
      await code(opens(node, sealed), "key_disabled");
      await node.cancelDestroy(dekId);
      await opens(node, sealed);
      await node.scheduleDestroy(dekId);
      assert.equal(
        (await peer.ask(`keyring.destroy("${dekId}", scanned_at=datetime.now(UTC) - timedelta(hours=1), confirm="${dekId}")`)).code,
        "confirmation_required",
      );
      await node.destroy(dekId, { scannedAt: wait(0), confirm: dekId });
      await peer.of("keyring._cache.clear()");
      assert.equal((await openIn(peer, sealed)).code, "key_destroyed");
      assert.equal((await peer.ask(`keyring.cancel_destroy("${dekId}")`)).code, "key_destroyed");
      await close();
    });

    test("a tenant that the one erases is gone for the other", async (t) => {
      const { node, peer, close } = await both(t);
      const [mine, theirs] = [await seal(node), await sealIn(peer, OTHER_TENANT)];
      await node.shred(TENANT, { confirm: TENANT });
      await peer.of(`keyring.shred("${OTHER_TENANT}", confirm="${OTHER_TENANT}")`);
      assert.equal((await openIn(peer, mine)).code, "key_destroyed");
      assert.equal((await peer.ask(`keyring.load("${TENANT}")`)).code, "key_destroyed");
      await code(opens(node, theirs, OTHER_TENANT), "key_destroyed");
      await code(node.load(OTHER_TENANT), "key_destroyed");
      const stones = await peer.of("[[stone.tenant, stone.shredded_at.timestamp()] for stone in keyring.tombstones()]");
      assert.deepEqual(
        (await node.tombstones()).map(({ tenant, shreddedAt }) => [tenant, shreddedAt.getTime()]),
        stones.map(([tenant, at]) => [tenant, Math.floor(at * 1000)]),
      );
      assert.equal(await peer.of(`keyring.readmit("${TENANT}")`), true);
      await opens(node, await seal(node));
      await close();
    });

    test("status says the same in both", async (t) => {
      const { node, peer, close } = await both(t, [OLD, NEW]);
      for (const tenant of ["a", "b", "ä", "\u{10000}", "\uffee"]) await node.load(tenant);
      await node.rotate("a");
      await peer.of('keyring.load("b", dek_purpose="client")');
      await node.shred("b", { confirm: "b" });
      const inPython = await peer.of("[json.loads(one.to_json()) for one in keyring.status()]");
      const camel = (value) => {
        if (Array.isArray(value)) return value.map(camel);
        if (typeof value === "string" && /^\d{4}-.*T.*\+00:00$/.test(value)) return new Date(value).getTime();
        if (typeof value !== "object" || value === null) return value;
        return Object.fromEntries(Object.entries(value).map(([key, part]) => [key.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), camel(part)]));
      };
      const inNode = JSON.parse(JSON.stringify(await node.status()), (_, value) =>
        typeof value === "string" && /^\d{4}-.*T.*Z$/.test(value) ? new Date(value).getTime() : value,
      );
      assert.deepEqual(inNode, camel(inPython));
      await close();
    });
  });
}

for (const [erases, replays] of [
  ["Node", "Python"],
  ["Python", "Node"],
]) {
  test(`tombstones that ${erases} exports are replayed by ${replays}, from the file`, async (t) => {
    const file = join(mkdtempSync(join(tmpdir(), "sealpoint-")), "tombstones.json");
    const [store, backup] = [await STORES.sqlite(), await STORES.postgres()];
    const node = await ready(store, OLD);
    await seal(node);
    if (erases === "Node") {
      await node.shred(TENANT, { confirm: TENANT });
      writeFileSync(file, JSON.stringify({ tombstones: await node.tombstones() }));
    } else {
      const peer = new Python(t, store, OLD);
      writeFileSync(file, JSON.stringify(await peer.of(`keyring.shred("${TENANT}", confirm="${TENANT}")`)));
      await peer.end();
    }
    // Another key store, in which the tenant's keys are from before, as after a restore.
    const restored = await ready(backup, OLD);
    const sealed = await seal(restored);
    await query(backup, "UPDATE sealpoint_deks SET created_at = created_at - 3600000000");
    if (replays === "Node") assert.equal((await restored.replayTombstones(JSON.parse(readFileSync(file, "utf8")).tombstones)).shredded, 1);
    else {
      const child = spawn(python, ["-m", "sealpoint", "shred", "--store", backup, "--kek", OLD, "--replay", file], { stdio: ["ignore", "ignore", "inherit"] });
      assert.equal(await new Promise((resolve) => child.once("exit", resolve)), 0);
    }
    const fresh = await Keyring.connect(backup, { kek: OLD });
    await code(opens(fresh, sealed), "key_destroyed");
    await Promise.all([node, restored, fresh].map((one) => one.close()));
  });
}
