/**
 * The page in a real browser, which starts once: `node page.test.mjs chromium|firefox EXECUTABLE URL EXPECTED [SCREENSHOT]`. `test_browser.py` starts the server and calls it;
 * EXPECTED is a JSON file with what Python sealed. Each test goes on where the one before it ended.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

const PACKAGE = new URL("../../bindings-node/package.json", import.meta.url);
const { default: puppeteer } = await import(createRequire(PACKAGE).resolve("puppeteer-core"));
const [browserName, executablePath, url, expectedFile, screenshot] = process.argv.slice(2);
const expected = JSON.parse(readFileSync(expectedFile, "utf8"));
const origin = new URL(url).origin;
const CHROMIUM = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const LIMIT = 60_000;
const SECRETS = /sealpoint-key:/;

let browser;
let page;
let failed = false;
const said = [];
const requests = [];

before(async () => {
  browser = await puppeteer.launch({
    browser: browserName === "chromium" ? "chrome" : "firefox",
    executablePath,
    headless: true,
    timeout: LIMIT,
    defaultViewport: null,
    args: browserName === "chromium" ? CHROMIUM : [],
  });
  page = await browser.newPage();
  page.setDefaultTimeout(LIMIT);
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`error: ${error}`));
  page.on("request", (request) => requests.push({ url: request.url(), method: request.method() }));
  await load();
});

after(() => browser?.close());

/** One test. After one that failed the page is in no state for others. */
function step(name, run) {
  test(name, async () => {
    assert.ok(!failed, "an earlier step failed");
    failed = true;
    await run();
    failed = false;
  });
}

