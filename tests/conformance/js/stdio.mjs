/** Orders on stdin, one JSON a line: what to `do`, the files that it is about, and where the answer goes. `done` for each. */
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

const FILES = ["cases", "jobs", "built", "fresh"];

export async function serve(orders) {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    const input = Object.fromEntries(FILES.filter((name) => name in order).map((name) => [name, JSON.parse(readFileSync(order[name]))]));
    if (!Object.hasOwn(orders, order.do)) throw new Error(`no such order: ${order.do}`);
    writeFileSync(order.out, JSON.stringify(await orders[order.do](input, order.ops)));
    process.stdout.write("done\n");
  }
}
