// AWS KMS by the official client, against moto behind a proxy with faults: each answer of the service has its code, and fails closed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, beforeEach, describe, test } from "node:test";
import { inspect } from "node:util";
import { KMS } from "@aws-sdk/client-kms";
import { isSealed, Keyring, SecretKey } from "sealpoint";
import { AwsKmsProvider } from "sealpoint/kms/aws";
import { contextOf, PLAINTEXT, STORES } from "../keyring/support.mjs";
import { awsKms } from "./servers.mjs";
import { alone, bothLanguages, code, OTHER_WRAP, query, ready, thousand, WRAP, wraps } from "./support.mjs";

const region = "eu-central-1";
const UNKNOWN = `arn:aws:kms:${region}:123456789012:key/00000000-0000-0000-0000-000000000000`;

/** A fault, the code, and how often the service is asked. */
const FAULTS = [
  [[400, "ThrottlingException"], "kms_throttled", 3],
  [[400, "LimitExceededException"], "kms_throttled", 3],
  [[429, "SomethingNew"], "kms_throttled", 3],
  [[500, "KMSInternalException"], "kms_unavailable", 3],
  [[500, "SomethingNew"], "kms_unavailable", 3],
  [[503, "ServiceUnavailable"], "kms_unavailable", 3],
  [[400, "DependencyTimeoutException"], "kms_unavailable", 3],
  ["reset", "kms_unavailable", 3],
  ["garbage", "kms_unavailable", 3],
  [{ KeyId: null }, "kms_unavailable", 3],
  [[400, "AccessDeniedException"], "kms_denied", 1],
  [[403, "SomethingNew"], "kms_denied", 1],
  [[400, "ExpiredTokenException"], "kms_denied", 1],
  [[400, "UnrecognizedClientException"], "kms_denied", 1],
  [[400, "InvalidSignatureException"], "kms_denied", 1],
  [[400, "DisabledException"], "key_disabled", 1],
  [[400, "KMSInvalidStateException"], "key_disabled", 1],
  [[400, "NotFoundException"], "key_not_found", 1],
  [[400, "InvalidCiphertextException"], "authentication_failed", 1],
  [[400, "IncorrectKeyException"], "authentication_failed", 1],
  [[400, "InvalidKeyUsageException"], "invalid_argument", 1],
  [[400, "SomethingNew"], "internal", 1],
];

let aws;
let client;
let arn;
let provider;

before(async () => {
  aws = await awsKms();
  client = new KMS({ region, maxAttempts: 1 });
  ({ Arn: arn } = (await client.createKey({})).KeyMetadata);
  provider = new AwsKmsProvider(arn);
});
beforeEach(() => aws.tell({ reset: true }));
after(() => aws.tell({ reset: true })); // nothing hangs on

test("a URI is all that it takes", async () => {
  const kek = `aws-kms://${arn}`;
  const { store, keyring } = await ready(kek);
  const sealed = await keyring.sealText(PLAINTEXT, contextOf());
  await keyring.close();
  const other = await Keyring.connect(store, { kek });
  assert.equal(await other.openText(sealed, contextOf()), PLAINTEXT);
  const { status, keks } = await other.health();
  assert.deepEqual([status, keks[0].scheme], ["ok", "aws-kms"]);
  await other.close();
  assert.deepEqual(wraps(store), [{ kek_uri: kek, kek_version: arn, wrap_alg: "SYMMETRIC_DEFAULT" }]);
  const [{ wrapped }] = query(store, "SELECT wrapped FROM sealpoint_wraps");
  assert.ok(wrapped.length > 32);
});

test("Python and Node open each other's keys", async () => {
  const row = await bothLanguages(`aws-kms://${arn}`, `aws-kms://${arn}`);
  assert.deepEqual(row, { kek_uri: `aws-kms://${arn}`, kek_version: arn, wrap_alg: "SYMMETRIC_DEFAULT" });
});

test("one class however it is imported, and it shows nothing else than the ARN", () => {
  assert.equal(createRequire(import.meta.url)("sealpoint/kms/aws").AwsKmsProvider, AwsKmsProvider);
  assert.deepEqual([provider.uri, provider.capabilities], [`aws-kms://${arn}`, { bindsContext: true, authenticates: true }]);
  for (const shown of [String(provider), inspect(provider), JSON.parse(JSON.stringify(provider))]) {
    assert.equal(shown, `AwsKmsProvider(${JSON.stringify(arn)})`);
  }
});

