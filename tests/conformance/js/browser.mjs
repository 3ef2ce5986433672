/**
 * The npm package in a browser: `node browser.mjs chromium|firefox EXECUTABLE`. The browser starts once; each order of the protocol names the `mode`, which has
 * a page of its own. All files of the orders lie in one folder.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { basename, dirname, extname, join } from "node:path";
import { createInterface } from "node:readline";

const PACKAGE = new URL("../../../bindings-node/", import.meta.url);
const VECTORS = new URL("../../vectors/", import.meta.url);
const { default: puppeteer } = await import(createRequire(new URL("package.json", PACKAGE)).resolve("puppeteer-core"));
const [browserName, executablePath] = process.argv.slice(2);
const INPUTS = ["cases", "jobs", "built"];
const TYPES = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };
const CHROMIUM = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let work;

/** What the package's `exports` answer a browser. */
function entry() {
  const { exports } = JSON.parse(readFileSync(new URL("package.json", PACKAGE), "utf8"));
  return exports["."].browser.default.replace("./", "");
}

/** The bytes at a path, or undefined. Only these folders, and no file below a folder of theirs but the package's. */
function file(path) {
  const [, top, ...rest] = path.split("/");
  const name = rest.join("/");
  if (rest.some((part) => part.startsWith("."))) return undefined;
  switch (top) {
    case "page.html":
      return readFileSync(new URL("page.html", import.meta.url), "utf8").replace("ENTRY", entry());
    case "vectors":
      return name === "" ? JSON.stringify(readdirSync(VECTORS).filter((other) => other.endsWith(".json"))) : readFileSync(new URL(basename(name), VECTORS));
    case "js":
      return readFileSync(new URL(basename(name), import.meta.url));
    case "orders":
      return readFileSync(join(work, basename(name)));
    case "sealpoint":
      return readFileSync(new URL(name, PACKAGE));
    default:
      return undefined;
  }
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  try {
    if (request.method === "PUT" && pathname.startsWith("/orders/")) {
      const parts = [];
      for await (const part of request) parts.push(part);
      writeFileSync(join(work, basename(pathname)), Buffer.concat(parts));
      response.writeHead(204).end();
      return;
    }
    const body = file(pathname);
    response.writeHead(body === undefined ? 404 : 200, { "content-type": TYPES[extname(pathname)] ?? "application/octet-stream" }).end(body);
  } catch (error) {
    response.writeHead(error.code === "ENOENT" ? 404 : 500).end();
  }
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await puppeteer.launch({
  browser: browserName === "chromium" ? "chrome" : "firefox",
  executablePath,
  headless: true,
  args: browserName === "chromium" ? CHROMIUM : [],
});

const pages = new Map();

async function pageFor(mode) {
  if (!pages.has(mode)) {
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(`${browserName} ${mode}: ${error}`));
    page.on("console", (message) => message.type() === "error" && console.error(`${browserName} ${mode}: ${message.text()}`));
    await page.goto(`${origin}/page.html?mode=${mode}`, { waitUntil: "load" });
    await page.waitForFunction("globalThis.answer !== undefined", { timeout: 30_000 });
    pages.set(mode, page);
  }
  return pages.get(mode);
}

try {
  for await (const line of createInterface({ input: process.stdin })) {
    const { mode, ...order } = JSON.parse(line);
    work = dirname(order.out);
    const input = Object.fromEntries(INPUTS.filter((name) => name in order).map((name) => [name, basename(order[name])]));
    const page = await pageFor(mode);
    await page.evaluate((given, files) => globalThis.answer(given, files), { ...order, out: basename(order.out) }, input);
    process.stdout.write("done\n");
  }
} finally {
  await browser.close();
  server.close();
}
