// A stand-in for the keyring: the keys that Python's keyring has made, in its SQLite file.
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import { DataKey, DekCache, LocalKek, wrapContext } from "sealpoint";

export async function connect(keys, kek) {
  const held = LocalKek.parse(readFileSync(kek.slice("file:".length)));
  const db = new Database(keys.slice("sqlite:///".length), { readonly: true });
  const cache = new DekCache({ ttl: 3600, pointerTtl: 3600, capacity: 1000 });
  for (const row of db.prepare("SELECT * FROM sealpoint_deks JOIN sealpoint_wraps USING (dek_id) WHERE purpose = 1").all()) {
    const names = { tenant: row.tenant, dekId: row.dek_id, dekPurpose: row.purpose, suite: row.suite };
    const secret = held.unwrap(row.wrapped, wrapContext(names));
    cache.insert(DataKey.fromSecret(secret, { ...names, version: row.version, keyCheck: row.key_check }), { active: row.state === "active" });
  }
  db.close();
  const absent = async () => {
    throw Object.assign(new Error("no such key"), { code: "key_not_found", retryable: false });
  };
  return { _cache: cache, setup: async () => {}, seal: absent, sealText: absent, openTyped: absent, close: async () => {} };
}
