// SealedCache: what the inner cache holds, what is refused, and that tenants never share an entry.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { Annotation, END, START, StateGraph } from "@langchain/langgraph";
import { InMemoryCache, JsonPlusSerializer } from "@langchain/langgraph-checkpoint";
import { fixed, fromConfig, isSealed, tenantScope } from "sealpoint";
import { SealedCache } from "sealpoint/langgraph";
import { connect } from "./keyring.mjs";
import { handed, inPython, lose, refused } from "./store-keys.mjs";

const KEY = [["writes", "node"], "k"];
const VALUE = [["messages", { text: "tru-secret", when: new Map([["a", 1]]), none: undefined }]];

const made = async (options = {}, given = undefined, inner = new InMemoryCache()) => {
  const keyring = given ?? (await connect());
  return { keyring, inner, cache: new SealedCache(inner, keyring, { tenant: fixed("acme"), ...options }) };
};
const only = (inner) => {
  const [[namespace, entries]] = Object.entries(inner.cache);
  const [[key, entry]] = Object.entries(entries);
  return { namespace, key, entry };
};
const values = (found) => found.map(({ value }) => value);

describe("SealedCache", () => {
  test("a value comes back as it was, and lies sealed under its key", async () => {
    const { cache, inner } = await made();
    await cache.set([{ key: KEY, value: VALUE, ttl: 60 }]);
    assert.deepEqual(await cache.get([KEY, [["writes", "node"], "other"]]), [{ key: KEY, value: VALUE }]);
    const { key, namespace, entry } = only(inner);
    assert.equal(key, "k");
    assert.match(namespace, /^[0-9a-f]{64}$/);
    assert.ok(entry.enc === "bytes" && isSealed(entry.val) && entry.exp > 0);
    assert.ok(!Buffer.from(entry.val).includes("tru-secret"));
    assert.deepEqual(await cache.get([]), []);
    await cache.set([{ key: KEY, value: new Uint8Array([1, 2]) }]);
    assert.deepEqual(values(await cache.get([KEY])), [new Uint8Array([1, 2])]);
  });

  test("tenants share nothing; clear with namespaces is the tenant's, without is everybody's", async () => {
    const { cache, inner, keyring } = await made();
    const { cache: other } = await made({ tenant: fixed("umbrella") }, keyring, inner);
    await cache.set([{ key: KEY, value: 1 }]);
    assert.deepEqual(await other.get([KEY]), []);
    await other.set([{ key: KEY, value: 2 }]);
    await other.clear([KEY[0]]);
    assert.deepEqual([values(await cache.get([KEY])), await other.get([KEY])], [[1], []]);
    await other.clear([]);
    assert.deepEqual(await cache.get([KEY]), []);
    await cache.set([{ key: KEY, value: 3 }]);
    assert.deepEqual(values(await cache.get([KEY])), [3]);
  });

  test("attacks by who writes the inner cache", async () => {
    const { cache, inner, keyring } = await made();
    const { cache: other } = await made({ tenant: fixed("umbrella") }, keyring, inner);
    await cache.set([{ key: KEY, value: "tru-secret" }]);
    await cache.set([{ key: [KEY[0], "k2"], value: "tru-secret 2" }]);
    const entries = inner.cache[only(inner).namespace];
    const good = entries.k;
    const attack = async (code, entry) => {
      entries.k = entry;
      await refused(code, () => cache.get([KEY]), "tru-secret");
    };
    await attack("authentication_failed", entries.k2);
    await attack("plaintext_refused", { enc: "json", val: new TextEncoder().encode('"planted"'), exp: null });
    await attack("plaintext_refused", { enc: "json", val: new TextEncoder().encode('{"lc":1,"type":"constructor","id":["x"],"kwargs":{}}'), exp: null });
    await attack("plaintext_refused", { enc: "bytes", val: new Uint8Array([1]), exp: null });
    await attack("malformed", { ...good, val: good.val.subarray(0, 30) });
    const flipped = good.val.slice();
    flipped[flipped.length - 1] ^= 1;
    await attack("authentication_failed", { ...good, val: flipped });
    entries.k = good;
    await other.set([{ key: KEY, value: 2 }]);
    const theirs = Object.keys(inner.cache).find((name) => name !== only(inner).namespace);
    inner.cache[theirs].k = good;
    await refused("authentication_failed", () => other.get([KEY]), "tru-secret");
    const get = inner.get;
    inner.get = async () => [{ key: [["elsewhere"], "k"], value: good.val }];
    await refused("authentication_failed", () => cache.get([KEY]), "tru-secret");
    inner.get = get;
  });

  test("a lost key is a miss", async () => {
    for (const code of ["key_destroyed", "key_disabled"]) {
      const { cache, keyring } = await made();
      await cache.set([{ key: KEY, value: 1 }]);
      lose(keyring, code);
      assert.deepEqual(await cache.get([KEY]), []);
    }
    const { cache, keyring } = await made();
    await cache.set([{ key: KEY, value: 1 }]);
    lose(keyring, "kms_unavailable");
    await refused("kms_unavailable", () => cache.get([KEY]));
  });

  test("without a tenant: a read is refused, a result is not cached, which is logged once", async (t) => {
    const warn = t.mock.method(console, "warn", () => {});
    const { cache, inner } = await made({ tenant: fromConfig("workspace_id") });
    await refused("tenant_required", () => cache.get([KEY]));
    await refused("tenant_required", () => cache.clear([KEY[0]]));
    for (const value of ["tru-secret", 2]) await cache.set([{ key: KEY, value }]);
    assert.deepEqual(inner.cache, {});
    assert.equal(warn.mock.callCount(), 1);
    assert.ok(!JSON.stringify(warn.mock.calls[0].arguments).includes("tru-secret"));
  });

  test("refusals when it is made", async (t) => {
    const { keyring, cache, inner } = await made();
    const make = (wrapped, options, keys = keyring) => new SealedCache(wrapped, keys, options);
    await refused("invalid_argument", () => make({}, { tenant: fixed("acme") }));
    await refused("invalid_argument", () => make(cache, { tenant: fixed("acme") }));
    await refused("invalid_argument", () => make(inner, { tenant: "acme" }));
    await refused("invalid_argument", () => make(inner, { tenant: fixed("acme"), ttl: 5 }));
    await refused("invalid_argument", () => make(inner, { tenant: fixed("acme") }, {}));
    assert.equal(cache.inner, inner);
    const setups = t.mock.method(keyring, "setup");
    await cache.setup();
    assert.equal(setups.mock.callCount(), 1);
  });

  test("20 tenants at once in a graph: each runs its node once, and again from the cache", async () => {
    let runs = 0;
    const State = Annotation.Root({ q: Annotation(), a: Annotation() });
    const node = (state) => {
      runs += 1;
      return { a: `${state.q} ${runs}` };
    };
    const { cache } = await made({ tenant: fromConfig("workspace_id") });
    const app = new StateGraph(State)
      .addNode("n", node, { cachePolicy: { ttl: 60 } })
      .addEdge(START, "n")
      .addEdge("n", END)
      .compile({ cache });
    const tenants = Array.from({ length: 20 }, (_, i) => `tenant-${i}`);
    const all = () => Promise.all(tenants.map((tenant) => tenantScope(tenant, () => app.invoke({ q: "same" }))));
    const first = await all();
    assert.equal(runs, 20);
    assert.equal(new Set(first.map(({ a }) => a)).size, 20);
    assert.deepEqual(await all(), first);
    assert.equal(runs, 20);
    await assert.rejects(app.invoke({ q: "same" }), { code: "tenant_required" });
  });
});