test("every call names the key and the context; the row's version is not followed", async () => {
  const wrapped = await provider.wrap(SecretKey.generate(), WRAP);
  await provider.unwrap({ ...wrapped, kekVersion: UNKNOWN }, WRAP);
  const { calls, requests } = await aws.tell();
  assert.deepEqual(calls, { Encrypt: 1, Decrypt: 1 });
  for (const request of requests) assert.deepEqual([request.KeyId, request.EncryptionContext], [arn, WRAP.pairs()]);
});

test("an alias tells the key that it led to", async () => {
  const AliasName = "alias/sealpoint/kek";
  await client.createAlias({ AliasName, TargetKeyId: arn });
  const alias = `${arn.slice(0, arn.lastIndexOf(":"))}:${AliasName}`;
  const led = new AwsKmsProvider(alias);
  const secret = SecretKey.generate();
  const wrapped = await led.wrap(secret, WRAP);
  assert.equal(wrapped.kekVersion, arn);
  assert.ok((await led.unwrap(wrapped, WRAP)).equals(secret));
  const { requests } = await aws.tell();
  assert.deepEqual(new Set(requests.filter(({ EncryptionContext }) => EncryptionContext).map(({ KeyId }) => KeyId)), new Set([alias]));
  await client.deleteAlias({ AliasName });
});

describe("a fault", () => {
  for (const [fault, expected, times] of FAULTS) {
    test(`${JSON.stringify(fault)}: ${expected}`, async () => {
      const { store, keyring } = await ready(provider);
      await aws.tell({ reset: true, fault });
      await code(keyring.seal(new Uint8Array(1), contextOf()), expected, /AWS/);
      assert.deepEqual([await aws.calls(), keyring._cache.size], [{ Encrypt: times }, 0]);
      assert.deepEqual(query(store, "SELECT (SELECT count(*) FROM sealpoint_deks) + (SELECT count(*) FROM sealpoint_wraps) AS rows"), [{ rows: 0 }]);

      await aws.tell({ fault: null });
      const sealed = await keyring.sealText(PLAINTEXT, contextOf());
      keyring._cache.clear();
      await aws.tell({ reset: true, fault });
      await code(keyring.openText(sealed, contextOf()), expected, /AWS/);
      assert.deepEqual([await aws.calls(), keyring._cache.size], [{ Decrypt: times }, 0]);
      await aws.tell({ fault: null });
      assert.equal(await keyring.openText(sealed, contextOf()), PLAINTEXT);
      await keyring.close();
    });
  }

  test("no answer: given up within the deadline, and asked for again", async () => {
    const wrapped = await provider.wrap(SecretKey.generate(), WRAP);
    const patient = new AwsKmsProvider(arn, { deadline: 3 });
    await aws.tell({ reset: true, fault: "hang" });
    await code(patient.unwrap(wrapped, WRAP), "kms_unavailable", /AWS.*\(TimeoutError\)/);
    await code(patient.wrap(SecretKey.generate(), WRAP), "kms_unavailable", /AWS/);
    const { Encrypt, Decrypt } = await aws.calls();
    assert.ok(
      [Encrypt, Decrypt].every((calls) => calls >= 2 && calls <= 3),
      `${Encrypt}, ${Decrypt}`,
    );
  });

  test("that passes is not noticed", async () => {
    for (const fault of [[400, "ThrottlingException"], [500, "KMSInternalException"], "reset"]) {
      await aws.tell({ reset: true, faults: [fault, fault] });
      assert.equal((await provider.wrap(SecretKey.generate(), WRAP)).wrapAlg, "SYMMETRIC_DEFAULT");
      assert.deepEqual(await aws.calls(), { Encrypt: 3 });
    }
  });

  test("a refusal names its remedy", async () => {
    for (const [name, remedy] of [
      ["ExpiredTokenException", /renew/],
      ["InvalidSignatureException", /clock/],
      ["AccessDeniedException", /kms:Decrypt/],
    ]) {
      await aws.tell({ fault: [400, name] });
      assert.match((await code(provider.wrap(SecretKey.generate(), WRAP), "kms_denied", remedy)).message, new RegExp(name));
    }
  });

  test("an outage leaves what is held", async () => {
    const { store, keyring } = await ready(provider);
    const sealed = await keyring.sealText(PLAINTEXT, contextOf());
    const endpoint = process.env.AWS_ENDPOINT_URL_KMS;
    try {
      process.env.AWS_ENDPOINT_URL_KMS = "http://127.0.0.1:1";
      await code(Keyring.connect(store, { kek: new AwsKmsProvider(arn, { deadline: 1 }) }), "kms_unavailable", /ECONNREFUSED/);
      process.env.AWS_ENDPOINT_URL_KMS = endpoint.replace("http:", "https:"); // what answers there speaks no TLS
      await code(new AwsKmsProvider(arn, { deadline: 1 }).wrap(SecretKey.generate(), WRAP), "kms_unavailable");
    } finally {
      process.env.AWS_ENDPOINT_URL_KMS = endpoint;
    }
    assert.equal(await keyring.openText(sealed, contextOf()), PLAINTEXT);
    await keyring.close();
  });
});

