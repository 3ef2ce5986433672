// LangGraph's own suite for checkpoint savers over each saver, bare and sealed: every test must end the same way. `npm run test:validation`
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { postgres, redis } from "../servers.mjs";
import { savers } from "./savers.mjs";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const reports = mkdtempSync(join(tmpdir(), "sealpoint-validation-"));

/** How each test ended, by its full name. */
async function outcomes(saver, sealed, dsn) {
  const report = join(reports, `${saver}-${sealed}.json`);
  const env = { ...process.env, SEALPOINT_SAVER: saver, SEALPOINT_SEALED: sealed ? "1" : "", SEALPOINT_DSN: dsn ?? "" };
  const args = ["run", "--globals", "--reporter=json", `--outputFile=${report}`, "--config=test/langgraph/validation/vitest.config.mjs"];
  // It fails where a test does, which is for the comparison to judge.
  await promisify(execFile)(join(root, "node_modules/.bin/vitest"), args, { cwd: root, env }).catch((error) => error);
  const { testResults } = JSON.parse(readFileSync(report, "utf8"));
  const ended = new Map();
  for (const { fullName, status, failureMessages } of testResults.flatMap(({ assertionResults }) => assertionResults)) {
    const seen = ended.get(fullName) ?? [];
    ended.set(fullName, [...seen, { status, message: failureMessages?.[0]?.split("\n")[0] }]);
  }
  return ended;
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(savers);
let differences = 0;
for (const name of names) {
  const dsn = await { postgres, redis, shallow: redis }[name]?.();
  const bare = await outcomes(name, false, dsn);
  const sealed = await outcomes(name, true, dsn);
  const [total, passed] = [[...bare.values()].flat(), [...bare.values()].flat().filter(({ status }) => status === "passed")];
  let same = 0;
  for (const test of new Set([...bare.keys(), ...sealed.keys()])) {
    const [before, after] = [bare.get(test) ?? [], sealed.get(test) ?? []];
    for (let i = 0; i < Math.max(before.length, after.length); i += 1) {
      if (before[i]?.status === after[i]?.status) same += 1;
      else console.log(`${name}: ${test}: bare ${before[i]?.status}, sealed ${after[i]?.status}: ${after[i]?.message ?? before[i]?.message}`);
    }
  }
  // A suite that did not run has no differences. Without a history two of three tests have nothing to find.
  if (total.length < 700 || passed.length < (name === "shallow" ? 250 : 700)) differences += 1;
  differences += total.length - same;
  console.log(`${name}: ${same} of ${total.length} as bare, which passes ${passed.length}`);
}
rmSync(reports, { recursive: true });
process.exitCode = differences === 0 ? 0 : 1;
