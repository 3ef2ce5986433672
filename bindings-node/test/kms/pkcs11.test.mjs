// PKCS#11 by pkcs11js on SoftHSM2: a real token, whose keys cannot be read.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, copyFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { inspect, promisify } from "node:util";
import p11 from "pkcs11js";
import { isSealed, Keyring, SecretKey } from "sealpoint";
import { Pkcs11Provider } from "sealpoint/kms/pkcs11";
import { contextOf, folder, PLAINTEXT } from "../keyring/support.mjs";
import { python } from "../langgraph/servers.mjs";
import { LIBRARY, Operator, PIN, skip, softHsm, uri } from "./softhsm.mjs";
import { alone, bothLanguages, code, OTHER_WRAP, query, ready, thousand, WRAP, wraps } from "./support.mjs";

const secret = () => SecretKey.generate();
const NAME = "pkcs11:token=sealpoint%20tests;object=kek;type=secret-key";

/** A program in a process of its own, where nobody is logged in. */
async function run(program, env, ...args) {
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program, ...args], { env, cwd });
  return stdout.trim().split("\n");
}

describe("a token", { skip }, () => {
  let token;
  let operator;
  let provider;

  before(() => {
    token = softHsm();
    Object.assign(process.env, token.env);
    operator = new Operator();
  });
  beforeEach(() => {
    operator.destroyAll();
    operator.make("kek");
    provider = new Pkcs11Provider(uri("kek"));
  });
  after(() => token.close());

  test("a URI is all that it takes", async () => {
    const { store, keyring } = await ready(uri("kek"));
    const sealed = await keyring.sealText(PLAINTEXT, contextOf());
    await keyring.close();
    const other = await Keyring.connect(store, { kek: uri("kek") });
    assert.equal(await other.openText(sealed, contextOf()), PLAINTEXT);
    const { status, keks } = await other.health();
    assert.deepEqual([status, keks[0].scheme], ["ok", "pkcs11"]);
    await other.close();
    assert.deepEqual(wraps(store), [{ kek_uri: NAME, kek_version: "", wrap_alg: "CKM_AES_GCM" }]);
    assert.equal(query(store, "SELECT wrapped FROM sealpoint_wraps")[0].wrapped.length, 60);
  });

  test("Python and Node open each other's keys", async () => {
    assert.deepEqual(await bothLanguages(uri("kek"), uri("kek")), { kek_uri: NAME, kek_version: "", wrap_alg: "CKM_AES_GCM" });
  });

  test("one class however it is imported, and it shows nothing else than the name", () => {
    assert.equal(createRequire(import.meta.url)("sealpoint/kms/pkcs11").Pkcs11Provider, Pkcs11Provider);
    assert.equal(provider.uri, NAME);
    for (const shown of [String(provider), inspect(provider, { depth: 9 }), JSON.parse(JSON.stringify(provider))]) {
      assert.equal(shown, `Pkcs11Provider(${JSON.stringify(NAME)})`);
    }
  });

  test("it says that the token binds the context once that is known", async () => {
    assert.deepEqual(provider.capabilities, { bindsContext: false, authenticates: true });
    const key = secret();
    const wrapped = await provider.wrap(key, WRAP);
    assert.ok((await provider.unwrap(wrapped, WRAP)).equals(key));
    assert.notDeepEqual((await provider.wrap(key, WRAP)).wrapped, wrapped.wrapped);
    assert.deepEqual(provider.capabilities, { bindsContext: true, authenticates: true });
  });

  test("another context, another key or changed bytes do not open", async () => {
    operator.make("other");
    const { wrapped } = await provider.wrap(secret(), WRAP);
    await code(provider.unwrap({ wrapped }, OTHER_WRAP), "authentication_failed");
    await code(new Pkcs11Provider(uri("other")).unwrap({ wrapped }, WRAP), "authentication_failed");
    for (const at of [0, 12, 59]) {
      const changed = Uint8Array.from(wrapped);
      changed[at] ^= 1;
      await code(provider.unwrap({ wrapped: changed }, WRAP), "authentication_failed");
    }
    for (const length of [0, 39, 59, 61]) await code(provider.unwrap({ wrapped: new Uint8Array(length) }, WRAP), "store_invalid");
    await provider.unwrap({ wrapped }, WRAP);
  });

  test("many calls share a session", async () => {
    const both = [provider, new Pkcs11Provider(uri("kek"))];
    const opened = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const key = secret();
        return (await both[i % 2].unwrap(await both[1 - (i % 2)].wrap(key, WRAP), WRAP)).equals(key);
      }),
    );
    assert.ok(opened.every(Boolean));
  });

  test("a thousand callers need one call", async () => {
    let calls = 0;
    const counted = {
      uri: provider.uri,
      capabilities: provider.capabilities,
      wrap: (...args) => provider.wrap(...args),
      unwrap: (...args) => {
        calls += 1;
        return provider.unwrap(...args);
      },
    };
    const { keyring } = await ready(counted);
    const sealed = await keyring.sealText(PLAINTEXT, contextOf());
    calls = 0;
    const results = await thousand(keyring, sealed);
    assert.ok(results.every((result, i) => (i % 2 ? result === PLAINTEXT : isSealed(result))));
    assert.equal(calls, 1);
    await keyring.close();
  });

  test("a key that was destroyed", async () => {
    const { keyring } = await ready(provider);
    const sealed = await keyring.sealText(PLAINTEXT, contextOf());
    keyring._cache.clear();
    operator.destroyAll();
    await code(keyring.openText(sealed, contextOf()), "key_not_found", /object=/);
    assert.equal(keyring._cache.size, 0);
    await keyring.close();
  });

  test("no such key or token, or several", async () => {
    await code(new Pkcs11Provider(uri("nothing")).wrap(secret(), WRAP), "key_not_found", /object=/);
    await code(new Pkcs11Provider(uri("kek", { token: "nothing" })).wrap(secret(), WRAP), "kms_unavailable", /token=/);
    operator.make("kek");
    await code(new Pkcs11Provider(uri("kek")).wrap(secret(), WRAP), "invalid_argument", /several/);
  });

  test("an id chooses among keys of one label", async () => {
    operator.make("twin", { id: Buffer.from([1, 255]) });
    operator.make("twin", { id: Buffer.from([2]) });
    const chosen = new Pkcs11Provider(uri("twin", { id: "%01%FF" }));
    assert.equal(chosen.uri, "pkcs11:token=sealpoint%20tests;object=twin;id=%01%FF;type=secret-key");
    const wrapped = await chosen.wrap(secret(), WRAP);
    await code(new Pkcs11Provider(uri("twin", { id: "%02" })).unwrap(wrapped, WRAP), "authentication_failed");
  });

  test("a shorter key, or one without rights", async () => {
    operator.make("short", { bits: 128 });
    await code(new Pkcs11Provider(uri("short")).wrap(secret(), WRAP), "invalid_argument", /256/);
    operator.make("useless", { without: ["ENCRYPT", "WRAP"] });
    await code(new Pkcs11Provider(uri("useless")).wrap(secret(), WRAP), "invalid_argument", /neither/);
  });

  test("a module that is none", async () => {
    for (const path of [join(folder(), "nothing.so"), fileURLToPath(import.meta.url)]) {
      await code(new Pkcs11Provider(uri("kek", { "module-path": path })).wrap(secret(), WRAP), "invalid_argument", /module-path/);
    }
  });

  test("the PIN may lie in a file", async () => {
    const place = join(folder(), "pin");
    writeFileSync(place, `${PIN}\n`);
    const made = new Pkcs11Provider(uri("kek", { "pin-source": `file:${place}` }));
    // Whoever is logged in is not asked for a PIN: in a process of its own.
    const program = `
      import { SecretKey, wrapContext } from "sealpoint";
      import { Pkcs11Provider } from "sealpoint/kms/pkcs11";
      const context = wrapContext({ tenant: "t", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 });
      const tried = new Pkcs11Provider(process.argv[1]).wrap(SecretKey.generate(), context);
      console.log(await tried.then(({ wrapAlg }) => wrapAlg, (error) => error.code + " " + error.message));
    `;
    chmodSync(place, 0o644);
    assert.match((await run(program, token.env, uri("kek", { "pin-source": `file:${place}` })))[0], /^invalid_argument .*chmod 600/);
    chmodSync(place, 0o600);
    assert.deepEqual(await run(program, token.env, uri("kek", { "pin-source": `file:${place}` })), ["CKM_AES_GCM"]);
    assert.match((await run(program, token.env, uri("kek", { "pin-source": "file:/nothing/here" })))[0], /^invalid_argument .*PIN/);
    assert.match((await run(program, token.env, uri("kek", { "pin-source": "env:NO_KEK" })))[0], /^invalid_argument .*NO_KEK/);
    writeFileSync(place, Buffer.from([0xff]));
    assert.match((await run(program, token.env, uri("kek", { "pin-source": `file:${place}` })))[0], /^invalid_argument .*UTF-8/);
    assert.ok(!String(made).includes(place));
  });

  test("a wrong PIN is tried once, however many ask at once: a token locks itself after a few", async () => {
    const program = `
      import p11 from "pkcs11js";
      let logins = 0;
      const native = Object.getPrototypeOf(p11.PKCS11.prototype);
      const { C_Login } = native;
      Object.defineProperty(native, "C_Login", { enumerable: true, value(...args) { logins += 1; return C_Login.apply(this, args); } });
      const { SecretKey, wrapContext } = await import("sealpoint");
      const { Pkcs11Provider } = await import("sealpoint/kms/pkcs11");
      const context = wrapContext({ tenant: "t", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 });
      const right = process.env.SOFTHSM_PIN;
      process.env.SOFTHSM_PIN = "a-wrong-pin";
      const provider = new Pkcs11Provider(process.argv[1]);
      const wrap = (one) => one.wrap(SecretKey.generate(), context).then(({ wrapped }) => wrapped.length, (error) => error.code + " " + error.message);
      const said = await Promise.all([wrap(provider), wrap(provider), wrap(provider)]);
      process.env.SOFTHSM_PIN = right;
      said.push(await wrap(provider));
      console.log([...new Set(said)].join("\\n"));
      console.log(logins, await wrap(new Pkcs11Provider(process.argv[1])));
    `;
    const [first, last, ...more] = await run(program, token.env, uri("kek"));
    assert.match(first, /^kms_denied .*the PIN.*\(CKR_PIN_INCORRECT\)$/);
    assert.ok(!first.includes("a-wrong-pin") && !first.includes(PIN));
    assert.deepEqual([last, more], ["1 60", []]);
  });

  test("a login or session that was lost is replaced", async () => {
    const program = `
      import p11 from "pkcs11js";
      const open = [];
      const native = Object.getPrototypeOf(p11.PKCS11.prototype);
      const { C_OpenSession } = native;
      Object.defineProperty(native, "C_OpenSession", { enumerable: true, value(...args) { open.push([this, C_OpenSession.apply(this, args)]); return open.at(-1)[1]; } });
      const { SecretKey, wrapContext } = await import("sealpoint");
      const { Pkcs11Provider } = await import("sealpoint/kms/pkcs11");
      const context = wrapContext({ tenant: "t", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 });
      const providers = process.argv.slice(1).map((uri) => new Pkcs11Provider(uri));
      const wrapped = await Promise.all(providers.map((one) => one.wrap(SecretKey.generate(), context)));
      const before = open.length;
      for (const [library, session] of open.splice(0)) library.C_CloseSession(session); // that of the login, too
      for (const [i, one] of providers.entries()) await one.unwrap(wrapped[i], context);
      console.log("opened", before);
    `;
    operator.make("other");
    assert.deepEqual(await run(program, token.env, uri("kek"), uri("other")), ["opened 3"]); // one login for both
  });

  test("what a token fails at is tried again", async () => {
    const native = Object.getPrototypeOf(p11.PKCS11.prototype);
    const { C_EncryptInit } = native;
    let failures = 2;
    native.C_EncryptInit = function (...args) {
      if (failures-- > 0) throw new Error("CKR_FUNCTION_FAILED:6");
      return C_EncryptInit.apply(this, args);
    };
    try {
      const copy = join(folder(), "copy.so"); // a library that nobody has loaded
      copyFileSync(LIBRARY, copy);
      const fresh = new Pkcs11Provider(uri("kek", { "module-path": copy }));
      assert.equal((await fresh.wrap(secret(), WRAP)).wrapAlg, "CKM_AES_GCM");
      assert.equal(failures, -1);
      failures = 9;
      await code(fresh.wrap(secret(), WRAP), "kms_unavailable", /CKR_FUNCTION_FAILED/);
      assert.equal(failures, 6);
    } finally {
      native.C_EncryptInit = C_EncryptInit;
    }
  });

  test("a token without AES-GCM wraps by key wrap and says so", async () => {
    const plain = softHsm("slots.mechanisms = CKM_AES_KEY_GEN,CKM_AES_KEY_WRAP_PAD");
    const program = `
      const { Operator } = await import("./test/kms/softhsm.mjs");
      new Operator().make("kek");
      const { Keyring, SecretKey, wrapContext } = await import("sealpoint");
      const { Pkcs11Provider } = await import("sealpoint/kms/pkcs11");
      const context = wrapContext({ tenant: "t", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 });
      const provider = new Pkcs11Provider(process.argv[1]);
      const secret = SecretKey.generate();
      const { wrapped, wrapAlg } = await provider.wrap(secret, context);
      console.log(wrapAlg, wrapped.length, (await provider.unwrap({ wrapped }, context)).equals(secret), provider.capabilities.bindsContext);
      wrapped[7] ^= 1;
      await provider.unwrap({ wrapped }, context).catch((error) => console.log(error.code));
      const keyring = await Keyring.connect(process.argv[2], { kek: provider });
      await keyring.setup();
      console.log(await keyring.sealText("from Node", { tenant: "of-node", purpose: "field" }));
    `;
    try {
      const store = `sqlite:///${join(folder(), "keys.db")}`;
      const [said, changed, sealed] = await run(program, plain.env, uri("kek"), store);
      assert.deepEqual([said, changed], ["CKM_AES_KEY_WRAP_PAD 40 true false", "authentication_failed"]);
      const opens = `import sys; from sealpoint import Context, Keyring
with Keyring.connect(sys.argv[1], kek=sys.argv[2]) as keyring: print(keyring.open_text(sys.argv[3], Context(tenant="of-node", purpose="field")))`;
      const { stdout } = await promisify(execFile)(python, ["-c", opens, store, uri("kek"), sealed], { env: plain.env });
      assert.equal(stdout, "from Node\n");
    } finally {
      plain.close();
    }
  });
});

