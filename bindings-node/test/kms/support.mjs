// What the tests of key services share.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Database from "better-sqlite3";
import { Context, errorCodes, Keyring, wrapContext } from "sealpoint";
import { contextOf, folder, PLAINTEXT, refused, STORES, TENANT } from "../keyring/support.mjs";
import { python } from "../langgraph/servers.mjs";

const run = promisify(execFile);

const dek = { tenant: TENANT, dekPurpose: 1, suite: 1 };
export const WRAP = wrapContext({ ...dek, dekId: new Uint8Array(16) });
export const OTHER_WRAP = wrapContext({ ...dek, dekId: new Uint8Array(16).fill(1) });

/** The code of what a call throws or rejects with, words of its message, and that nothing of what the services say in tests is passed on. */
export async function code(call, expected, words = /./) {
  const error = await refused(typeof call === "function" ? (async () => call())() : call);
  assert.equal(error.code, expected, error.stack);
  assert.equal(error.retryable, errorCodes[expected]);
  assert.match(error.message, words);
  assert.equal(error.cause, undefined);
  for (const told of [TENANT, PLAINTEXT, "111122223333"]) assert.ok(!`${error.stack}`.includes(told), "what is secret in an error");
  return error;
}

/** A SQLite key store that is set up under these KEKs, its keyring, and its rows. */
export async function ready(kek) {
  const store = await STORES.sqlite();
  const keyring = await Keyring.connect(store, { kek });
  await keyring.setup();
  return { store, keyring };
}

export const query = (store, sql) => new Database(store.slice("sqlite:///".length), { readonly: true }).prepare(sql).all();
export const wraps = (store) => query(store, "SELECT kek_uri, kek_version, wrap_alg FROM sealpoint_wraps ORDER BY created_at");

/** Runs Python with the key store and what Node sealed; it opens that and prints what it sealed itself. */
const PEER = `
import os, sys
from sealpoint import Context, Keyring
%MAKE%
store, kek, sealed = sys.argv[1:]
with Keyring.connect(store, kek=make(kek)) as keyring:
    assert keyring.open_text(sealed, Context(tenant="of-node", purpose="field")) == "from Node"
    print(keyring.seal_text("from Python", Context(tenant="of-python", purpose="field")))
`;

/** Python and Node on one key store, each with keys of its own that the other opens. `make`: Python for the KEK from its URI. */
export async function bothLanguages(kek, uri, make = "make = str") {
  const { store, keyring } = await ready(kek);
  const mine = await keyring.sealText("from Node", new Context({ tenant: "of-node", purpose: "field" }));
  const { stdout } = await run(python, ["-c", PEER.replace("%MAKE%", make), store, uri, mine]);
  assert.equal(await keyring.openText(stdout.trim(), new Context({ tenant: "of-python", purpose: "field" })), "from Python");
  await keyring.close();
  const [ours, theirs] = wraps(store);
  assert.deepEqual(ours, theirs);
  return ours;
}

/** What the package says where none of the optional ones are: a copy of it in an empty folder. */
export async function alone(program) {
  const copy = folder();
  const dist = fileURLToPath(new URL("../../dist/", import.meta.url));
  for (const name of readdirSync(dist).filter((name) => /\.(cjs|mjs|node)$/.test(name))) cpSync(`${dist}${name}`, `${copy}/${name}`);
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program], { cwd: copy });
  return stdout.trim();
}

/** A thousand callers on a key that is not held: what they opened. */
export async function thousand(keyring, sealed) {
  keyring._cache.clear();
  const callers = Array.from({ length: 1000 }, (_, i) => (i % 2 ? keyring.openText(sealed, contextOf()) : keyring.sealText(PLAINTEXT, contextOf())));
  return Promise.all(callers);
}
