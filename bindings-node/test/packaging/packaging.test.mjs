// `npm pack`, installed into an empty project, run and built with everything that claims to understand it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

const here = new URL(".", import.meta.url).pathname;
const tool = createRequire(join(here, "package.json"));
const scratch = mkdtempSync(join(tmpdir(), "sealpoint-packaging-"));
after(() => rmSync(scratch, { recursive: true }));

const run = (command, args, cwd) => execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const json = (output) =>
  JSON.parse(
    output
      .trim()
      .split("\n")
      .find((line) => line.startsWith("{")),
  );
const node = (file, cwd) => json(run(process.execPath, [file], cwd));

const [packed, platform] = run(process.execPath, ["../../scripts/pack.mjs", join(scratch, "packed")], here)
  .trim()
  .split("\n");

/** An empty project with these tarballs and the programs of `project/`. */
function project(name, tarballs, type = "module") {
  const folder = join(scratch, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, private: true, type }));
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", ...tarballs], folder);
  cpSync(join(here, "project"), folder, { recursive: true });
  return folder;
}

const both = project("both", [packed, platform]);
const wasmOnly = project("wasm-only", [packed]);
const expected = (backend) => ({ backend, text: "4111 – é", same: true, cached: 3, refused: "authentication_failed" });

describe("in Node", () => {
  test("ES modules, CommonJS and the bytes' own entry", () => {
    assert.deepEqual(node("run.mjs", both), expected("native"));
    assert.deepEqual(node("run.cjs", both), { backend: "native", text: "hello", oneInstance: true });
    assert.deepEqual(node("bytes.mjs", both), { text: "hello" });
  });

  test("without the platform package", () => {
    assert.deepEqual(node("run.mjs", wasmOnly), expected("wasm"));
    assert.deepEqual(node("run.cjs", wasmOnly), { backend: "wasm", text: "hello", oneInstance: true });
  });

  test("the entries of key services, alone and bundled: one instance, and what has to be installed", async () => {
    const said = {
      same: true,
      aws: "a KEK of aws-kms: needs @aws-sdk/client-kms: npm install @aws-sdk/client-kms",
      gcp: "a KEK of gcp-kms: needs @google-cloud/kms: npm install @google-cloud/kms",
      pkcs11: "a KEK of pkcs11: needs pkcs11js: npm install pkcs11js",
    };
    assert.deepEqual(node("kms.mjs", both), said);
    const { build } = tool("esbuild");
    const outfile = join(both, "esbuild/kms.mjs");
    await build({ entryPoints: [join(both, "kms.mjs")], bundle: true, format: "esm", platform: "node", outfile, logLevel: "error" });
    assert.deepEqual(node(outfile, both), said);
  });

  test("the tarball holds what is needed and nothing else", () => {
    const files = readdirSync(join(wasmOnly, "node_modules/sealpoint"), { recursive: true }).filter(
      (name) => /\.\w+$/.test(name) && !name.startsWith("dist/types/"),
    );
    const dist = [
      "health.cjs",
      "health.d.cts",
      "health.d.mts",
      "health.mjs",
      "index.d.cts",
      "index.d.mts",
      "inline.mjs",
      ...["aws", "gcp", "pkcs11", "recovery"].flatMap((name) => ["cjs", "d.cts", "d.mts", "mjs"].map((kind) => `kms-${name}.${kind}`)),
      "langgraph.cjs",
      "langgraph.d.cts",
      "langgraph.d.mts",
      "langgraph.mjs",
      "node.cjs",
      "node.mjs",
      "sealpoint.wasm",
      "wasm-node.cjs",
      "wasm-node.mjs",
      "wasm.d.cts",
      "wasm.d.mts",
      "wasm.mjs",
    ];
    assert.deepEqual(files.sort(), ["README.md", ...dist.map((name) => `dist/${name}`), "package.json"].sort());
    assert.ok(existsSync(join(wasmOnly, "node_modules/sealpoint/LICENSE-MIT")));
  });
});

