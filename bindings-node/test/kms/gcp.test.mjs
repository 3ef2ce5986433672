// Google Cloud KMS by the official client, against a fake of the service: each answer has its code, and fails closed.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { after, before, beforeEach, describe, test } from "node:test";
import { inspect, promisify } from "node:util";
import { KeyManagementServiceClient } from "@google-cloud/kms";
import { isSealed, Keyring, SecretKey } from "sealpoint";
import { GcpKmsProvider } from "sealpoint/kms/gcp";
import { contextOf, PLAINTEXT } from "../keyring/support.mjs";
import { gcpKms } from "./servers.mjs";
import { alone, bothLanguages, code, OTHER_WRAP, query, ready, thousand, WRAP, wraps } from "./support.mjs";

const { credentials } = createRequire(createRequire(import.meta.url).resolve("google-gax"))("@grpc/grpc-js");
const NAME = "projects/p-1/locations/europe-west3/keyRings/ring/cryptoKeys/kek";
const URI = `gcp-kms://${NAME}`;

/** A fault, the code, and how often the service is asked. */
const FAULTS = [
  [["RESOURCE_EXHAUSTED", ""], "kms_throttled", 3],
  [["UNAVAILABLE", ""], "kms_unavailable", 3],
  [["INTERNAL", ""], "kms_unavailable", 3],
  [["UNKNOWN", ""], "kms_unavailable", 3],
  [["DEADLINE_EXCEEDED", ""], "kms_unavailable", 3],
  [["ABORTED", ""], "kms_unavailable", 3],
  [["DATA_LOSS", ""], "kms_unavailable", 3],
  [["PERMISSION_DENIED", ""], "kms_denied", 1],
  [["UNAUTHENTICATED", ""], "kms_denied", 1],
  [["NOT_FOUND", ""], "key_not_found", 1],
  [["FAILED_PRECONDITION", "DISABLED"], "key_disabled", 1],
  [["FAILED_PRECONDITION", "DESTROY_SCHEDULED"], "key_disabled", 1],
  [["FAILED_PRECONDITION", "DESTROYED"], "key_destroyed", 1],
  [["OUT_OF_RANGE", ""], "invalid_argument", 1],
  [["ALREADY_EXISTS", ""], "internal", 1],
];

let gcp;
let client;
let provider;

const connect = (endpoint) => {
  const [servicePath, port] = endpoint.split(":");
  return new KeyManagementServiceClient({ servicePath, port: Number(port), sslCreds: credentials.createInsecure() });
};

before(async () => {
  gcp = await gcpKms();
  client = connect((await gcp.tell({ key: NAME })).endpoint);
  provider = new GcpKmsProvider(NAME, { client });
});
beforeEach(() => gcp.tell({ reset: true }));
after(async () => {
  await gcp.tell({ reset: true }); // nothing hangs on
  await client.close();
});

test("what is sealed opens elsewhere", async () => {
  const { store, keyring } = await ready(provider);
  const sealed = await keyring.sealText(PLAINTEXT, contextOf());
  await keyring.close();
  const other = await Keyring.connect(store, { kek: new GcpKmsProvider(NAME, { client }) });
  assert.equal(await other.openText(sealed, contextOf()), PLAINTEXT);
  const { status, keks } = await other.health();
  assert.deepEqual([status, keks[0].scheme], ["ok", "gcp-kms"]);
  await other.close();
  assert.deepEqual(wraps(store), [{ kek_uri: URI, kek_version: "1", wrap_alg: "GOOGLE_SYMMETRIC_ENCRYPTION" }]);
});

test("Python and Node open each other's keys", async () => {
  const { endpoint } = await gcp.tell();
  const make = `
import grpc
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from sealpoint.kms.gcp import GcpKmsProvider
transport = KeyManagementServiceGrpcTransport(channel=grpc.insecure_channel("${endpoint}"))
make = lambda uri: GcpKmsProvider(uri.removeprefix("gcp-kms://"), client=kms_v1.KeyManagementServiceClient(transport=transport))`;
  assert.deepEqual(await bothLanguages(provider, URI, make), { kek_uri: URI, kek_version: "1", wrap_alg: "GOOGLE_SYMMETRIC_ENCRYPTION" });
});

test("one class however it is imported, and it shows nothing else than the name", () => {
  assert.equal(createRequire(import.meta.url)("sealpoint/kms/gcp").GcpKmsProvider, GcpKmsProvider);
  assert.deepEqual([provider.uri, provider.capabilities], [URI, { bindsContext: true, authenticates: true }]);
  for (const shown of [String(provider), inspect(provider), JSON.parse(JSON.stringify(provider))]) {
    assert.equal(shown, `GcpKmsProvider(${JSON.stringify(NAME)})`);
  }
});

