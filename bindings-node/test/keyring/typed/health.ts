// Checked by the compiler alone: the handler is one for Express and for `node:http`.
import { createServer, type Server } from "node:http";
import express, { type Express, type RequestHandler } from "express";
import type { AffectedTenant, Health, Keyring } from "sealpoint";
import { type HealthOptions, health } from "sealpoint/health";

export function mounted(keyring: Keyring, options: HealthOptions): [Express, Server] {
  const handler: RequestHandler = health(keyring, options);
  const app = express().use("/health/keys", health(keyring)).get("/keys", handler);
  return [app, createServer(health(keyring, { maxAge: 0 }))];
}

export async function told(keyring: Keyring): Promise<(Date | null)[]> {
  const found: Health = await keyring.health();
  const affected: AffectedTenant[] = keyring.affected();
  return [found.cachedUntil, ...found.keks.map((kek) => kek.cachedUntil), ...affected.map((one) => one.until)];
}

export function refused(keyring: Keyring): void {
  // @ts-expect-error no such option
  health(keyring, { max_age: 1 });
  // @ts-expect-error not a keyring
  health("memory:");
}
