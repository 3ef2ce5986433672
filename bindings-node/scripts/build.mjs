// Builds the package into dist/: `npm run build`. With --ts-only the two Rust modules are taken as they lie in build/ from an earlier run.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

process.chdir(new URL("..", import.meta.url).pathname);
const run = (command, ...args) => execFileSync(command, args, { stdio: "inherit" });

if (!process.argv.includes("--ts-only")) {
  run("./build-native.sh", "build/native");
  run("../bindings-wasm/build.sh", "build/wasm");
}

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");
const { version } = JSON.parse(readFileSync("package.json", "utf8"));
const bundle = (name, entry, format, platform, external = []) =>
  build({
    entryPoints: [`ts/${entry}.ts`],
    outfile: `dist/${name}`,
    bundle: true,
    format,
    platform,
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    loader: { ".wasm": "binary" },
    external,
    define: { SEALPOINT_VERSION: JSON.stringify(version) },
  });
await Promise.all([
  bundle("node.cjs", "entry-node", "cjs", "node"),
  bundle("inline.mjs", "entry-inline", "esm", "neutral"),
  bundle("wasm-node.cjs", "entry-wasm", "cjs", "node"),
  bundle("wasm.mjs", "entry-wasm", "esm", "neutral"),
  bundle("health.mjs", "health", "esm", "neutral", ["sealpoint"]),
  bundle("health.cjs", "health", "cjs", "node", ["sealpoint"]),
  bundle("langgraph.mjs", "langgraph/index", "esm", "node", ["sealpoint", "@langchain/*", "@msgpack/msgpack", "pg"]),
  bundle("langgraph.cjs", "langgraph/index", "cjs", "node", ["sealpoint", "@langchain/*", "@msgpack/msgpack", "pg"]),
]);

cpSync("build/wasm/sealpoint_bg.wasm", "dist/sealpoint.wasm");
for (const file of readdirSync("build/native").filter((name) => name.endsWith(".node"))) cpSync(`build/native/${file}`, `dist/${file}`);

// In Node, `import` is a view of what `require` gives: one instance, whoever loads it how.
for (const [esm, cjs] of [
  ["node.mjs", "node.cjs"],
  ["wasm-node.mjs", "wasm-node.cjs"],
]) {
  const names = Object.keys((await import(`../dist/${cjs}`)).default);
  writeFileSync(`dist/${esm}`, `import sealpoint from "./${cjs}";\n\nexport const { ${names.join(", ")} } = sealpoint;\n`);
}

// So are the entries of key services, which share its classes.
const KMS = {
  aws: ["AwsKmsProvider"],
  gcp: ["GcpKmsProvider"],
  pkcs11: ["Pkcs11Provider"],
  recovery: ["OfflineRecoveryProvider", "RecoveryKey", "RecoveryProvider", "RecoveryPublicKey"],
};
for (const [name, classes] of Object.entries(KMS)) {
  writeFileSync(`dist/kms-${name}.mjs`, `import sealpoint from "./node.cjs";\n\nexport const { ${classes.join(", ")} } = sealpoint._kms;\n`);
  writeFileSync(
    `dist/kms-${name}.cjs`,
    `const sealpoint = require("./node.cjs");\n\n${classes.map((one) => `exports.${one} = sealpoint._kms.${one};\n`).join("")}`,
  );
}

// One set of declarations, in CommonJS; those of ES modules are views of them, so that a class is the same type in both. Those of the wrappers are there twice:
// LangGraph's classes are two types, one for `import` and one for `require`.
run("node_modules/.bin/tsc", "-p", "tsconfig.build.json");
cpSync("dist/types/langgraph", "dist/types/langgraph-esm", { recursive: true });
writeFileSync("dist/types/langgraph-esm/package.json", '{ "type": "module" }\n');
for (const [name, entry] of [
  ["health", "health"],
  ["index", "index"],
  ["langgraph", "langgraph/index"],
  ["wasm", "entry-wasm"],
  ...Object.keys(KMS).map((name) => [`kms-${name}`, `kms/${name}`]),
]) {
  for (const kind of ["mts", "cts"]) writeFileSync(`dist/${name}.d.${kind}`, `export * from "./types/${entry}.js";\n`);
}
writeFileSync("dist/langgraph.d.mts", 'export * from "./types/langgraph-esm/index.js";\n');