test("a URI alone asks for no credentials; without any it is denied, and the process goes on", async () => {
  const program = `
    import { Keyring } from "sealpoint";
    for (const file of ["/nothing/here", undefined]) {
      if (file) process.env.GOOGLE_APPLICATION_CREDENTIALS = file; else delete process.env.GOOGLE_APPLICATION_CREDENTIALS;
      const keyring = await Keyring.connect("memory:", { kek: "${URI}" }).catch((error) => console.log(error.code, error.message));
    }
    setTimeout(() => console.log("goes on"), 10);
  `;
  const env = { ...process.env, HOME: "/nothing", CLOUDSDK_CONFIG: "/nothing" }; // nor those that gcloud keeps
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], { env, cwd: import.meta.dirname });
  assert.match(stdout, /^(kms_denied Google finds or accepts no credentials.*\n){2}goes on\n$/);
});

test("every call names the key, the context and both checksums", async () => {
  const secret = SecretKey.generate();
  assert.ok((await provider.unwrap(await provider.wrap(secret, WRAP), WRAP)).equals(secret)); // the fake compares each checksum that it is sent
  const { calls, requests } = await gcp.tell();
  assert.deepEqual(calls, { Encrypt: 1, Decrypt: 1 });
  for (const request of requests) {
    assert.deepEqual([request.name, request.additional_authenticated_data], [NAME, Buffer.from(WRAP.canonical).toString("base64")]);
    assert.ok(request.additional_authenticated_data_crc32c);
  }
  assert.ok(requests[0].plaintext_crc32c && requests[1].ciphertext_crc32c);
});

describe("a fault", () => {
  for (const [fault, expected, times] of FAULTS) {
    test(`${fault.join(" ")}: ${expected}`, async () => {
      const { store, keyring } = await ready(provider);
      await gcp.tell({ reset: true, fault });
      await code(keyring.seal(new Uint8Array(1), contextOf()), expected, /Google/);
      assert.deepEqual([await gcp.calls(), keyring._cache.size], [{ Encrypt: times }, 0]);
      assert.deepEqual(query(store, "SELECT (SELECT count(*) FROM sealpoint_deks) + (SELECT count(*) FROM sealpoint_wraps) AS rows"), [{ rows: 0 }]);

      await gcp.tell({ fault: null });
      const sealed = await keyring.sealText(PLAINTEXT, contextOf());
      keyring._cache.clear();
      await gcp.tell({ reset: true, fault });
      await code(keyring.openText(sealed, contextOf()), expected, /Google/);
      assert.deepEqual([await gcp.calls(), keyring._cache.size], [{ Decrypt: times }, 0]);
      await gcp.tell({ fault: null });
      assert.equal(await keyring.openText(sealed, contextOf()), PLAINTEXT);
      await keyring.close();
    });
  }

  test("no answer: given up within the deadline, and asked for again", async () => {
    const wrapped = await provider.wrap(SecretKey.generate(), WRAP);
    const patient = new GcpKmsProvider(NAME, { client, deadline: 3 });
    await gcp.tell({ reset: true, fault: "hang" });
    await code(patient.unwrap(wrapped, WRAP), "kms_unavailable", /Google/);
    await code(patient.wrap(SecretKey.generate(), WRAP), "kms_unavailable", /Google/);
    const { Encrypt, Decrypt } = await gcp.calls();
    assert.ok(
      [Encrypt, Decrypt].every((calls) => calls >= 2 && calls <= 3),
      `${Encrypt}, ${Decrypt}`,
    );
  });

  test("a client that never answers is given up", async () => {
    const silent = { initialize: () => new Promise(() => {}), innerApiCalls: {} };
    await code(new GcpKmsProvider(NAME, { client: silent, deadline: 1 }).wrap(SecretKey.generate(), WRAP), "kms_unavailable", /TimeoutError/);
  });

  test("an outage is not waited out: the client's own retry would go on for a minute, ours ends within the deadline, and the test with it", async () => {
    const gone = connect("127.0.0.1:1");
    await code(new GcpKmsProvider(NAME, { client: gone, deadline: 1 }).wrap(SecretKey.generate(), WRAP), "kms_unavailable");
    await gone.close();
  });

  test("that passes is not noticed", async () => {
    await gcp.tell({
      faults: [
        ["UNAVAILABLE", ""],
        ["RESOURCE_EXHAUSTED", ""],
      ],
    });
    assert.equal((await provider.wrap(SecretKey.generate(), WRAP)).kekVersion, "1");
    assert.deepEqual(await gcp.calls(), { Encrypt: 3 });
  });

  for (const [field, operation] of [
    ["ciphertext", "Encrypt"],
    ["verified_plaintext_crc32c", "Encrypt"],
    ["verified_additional_authenticated_data_crc32c", "Encrypt"],
    ["plaintext", "Decrypt"],
  ]) {
    test(`damage on the way is asked for again: ${field}`, async () => {
      const secret = SecretKey.generate();
      let wrapped = await provider.wrap(secret, WRAP);
      await gcp.tell({ reset: true, faults: [{ flip: field }] });
      if (operation === "Encrypt") wrapped = await provider.wrap(secret, WRAP);
      assert.ok((await provider.unwrap(wrapped, WRAP)).equals(secret));
      assert.equal((await gcp.calls())[operation], 2);
      await gcp.tell({ fault: { flip: field } });
      await code(operation === "Encrypt" ? provider.wrap(secret, WRAP) : provider.unwrap(wrapped, WRAP), "kms_unavailable", /damaged/);
    });
  }
});