describe("credentials", () => {
  const KEYS = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

  test("none", async () => {
    const kept = KEYS.map((name) => [name, process.env[name]]);
    for (const name of KEYS) delete process.env[name];
    process.env.AWS_SHARED_CREDENTIALS_FILE = process.env.AWS_CONFIG_FILE = "/nothing";
    try {
      await code(new AwsKmsProvider(arn).wrap(SecretKey.generate(), WRAP), "kms_denied", /finds no AWS credentials/);
    } finally {
      for (const [name, value] of kept) process.env[name] = value;
      delete process.env.AWS_SHARED_CREDENTIALS_FILE;
      delete process.env.AWS_CONFIG_FILE;
    }
    assert.deepEqual(await aws.calls(), {});
  });

  test("that can no longer be fetched are an outage", async () => {
    let gone = false;
    const own = new KMS({
      region,
      maxAttempts: 1,
      credentials: async () => {
        if (gone) throw Object.assign(new Error("no"), { name: "CredentialsProviderError" });
        return { accessKeyId: "for-moto", secretAccessKey: "for-moto", expiration: new Date(Date.now() - 1) };
      },
    });
    const expiring = new AwsKmsProvider(arn, { client: own });
    await expiring.wrap(SecretKey.generate(), WRAP);
    gone = true;
    await code(expiring.wrap(SecretKey.generate(), WRAP), "kms_unavailable", /CredentialsProviderError/);
  });
});

describe("does not open", () => {
  test("under another context, or once changed", async () => {
    const { wrapped } = await provider.wrap(SecretKey.generate(), WRAP);
    await code(provider.unwrap({ wrapped }, OTHER_WRAP), "authentication_failed");
    wrapped[wrapped.length - 1] ^= 1;
    await code(provider.unwrap({ wrapped }, WRAP), "authentication_failed");
  });

  test("under another key, where moto answers AccessDenied and the service IncorrectKey, which is among the faults", async () => {
    const other = new AwsKmsProvider((await client.createKey({})).KeyMetadata.Arn);
    await code(provider.unwrap(await other.wrap(SecretKey.generate(), WRAP), WRAP), "kms_denied");
  });

  test("an unknown key", () => code(new AwsKmsProvider(UNKNOWN).wrap(SecretKey.generate(), WRAP), "key_not_found", /ARN/));

  test("an answer by another key", async () => {
    const wrapped = await provider.wrap(SecretKey.generate(), WRAP);
    await aws.tell({ fault: { KeyId: UNKNOWN } });
    await code(provider.unwrap(wrapped, WRAP), "authentication_failed", /another key/);
    await code(provider.wrap(SecretKey.generate(), WRAP), "authentication_failed", /another key/);
  });

  test("an answer that is no key, or not the one that was wrapped", async () => {
    const { store, keyring } = await ready(provider);
    const answer = (bytes) => aws.tell({ fault: { Plaintext: Buffer.from(bytes).toString("base64") } });
    await answer("short");
    await code(keyring.seal(new Uint8Array(1), contextOf()), "authentication_failed", /no key/);
    await answer(new Uint8Array(32));
    await code(keyring.seal(new Uint8Array(1), contextOf()), "authentication_failed", /nothing was stored/);
    await aws.tell({ fault: { CiphertextBlob: "" } });
    await code(keyring.seal(new Uint8Array(1), contextOf()), "internal");
    assert.deepEqual(query(store, "SELECT dek_id FROM sealpoint_deks"), []);
    await keyring.close();
  });
});

