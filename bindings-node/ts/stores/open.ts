/** A key store from what `Keyring.connect` takes. */

import { fail } from "../errors.js";
import { MemoryStore } from "./memory.js";
import { isPool, PostgresStore } from "./postgres.js";
import type { KeyStore, PostgresPool } from "./records.js";
import { SqliteStore } from "./sqlite.js";

export type StoreSource = string | PostgresPool | KeyStore;

const METHODS = ["setup", "settings", "canaries", "addCanary", "tenant", "dek", "activeDek", "nextVersion", "createDek"] as const;

/** The key store, and whether it was made here. Throws: `invalid_argument`, `missing_dependency`. */
export function storeFrom(source: unknown): { keyStore: KeyStore; owned: boolean } {
  if (typeof source === "string") return { keyStore: fromUrl(source), owned: true };
  if (typeof source === "object" && source !== null) {
    if (METHODS.every((name) => typeof (source as Record<string, unknown>)[name] === "function")) return { keyStore: source as KeyStore, owned: false };
    if (isPool(source)) return { keyStore: new PostgresStore(source), owned: true };
  }
  throw fail(
    "invalid_argument",
    "store is a URL such as sqlite:///keys.db, a pg.Pool (not a single Client, whose transactions others would end), or a KeyStore",
  );
}

function fromUrl(url: string): KeyStore {
  if (url === "memory:") return new MemoryStore();
  if (/^postgres(ql)?:\/\//.test(url)) return new PostgresStore(url);
  const prefix = "sqlite:///";
  if (!url.startsWith(prefix)) {
    throw fail("invalid_argument", "a key store is memory:, sqlite:///relative.db, sqlite:////absolute/path.db, postgresql://…, a pg.Pool or a KeyStore");
  }
  const path = url.slice(prefix.length);
  if (path === ":memory:") throw fail("invalid_argument", "for keys that nothing keeps, the key store is memory:");
  if (path === "" || /[?#\0]/.test(path)) throw fail("invalid_argument", "sqlite:/// is followed by the path of a file and takes no options");
  return new SqliteStore(path);
}
