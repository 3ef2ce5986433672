// Recovery keys: what the public half wraps, who can open it, and that losing every other KEK loses nothing; in Node, in Python, and from one to the other.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import Database from "better-sqlite3";
import { Keyring, SecretKey, wrapContext } from "sealpoint";
import { OfflineRecoveryProvider, RecoveryKey, RecoveryProvider, RecoveryPublicKey } from "sealpoint/kms/recovery";
import { backends } from "../backends.mjs";
import { python } from "../langgraph/servers.mjs";
import { contextOf, DUE, FakeKms, folder, KEK, OTHER_KEK, PLAINTEXT, passTime, refused, STORES, TENANT, touch } from "./support.mjs";

process.env.SEALPOINT_KEK = KEK;
process.env.OTHER_KEK = OTHER_KEK;
const kek = "env:SEALPOINT_KEK";
const WRAP = wrapContext({ tenant: "t", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 });
const [SECRET_PREFIX, PUBLIC_PREFIX] = ["sealpoint-recovery-secret:v1:", "sealpoint-recovery-public:v1:"];
const uriOf = (key) => `recovery:${Buffer.from(key.public.recoveryId).toString("hex")}`;
const code = async (promise, expected, words = /./) => {
  const error = await refused(promise);
  assert.equal(error.code, expected, error.message);
  assert.match(error.message, words);
  return error;
};

function rows(store, query) {
  const db = new Database(store.slice("sqlite:///".length));
  try {
    return db.prepare(query).raw().all();
  } finally {
    db.close();
  }
}

/** A key store in SQLite that was set up under these KEKs, and what was sealed in it. */
async function filled(configured, tenant = TENANT) {
  const store = await STORES.sqlite();
  const keyring = await Keyring.connect(store, { kek: configured });
  await keyring.setup();
  const sealed = await keyring.sealText(PLAINTEXT, contextOf(tenant));
  const health = await keyring.health();
  await keyring.close();
  return { store, sealed, health };
}

describe("a recovery key", () => {
  test("is its text", () => {
    const [key, secret] = [RecoveryKey.generate(), SecretKey.generate()];
    const half = RecoveryPublicKey.fromText(key.public.toText());
    assert.deepEqual(half.recoveryId, key.public.recoveryId);
    assert.deepEqual([key.toText().startsWith(SECRET_PREFIX), half.toText().startsWith(PUBLIC_PREFIX)], [true, true]);
    const wrapped = half.wrap(secret, WRAP);
    assert.equal(wrapped.length, 1189);
    assert.ok(RecoveryKey.fromText(key.toText()).unwrap(wrapped, WRAP).equals(secret));
    assert.throws(() => RecoveryKey.generate().unwrap(wrapped, WRAP), { code: "key_not_found" });
    assert.throws(() => key.unwrap(wrapped, WRAP.extend({ more: 1 })), { code: "authentication_failed" });
    assert.throws(() => key.unwrap(wrapped.with(1188, wrapped[1188] ^ 1), WRAP), { code: "authentication_failed" });
    assert.throws(() => key.unwrap(wrapped.subarray(1), WRAP), { code: "plaintext_refused" });
  });

  test("shows no secret, and is gone when it was disposed of", () => {
    const key = RecoveryKey.generate();
    const text = key.toText();
    const provider = new OfflineRecoveryProvider(text);
    const shown = [key, provider, { key, provider }]
      .map((one) => `${inspect(one, { depth: null, showHidden: true })}${JSON.stringify(one)}${String(one)}`)
      .join();
    assert.ok(!shown.includes(text.slice(50, 70)), shown);
    assert.match(shown, /RecoveryKey\(\[redacted\]\)/);
    assert.throws(
      () => new OfflineRecoveryProvider(text.slice(0, -1)),
      (error) => error.code === "invalid_argument" && !error.message.includes(text.slice(50, 70)),
    );
    const wrapped = provider.wrap(SecretKey.generate(), WRAP);
    provider.dispose();
    key.dispose();
    for (const call of [() => provider.unwrap(wrapped, WRAP), () => key.toText(), () => key.public])
      assert.throws(call, { code: "invalid_argument", message: /disposed/ });
  });

  for (const made of [() => new RecoveryKey(), () => new RecoveryPublicKey(), () => RecoveryKey.fromText(undefined), () => RecoveryPublicKey.fromText(7)]) {
    test(`is made by ${made} in no way`, () => assert.throws(made, { code: "invalid_argument" }));
  }
});

