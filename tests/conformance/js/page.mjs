/** The npm package in a page, as an ES module that nothing bundled: `page.html?mode=wasm` or `async`. `browser.mjs` hands over the orders. */
import * as sealpoint from "sealpoint";

import { Runner } from "./runner.mjs";

if (sealpoint.backend !== "wasm") throw new Error(`the package runs on ${sealpoint.backend}`);
const runner = new Runner(sealpoint, { bulk: new URLSearchParams(location.search).get("mode") === "async" });

async function get(url) {
  const response = await fetch(url, { cache: "no-store" });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response;
}

async function source() {
  const names = await (await get("/vectors/")).json();
  const files = await Promise.all(names.map(async (name) => [name.slice(0, -5), (await (await get(`/vectors/${name}`)).json()).vectors]));
  const frozen = (await (await get("/vectors/FROZEN.sha256")).text()).trimEnd().split("\n").length;
  return { files: Object.fromEntries(files), frozen };
}

/** `input` names the files that an order is about, `order.out` where the answer goes: both in the folder that the server serves as /orders/. */
globalThis.answer = async (order, input) => {
  const read = await Promise.all(Object.entries(input).map(async ([name, file]) => [name, await (await get(`/orders/${file}`)).json()]));
  const answer = await runner.answer(order, Object.fromEntries(read), source);
  const stored = await fetch(`/orders/${order.out}`, { method: "PUT", body: JSON.stringify(answer) });
  if (!stored.ok) throw new Error(`${order.out}: ${stored.status}`);
};
