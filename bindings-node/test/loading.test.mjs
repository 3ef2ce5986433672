// Which module is loaded, what happens where none can be, and calls too early.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import { code } from "./backends.mjs";

const dist = new URL("../dist/", import.meta.url).pathname;
const bytes = readFileSync(join(dist, "sealpoint.wasm"));
const scratch = mkdtempSync(join(tmpdir(), "sealpoint-"));
after(() => rmSync(scratch, { recursive: true }));

/** Runs an ES module in a process of its own: what it printed, and its warnings. */
function run(source, ...flags) {
  const file = join(scratch, "run.mjs");
  writeFileSync(file, `const warnings = []; process.on("warning", (warning) => warnings.push([warning.code, warning.message]));\n${source}`);
  return JSON.parse(execFileSync(process.execPath, [...flags, file], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
}

/** A copy of the package's files, without the native module. */
function without(change = () => {}) {
  const copy = mkdtempSync(join(scratch, "dist-"));
  cpSync(dist, copy, { recursive: true, filter: (name) => !name.endsWith(".node") });
  change(copy);
  return copy;
}

const sealAndOpen = `const { key } = s.DataKey.generate({ tenant: "acme" }); const c = { tenant: "acme", purpose: "x" };
  const text = key.openText(key.sealText("hello", c), c);`;
const report = "await new Promise((resolve) => setImmediate(resolve)); console.log(JSON.stringify({ backend: s.backend, text, warnings }));";

describe("in Node", () => {
  test("ES modules and CommonJS are one instance", async () => {
    const required = createRequire(import.meta.url)(join(dist, "node.cjs"));
    const imported = await import(join(dist, "node.mjs"));
    assert.equal(required.Context, imported.Context);
    assert.deepEqual(Object.keys(required).sort(), Object.keys(imported).sort());
    const { _kms, ...everywhere } = imported; // in Node alone: what `sealpoint/kms/*` are views of
    for (const [file, made] of [
      ["kms-recovery.mjs", await import(join(dist, "kms-recovery.mjs"))],
      ["kms-recovery.cjs", createRequire(import.meta.url)(join(dist, "kms-recovery.cjs"))],
    ]) {
      for (const [name, value] of Object.entries(made)) assert.equal(value, _kms[name], `${name} of ${file}`);
    }
    const wasm = await import(join(dist, "wasm-node.mjs"));
    assert.equal(createRequire(import.meta.url)(join(dist, "wasm-node.cjs")).Context, wasm.Context);
    assert.deepEqual(Object.keys(wasm).sort(), [...Object.keys(everywhere), "init"].sort());
    assert.deepEqual(Object.keys(await import(join(dist, "inline.mjs"))).sort(), Object.keys(everywhere).sort());
  });

  test("the native module is used, and nothing is said", () => {
    assert.deepEqual(run(`import * as s from ${JSON.stringify(join(dist, "node.mjs"))}; ${sealAndOpen} ${report}`), {
      backend: "native",
      text: "hello",
      warnings: [],
    });
  });

  test("without one WebAssembly takes over, and says so once", () => {
    const copy = without();
    const { warnings, ...rest } = run(
      `import * as s from ${JSON.stringify(join(copy, "node.mjs"))}; import ${JSON.stringify(join(copy, "node.cjs"))}; ${sealAndOpen} ${report}`,
    );
    assert.deepEqual(rest, { backend: "wasm", text: "hello" });
    assert.equal(warnings.length, 1);
    assert.equal(warnings[0][0], "SEALPOINT_WASM");
    assert.match(warnings[0][1], new RegExp(`no native module for ${process.platform}-${process.arch}`));
  });

  test("so it does beside one that does not load, and beside another release's", () => {
    const file = readdirSync(dist).find((name) => name.endsWith(".node"));
    const broken = without((copy) => writeFileSync(join(copy, file), "no module"));
    const old = without((copy) => writeFileSync(join(copy, file.replace(/node$/, "js")), ""));
    for (const copy of [broken, old])
      assert.equal(run(`import * as s from ${JSON.stringify(join(copy, "node.mjs"))}; ${sealAndOpen} ${report}`).backend, "wasm");
    const other = without((copy) => {
      cpSync(join(dist, file), join(copy, file));
      const source = readFileSync(join(copy, "node.cjs"), "utf8");
      writeFileSync(join(copy, "node.cjs"), source.replace(/(var version = ")[^"]+/, "$19.9.9"));
    });
    const result = run(`import * as s from ${JSON.stringify(join(other, "node.mjs"))};
      try { s.DataKey.generate({ tenant: "acme" }) } catch (error) { console.log(JSON.stringify([error.code, error.message])) }`);
    assert.equal(result[0], "missing_dependency");
    assert.match(result[1], /has version 0.*package 9\.9\.9: reinstall/);
  });

  test("where neither can be loaded, importing works and each call says why", () => {
    const copy = without();
    const calls = `const errors = []; for (const call of [() => s.DataKey.generate({ tenant: "acme" }), () => new s.Context({ tenant: "acme", purpose: "x" }), () => s.SecretKey.generate(), () => s.isSealed("x")])
      try { call() } catch (error) { errors.push([error.code, error.retryable, s.isSealpointError(error), /can be loaded|cannot run here/.test(error.message)]) }
      console.log(JSON.stringify(errors))`;
    for (const entry of ["node.mjs", "inline.mjs"]) {
      const result = run(`delete globalThis.WebAssembly; const s = await import(${JSON.stringify(join(copy, entry))}); ${calls}`);
      assert.deepEqual(result, Array(4).fill(["missing_dependency", false, true, true]), entry);
    }
  });

  test("in a worker, while the main thread works, and after its end", async () => {
    const { DataKey } = await import(join(dist, "node.mjs"));
    const { key } = DataKey.generate({ tenant: "acme" });
    const context = { tenant: "acme", purpose: "x" };
    for (let round = 0; round < 3; round++) {
      const source = `const { parentPort } = require("node:worker_threads"); const s = require(${JSON.stringify(join(dist, "node.cjs"))}); ${sealAndOpen}
        parentPort.postMessage([s.backend, text]); for (;;) key.seal(new Uint8Array(1000), c);`;
      const worker = new Worker(source, { eval: true });
      assert.deepEqual(await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject)), ["native", "hello"]);
      assert.equal(key.open(key.seal(new Uint8Array(9), context), context).length, 9);
      await worker.terminate();
    }
    assert.equal(key.open(key.seal(new Uint8Array(9), context), context).length, 9);
  });
});