for (const spelled of ["text", "file"]) {
  test(`each new DEK is wrapped for the recovery key too, given as ${spelled}`, async () => {
    const key = RecoveryKey.generate();
    const path = join(folder(), "recovery.pub");
    writeFileSync(path, `${key.public.toText()}\n`);
    const recovery = spelled === "text" ? key.public.toText() : `recovery:${path}`;
    const { store, sealed, health } = await filled([kek, recovery]);
    assert.deepEqual([health.status, health.keks.map(({ scheme }) => scheme)], ["ok", ["env"]]);
    assert.deepEqual(rows(store, "SELECT kek_uri, wrap_alg, kek_version <> '', length(wrapped), verified_at IS NULL FROM sealpoint_wraps ORDER BY kek_uri"), [
      [kek, "sealpoint-v1", 1, 125, 0],
      [uriOf(key), "sealpoint-recovery-v1", 0, 1189, 1],
    ]);
    assert.deepEqual(rows(store, "SELECT kek_uri FROM sealpoint_canaries"), [[kek]]);
    const keyring = await Keyring.connect(store, { kek: [recovery, kek] }); // whichever comes first, the one that opens is asked
    assert.equal(await keyring.openText(sealed, contextOf()), PLAINTEXT);
    await keyring.close();
  });
}

test("a recovery key is never the only KEK", async () => {
  const key = RecoveryKey.generate();
  for (const alone of [key.public.toText(), new OfflineRecoveryProvider(key.toText())])
    await code(Keyring.connect("memory:", { kek: alone }), "invalid_argument", /authenticate/);
});

test("the public half opens nothing", () => {
  const provider = new RecoveryProvider(RecoveryKey.generate().public.toText());
  assert.throws(() => provider.unwrap(provider.wrap(SecretKey.generate(), WRAP), WRAP), { code: "kms_denied", message: /OfflineRecoveryProvider/ });
});

test("an outage of the other KEK is that KEK's error", async () => {
  const [kms, half] = [new FakeKms(), RecoveryKey.generate().public.toText()];
  const { store, sealed } = await filled([kms, half]);
  const keyring = await Keyring.connect(store, { kek: [kms, half] });
  kms.fail("kms_unavailable");
  await code(keyring.openText(sealed, contextOf()), "kms_unavailable");
  assert.equal((await keyring.health()).status, "failed");
  await keyring.close();
});

test("with the other KEK gone the secret half opens and seals nothing", async () => {
  const key = RecoveryKey.generate();
  const { store, sealed } = await filled([new FakeKms("fake:lost"), key.public.toText()]);
  const fresh = new FakeKms("fake:new", { kek: OTHER_KEK });
  await code(Keyring.connect(store, { kek: [fresh, key.public.toText()] }), "key_not_found", /other KEKs/); // the public half proves nothing
  const keyring = await Keyring.connect(store, { kek: [fresh, new OfflineRecoveryProvider(key.toText())] });
  assert.equal(await keyring.openText(sealed, contextOf()), PLAINTEXT);
  await keyring.setup();
  assert.deepEqual(rows(store, "SELECT kek_uri FROM sealpoint_canaries ORDER BY kek_uri"), [["fake:lost"], ["fake:new"]]);
  await code(keyring.sealText(PLAINTEXT, contextOf()), "key_not_found");
  assert.equal(await keyring.openText(await keyring.sealText(PLAINTEXT, contextOf("umbrella")), contextOf("umbrella")), PLAINTEXT); // a new tenant, under the new KEK
  await keyring.close();
  const other = await Keyring.connect(store, { kek: [fresh, new OfflineRecoveryProvider(RecoveryKey.generate().toText())] });
  await code(other.openText(sealed, contextOf()), "key_not_found");
  await other.close();
});