describe("does not open", () => {
  test("under another context or key, or once changed", async () => {
    await gcp.tell({ key: `${NAME}-2` });
    const { wrapped } = await provider.wrap(SecretKey.generate(), WRAP);
    await code(provider.unwrap({ wrapped }, OTHER_WRAP), "authentication_failed");
    await code(new GcpKmsProvider(`${NAME}-2`, { client }).unwrap({ wrapped }, WRAP), "authentication_failed");
    wrapped[wrapped.length - 1] ^= 1;
    await code(provider.unwrap({ wrapped }, WRAP), "authentication_failed");
  });

  test("an answer by another key", async () => {
    await gcp.tell({ fault: { name: `${NAME}-2/cryptoKeyVersions/1` } });
    await code(provider.wrap(SecretKey.generate(), WRAP), "authentication_failed", /another key/);
  });

  test("an answer that is no key", async () => {
    const wrapped = await provider.wrap(SecretKey.generate(), WRAP);
    await gcp.tell({ fault: { plaintext: "short" } });
    await code(provider.unwrap(wrapped, WRAP), "authentication_failed", /no key/);
  });
});

test("a thousand callers need one call", async () => {
  const { keyring } = await ready(provider);
  const sealed = await keyring.sealText(PLAINTEXT, contextOf());
  await gcp.tell({ reset: true });
  const results = await thousand(keyring, sealed);
  assert.ok(results.every((result, i) => (i % 2 ? result === PLAINTEXT : isSealed(result))));
  assert.deepEqual(await gcp.calls(), { Decrypt: 1 });
  await keyring.close();
});

test("no key is logged, where Google's client logs requests and answers; and none is left in its memory", async () => {
  const { endpoint } = await gcp.tell();
  const program = `
    import { createRequire } from "node:module";
    import { KeyManagementServiceClient } from "@google-cloud/kms";
    import { SecretKey, wrapContext } from "sealpoint";
    import { GcpKmsProvider } from "sealpoint/kms/gcp";
    const { credentials } = createRequire(createRequire(import.meta.resolve("@google-cloud/kms").slice(7)).resolve("google-gax"))("@grpc/grpc-js");
    const [servicePath, port] = "${endpoint}".split(":");
    const client = new KeyManagementServiceClient({ servicePath, port: Number(port), sslCreds: credentials.createInsecure() });
    const context = wrapContext({ tenant: "t", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 });
    const seen = [];
    const provider = new GcpKmsProvider("${NAME}", { client });
    await client.initialize();
    for (const method of ["encrypt", "decrypt"]) {
      const call = client.innerApiCalls[method];
      client.innerApiCalls[method] = async (request, how) => {
        const all = await call(request, how);
        seen.push(request.plaintext ?? all[0].plaintext);
        return all;
      };
    }
    const secret = SecretKey.generate();
    const same = (await provider.unwrap(await provider.wrap(secret, context), context)).equals(secret);
    console.log(same, seen.length, seen.every((bytes) => bytes.length === 32 && bytes.every((byte) => byte === 0)));
    console.error("THEN");
    await client.encrypt({ name: "${NAME}", plaintext: Buffer.from("not ours") });
    await client.close();
  `;
  const env = { ...process.env, GOOGLE_SDK_NODE_LOGGING: "*" };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], { env, cwd: import.meta.dirname });
  assert.equal(stdout, "true 2 true\n");
  const [ours, others] = stderr.split("THEN");
  assert.doesNotMatch(ours, /crypt (request|response)/);
  assert.match(others, /encrypt request/);
});

describe("refused", () => {
  for (const rest of [
    "",
    "//",
    NAME,
    `//${NAME}/cryptoKeyVersions/1`,
    `//${NAME}?x=1`,
    `//${NAME}#x`,
    `//${NAME}/`,
    `///${NAME}`,
    "//projects/p",
    `//${NAME}\n`,
  ]) {
    test(JSON.stringify(rest), () => code(Keyring.connect("memory:", { kek: `gcp-kms:${rest}` }), "invalid_argument", /gcp-kms:/));
  }

  test("a deadline, an option, a client that is none", async () => {
    await code(() => new GcpKmsProvider(NAME, { deadline: 0 }), "invalid_argument", /deadline/);
    await code(() => new GcpKmsProvider(NAME, { timeout: 3 }), "invalid_argument", /timeout/);
    for (const bad of [null, {}, 3]) await code(() => new GcpKmsProvider(NAME, { client: bad }), "invalid_argument", /client/);
  });

  test("without Google's client", async () => {
    const said = await alone(`
      import { Keyring } from "./node.mjs";
      await Keyring.connect("memory:", { kek: "${URI}" }).catch((error) => console.log(error.code, error.message));
    `);
    assert.match(said, /^missing_dependency .*npm install @google-cloud\/kms$/);
  });
});