describe("a client of one's own", () => {
  test("keeps its retries, and is wiped of keys", async () => {
    const seen = [];
    const watched = {
      encrypt: (input, how) => {
        seen.push(input.Plaintext);
        return client.encrypt(input, how);
      },
      decrypt: async (input, how) => {
        const answer = await client.decrypt(input, how);
        seen.push(answer.Plaintext);
        return answer;
      },
    };
    const own = new AwsKmsProvider(arn, { client: watched });
    const secret = SecretKey.generate();
    assert.ok((await own.unwrap(await own.wrap(secret, WRAP), WRAP)).equals(secret));
    assert.deepEqual(
      seen.map((bytes) => [...bytes]),
      Array(2).fill(Array(32).fill(0)),
    );
    await aws.tell({ reset: true, fault: [400, "ThrottlingException"] });
    await code(own.wrap(secret, WRAP), "kms_throttled");
    assert.deepEqual(await aws.calls(), { Encrypt: 1 });
  });

  test("must be one", () => {
    for (const bad of [null, {}, 3]) code(() => new AwsKmsProvider(UNKNOWN, { client: bad }), "invalid_argument", /client/);
  });
});

test("a thousand callers need one call", async () => {
  const { keyring } = await ready(provider);
  const sealed = await keyring.sealText(PLAINTEXT, contextOf());
  await aws.tell({ reset: true });
  const results = await thousand(keyring, sealed);
  assert.ok(results.every((result, i) => (i % 2 ? result === PLAINTEXT : isSealed(result))));
  assert.deepEqual(await aws.calls(), { Decrypt: 1 });
  await keyring.close();
});

describe("refused", () => {
  for (const rest of [
    "",
    "//",
    "//alias/mine",
    "arn:aws:kms:eu-central-1:123456789012:key/1",
    "//arn:aws:kms:eu-central-1:123456789012:key/1?region=x",
    "//arn:aws:kms:eu-central-1:123456789012:key/1#x",
    "//arn:aws:s3:eu-central-1:123456789012:key/1",
    "//arn:aws:kms::123456789012:key/1",
    "//arn:aws:kms:eu-central-1:123456789012:key/",
    "//arn:aws:kms:eu-central-1:123456789012:key/1\n",
    "//arn:aws:kms:evil.example/:123456789012:key/1",
  ]) {
    test(JSON.stringify(rest), async () => code(Keyring.connect(await STORES.sqlite(), { kek: `aws-kms:${rest}` }), "invalid_argument", /aws-kms:/));
  }

  test("a deadline that is none, an option that is none, an ARN that is none", async () => {
    for (const deadline of [0, -1, 121, Number.NaN, true, "3", null]) {
      await code(() => new AwsKmsProvider(UNKNOWN, { deadline }), "invalid_argument", /deadline/);
    }
    await code(() => new AwsKmsProvider(UNKNOWN, { timeout: 3 }), "invalid_argument", /timeout/);
    for (const bad of [undefined, 3, [UNKNOWN]]) await code(() => new AwsKmsProvider(bad), "invalid_argument", /ARN/);
  });

  test("without the SDK", async () => {
    const said = await alone(`
      import { Keyring } from "./node.mjs";
      await Keyring.connect("memory:", { kek: "aws-kms://${UNKNOWN}" }).catch((error) => console.log(error.code, error.message));
    `);
    assert.match(said, /^missing_dependency .*npm install @aws-sdk\/client-kms$/);
  });

  test("outside of Node's entry", async () => {
    const { Keyring } = await import("../../dist/inline.mjs");
    await code(Keyring.connect("memory:", { kek: `aws-kms://${UNKNOWN}` }), "missing_dependency", /Node/);
  });
});