test("the same entries in Python", async () => {
  const CACHE = `
from sealpoint.langgraph.cache import _position, inner_namespace
ns = tuple(given["ns"])
at = _position(key["tenant"], ns, given["item"])
`;
  const { cache, inner, keyring } = await made({}, undefined, new InMemoryCache(new JsonPlusSerializer()));
  const given = { key: handed(keyring, "acme"), ns: KEY[0], item: KEY[1] };
  await cache.set([{ key: KEY, value: { a: "é" } }]);
  const { namespace, entry } = only(inner);
  const [name, kind, text] = inPython(
    `${CACHE}kind, payload = cache.open(bytes.fromhex(given["val"]), at)\nprint(json.dumps([inner_namespace(key["tenant"], ns)[0], kind, payload.decode()]))`,
    { ...given, val: Buffer.from(entry.val).toString("hex") },
  );
  assert.deepEqual([name, kind, JSON.parse(text)], [namespace, "json", { a: "é" }]);
  const sealed = inPython(`${CACHE}print(json.dumps(bytes(cache.seal(b'{"b":2}', at, "json", True, False)).hex()))`, given);
  inner.cache[namespace].k.val = new Uint8Array(Buffer.from(sealed, "hex"));
  assert.deepEqual(values(await cache.get([KEY])), [{ b: 2 }]);

  for (const vector of JSON.parse(readFileSync(new URL("../../../tests/vectors/derive.json", import.meta.url))).vectors) {
    if (vector.op !== "cache-namespace") continue;
    const one = await made({ tenant: fixed(vector.tenant) });
    await one.cache.set([{ key: [vector.ns, "k"], value: 1 }]);
    assert.equal(only(one.inner).namespace, vector.output, vector.id);
  }
});
