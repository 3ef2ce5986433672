// Which wraps a new DEK must have: set by Python's `sealpoint policy` in the key store, heeded in Node; and key stores of schema version 1.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import Database from "better-sqlite3";
import pg from "pg";
import { Keyring } from "sealpoint";
import { python } from "../langgraph/servers.mjs";
import { contextOf, FakeKms, KEK, OTHER_KEK, refused, STORES } from "./support.mjs";

process.env.SEALPOINT_KEK = KEK;
process.env.OTHER_KEK = OTHER_KEK;
const [ONE, BOTH] = ["env:SEALPOINT_KEK", ["env:SEALPOINT_KEK", "env:OTHER_KEK"]];

const policy = (store, ...options) => execFileSync(python, ["-m", "sealpoint", "policy", "--store", store, "--kek", ONE, ...options], { encoding: "utf8" });

async function sql(store, ...statements) {
  if (store.startsWith("sqlite")) {
    const db = new Database(store.slice("sqlite:///".length));
    for (const statement of statements) db.exec(statement);
    return db.close();
  }
  const client = new pg.Client({ connectionString: store });
  await client.connect();
  for (const statement of statements) await client.query(statement);
  await client.end();
}

for (const [name, make] of Object.entries(STORES)) {
  test(`no key is made without a wrap that the key store requires, in ${name}`, async () => {
    const store = await make();
    const poor = await Keyring.connect(store, { kek: ONE });
    await poor.setup();
    await poor.load("before");
    assert.equal(policy(store, "--require-wrap", ONE, "--require-wrap", "env:OTHER_KEK"), `${BOTH.join("\n")}\n`);

    for (const attempt of [
      () => poor.load("after"),
      () => poor.sealText("x", contextOf("after")),
      () => poor.exportDataKey("after", { reason: "test" }),
      () => poor.load("before", { dekPurpose: "client" }),
    ]) {
      const error = await refused(attempt());
      assert.equal(error.code, "invalid_argument");
      assert.match(error.message, /\(env\).*`sealpoint policy`/);
    }
    const sealed = await poor.sealText("x", contextOf("before"));
    assert.equal(await poor.openText(sealed, contextOf("before")), "x");

    const full = await Keyring.connect(store, { kek: BOTH });
    const made = await full.sealText("y", contextOf("after"));
    assert.equal(await poor.openText(made, contextOf("after")), "y");
    await full.setup(); // keeps what is required
    assert.equal((await refused(poor.load("another"))).code, "invalid_argument");

    await sql(store, "UPDATE sealpoint_settings SET required_keks = 'env:SEALPOINT_KEK\n'");
    assert.equal((await refused(full.load("another"))).code, "store_invalid");
    await sql(store, `UPDATE sealpoint_settings SET required_keks = '${BOTH.join("\n")}'`);
    policy(store, "--clear");
    await poor.load("another");
    await Promise.all([poor.close(), full.close()]);
  });

  test(`a key store of schema version 1 serves, and setup() migrates it, in ${name}`, async () => {
    const store = await make();
    const kms = new FakeKms();
    const keyring = await Keyring.connect(store, { kek: kms });
    await keyring.setup();
    const sealed = await keyring.sealText("x", contextOf("before"));
    await keyring.close();
    await sql(store, "ALTER TABLE sealpoint_settings DROP COLUMN required_keks", "UPDATE sealpoint_settings SET schema_version = 1");

    const again = await Keyring.connect(store, { kek: kms });
    assert.equal(await again.openText(sealed, contextOf("before")), "x");
    await again.load("made under version 1");
    await again.setup();
    await again.setup();
    assert.equal(await again.openText(sealed, contextOf("before")), "x");
    await sql(store, "UPDATE sealpoint_settings SET required_keks = 'fake:other' WHERE schema_version = 2");
    assert.equal((await refused(again.load("another"))).code, "invalid_argument");
    await again.close();
  });
}
