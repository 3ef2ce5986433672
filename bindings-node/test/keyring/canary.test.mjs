// A KEK that binds no context opens its canary in place of a DEK, and everybody knows what a canary holds (SPEC section 6.2).
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { Keyring, LocalKek, wrapContext } from "sealpoint";
import { contextOf, folder, KEK, PLAINTEXT, refused, TENANT } from "./support.mjs";

class Unbound {
  uri = "fake:unbound";
  capabilities = { bindsContext: false, authenticates: true };
  #kek = LocalKek.parse(KEK);
  #anywhere = wrapContext({ tenant: "anybody", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 });

  wrap(secret) {
    return { wrapped: this.#kek.wrap(secret, this.#anywhere), wrapAlg: "unbound", kekVersion: "1" };
  }

  unwrap({ wrapped }) {
    return this.#kek.unwrap(wrapped, this.#anywhere);
  }
}

test("a canary in place of a wrap is refused, with a key check that fits it", async () => {
  const file = join(folder(), "keys.db");
  const kek = new Unbound();
  const before = await Keyring.connect(`sqlite:///${file}`, { kek });
  await before.setup();
  const sealed = await before.seal(new TextEncoder().encode(PLAINTEXT), contextOf());
  await before.close();

  const canary = createHash("sha256").update(`sealpoint/v1/canary\0${kek.uri}`).digest();
  const number = (value, bytes) => Buffer.from(value.toString(16).padStart(2 * bytes, "0"), "hex");
  const info = ["sealpoint/v1/key-check\0\u0001\u0001", sealed.subarray(5, 21), number(1, 4), number(TENANT.length, 2), TENANT, "\u0001"];
  const hmac = createHmac("sha512", canary);
  for (const part of info) hmac.update(part);
  const db = new Database(file);
  db.prepare("UPDATE sealpoint_wraps SET wrapped = (SELECT wrapped FROM sealpoint_canaries)").run();
  const changed = db.prepare("UPDATE sealpoint_deks SET key_check = ?").run(hmac.digest().subarray(0, 32));
  assert.equal(changed.changes, 1);
  db.close();

  const keyring = await Keyring.connect(`sqlite:///${file}`, { kek });
  for (const call of [() => keyring.seal(new Uint8Array(1), contextOf()), () => keyring.open(sealed, contextOf())]) {
    const { code, message } = await refused(call());
    assert.equal(code, "authentication_failed");
    assert.match(message, /canary/);
  }
  await keyring.close();
});
