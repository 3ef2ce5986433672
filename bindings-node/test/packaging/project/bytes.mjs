import { readFileSync } from "node:fs";
import { DataKey, init } from "sealpoint/wasm";

init(readFileSync(new URL(import.meta.resolve("sealpoint/sealpoint.wasm"))));
const { key } = DataKey.generate({ tenant: "acme" });
const context = { tenant: "acme", purpose: "x" };
console.log(JSON.stringify({ text: key.openText(key.sealText("hello", context), context) }));