test("keys from before are wrapped for the recovery key by rewrap", async () => {
  const key = RecoveryKey.generate();
  const { store, sealed } = await filled(kek);
  const path = join(folder(), "recovery.pub");
  writeFileSync(path, key.public.toText());
  const keyring = await Keyring.connect(store, { kek: [kek, `recovery:${path}`] });
  const { wrapped, verified, complete, failed } = await keyring.rewrap(kek, uriOf(key));
  assert.deepEqual([wrapped, verified, complete, failed], [1, 0, true, 0]);
  assert.equal((await keyring.rewrap(kek, `recovery:${path}`)).wrapped, 0); // as the configuration spells it
  await keyring.close();
  assert.deepEqual(rows(store, "SELECT kek_uri FROM sealpoint_canaries"), [[kek]]);
  const recovering = await Keyring.connect(store, { kek: [new FakeKms("fake:new", { kek: OTHER_KEK }), new OfflineRecoveryProvider(key.toText())] });
  assert.equal(await recovering.openText(sealed, contextOf()), PLAINTEXT);
  await recovering.close();
});

test("a planted recovery wrap is refused", async () => {
  const key = RecoveryKey.generate();
  const { store, sealed } = await filled([kek, key.public.toText()]);
  const [[dekId]] = rows(store, "SELECT dek_id FROM sealpoint_deks");
  const planted = key.public.wrap(SecretKey.generate(), wrapContext({ tenant: TENANT, dekId, dekPurpose: 1, suite: 1 }));
  const db = new Database(store.slice("sqlite:///".length));
  db.prepare("UPDATE sealpoint_wraps SET wrapped = ? WHERE kek_uri LIKE 'recovery:%'").run(planted);
  db.close();
  const keyring = await Keyring.connect(store, { kek: [new FakeKms("fake:absent"), new OfflineRecoveryProvider(key.toText())] });
  await code(keyring.openText(sealed, contextOf()), "authentication_failed");
  await keyring.close();
});

test("a refresh asks the KEK that opens", async () => {
  const kms = new FakeKms();
  const keyring = await Keyring.connect("memory:", { kek: [RecoveryKey.generate().public.toText(), kms] });
  await keyring.load(TENANT);
  kms.calls.unwrap = 0;
  passTime(keyring, DUE);
  await touch(keyring);
  assert.deepEqual([kms.calls.unwrap, keyring.affected()], [1, []]);
});

describe("a provider that only wraps", () => {
  test("has no canary, and its wraps are stored unverified", async () => {
    const only = new FakeKms("fake:wraps", { kek: OTHER_KEK, authenticates: false });
    only.capabilities.canUnwrap = false;
    const { store, sealed, health } = await filled([only, kek]);
    assert.deepEqual([only.calls, health.status, health.keks.length], [{ wrap: 1, unwrap: 0 }, "ok", 1]);
    assert.deepEqual(rows(store, "SELECT kek_uri, verified_at IS NULL FROM sealpoint_wraps ORDER BY kek_uri"), [
      [kek, 0],
      ["fake:wraps", 1],
    ]);
    const keyring = await Keyring.connect(store, { kek: [only, kek] });
    assert.equal(await keyring.openText(sealed, contextOf()), PLAINTEXT);
    await keyring.close();
    assert.equal(only.calls.unwrap, 0);
    await code(Keyring.connect(store, { kek: [only, "env:OTHER_KEK"] }), "key_not_found", /other KEKs/);
  });

  test("says so as true or false", async () => {
    const odd = new FakeKms();
    odd.capabilities.canUnwrap = "no";
    await code(Keyring.connect("memory:", { kek: odd }), "invalid_argument", /KeyManagementProvider/);
  });
});

describe("what is no public half is refused", () => {
  const path = join(folder(), "other");
  writeFileSync(path, "swordfish");
  mkdirSync(`${path}.d`);
  for (const [given, words] of [
    ["recovery:/nowhere/recovery.pub", /keygen --recovery.*ENOENT/],
    ["recovery:", /path of a file/],
    ["recovery:a\0b", /path of a file/],
    [`recovery:${path}.d`, /EISDIR/],
    [`recovery:${path}`, /public half/],
    [`recovery:${path}?x`, /options/],
    [`${PUBLIC_PREFIX}AAAA`, /public half/],
    ["sealpoint-recovery-public:v2:AAAA", /public half/],
    ["sealpoint-recovery-private:v1:AAAA", /not the URI/],
  ]) {
    test(JSON.stringify(given), async () => {
      const error = await code(Keyring.connect("memory:", { kek: [kek, given] }), "invalid_argument", words);
      assert.ok(!error.message.includes("swordfish"));
    });
  }

  test("the secret half", async () => {
    const text = RecoveryKey.generate().toText();
    const { message } = await code(Keyring.connect("memory:", { kek: [kek, text] }), "invalid_argument");
    assert.ok(!message.includes(text.slice(30, 60)));
    assert.throws(
      () => new RecoveryProvider(text),
      (error) => error.code === "invalid_argument" && !error.message.includes(text.slice(30, 60)),
    );
    assert.throws(() => new RecoveryProvider(undefined), { code: "invalid_argument" });
  });
});

