// What the tests of stores, caches and serializers share.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { DataKey } from "sealpoint";
import { python } from "./servers.mjs";

/** From now on the tenant's active key is a new one, here as JSON for another process. */
export function handed(keyring, tenant) {
  const { key, secret } = DataKey.generate({ tenant });
  keyring._cache.insert(key, { active: true });
  return { tenant, secret: hex(secret.expose()), dek_id: hex(key.dekId), key_check: hex(key.keyCheck) };
}

/** A fake: from now on no key can be had, with this code. */
export function lose(keyring, code) {
  keyring._cache.clear();
  keyring.openTyped = async () => {
    throw Object.assign(new Error("the key cannot be used"), { code, retryable: false });
  };
}

const hex = (bytes) => Buffer.from(bytes).toString("hex");

/** Runs a Python program with the package, JSON in and out. */
export function inPython(program, input) {
  const given = { input: JSON.stringify(input), encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] };
  return JSON.parse(execFileSync(python, ["-c", `${PRELUDE}${program}`], given));
}

const PRELUDE = `
import json, sys
from types import SimpleNamespace
from sealpoint._native import DataKey, DekCache, SecretKey
from sealpoint.langgraph.steps import run
given = json.load(sys.stdin)
cache = DekCache(ttl=60, pointer_ttl=60, capacity=8)
key = given["key"]
cache.insert(DataKey.from_secret(SecretKey.from_bytes(bytes.fromhex(key["secret"])), dek_id=bytes.fromhex(key["dek_id"]), tenant=key["tenant"],
    dek_purpose=1, version=1, suite=1, key_check=bytes.fromhex(key["key_check"])), active=True)
keyring = SimpleNamespace(_cache=cache)
`;

/** The call fails with this code, and its message shows none of these texts. */
export async function refused(code, call, ...hidden) {
  await assert.rejects(
    async () => call(),
    (error) => {
      assert.equal(error.code, code, `${error.code ?? error.stack}: ${error.message}`);
      for (const text of hidden) assert.ok(!error.message.includes(text), "the message shows a value");
      return true;
    },
  );
}

/** Not a model: equal words give near vectors, and it notes what it saw. */
export class FakeEmbeddings {
  seen = [];
  queries = [];

  async embedDocuments(texts) {
    this.seen.push(...texts);
    return texts.map(vector);
  }

  async embedQuery(text) {
    this.queries.push(text);
    return vector(text);
  }
}

export const DIMS = 26;

function vector(text) {
  const counts = new Array(DIMS).fill(0.01);
  for (const letter of text.toLowerCase().match(/[a-z]/g) ?? []) counts[letter.charCodeAt(0) - 97] += 1;
  return counts;
}
