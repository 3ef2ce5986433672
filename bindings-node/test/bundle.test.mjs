// A page pays for what it uses: without a keyring, a bundle has no key stores, no key services and nothing of the life of keys.
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

async function bundled(code) {
  const stdin = { contents: code, resolveDir: new URL(".", import.meta.url).pathname };
  const { outputFiles } = await build({ stdin, bundle: true, write: false, format: "esm", platform: "browser", tsconfigRaw: "{}" });
  return outputFiles[0].text;
}

const SERVERS = ["sealpoint_deks", "better-sqlite3", "rotateAll", "dropWraps", "class Loader", "process.getBuiltinModule"];

test("a page that opens with an exported key", async () => {
  const page = await bundled(`
    import { Context, DataKey } from "sealpoint";
    const { key } = DataKey.generate({ tenant: "acme", dekPurpose: 3 });
    const context = new Context({ tenant: "acme", purpose: "field" });
    export const opened = key.openText(key.sealText("4111", context), context);
  `);
  for (const what of SERVERS) assert.ok(!page.includes(what), what);
  const file = join(mkdtempSync(join(tmpdir(), "sealpoint-")), "page.mjs");
  writeFileSync(file, page);
  assert.equal((await import(pathToFileURL(file))).opened, "4111");
});

test("with a keyring, all of that is there", async () => {
  const page = await bundled(`export { Keyring } from "sealpoint";`);
  for (const what of SERVERS.slice(0, 4)) assert.ok(page.includes(what), what);
});