describe("sealpoint/wasm", () => {
  let copies = 0;
  const fresh = () => import(`${dist}wasm.mjs?${copies++}`);
  const calls = (s) => [
    () => new s.Context({ tenant: "acme", purpose: "x" }),
    () => s.DataKey.generate({ tenant: "acme" }),
    () => s.DataKey.import("sealpoint-key:v1:"),
    () => s.SecretKey.generate(),
    () => s.SecretKey.fromBytes(new Uint8Array(32)),
    () => s.LocalKek.parse("x"),
    () => new s.DekCache({ ttl: 1, pointerTtl: 1, capacity: 1 }),
    () => s.isSealed("x"),
    () => s.toText(new Uint8Array(200)),
    () => s.fromText("x"),
    () => s.envelopeDekId(new Uint8Array(200)),
    () => s.wrapContext({ tenant: "acme", dekId: new Uint8Array(16), dekPurpose: 1, suite: 1 }),
    () => s.canaryContext("x"),
    () => s.canarySecret("x"),
    () => s.manifestPayload([], { parent: null, exact: true, channels: [], metadata: new Uint8Array(1) }),
    () => s.manifestOpen(new Uint8Array(1), [], { parent: null, channels: [] }),
  ];

  test("before init every call says what to do", async () => {
    const s = await fresh();
    assert.equal(s.backend, "wasm");
    for (const call of calls(s)) assert.throws(call, (error) => code("invalid_argument")(error) && /call init/.test(error.message), String(call));
  });

  test("after a failed init every call says that it failed, and init can be called again", async () => {
    const s = await fresh();
    const empty = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
    for (const wrong of [
      undefined,
      null,
      "sealpoint.wasm",
      3,
      {},
      new Uint8Array(0),
      bytes.subarray(0, 1000),
      empty,
      new WebAssembly.Module(empty),
      new SharedArrayBuffer(8),
    ]) {
      assert.throws(() => s.init(wrong), code("invalid_argument"));
      for (const call of calls(s)) assert.throws(call, (error) => code("invalid_argument")(error) && /init was not given/.test(error.message), String(call));
    }
    s.init(bytes);
    s.init(undefined);
    assert.equal(new s.Context({ tenant: "acme", purpose: "x" }).tenant, "acme");
  });

  test("takes bytes, a Buffer's view, an ArrayBuffer and a compiled module", async () => {
    for (const source of [bytes, Uint8Array.from(bytes), Uint8Array.from(bytes).buffer, new WebAssembly.Module(bytes)]) {
      const s = await fresh();
      s.init(source);
      assert.equal(new s.Context({ tenant: "acme", purpose: "x" }).tenant, "acme");
    }
  });
});
