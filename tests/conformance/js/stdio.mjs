/** Orders on stdin, one JSON a line: what to `do`, the files that it is about, and where the answer goes. `done` for each. */
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

const FILES = ["cases", "jobs", "built", "fresh"];

export async function serve(answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    const input = Object.fromEntries(FILES.filter((name) => name in order).map((name) => [name, JSON.parse(readFileSync(order[name]))]));
    writeFileSync(order.out, JSON.stringify(await answer(order, input)));
    process.stdout.write("done\n");
  }
}
