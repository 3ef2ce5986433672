// A provider of one's own: it runs, it fails closed, and it is as short as it says.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Keyring, SecretKey } from "sealpoint";
import { contextOf, folder, PLAINTEXT } from "../keyring/support.mjs";
import { code, OTHER_WRAP, WRAP } from "./support.mjs";

const examples = fileURLToPath(new URL("../../../examples/", import.meta.url));

/** The example as a user has it: in a folder where the package is installed. */
const home = folder();
mkdirSync(join(home, "node_modules"));
symlinkSync(fileURLToPath(new URL("../../", import.meta.url)), join(home, "node_modules/sealpoint"), "junction");
for (const name of ["own_kms.mjs", "own_kms_server.mjs"]) cpSync(join(examples, name), join(home, name));
const load = (name) => import(pathToFileURL(join(home, name)));
const { HttpKms } = await load("own_kms.mjs");
const { keyService } = await load("own_kms_server.mjs");

describe("examples/own_kms.mjs", () => {
  test("runs", () => {
    assert.equal(execFileSync(process.execPath, ["own_kms.mjs"], { cwd: home, encoding: "utf8" }), "call back on Monday\n");
  });

  for (const [status, expected] of [
    [403, "kms_denied"],
    [404, "key_not_found"],
    [410, "key_disabled"],
    [422, "authentication_failed"],
    [429, "kms_throttled"],
    [500, "kms_unavailable"],
  ]) {
    test(`answers ${status} with ${expected}`, async () => {
      const answers = [];
      const service = await keyService(answers);
      const keyring = await Keyring.connect("memory:", { kek: new HttpKms(service.url, "kek-1") });
      answers.push(status);
      await code(keyring.sealText(PLAINTEXT, contextOf()), expected);
      assert.equal(await keyring.openText(await keyring.sealText(PLAINTEXT, contextOf()), contextOf()), PLAINTEXT);
      await keyring.close();
      service.close();
    });
  }

  test("does not open under another context", async () => {
    const service = await keyService();
    const kms = new HttpKms(service.url, "kek-1");
    await code(kms.unwrap(await kms.wrap(SecretKey.generate(), WRAP), OTHER_WRAP), "authentication_failed");
    service.close();
  });

  test("an outage", async () => {
    const service = await keyService();
    service.close();
    const error = await Keyring.connect("memory:", { kek: new HttpKms(service.url, "kek-1") }).catch((error) => error);
    assert.deepEqual([error.code, error.retryable], ["kms_unavailable", true]);
  });

  test("is about thirty lines", () => {
    const source = readFileSync(join(examples, "own_kms.mjs"), "utf8");
    const body = source.slice(source.indexOf("export class HttpKms"), source.indexOf("if (argv[1]"));
    const lines = body.split("\n").filter((line) => line.trim() !== "" && !line.trim().startsWith("//"));
    assert.ok(lines.length <= 30, `${lines.length}`);
  });
});
