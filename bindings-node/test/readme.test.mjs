// What the READMEs show works as it stands.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as sealpoint from "../dist/node.mjs";

const { Context, DataKey, exportKey } = sealpoint;

/** Runs the only ```ts block of a page with what it takes as given, and returns the variables that it makes. */
async function run(page, given, made) {
  const blocks = [...readFileSync(new URL(page, import.meta.url), "utf8").matchAll(/^```ts\n(.*?)^```/gms)];
  assert.equal(blocks.length, 1, page);
  const code = blocks[0][1].replace(/^import (\{.*\}) from "sealpoint";$/m, "const $1 = sealpoint;");
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor;
  return new AsyncFunction("sealpoint", ...Object.keys(given), `${code}\nreturn { ${made} };`)(sealpoint, ...Object.values(given));
}

test("the package's README", async () => {
  const seen = [];
  const file = new Uint8Array(5_000_000).fill(7);
  const { text, bytes, key, card } = await run("../README.md", { file, onProgress: (done, total) => seen.push([done, total]) }, "text, bytes, key, card");
  assert.match(text, /^sealpoint:v1:wVMBAQ/);
  assert.equal(key.openText(text, card), "4111 1111 1111 1111");
  assert.deepEqual(bytes, file);
  assert.deepEqual(seen.at(-1), [file.length, file.length]);
});

test("the project's README", async () => {
  const { key: made, secret } = DataKey.generate({ tenant: "acme", dekPurpose: 3 });
  const bytes = made.seal(new Uint8Array(100_000), new Context({ tenant: "acme", purpose: "field", document: "u-42", path: "/card" }));
  const bar = { value: 0 };
  const { sealed, file, context } = await run("../../README.md", { bundle: exportKey(secret, made), bytes, bar }, "sealed, file, context");
  assert.equal(made.openText(sealed, context), "4111 1111 1111 1111");
  assert.deepEqual(file, new Uint8Array(100_000));
  assert.equal(bar.value, 1);
});
