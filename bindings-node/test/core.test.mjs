// The two Rust modules, below the API.
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { backends } from "./backends.mjs";

const require = createRequire(import.meta.url);
const dist = new URL("../dist/", import.meta.url);
const native = require(
  new URL(
    readdirSync(dist).find((name) => name.endsWith(".node")),
    dist,
  ).pathname,
);
// Node reads the glue as an ES module only by another name.
const copy = join(mkdtempSync(join(tmpdir(), "sealpoint-")), "glue.mjs");
copyFileSync(new URL("../build/wasm/sealpoint.js", import.meta.url), copy);
const glue = await import(copy);
glue.initSync({ module: readFileSync(new URL("sealpoint.wasm", dist)) });

/** The names in `interface NAME { … }` of the contract. */
const contract = readFileSync(new URL("../ts/core.ts", import.meta.url), "utf8");
const namesIn = (name) =>
  [...contract.match(new RegExp(`interface ${name}(?: extends Core)? \\{\\n(.*?)\\n\\}`, "s"))[1].matchAll(/^ {2}(\w+)\(/gm)].map((match) => match[1]).sort();

const handleTypes = [...contract.matchAll(/^export interface (Core\w+) \{\n(?:(?!\}).*\n)*? {2}free\(\)/gm)].map((match) => match[1]);
const functionsOf = (module) =>
  Object.keys(module).filter((name) => typeof module[name] === "function" && !name.startsWith("Core") && !["initSync", "default"].includes(name));
const methodsOf = (handle) => Object.getOwnPropertyNames(Object.getPrototypeOf(handle)).filter((name) => !/^(constructor|__\w+)$/.test(name));

for (const [name, module] of [
  ["native", native],
  ["wasm", glue],
]) {
  test(`${name} has the functions of its contract and no others`, () => {
    assert.deepEqual(functionsOf(module).sort(), [...namesIn("Core"), ...(module === native ? namesIn("NativeCore") : [])].sort());
  });

  test(`${name}: so have its handles`, () => {
    const context = module.newContext('{"tenant":"t","purpose":"p"}');
    const { dek, secret } = module.generateDek("t", 1, 1);
    const handles = {
      CoreContext: context,
      CoreDek: dek,
      CoreSecret: secret,
      CoreKek: module.kekFromBytes(secret.expose()),
      CoreMessage: dek.beginSeal(1, "", false, context),
      CoreDekCache: module.newDekCache(1, 1, 1),
    };
    if (module === native) handles.CoreRecovery = module.generateRecovery();
    assert.deepEqual(Object.keys(handles).sort(), handleTypes.filter((type) => type in handles || module === native).sort());
    if (module === native) handles.CoreRecoveryPublic = handles.CoreRecovery.public();
    for (const [type, handle] of Object.entries(handles)) assert.deepEqual(methodsOf(handle).sort(), namesIn(type), type);
  });
}

for (const { name, sealpoint } of backends) {
  const module = name === "native" ? native : glue;

  test(`${name}: the codes are the core's, and so are limits and version`, () => {
    assert.deepEqual({ ...sealpoint.errorCodes }, { ...module.errorCodes() });
    assert.deepEqual({ ...sealpoint.limits }, { ...module.limits() });
    assert.equal(sealpoint.version, module.coreVersion());
    assert.throws(() => {
      sealpoint.limits.MAX_PAYLOAD_LEN = 1;
    }, TypeError);
  });

  test(`${name}: is an error of the package`, () => {
    try {
      new sealpoint.Context({});
    } catch (error) {
      assert.ok(sealpoint.isSealpointError(error));
      assert.equal(error.code, "tenant_required");
    }
    for (const other of [new Error("x"), Object.assign(new Error("x"), { code: "ENOENT" }), undefined, { code: "internal", retryable: false }]) {
      assert.ok(!sealpoint.isSealpointError(other));
    }
  });
}

test("both codes and limits are the same, but for what 32 bits cannot hold", () => {
  assert.deepEqual({ ...glue.errorCodes() }, { ...native.errorCodes() });
  assert.deepEqual({ ...glue.limits(), MAX_PAYLOAD_LEN: 2 ** 30 }, { ...native.limits() });
});