describe("where the native module is absent", () => {
  const half = RecoveryKey.generate().public.toText();

  for (const { name, sealpoint } of backends.filter(({ name }) => name !== "native")) {
    test(`a recovery key is refused: ${name}`, async () => {
      for (const given of [half, "recovery:recovery.pub"])
        await code(sealpoint.Keyring.connect("memory:", { kek: [kek, given] }), "missing_dependency", /Node/);
    });
  }

  test("in Node it is too", () => {
    const script = `
      const Module = require("node:module");
      const load = Module._load;
      Module._load = (name, ...rest) => {
        if (name.endsWith(".node") || name.startsWith("@sealpoint/")) throw Object.assign(new Error(name), { code: "MODULE_NOT_FOUND" });
        return load(name, ...rest);
      };
      const { backend, Keyring } = require("sealpoint");
      const { RecoveryKey } = require("sealpoint/kms/recovery");
      (async () => {
        const said = [backend];
        for (const call of [async () => RecoveryKey.generate(), () => Keyring.connect("memory:", { kek: ["env:SEALPOINT_KEK", ${JSON.stringify(half)}] })]) {
          said.push(await call().then(() => "fine", (error) => error.code + (/native module/.test(error.message) ? "" : error.message)));
        }
        console.log(JSON.stringify(said));
      })();
    `;
    const out = execFileSync(process.execPath, ["--no-warnings", "-e", script], { cwd: new URL("../..", import.meta.url), encoding: "utf8" });
    assert.deepEqual(JSON.parse(out), ["wasm", "missing_dependency", "missing_dependency"]);
  });
});

describe("Python and Node", () => {
  /** Runs a program of Python with these arguments; what it prints is JSON. */
  const inPython = (program, ...given) =>
    JSON.parse(execFileSync(python, ["-c", `import json, sys\nfrom sealpoint import Context, Keyring\n${program}`, ...given], { encoding: "utf8" }));
  const AT = 'Context(tenant=sys.argv[2], purpose="field", document="u-42", path="/card")';

  test("what Node wrapped opens in Python with the secret half", async () => {
    const key = RecoveryKey.generate();
    const { store, sealed } = await filled([kek, key.public.toText()]);
    const opened = inPython(
      `
from sealpoint.kms.recovery import OfflineRecoveryProvider
with Keyring.connect(sys.argv[1], kek=["env:OTHER_KEK", OfflineRecoveryProvider(sys.argv[4])]) as keyring:
    print(json.dumps(keyring.open_text(sys.argv[3], ${AT})))
`,
      store,
      TENANT,
      sealed,
      key.toText(),
    );
    assert.equal(opened, PLAINTEXT);
  });

  test("what Python wrapped, for a key that it made, opens in Node with the secret half", async () => {
    const store = await STORES.sqlite();
    const [text, sealed] = inPython(
      `
from sealpoint._native import RecoveryKey
key = RecoveryKey.generate()
with Keyring.connect(sys.argv[1], kek=["env:SEALPOINT_KEK", key.public.to_text()]) as keyring:
    keyring.setup()
    print(json.dumps([key.to_text(), keyring.seal_text(sys.argv[3], ${AT})]))
`,
      store,
      TENANT,
      PLAINTEXT,
    );
    const keyring = await Keyring.connect(store, { kek: ["env:OTHER_KEK", new OfflineRecoveryProvider(text)] });
    assert.equal(await keyring.openText(sealed, contextOf()), PLAINTEXT);
    await keyring.close();
  });
});