/** The page, as if it had just been visited. The listener comes after it has loaded: a script that runs before everything else makes an error by itself in Firefox. */
async function load() {
  await page.goto(url, { waitUntil: "load" });
  await page.evaluate(() => {
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
}

/** Waits in the page until the text at a selector begins like this, and answers with it. */
function text(selector, start) {
  return page.evaluate(
    (selector, start, limit) =>
      new Promise((resolve, reject) => {
        const read = () => document.querySelector(selector)?.textContent ?? "";
        const look = () => {
          if (!read().startsWith(start)) return;
          clearTimeout(timer);
          observer.disconnect();
          resolve(read());
        };
        const observer = new MutationObserver(look);
        const timer = setTimeout(() => reject(new Error(`"${read()}" at ${selector} never began with "${start}": ${document.body.innerText}`)), limit);
        observer.observe(document, { subtree: true, childList: true, characterData: true });
        look();
      }),
    selector,
    start,
    LIMIT,
  );
}

async function logIn(user) {
  await page.waitForSelector("#login button:enabled");
  await page.click(`#login input[value=${user}]`);
  await page.click("#login button");
  await text("[data-id=who]", user);
}

function fields() {
  return page.evaluate(() =>
    Array.from(document.querySelectorAll("form.field"), (form) => ({
      path: form.querySelector(".path").textContent,
      value: form.querySelector("textarea").value,
      sealed: form.querySelector(".sealed").textContent,
    })),
  );
}

/** Every text of the page, what is typed in and attributes included. */
function everything() {
  return page.evaluate(() => document.documentElement.outerHTML + Array.from(document.querySelectorAll("input, textarea"), (input) => input.value).join());
}

/** Notes each value of a progress bar from now on, and clicks a button when it is between the ends. */
function watch(place, button = "") {
  return page.evaluate(
    (place, button) => {
      const bar = document.querySelector(`${place} progress`);
      globalThis.watching?.disconnect();
      globalThis.seen = [];
      globalThis.watching = new MutationObserver(() => {
        if (bar.hasAttribute("value")) globalThis.seen.push(bar.value);
        if (button !== "" && bar.value > 0 && bar.value < 100) document.querySelector(button)?.click();
      });
      globalThis.watching.observe(bar, { attributeFilter: ["value"] });
    },
    place,
    button,
  );
}

/** How Python answers a request of the logged-in page. */
function put(path, body) {
  return page.evaluate(
    async (path, body) => {
      const response = await fetch(path, { method: path === "/api/key" ? "POST" : "PUT", body });
      const answer = await response.text();
      return { status: response.status, code: answer.startsWith("{") ? JSON.parse(answer).code : undefined };
    },
    path,
    body,
  );
}

const sendField = (document, path, sealed) => put("/api/field", JSON.stringify({ document, path, sealed }));

function fieldsOf(tenant) {
  return Object.values(expected.cases[tenant]).flatMap((values) => Object.entries(values));
}

function assertComplete(seen) {
  assert.equal(seen.at(-1), 100);
  assert.ok(seen.length >= 5, `only ${seen.length} steps of progress`);
  assert.deepEqual(
    seen,
    seen.toSorted((one, other) => one - other),
  );
}

step("before the login there is a form and nothing else", async () => {
  await page.waitForSelector("#login button:enabled");
  assert.equal(await page.evaluate(() => document.querySelector("#workspace").childElementCount), 0);
});

step("what Python sealed is opened", async () => {
  await logIn("ines");
  const shown = await fields();
  assert.deepEqual(
    shown.map(({ path, value }) => [path, value]),
    fieldsOf("acme"),
  );
  for (const { sealed } of shown) assert.match(sealed, /^sealpoint:v1:/);
  assert.doesNotMatch(await everything(), SECRETS);
});

step("what does not belong there is refused, with its code", async () => {
  const codes = await page.evaluate(() => Array.from(document.querySelectorAll("[data-id=intruders] tr"), (row) => row.lastElementChild.textContent));
  assert.deepEqual(codes, [
    "refused, key_not_found",
    "refused, authentication_failed",
    "refused, authentication_failed",
    "refused, key_not_found",
    "refused, plaintext_refused",
  ]);
});

const EDITED = "Send it to Jönköping, 2.º piso 🚚";

step("what the page seals is opened by Python, and by the page when it comes back", async () => {
  const [before] = await fields();
  await page.evaluate((value) => {
    document.querySelector("form.field textarea").value = value;
  }, EDITED);
  await page.click("form.field button");
  assert.equal(await text("form.field .answer", "Python read"), `Python read: ${EDITED}`);
  const [after] = await fields();
  assert.match(after.sealed, /^sealpoint:v1:/);
  assert.notEqual(after.sealed, before.sealed);
  await load();
  await logIn("ines");
  const [again] = await fields();
  assert.deepEqual(again, after);
});

step("a large file opens, and its progress is shown to the end", async () => {
  await watch("[data-id=log]");
  await page.click("[data-id=log] .start");
  const { bytes, sha256, header } = expected.log;
  assert.equal(await text("[data-id=log] .answer", `${bytes} bytes`), `${bytes} bytes, SHA-256 ${sha256}; the first line: ${header}`);
  assertComplete(await page.evaluate(() => globalThis.seen));
});

step("it is cancelled in the middle, and opens when asked again", async () => {
  await watch("[data-id=log]", "[data-id=log] .cancel");
  await page.click("[data-id=log] .start");
  assert.equal(await text("[data-id=log] .answer", "Nothing"), "Nothing was kept.");
  assert.equal(await text("[data-id=log] .stage", "C"), "Cancelled");
  const seen = await page.evaluate(() => globalThis.seen);
  assert.equal(seen.pop(), 0);
  assert.ok(seen.length > 0 && Math.max(...seen) < 50, seen.join());
  await watch("[data-id=log]");
  await page.click("[data-id=log] .start");
  await text("[data-id=log] .answer", `${expected.log.bytes} bytes, SHA-256 ${expected.log.sha256}`);
});

step("a chosen file is sealed, and Python opens it", async () => {
  const input = await page.$("[data-id=file]");
  await input.uploadFile(expected.upload.file);
  await watch("[data-id=upload]");
  await page.click("[data-id=upload] .start");
  const { bytes, sha256 } = expected.upload;
  assert.equal(await text("[data-id=upload] .answer", "Python"), `Python read the same ${bytes} bytes, SHA-256 ${sha256}`);
  assertComplete(await page.evaluate(() => globalThis.seen));
});

step("nothing was stored, nothing went wrong, and the key was in no URL", async () => {
  if (screenshot !== undefined) await page.screenshot({ path: screenshot, fullPage: true });
  const stored = await page.evaluate(async () => ({
    cookie: document.cookie,
    local: localStorage.length,
    session: sessionStorage.length,
    databases: (await indexedDB.databases()).length,
    caches: (await caches.keys()).length,
    violations: globalThis.violations,
  }));
  assert.deepEqual(stored, { cookie: "", local: 0, session: 0, databases: 0, caches: 0, violations: [] });
  assert.deepEqual(said, []);
  for (const request of requests) {
    assert.equal(new URL(request.url).origin, origin);
    assert.doesNotMatch(request.url, /sealpoint(-key)?:|\?/);
    if (request.url.endsWith("/api/key")) assert.equal(request.method, "POST");
  }
  assert.ok(requests.some((request) => request.url.endsWith("/api/key")));
});

let ofAcme;

step("Python refuses what was damaged, moved or not sealed", async () => {
  [ofAcme] = await fields();
  const { sealed } = ofAcme;
  const damaged = sealed.slice(0, 150) + (sealed[150] === "A" ? "B" : "A") + sealed.slice(151);
  const refused = (code) => ({ status: 422, code });
  assert.deepEqual(await sendField("case-104", "/customer", damaged), refused("authentication_failed"));
  assert.deepEqual(await sendField("case-104", "/card", sealed), refused("authentication_failed"));
  assert.deepEqual(await sendField("case-104", "/customer", EDITED), refused("plaintext_refused"));
  assert.deepEqual(await sendField("case-104", "/customer", `${sealed}=`), refused("malformed"));
  assert.deepEqual(await put("/api/upload", "x".repeat(100)), refused("plaintext_refused"));
});

step("the Content-Security-Policy is in force", async () => {
  const ran = await page.evaluate(() => {
    try {
      const script = document.createElement("script");
      script.textContent = "globalThis.injected = true";
      document.body.append(script);
    } catch {
      // Trusted Types
    }
    return globalThis.injected;
  });
  assert.equal(ran, undefined);
});

step("after the logout the page holds nothing, and the server gives no key", async () => {
  await page.evaluate(() => {
    globalThis.kept = document.querySelector("form.field");
  });
  await watch("[data-id=log]", "[data-id=logout]");
  await page.click("[data-id=log] .start");
  await page.waitForSelector("#login:not([hidden])");
  assert.equal(await page.evaluate(() => document.activeElement.id), "login-title");
  const said = await page.evaluate(() => {
    globalThis.kept.dispatchEvent(new SubmitEvent("submit", { cancelable: true }));
    return globalThis.kept.querySelector(".answer").textContent;
  });
  assert.match(said, /^invalid_argument: .*disposed/);
  const left = await everything();
  for (const [, value] of [...fieldsOf("acme"), ["", EDITED]]) assert.ok(!left.includes(value));
  assert.doesNotMatch(left, /sealpoint(-key)?:|DataKey|SHA-256/);
  await load();
  assert.equal((await put("/api/key")).status, 401);
});

step("another tenant opens its own, and neither side opens the first one's", async () => {
  await logIn("tobias");
  assert.deepEqual(
    (await fields()).map(({ path, value }) => [path, value]),
    fieldsOf("globex"),
  );
  assert.deepEqual(await sendField("case-104", "/customer", ofAcme.sealed), { status: 422, code: "authentication_failed" });
  assert.equal((await sendField("case-117", "/customer", ofAcme.sealed)).status, 404);
});

step("a key of another tenant, or a damaged one, is not accepted", async () => {
  for (const damage of [false, true]) {
    await page.evaluate(async (damage) => {
      const real = globalThis.fetch;
      const key = await (await real("/api/key", { method: "POST" })).text();
      const sent = damage ? key.slice(0, 60) + (key[60] === "A" ? "B" : "A") + key.slice(61) : key;
      globalThis.fetch = (path, options) => (path === "/api/key" ? Promise.resolve(new Response(sent)) : real(path, options));
    }, damage);
    await page.click("[data-id=logout]");
    await page.click("#login input[value=ines]");
    await page.click("#login button");
    await text("#login .answer", "authentication_failed");
    assert.equal(await page.evaluate(() => document.querySelector("#workspace").childElementCount), 0);
    await load();
    await logIn("tobias");
  }
});

step("leaving the page wipes the key and what it opened", async () => {
  await page.evaluate(() => addEventListener("pagehide", () => sessionStorage.setItem("left", document.querySelector("main").innerHTML)));
  await page.goto(`${origin}/icon.svg`);
  const left = await page.evaluate(() => sessionStorage.getItem("left"));
  assert.match(left, /id="workspace"><\/div>/);
  for (const [, value] of fieldsOf("globex")) assert.ok(!left.includes(value));
});