describe("TypeScript, strict", () => {
  const tsc = join(tool.resolve("typescript/package.json"), "../bin/tsc");
  const commonjs = project("commonjs", [packed, platform], "commonjs");
  const options = ["--strict", "--target", "es2022", "--lib", "es2022,dom", "--types", "", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"];
  for (const [name, folder, resolution] of [
    ["NodeNext, ES modules", both, ["--module", "nodenext"]],
    ["NodeNext, CommonJS", commonjs, ["--module", "nodenext"]],
    ["bundler", both, ["--module", "esnext", "--moduleResolution", "bundler"]],
    ["bundler, for browsers", both, ["--module", "esnext", "--moduleResolution", "bundler", "--customConditions", "browser"]],
  ]) {
    test(name, () => {
      const out = join(folder, `typed-${name.replace(/\W+/g, "-")}`);
      try {
        run(process.execPath, [tsc, ...options, ...resolution, "--outDir", out, "typed.ts"], folder);
      } catch (error) {
        assert.fail(error.stdout);
      }
      assert.equal(node(join(out, "typed.js"), folder).code, "plaintext_refused");
    });
  }

  test("are the types wrong?", () => {
    const attw = join(tool.resolve("@arethetypeswrong/cli/package.json"), "../dist/index.js");
    try {
      // What is no module has no types; and those who resolve as Node 10 did find the package itself, but not `/wasm`.
      run(process.execPath, [attw, packed, "--exclude-entrypoints", "sealpoint.wasm", "--profile", "node16"], here);
    } catch (error) {
      assert.fail(error.stdout);
    }
  });
});

describe("bundled with no plugin", () => {
  const out = (name) => join(both, name);

  test("esbuild, for browsers", async () => {
    const { build } = tool("esbuild");
    await build({ entryPoints: [out("run.mjs")], bundle: true, format: "esm", platform: "browser", outfile: out("esbuild/browser.mjs"), logLevel: "error" });
    assert.deepEqual(node("esbuild/browser.mjs", both), expected("wasm"));
  });

  for (const format of ["esm", "cjs"]) {
    test(`esbuild, for Node, ${format}`, async () => {
      const { build } = tool("esbuild");
      const outfile = out(`esbuild/node.${format === "esm" ? "mjs" : "cjs"}`);
      await build({ entryPoints: [out("run.mjs")], bundle: true, format, platform: "node", outfile, logLevel: "error" });
      assert.deepEqual(node(outfile, both), expected("native"));
    });
  }

  test("webpack", async () => {
    const webpack = tool("webpack");
    const stats = await new Promise((resolve, reject) =>
      webpack(
        { mode: "production", target: "web", context: both, entry: "./run.mjs", output: { path: out("webpack"), filename: "run.cjs" }, performance: false },
        (error, done) => (error ? reject(error) : resolve(done)),
      ),
    );
    assert.deepEqual([stats.toJson().errors, stats.toJson().warnings], [[], []]);
    assert.deepEqual(node("webpack/run.cjs", both), expected("wasm"));
  });

  test("webpack, for Node", async () => {
    const webpack = tool("webpack");
    const stats = await new Promise((resolve, reject) =>
      webpack(
        { mode: "production", target: "node", context: both, entry: "./run.mjs", output: { path: out("webpack"), filename: "node.cjs" } },
        (error, done) => (error ? reject(error) : resolve(done)),
      ),
    );
    assert.deepEqual(stats.toJson().errors, []);
    assert.deepEqual(node("webpack/node.cjs", both), expected("native"));
  });

  test("Vite", async () => {
    const { build } = await import(tool.resolve("vite"));
    await build({
      root: both,
      logLevel: "error",
      build: { outDir: "vite", modulePreload: false, rollupOptions: { input: out("run.mjs"), output: { entryFileNames: "run.mjs" } } },
    });
    assert.deepEqual(node("vite/run.mjs", both), expected("wasm"));
  });
});

describe("other runtimes", () => {
  /** The binary in a platform package, whether or not its installer could run, which links to it; Bun's moves it. */
  const binary = (scope, path, moved = path) => {
    const folder = join(here, "node_modules", scope);
    const there = join(folder, readdirSync(folder)[0], path);
    return existsSync(there) ? there : join(here, "node_modules", moved);
  };

  test("Deno", () => {
    const output = run(binary("@deno", "deno"), ["run", "--no-remote", "--node-modules-dir=manual", "run.mjs"], both);
    assert.deepEqual(json(output), expected("wasm"));
  });

  test("Bun", () => {
    assert.deepEqual(json(run(binary("@oven", "bin/bun", "bun/bin/bun.exe"), ["run.mjs"], both)), expected("wasm"));
  });

  test("workerd", async () => {
    const { build } = tool("esbuild");
    await build({
      entryPoints: [join(both, "worker.mjs")],
      bundle: true,
      format: "esm",
      conditions: ["workerd"],
      outfile: join(both, "workerd/worker.mjs"),
      logLevel: "error",
    });
    writeFileSync(
      join(both, "workerd/config.capnp"),
      `using Workerd = import "/workerd/workerd.capnp";
       const config :Workerd.Config = (services = [(name = "main", worker = (modules = [(name = "worker", esModule = embed "worker.mjs")], compatibilityDate = "2026-01-01"))]);`,
    );
    const output = run(binary("@cloudflare", "bin/workerd"), ["test", "workerd/config.capnp"], both);
    assert.deepEqual(json(output), expected("wasm"));
  });
});
