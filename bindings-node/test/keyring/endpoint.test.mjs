// What a service answers to its probes: Express 5, Express 4 and `node:http`, each on a real server.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer, request } from "node:http";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import express from "express";
import express4 from "express4";
import { Keyring } from "sealpoint";
import { health } from "sealpoint/health";
import { contextOf, FakeKms, heldUp, OTHER_KEK, passTime, TENANT } from "./support.mjs";

const bytes = new Uint8Array([1]);

/** A keyring, and a way to ask its health over HTTP; both end with the test. */
async function served(t, { kms = new FakeKms(), server = createServer, store = "memory:", ...options } = {}) {
  const keyring = await Keyring.connect(store, { kek: kms });
  const running = server(health(keyring, options)).listen(0, "127.0.0.1");
  await new Promise((resolve) => running.once("listening", resolve));
  t.after(async () => {
    running.closeAllConnections();
    await new Promise((resolve) => running.close(resolve));
    await keyring.close();
  });
  const ask = (method = "GET", path = "/") =>
    new Promise((resolve, reject) => {
      const asking = request({ host: "127.0.0.1", port: running.address().port, method, path }, async (response) => {
        let body = "";
        for await (const chunk of response) body += chunk;
        assert.ok(!body.includes(TENANT) && !body.includes("fake:"), body);
        resolve({ status: response.statusCode, headers: response.headers, report: body && JSON.parse(body) });
      });
      asking.on("error", reject).end();
    });
  for (const one of [kms].flat()) one.calls.unwrap = 0;
  return { keyring, kms, ask };
}

const SERVERS = {
  "node:http": (handler) => createServer({ rejectNonStandardBodyWrites: true }, handler),
  "Express 5, app.use": (handler) => createServer(express().use("/health/keys", handler)),
  "Express 5, app.get": (handler) => createServer(express().get("/health/keys", handler)),
  "Express 4, app.use": (handler) => createServer(express4().use("/health/keys", handler)),
  "Express 4, app.all": (handler) => createServer(express4().all("/health/keys", handler)),
};

test("the two versions of Express are two", () => {
  const require = createRequire(import.meta.url);
  assert.deepEqual(
    ["express", "express4"].map((name) => require(`${name}/package.json`).version.split(".")[0]),
    ["5", "4"],
  );
});

for (const [name, server] of Object.entries(SERVERS)) {
  test(`${name}: the answer follows the keys`, async (t) => {
    const { keyring, kms, ask } = await served(t, { server, maxAge: 0 });
    const get = () => ask("GET", "/health/keys");
    const kek = { scheme: "fake", status: "ok", code: null };
    const { status, headers, report } = await get();
    assert.deepEqual([status, report], [200, { status: "ok", store: null, cached_until: null, affected_tenants: 0, keks: [kek] }]);
    assert.deepEqual([headers["content-type"], headers["cache-control"]], ["application/json", "no-store"]);
    kms.fail("kms_unavailable");
    assert.equal((await get()).status, 503);
    kms.fail(undefined);
    await keyring.seal(bytes, contextOf());
    kms.fail("kms_unavailable");
    const cached = await get();
    assert.deepEqual([cached.status, cached.report.status, cached.report.keks[0].status], [200, "cached", "cached"]);
    assert.ok(new Date(cached.report.cached_until) > new Date());
    passTime(keyring, 3601);
    assert.deepEqual([(await get()).status, (await get()).report.status], [503, "failed"]);
    await keyring.close();
    const closed = await get();
    assert.deepEqual([closed.status, closed.report], [503, { status: "closed" }]);
  });

  test(`${name}: HEAD has no body, and other methods are refused`, async (t) => {
    const { ask } = await served(t, { server });
    const [get, head] = [await ask("GET", "/health/keys"), await ask("HEAD", "/health/keys")];
    assert.deepEqual([head.status, head.report, head.headers["content-length"]], [200, "", get.headers["content-length"]]);
    if (name.endsWith("app.get")) return; // Express itself answers
    for (const method of ["POST", "DELETE", "OPTIONS"]) {
      const refused = await ask(method, "/health/keys");
      assert.deepEqual([refused.status, refused.headers.allow, refused.report], [405, "GET, HEAD", { error: "GET or HEAD" }]);
    }
  });
}

test("what is wrong with the key store", async (t) => {
  const without = { settings: async () => undefined };
  for (const name of ["setup", "canaries", "addCanary", "tenant", "dek", "activeDek", "nextVersion", "createDek"]) without[name] = async () => {};
  const { ask } = await served(t, { store: without });
  const { status, report } = await ask();
  assert.deepEqual([status, report], [503, { status: "failed", store: "store_invalid", cached_until: null, affected_tenants: 0, keks: [] }]);
});

test("one KEK of two that works is enough", async (t) => {
  const pair = [new FakeKms("fake:first"), new FakeKms("fake:second", { kek: OTHER_KEK })];
  const { ask } = await served(t, { kms: pair });
  pair[0].fail("kms_denied");
  const { status, report } = await ask();
  assert.deepEqual([status, report.status, report.keks.map((kek) => kek.status)], [200, "degraded", ["failed", "ok"]]);
});

describe("probes share a look", () => {
  test("while it lasts, and for maxAge seconds", async (t) => {
    let arrived = 0;
    const server = (handler) =>
      createServer((request, response) => {
        arrived += 1;
        handler(request, response);
      });
    const { kms, ask } = await served(t, { maxAge: 10, server });
    const proceed = heldUp(kms);
    const asking = Array.from({ length: 8 }, () => ask());
    while (arrived < 8) await new Promise(setImmediate);
    proceed();
    assert.deepEqual(new Set((await Promise.all(asking)).map(({ status }) => status)), new Set([200]));
    kms.fail("kms_denied");
    assert.deepEqual([(await ask()).status, kms.calls.unwrap], [200, 1]);
    const now = performance.now.bind(performance);
    t.mock.method(performance, "now", () => now() + 10_001);
    assert.deepEqual([(await ask()).status, kms.calls.unwrap], [503, 2]);
  });

  test("each one anew where maxAge is 0", async (t) => {
    const { kms, ask } = await served(t, { maxAge: 0 });
    await ask();
    await ask();
    assert.equal(kms.calls.unwrap, 2);
  });
});

test("what a limit of time has answered meanwhile stays", async (t) => {
  let handled;
  const server = (handler) =>
    createServer((request, response) => {
      handled = handler(request, response);
      response.writeHead(504, { "content-type": "application/json", "cache-control": "no-store" }).end("{}");
    });
  const kms = new FakeKms();
  const { ask } = await served(t, { kms, server });
  const proceed = heldUp(kms);
  assert.equal((await ask()).status, 504);
  proceed();
  await handled;
});

test("what is refused", async () => {
  const keyring = await Keyring.connect("memory:", { kek: new FakeKms() });
  for (const maxAge of [-1, 301, true, "10", null, Number.NaN])
    assert.throws(() => health(keyring, { maxAge }), { code: "invalid_argument", message: /maxAge/ });
  assert.throws(() => health(keyring, { max_age: 10 }), { code: "invalid_argument", message: /max_age/ });
  for (const other of [undefined, null, "memory:", {}]) assert.throws(() => health(other), { code: "invalid_argument", message: /keyring/ });
});

test("the handler type-checks as one of Express and of node:http", () => {
  const here = fileURLToPath(new URL("../..", import.meta.url));
  execFileSync(`${here}/node_modules/.bin/tsc`, ["-p", `${here}/test/keyring/typed`], { encoding: "utf8", stdio: "pipe" });
});
