import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("a SealedSaver type-checks as the checkpointer of a graph, around each of LangGraph's savers", () => {
  const here = fileURLToPath(new URL("../..", import.meta.url));
  execFileSync(`${here}/node_modules/.bin/tsc`, ["-p", `${here}/test/langgraph/typed`], { encoding: "utf8", stdio: "pipe" });
});
