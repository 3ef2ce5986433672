// The keyring that the tests of the adapters use: in memory, under a KEK made for them.
import { randomBytes } from "node:crypto";
import { DataKey, Keyring } from "sealpoint";

process.env.SEALPOINT_TEST_KEK ??= randomBytes(32).toString("base64");

export const connect = () => Keyring.connect("memory:", { kek: "env:SEALPOINT_TEST_KEK" });

/** Another key becomes the tenant's active one, as after a rotation that another process did; those before still open. */
export function rotate(keyring, tenant) {
  keyring._cache.insert(DataKey.generate({ tenant, version: 2 }).key, { active: true });
}
