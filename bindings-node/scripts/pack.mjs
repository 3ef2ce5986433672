// Makes what is published, as tarballs: `npm run pack -- OUTDIR`. The package itself, and for each native module in dist/ a platform package beside it, which npm
// installs where `os`, `cpu` and `libc` fit. A release collects the modules of all platforms in dist/ first.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const out = resolve(process.argv[2] ?? "npm/packed");
process.chdir(new URL("..", import.meta.url).pathname);

/** For which machines a release has native modules. Elsewhere WebAssembly takes over. */
const PLATFORMS = {
  "darwin-arm64": { os: ["darwin"], cpu: ["arm64"] },
  "darwin-x64": { os: ["darwin"], cpu: ["x64"] },
  "linux-arm64-gnu": { os: ["linux"], cpu: ["arm64"], libc: ["glibc"] },
  "linux-arm64-musl": { os: ["linux"], cpu: ["arm64"], libc: ["musl"] },
  "linux-x64-gnu": { os: ["linux"], cpu: ["x64"], libc: ["glibc"] },
  "linux-x64-musl": { os: ["linux"], cpu: ["x64"], libc: ["musl"] },
  "win32-arm64-msvc": { os: ["win32"], cpu: ["arm64"] },
  "win32-x64-msvc": { os: ["win32"], cpu: ["x64"] },
};

const { devDependencies, scripts, ...main } = JSON.parse(readFileSync("package.json", "utf8"));
const { version, license, repository, engines } = main;
const nameOf = (platform) => `@sealpoint/native-${platform}`;

rmSync("npm", { recursive: true, force: true });
mkdirSync(out, { recursive: true });

function pack(folder, manifest, files) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const [from, to] of files) if (existsSync(from)) cpSync(from, join(folder, to), { recursive: true });
  console.log(join(out, execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", out], { cwd: folder, encoding: "utf8" }).trim()));
}

const licenses = ["APACHE", "MIT"].map((kind) => [`../LICENSE-${kind}`, `LICENSE-${kind}`]);
const optionalDependencies = Object.fromEntries(Object.keys(PLATFORMS).map((platform) => [nameOf(platform), version]));
pack("npm/sealpoint", { ...main, optionalDependencies }, [["dist", "dist"], ["README.md", "README.md"], ...licenses]);

for (const file of readdirSync("dist").filter((name) => name.endsWith(".node"))) {
  const platform = file.slice("sealpoint.".length, -".node".length);
  if (!(platform in PLATFORMS)) throw new Error(`no platform package is known for ${file}`);
  const description = `The native module of sealpoint for ${platform}`;
  const manifest = { name: nameOf(platform), version, description, license, repository, engines, main: file, files: [file], ...PLATFORMS[platform] };
  pack(`npm/${platform}`, manifest, [[`dist/${file}`, file], ...licenses]);
}
