// Python and Node on one key store at the same moment: one active DEK for each tenant, no lost row, and each opens what the other sealed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import Database from "better-sqlite3";
import pg from "pg";
import { Context, Keyring } from "sealpoint";
import { python } from "../langgraph/servers.mjs";
import { KEK, STORES } from "./support.mjs";

process.env.SEALPOINT_KEK = KEK;
const kek = "env:SEALPOINT_KEK";
const TENANTS = Array.from({ length: 50 }, (_, i) => `tenant-${i}`);
const contextOf = (tenant) => new Context({ tenant, purpose: "race" });

/** Says "ready", waits for a line, seals for every tenant in an order of its own, prints the envelopes, and opens what it is then given. */
const PYTHON = `
import json, random, sys
from sealpoint import Context, Keyring
keyring = Keyring.connect(sys.argv[1], kek="env:SEALPOINT_KEK")
print("ready", flush=True)
tenants = json.loads(sys.stdin.readline())
mixed = random.sample(tenants, len(tenants))
sealed = {tenant: keyring.seal_text(tenant, Context(tenant=tenant, purpose="race")) for tenant in mixed}
print(json.dumps(sealed), flush=True)
for tenant, text in json.loads(sys.stdin.readline()):
    assert keyring.open_text(text, Context(tenant=tenant, purpose="race")) == tenant
print("opened", flush=True)
`;

const WORKER = `
const { parentPort, workerData } = require("node:worker_threads");
const { Context, Keyring } = require("sealpoint");
(async () => {
  const keyring = await Keyring.connect(workerData, { kek: "env:SEALPOINT_KEK" });
  parentPort.postMessage("ready");
  const tenants = await new Promise((resolve) => parentPort.once("message", resolve));
  const texts = await Promise.all(tenants.map((tenant) => keyring.sealText(tenant, new Context({ tenant, purpose: "race" }))));
  parentPort.postMessage(Object.fromEntries(tenants.map((tenant, i) => [tenant, texts[i]])));
  await keyring.close();
})();
`;

class PythonPeer {
  constructor(store) {
    this.child = spawn(python, ["-c", PYTHON, store], { stdio: ["pipe", "pipe", "inherit"] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async read() {
    const { value, done } = await this.lines.next();
    assert.ok(!done, "Python ended early");
    return value;
  }

  write(value) {
    this.child.stdin.write(`${JSON.stringify(value)}\n`);
  }
}

async function counts(store) {
  const sql =
    "SELECT (SELECT count(*) FROM sealpoint_deks WHERE state = 'active') AS active, (SELECT count(*) FROM sealpoint_deks) AS deks, (SELECT count(*) FROM sealpoint_wraps) AS wraps, (SELECT count(*) FROM sealpoint_tenants) AS tenants";
  if (store.startsWith("sqlite")) return new Database(store.slice("sqlite:///".length)).prepare(sql).get();
  const client = new pg.Client({ connectionString: store });
  await client.connect();
  const { rows } = await client.query(sql);
  await client.end();
  return Object.fromEntries(Object.entries(rows[0]).map(([name, value]) => [name, Number(value)]));
}

for (const [name, make] of Object.entries(STORES)) {
  test(`Python and Node make the first keys of 50 tenants at once in ${name}`, async () => {
    const store = await make();
    const keyring = await Keyring.connect(store, { kek });
    await keyring.setup();
    const pythons = [new PythonPeer(store), new PythonPeer(store)];
    const workers = [1, 2].map(() => new Worker(WORKER, { eval: true, workerData: store }));
    const said = (worker) => new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    assert.deepEqual(await Promise.all([...pythons.map((peer) => peer.read()), ...workers.map(said)]), ["ready", "ready", "ready", "ready"]);

    const answers = [...pythons.map((peer) => peer.read().then(JSON.parse)), ...workers.map(said)];
    for (const peer of pythons) peer.write(TENANTS);
    for (const worker of workers) worker.postMessage(TENANTS);
    const mine = Promise.all(TENANTS.map(async (tenant) => [tenant, await keyring.sealText(tenant, contextOf(tenant))]));
    const all = [...(await Promise.all(answers)).flatMap((sealed) => Object.entries(sealed)), ...(await mine)];

    assert.equal(all.length, 5 * TENANTS.length);
    assert.deepEqual(await counts(store), { active: 50, deks: 50, wraps: 50, tenants: 50 });
    for (const [tenant, sealed] of all) assert.equal(await keyring.openText(sealed, contextOf(tenant)), tenant);
    for (const peer of pythons) peer.write(all);
    assert.deepEqual(await Promise.all(pythons.map((peer) => peer.read())), ["opened", "opened"]);
    for (const peer of pythons) peer.child.stdin.end();
    await keyring.close();
  });
}
