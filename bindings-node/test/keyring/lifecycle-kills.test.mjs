// Jobs on keys in a real process that is killed at a statement, and run again, and killed again, until it comes through. Meanwhile others seal and open.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Keyring } from "sealpoint";
import { code, opens, query, ready, seal } from "./lifecycle-support.mjs";
import { STORES } from "./support.mjs";

const [OLD, NEW] = ["env:SEALPOINT_KEK", "env:OTHER_KEK"];
const TENANTS = Array.from({ length: 12 }, (_, i) => `tenant-${i}`);
const killed = fileURLToPath(new URL("killed.mjs", import.meta.url));

/** How a job ended: the signal, or null. */
function run(...given) {
  const child = spawn(process.execPath, [killed, ...given.map(String)], { stdio: ["ignore", "inherit", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    said += text;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (status, signal) => (status === 0 || signal === "SIGKILL" ? resolve(signal) : reject(new Error(`the job failed: ${said}`))));
  });
}

/** Kills the job later each time, until it ends by itself. How often. */
async function killAgainAndAgain(store, [first, step], ...job) {
  for (let kills = 0; ; kills += 1) if ((await run(first + step * kills, store, ...job)) === null) return kills;
}

/** A second application, which seals and opens for all tenants while the work goes on. Returns what it sealed. */
async function othersAtWork(store, work) {
  const keyring = await ready(store, OLD);
  const sealed = [];
  for (const tenant of TENANTS) sealed.push([tenant, await seal(keyring, tenant)]);
  let over = false;
  const working = (async () => {
    while (!over) {
      for (const tenant of TENANTS) {
        const one = await seal(keyring, tenant);
        await opens(keyring, one, tenant);
        sealed.push([tenant, one]);
      }
      keyring._cache.clear();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  working.catch(() => {});
  try {
    await work();
  } finally {
    over = true;
  }
  await working;
  await keyring.close();
  return sealed;
}

async function allOpen(store, sealed, kek) {
  const keyring = await Keyring.connect(store, { kek });
  for (const [tenant, one] of sealed) await opens(keyring, one, tenant);
  await keyring.close();
}

const wraps = (store) => query(store, "SELECT kek_uri, count(*) FROM sealpoint_wraps GROUP BY kek_uri ORDER BY kek_uri DESC");

for (const [name, make] of Object.entries(STORES)) {
  describe(`a killed job in ${name}`, () => {
    test("rotate", async () => {
      const store = await make();
      let kills;
      const sealed = await othersAtWork(store, async () => {
        kills = await killAgainAndAgain(store, [4, 45], "rotate", new Date().toISOString());
      });
      assert.ok(kills >= 3, `${kills}`);
      const rows = await query(store, "SELECT tenant, version, state FROM sealpoint_deks ORDER BY tenant, version");
      const expected = [...TENANTS].sort().flatMap((tenant) => [
        [tenant, 1, "retired"],
        [tenant, 2, "active"],
      ]);
      assert.deepEqual(rows, expected);
      assert.deepEqual(await query(store, "SELECT count(*) FROM sealpoint_wraps WHERE verified_at > 0"), [[3 * TENANTS.length]]);
      await allOpen(store, sealed, OLD);
    });

    test("rewrap", async () => {
      const store = await make();
      let kills;
      const sealed = await othersAtWork(store, async () => {
        kills = await killAgainAndAgain(store, [1, 9], "rewrap", OLD, NEW);
      });
      assert.ok(kills >= 3, `${kills}`);
      assert.deepEqual(await wraps(store), [
        [OLD, TENANTS.length],
        [NEW, TENANTS.length],
      ]);
      await allOpen(store, sealed, NEW);
      await allOpen(store, sealed, OLD);
    });

    test("rewrap, in the middle of its first pass", async () => {
      const store = await make();
      const keyring = await ready(store, OLD);
      for (const tenant of TENANTS) await keyring.load(tenant);
      assert.equal(await run("page:1", store, "rewrap", OLD, NEW), "SIGKILL");
      assert.deepEqual(await wraps(store), [
        [OLD, 12],
        [NEW, 6],
      ]); // two pages of three
      const both = await Keyring.connect(store, { kek: [OLD, NEW] });
      const report = await both.rewrap(OLD, NEW);
      assert.deepEqual([report.wrapped, report.verified, report.complete], [6, 12, true]); // it goes on where it was
      await Promise.all([keyring, both].map((one) => one.close()));
    });

    test("shred", async () => {
      const store = await make();
      const keyring = await ready(store, OLD);
      for (const tenant of TENANTS.slice(0, 2)) {
        await keyring.load(tenant);
        await keyring.rotate(tenant);
      }
      assert.ok((await killAgainAndAgain(store, [0, 3], "shred", TENANTS[0])) >= 4);
      const fresh = await Keyring.connect(store, { kek: OLD });
      await fresh.load(TENANTS[1]);
      await code(fresh.load(TENANTS[0]), "key_destroyed");
      assert.deepEqual(await query(store, "SELECT DISTINCT state FROM sealpoint_deks WHERE tenant = ?", TENANTS[0]), [["destroyed"]]);
      assert.deepEqual(await query(store, "SELECT count(*) FROM sealpoint_wraps"), [[2]]);
      await Promise.all([keyring, fresh].map((one) => one.close()));
    });
  });
}
