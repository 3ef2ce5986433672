// SealedCache: what the inner cache holds, what is refused, and that tenants never share an entry.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { InMemoryCache } from "@langchain/langgraph-checkpoint";
import { fixed, fromConfig, isSealed, Keyring, tenantScope } from "sealpoint";
import { SealedCache } from "sealpoint/langgraph";

process.env.CACHE_KEK = "7sPazxTa4Ip+THz1+IWURrAWmkTnRM38uEnz0eNoE0k=";
const KEY = [["node", "v1"], "k"];
const connect = () => Keyring.connect("memory:", { kek: "env:CACHE_KEK" });
const refused = (code, run) => assert.rejects(run, (error) => error.code === code && !error.message.includes("secret"));
const made = async (tenant = fixed("acme"), inner = new InMemoryCache()) => {
  const keyring = await connect();
  return { keyring, inner, cache: new SealedCache(inner, keyring, { tenant }) };
};
/** Everything that the inner cache holds, through a serializer that passes it on. */
const rows = (inner) => Object.values(inner.cache).flatMap((namespace) => Object.values(namespace));

describe("SealedCache", () => {
  test("gives back what was set, and shows the inner cache only envelopes", async () => {
    const { cache, inner } = await made();
    await cache.set([{ key: KEY, value: { answer: "secret", list: [1, true, null] } }]);
    assert.deepEqual(await cache.get([KEY, [["node", "v1"], "other"]]), [{ key: KEY, value: { answer: "secret", list: [1, true, null] } }]);
    for (const { enc, val } of rows(inner)) {
      assert.equal(enc, "bytes");
      assert.ok(isSealed(val));
      assert.ok(!Buffer.from(val).includes("secret"));
    }
    assert.ok(!JSON.stringify(Object.keys(inner.cache)).includes("node"));
    await cache.clear([["node", "v1"]]);
    assert.deepEqual(await cache.get([KEY]), []);
  });

  test("another tenant's entry is a miss", async () => {
    const { cache } = await made(fromConfig("workspace_id"));
    await tenantScope("acme", () => cache.set([{ key: KEY, value: "secret" }]));
    assert.deepEqual(await tenantScope("umbrella", () => cache.get([KEY])), []);
    assert.deepEqual(await tenantScope("acme", () => cache.get([KEY])), [{ key: KEY, value: "secret" }]);
    await refused("tenant_required", () => cache.get([KEY]));
    await refused("tenant_required", () => cache.clear([["node"]]));
  });

  test("a moved, changed or unsealed entry is refused", async () => {
    const { cache, inner } = await made();
    await cache.set([
      { key: KEY, value: "secret" },
      { key: [["node", "v1"], "other"], value: "secret too" },
    ]);
    const [namespace] = Object.values(inner.cache);
    [namespace.k, namespace.other] = [namespace.other, namespace.k];
    await refused("authentication_failed", () => cache.get([KEY]));
    namespace.k = { ...namespace.other, val: namespace.other.val.with(-1, namespace.other.val.at(-1) ^ 1) };
    await refused("authentication_failed", () => cache.get([KEY]));
    namespace.k = { enc: "json", val: new TextEncoder().encode('"plain"'), exp: null };
    await refused("plaintext_refused", () => cache.get([KEY]));
    namespace.k = { enc: "bytes", val: new TextEncoder().encode("plain"), exp: null };
    await refused("plaintext_refused", () => cache.get([KEY]));
  });

  test("a result without a tenant is not cached, and that is said once", async (t) => {
    const { cache, inner } = await made(fromConfig("workspace_id"));
    const warn = t.mock.method(console, "warn", () => {});
    await cache.set([{ key: KEY, value: "secret" }]);
    await cache.set([{ key: KEY, value: "secret" }]);
    assert.deepEqual(rows(inner), []);
    assert.equal(warn.mock.callCount(), 1);
    assert.ok(!warn.mock.calls[0].arguments.join().includes("secret"));
  });

  test("what cannot be wrapped is refused", async () => {
    const { keyring, cache, inner } = await made();
    for (const [one, keys, given] of [
      [{}, keyring, { tenant: fixed("a") }],
      [cache, keyring, { tenant: fixed("a") }],
      [inner, {}, { tenant: fixed("a") }],
      [inner, keyring, { tenant: "acme" }],
      [inner, keyring, { tenant: fixed("a"), ttl: 1 }],
    ]) {
      assert.throws(() => new SealedCache(one, keys, given), { code: "invalid_argument" });
    }
    assert.equal(cache.inner, inner);
  });
});
