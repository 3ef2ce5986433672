// Both backends under one table: what holds for one has to hold for the other.
import { readFileSync } from "node:fs";
import * as inline from "../dist/inline.mjs";
import * as native from "../dist/node.mjs";
import * as wasm from "../dist/wasm.mjs";

wasm.init(readFileSync(new URL("../dist/sealpoint.wasm", import.meta.url)));

export const backends = [
  { name: "native", sealpoint: native },
  { name: "wasm", sealpoint: inline },
  { name: "wasm, own bytes", sealpoint: wasm },
];

/** What `assert.throws` and `assert.rejects` take: an error of the package with this code. */
export const code = (expected) => (error) => {
  if (error.code === expected && typeof error.retryable === "boolean" && error instanceof Error) return true;
  throw new Error(`expected ${expected}, got ${error.code}: ${error.stack}`);
};

/** Bytes that differ from their neighbours. */
export const sample = (length) => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
