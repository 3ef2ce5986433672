// Sealing and opening in Chromium and Firefox: WebAssembly and the asynchronous path beside bare WebCrypto and @noble/ciphers.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as contenders from "./contenders.mjs";
import * as harness from "./harness.mjs";

const { WASM, WASM_ASYNC, WEBCRYPTO, NOBLE } = contenders;

const [KB, MB] = [1 << 10, 1 << 20];
const SIZES = [KB, 100 * KB, MB, 16 * MB];
const QUICK_SIZES = [KB, 100 * KB, MB];

const TARGETS = [
  { own: WASM, peer: NOBLE, sizes: [KB, 100 * KB], factor: 2, faster: true },
  { own: WASM_ASYNC, peer: WEBCRYPTO, sizes: [100 * KB], factor: 3, faster: false },
  { own: WASM_ASYNC, peer: WEBCRYPTO, sizes: [MB, 16 * MB], factor: 1.6, faster: false },
  { own: WASM_ASYNC, peer: WASM, sizes: [100 * KB], factor: 5, faster: true },
];

const BROWSERS = {
  Chromium: {
    browser: "chrome",
    executablePath: "/usr/bin/chromium",
    debian: "chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--js-flags=--expose-gc",
    ],
  },
  Firefox: { browser: "firefox", executablePath: "/usr/bin/firefox-esr", debian: "firefox-esr", args: [] },
};

const options = harness.options("Sealing and opening in Chromium and Firefox, beside bare WebCrypto and @noble/ciphers.", {
  ...harness.COMPARING,
  browser: { type: "string", value: "NAME", multiple: true, default: Object.keys(BROWSERS), help: "Chromium or Firefox; may be repeated (default: both)" },
});
const output = harness.output(options, "browser-seal.json");
const builds = harness.builds(options);
const unknown = options.browser.find((name) => !(name in BROWSERS));
if (unknown !== undefined) harness.stop(`there is no browser ${unknown}; there are: ${Object.keys(BROWSERS).join(", ")}`);

const how = {
  rounds: options.rounds ?? (options.quick ? 7 : 31),
  // The clock of a page ticks in 5 µs (Chromium) and 20 µs (Firefox).
  sampleMs: options.quick ? 3 : 6,
  warmMs: options.quick ? 60 : 200,
};
const sizes = options.quick ? QUICK_SIZES : SIZES;

const { puppeteer, files } = await harness.available(
  {
    puppeteer: async () => (await harness.peer("puppeteer-core")).default,
    files: () => ({
      "/page.mjs": fileURLToPath(new URL("page.mjs", import.meta.url)),
      "/contenders.mjs": fileURLToPath(new URL("contenders.mjs", import.meta.url)),
      "/timing.mjs": fileURLToPath(new URL("timing.mjs", import.meta.url)),
      "/sealpoint.mjs": harness.built(options.package, "inline.mjs"),
      "/wasm.mjs": harness.built(options.package, "wasm.mjs"),
      ...Object.fromEntries(["aes.js", "_polyval.js", "utils.js"].map((file) => [`/noble/${file}`, join(harness.installed("@noble/ciphers"), file)])),
      ...Object.fromEntries(builds.map(({ name, file }) => [`/builds/${encodeURIComponent(name)}`, file])),
    }),
  },
  false,
);
const present = await harness.available(Object.fromEntries(options.browser.map((name) => [name, () => found(name)])), options["skip-missing"]);

const [rows, targets, versions] = [[], [], {}];
const server = await serve();
try {
  for (const [name, launch] of Object.entries(present)) await measure(name, launch);
} finally {
  server.close();
  server.closeAllConnections();
}
if (output) {
  const machine = harness.machine(options.package, { browsers: versions });
  harness.write(output, { machine, clock: "performance.now, cross-origin isolated", rows, targets });
}
harness.finish(targets, options.check);

function found(name) {
  const { executablePath, debian } = BROWSERS[name];
  if (!existsSync(executablePath)) throw new harness.Missing(`${executablePath} is not there (Debian: apt install ${debian})`);
  return BROWSERS[name];
}

/** One start, with a new profile. */
async function measure(name, { debian, ...launch }) {
  const profile = mkdtempSync(join(tmpdir(), "sealpoint-bench-"));
  try {
    const browser = await puppeteer.launch({ ...launch, headless: true, userDataDir: profile, protocolTimeout: 0 });
    try {
      versions[name] = (await browser.version()).split("/").at(-1);
      await measureIn(await browser.newPage(), name);
    } finally {
      await browser.close();
    }
  } finally {
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function measureIn(page, name) {
  page.on("pageerror", (error) => console.error(`${name}: ${error.message ?? error}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction("globalThis.ready");
  if (!(await page.evaluate("crossOriginIsolated"))) throw new Error(`${name} does not isolate the page: its clock would be too coarse`);
  const names = builds.map((build) => build.name);
  const own = [];
  for (const size of sizes) {
    const samples = await page.evaluate((size, how, builds) => globalThis.measure(size, how, builds), size, how, names);
    own.push(...harness.rows(samples, size, WASM_ASYNC, { browser: name }));
    targets.push(...harness.judge(TARGETS, samples, size, `${name}, `));
  }
  harness.show(own, `${name}, `);
  rows.push(...own);
}

/** The page and its modules, on the loopback interface, as they are: nothing is bundled. */
async function serve() {
  const imports = { sealpoint: "/sealpoint.mjs", "@noble/ciphers/aes.js": "/noble/aes.js" };
  const page = `<!doctype html><meta charset="utf-8"><title>sealpoint</title><script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module" src="/page.mjs"></script>`;
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://127.0.0.1").pathname;
    const body = path === "/" ? page : files[path] && readFileSync(files[path]);
    response.writeHead(body === undefined ? 404 : 200, {
      "Content-Type": path === "/" ? "text/html" : path.startsWith("/builds/") ? "application/wasm" : "text/javascript",
      // An isolated page has the finer clock.
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