describe("refused", () => {
  const bad = [
    ["pkcs11:", /token=/],
    [uri("kek", { token: "" }), /token=/],
    [uri(""), /object=/],
    [uri("kek", { "module-path": "" }), /module-path/],
    [uri("kek", { "module-path": "libsofthsm2.so" }), /absolute/],
    [uri("kek", { "module-path": "/lib%00.so" }), /absolute/],
    [uri("kek", { "module-path": "/lib%ff.so" }), /absolute/],
    [uri("kek", { "pin-source": "" }), /pin-source/],
    [uri("kek", { "pin-source": "1234" }), /pin-source/],
    [`${uri("kek")}&pin-value=${PIN}`, /pin-source/],
    [uri("kek", { "pin-value": PIN }), /pin-source/],
    [`${uri("kek")}&module-name=x`, /module-path/],
    [`${uri("kek")}&pin-source=env:A`, /once/],
    [uri("kek", { "slot-id": "0" }), /once/],
    [uri("kek", { type: "public" }), /secret-key/],
    [uri("k%ZZ"), /%XX/],
    [uri("k%ff"), /UTF-8/],
    [`${uri("kek")}#x`, /%XX/],
  ];
  for (const [one, words] of bad) {
    test(one.replaceAll(PIN, "…").replaceAll(LIBRARY, "…"), async () => {
      const error = await code(Keyring.connect("memory:", { kek: one }), "invalid_argument", words);
      assert.ok(!error.stack.includes(PIN));
    });
  }

  test("no URI at all", () => code(() => new Pkcs11Provider(3), "invalid_argument"));

  test("one name for one key", () => {
    const way = `module-path=${LIBRARY}&pin-source=env:SOFTHSM_PIN`;
    const paths = ["token=a;object=%6B", "object=k;token=%61", "object=k;type=secret-key;token=a"];
    assert.deepEqual(new Set(paths.map((path) => new Pkcs11Provider(`pkcs11:${path}?${way}`).uri)), new Set(["pkcs11:token=a;object=k;type=secret-key"]));
  });

  test("without pkcs11js", async () => {
    const said = await alone(`
      import { Keyring } from "./node.mjs";
      await Keyring.connect("memory:", { kek: "pkcs11:x" }).catch((error) => console.log(error.code, error.message));
    `);
    assert.match(said, /^missing_dependency .*npm install pkcs11js$/);
  });
});
