// A key store whose KEK was lost, brought back by `sealpoint recover`: Node opens what was sealed, holds the keys that came back, and seals nothing under them.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { Context, DataKey, DekCache, Keyring, openOnlyContext, wrapContext } from "sealpoint";
import { python } from "../langgraph/servers.mjs";
import { FakeKms, folder, KEK, OTHER_KEK, refused } from "./support.mjs";

const NEW = "env:OTHER_KEK";
const contextOf = (tenant) => new Context({ tenant, purpose: "drill" });

/** Seals for two tenants, one with a retired key and a client key, under a KEK and a recovery key, and prints what it sealed. */
const SEAL = `
import json, sys
from sealpoint import Context, Keyring
with Keyring.connect(sys.argv[1], kek=["env:SEALPOINT_KEK", "recovery:recovery.pub"]) as keyring:
    keyring.setup()
    sealed = []
    def seal(tenant, purpose="data"):
        sealed.append([tenant, purpose, keyring.seal_text("drill", Context(tenant=tenant, purpose="drill"), dek_purpose=purpose)])
    seal("acme"); seal("umbrella"); seal("acme", "client")
    keyring.rotate("acme")
    seal("acme")
print(json.dumps(sealed))
`;

function recovered() {
  const place = folder();
  const store = `sqlite:///${join(place, "keys.db")}`;
  const run = (...command) => {
    const env = { ...process.env, SEALPOINT_KEK: KEK, OTHER_KEK };
    if (command.includes("recover")) delete env.SEALPOINT_KEK;
    return execFileSync(python, command, { cwd: place, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  };
  run("-m", "sealpoint", "keygen", "--recovery", "--public-file", "recovery.pub", "--file", "recovery.secret");
  const sealed = JSON.parse(run("-c", SEAL, store));
  const report = run("-m", "sealpoint", "recover", "--store", store, "--kek", NEW, "--secret-file", "recovery.secret", "--json");
  assert.deepEqual([JSON.parse(report).recovered, JSON.parse(report).activated, JSON.parse(report).complete], [4, 3, true]);
  return { store, sealed, db: new Database(join(place, "keys.db")) };
}

test("a recovered key store opens and seals in Node, and nothing is sealed under what came back", async () => {
  const { store, sealed, db } = recovered();
  const kms = new FakeKms(NEW, { kek: OTHER_KEK });
  const keyring = await Keyring.connect(store, { kek: kms });
  kms.calls = { wrap: 0, unwrap: 0 };
  const openAll = async () => {
    for (const [tenant, dekPurpose, text] of sealed) assert.equal(await keyring.openText(text, contextOf(tenant), { dekPurpose }), "drill");
  };
  await openAll();
  await openAll();
  assert.deepEqual(kms.calls, { wrap: 0, unwrap: 4 }); // each is held, though nothing may be sealed under it

  const made = await keyring.sealText("after", contextOf("acme"));
  assert.equal(await keyring.openText(made, contextOf("acme")), "after");

  // Somebody who writes the database makes a key active that came back.
  db.exec("UPDATE sealpoint_deks SET state = 'retired' WHERE tenant = 'umbrella'");
  db.exec("UPDATE sealpoint_deks SET state = 'active' WHERE tenant = 'umbrella' AND version = 1");
  for (const attempt of [keyring.sealText("x", contextOf("umbrella")), keyring.load("umbrella")]) {
    const error = await refused(attempt);
    assert.equal(error.code, "key_not_found");
    assert.match(error.message, /sealpoint rotate/);
  }
  db.exec("UPDATE sealpoint_deks SET state = 'retired' WHERE purpose = 3");
  db.exec("UPDATE sealpoint_deks SET state = 'active' WHERE purpose = 3 AND version = 1");
  assert.equal((await refused(keyring.exportDataKey("acme", { reason: "test" }))).code, "key_not_found");
  await openAll();
  await keyring.close();

  // And takes away the name that says what it is.
  db.exec("UPDATE sealpoint_wraps SET wrap_alg = 'sealpoint-v1' WHERE wrap_alg = 'sealpoint-v1+open-only'");
  const again = await Keyring.connect(store, { kek: new FakeKms(NEW, { kek: OTHER_KEK }) });
  for (const [tenant, dekPurpose, text] of sealed)
    assert.equal((await refused(again.openText(text, contextOf(tenant), { dekPurpose }))).code, "authentication_failed");
  assert.equal((await refused(again.sealText("x", contextOf("umbrella")))).code, "authentication_failed");
  await again.close();
  db.close();
});

test("a cache holds a key open-only until it is inserted otherwise, and then that key", () => {
  const dekId = new Uint8Array(16).fill(7);
  const { key: model } = DataKey.generate({ tenant: "acme" });
  const cache = new DekCache({ ttl: 60, pointerTtl: 60, capacity: 10 });
  const context = new Context({ tenant: "acme", purpose: "field" });
  cache.insert(model, { active: true, openOnly: true });
  assert.equal(cache.setActive("acme", 1, model.dekId), false);
  assert.equal(cache.seal(new Uint8Array(1), context), undefined);
  assert.deepEqual(cache.open(model.seal(new Uint8Array([5]), context), context), new Uint8Array([5]));
  cache.insert(model, { active: true });
  assert.ok(cache.seal(new Uint8Array(1), context));
  assert.throws(() => cache.insert(model, { openOnly: 1 }), { code: "invalid_argument" });

  const bound = openOnlyContext(wrapContext({ tenant: "acme", dekId, dekPurpose: 1, suite: 1 }));
  assert.equal(bound.pairs()["dek.use"], "open");
  assert.throws(() => openOnlyContext(bound), { code: "invalid_context" });
  assert.throws(() => openOnlyContext({ tenant: "acme" }), { code: "invalid_argument" });
});
