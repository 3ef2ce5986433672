import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { AsyncBatchedStore, InMemoryStore } from "@langchain/langgraph-checkpoint";
import { PostgresStore } from "@langchain/langgraph-checkpoint-postgres/store";
import pg from "pg";
import { DataKey, fixed, fromConfig, isSealed, Migration, SecretKey, tenantScope } from "sealpoint";
import { SealedStore } from "sealpoint/langgraph";
import { connect } from "./keyring.mjs";
import { postgres } from "./servers.mjs";
import { handed, inPython, refused } from "./store-keys.mjs";

const NS = ["users", "u-1"];
const VALUE = {
  kind: "note",
  rank: 3,
  text: "héllo 🔒",
  null: null,
  yes: true,
  half: 0.5,
  minus: -0,
  large: 1e300,
  nested: { a: [1, { b: "c" }], sealpoint: 1 },
  empty: {},
  "a/b~c": "pointer",
  sealpoint: { mine: true },
  looks: "sealpoint:v1:AAAA",
  ["__proto__"]: "own",
};

/** The stored value, read and written past the stores. */
const backends = {
  memory: async () => {
    const inner = new InMemoryStore();
    const raw = (ns, key) => inner.data.get(ns.join(":"))?.get(key)?.value;
    return { inner, read: async (ns, key) => structuredClone(raw(ns, key)), write: (ns, key, value) => inner.put(ns, key, value), close: async () => {} };
  },
  postgres: async () => {
    const dsn = await postgres();
    const inner = PostgresStore.fromConnString(dsn);
    await inner.setup();
    const pool = new pg.Pool({ connectionString: dsn });
    return {
      inner,
      read: async (ns, key) => (await pool.query("select value from store where namespace_path = $1 and key = $2", [ns.join(":"), key])).rows[0]?.value,
      write: (ns, key, value) =>
        pool.query(
          "insert into store (namespace_path, key, value) values ($1, $2, $3) on conflict (namespace_path, key) do update set value = excluded.value",
          [ns.join(":"), key, JSON.stringify(value)],
        ),
      close: async () => {
        await pool.end();
        await inner.stop();
      },
    };
  },
};

for (const [name, open] of Object.entries(backends)) {
  describe(name, async () => {
    const { inner, read, write, close } = await open();
    const keyring = await connect();
    const sealed = (options = {}) => new SealedStore(inner, keyring, { tenant: fixed("acme"), ...options });
    after(close);
    let count = 0;
    const fresh = () => ["spaces", `s-${count++}`];

    for (const options of [{}, { seal: "fields" }, { clearFields: ["kind", "rank"] }, { seal: "fields", clearFields: ["kind"] }]) {
      test(`an item comes back as it was: ${JSON.stringify(options)}`, async () => {
        const [ns, store] = [fresh(), sealed(options)];
        await store.put(ns, "k", VALUE);
        const item = await store.get(ns, "k");
        assert.deepEqual(Object.entries(item.value).sort(), Object.entries(VALUE).sort());
        assert.ok(Object.is(item.value.minus, -0));
        assert.deepEqual([item.namespace, item.key], [ns, "k"]);
        assert.ok(item.createdAt instanceof Date && item.updatedAt instanceof Date);
        const raw = await read(ns, "k");
        const names = options.seal === "fields" ? Object.keys(VALUE) : [...(options.clearFields ?? []), "sealpoint"];
        assert.deepEqual(Object.keys(raw).sort(), names.sort());
        for (const [field, stored] of Object.entries(raw)) {
          if (options.clearFields?.includes(field)) assert.deepEqual(stored, VALUE[field]);
          else assert.ok(isSealed(stored));
        }
        assert.deepEqual(
          (await store.search(ns)).map((found) => [found.namespace, found.key, found.value.text]),
          [[ns, "k", VALUE.text]],
        );
        item.value.nested.a.push("mine");
        assert.equal((await store.get(ns, "k")).value.nested.a.length, 2);
        await store.delete(ns, "k");
        assert.equal(await store.get(ns, "k"), null);
      });
    }

    test("what a caller does to an item's clear fields stays with the caller", async () => {
      const [ns, store] = [fresh(), sealed({ clearFields: ["tags"] })];
      const tags = ["a"];
      await store.put(ns, "k", { tags });
      tags.push("b");
      for (const item of [await store.get(ns, "k"), ...(await store.search(ns))]) item.value.tags.push("c");
      assert.deepEqual((await store.get(ns, "k")).value, { tags: ["a"] });
    });

    test("a batch does its reads before its writes and answers in order", async () => {
      const [ns, store] = [fresh(), sealed()];
      await store.put(ns, "a", { n: 1 });
      const results = await store.batch([
        { namespace: ns, key: "a", value: { n: 2 } },
        { namespace: ns, key: "a" },
        { namespacePrefix: ns },
        { namespace: ns, key: "none" },
        { matchConditions: [{ matchType: "prefix", path: ns }], limit: 9, offset: 0 },
      ]);
      assert.equal(results[1].value.n, 1);
      assert.deepEqual(
        results[2].map((item) => item.value),
        [{ n: 1 }],
      );
      assert.equal(results[3], null);
      assert.deepEqual(results[4], [ns]);
      assert.equal((await store.get(ns, "a")).value.n, 2);
    });

    test("a batch that cannot be sealed leaves nothing written", async () => {
      const [ns, store] = [fresh(), sealed()];
      const ops = [
        { namespace: ns, key: "a", value: { n: 1 } },
        { namespace: ns, key: "b", value: { n: 1n } },
      ];
      await refused("invalid_argument", () => store.batch(ops));
      assert.equal(await read(ns, "a"), undefined);
    });

    test("deleting and listing need no tenant", async () => {
      const ns = fresh();
      await sealed().put(ns, "k", { a: 1 });
      const store = sealed({ tenant: fromConfig("workspace_id") });
      assert.deepEqual(await store.listNamespaces({ prefix: ns }), [ns]);
      await store.delete(ns, "k");
      assert.equal(await read(ns, "k"), undefined);
      await refused("tenant_required", () => store.get(ns, "k"));
      await refused("tenant_required", () => store.search(ns));
      await refused("tenant_required", () => store.put(ns, "k", { a: 1 }));
    });

    test("attacks by who writes the database", async () => {
      const ns = fresh();
      const other = fresh();
      for (const seal of ["whole", "fields"]) {
        const store = sealed({ seal, clearFields: ["role"] });
        const put = async (key, role, secret, space = ns) => {
          await store.put(space, key, { role, secret, more: "x" });
          return read(space, key);
        };
        const attack = async (code, value, [space, key] = [ns, "a"]) => {
          await write(space, key, value);
          await refused(code, () => store.get(space, key), "tru-secret");
          await refused(code, () => store.search(space), "tru-secret");
          await store.delete(space, key);
        };
        const old = await put("a", "user", "tru-secret-1");
        const now = await put("a", "admin", "tru-secret-2");
        const b = await put("b", "user", "tru-secret-3");
        await store.delete(ns, "b");
        await attack("authentication_failed", b);
        await attack("authentication_failed", now, [other, "a"]);
        await attack("authentication_failed", { ...now, role: "user" });
        await attack("authentication_failed", { ...now, more2: "added" });
        await attack("authentication_failed", { sealpoint: now.sealpoint });
        await attack("authentication_failed", { ...now, added: b.sealpoint });
        await attack("authentication_failed", { ...now, sealpoint: old.sealpoint });
        if (seal === "fields") {
          await attack("authentication_failed", { ...now, secret: old.secret });
          await attack("authentication_failed", { ...now, secret: now.more, more: now.secret });
          const { secret: _, ...dropped } = now;
          await attack("authentication_failed", dropped);
        }
        const { sealpoint: _, ...bare } = now;
        await attack("plaintext_refused", bare);
        await attack("plaintext_refused", { role: "admin" });
        await attack("plaintext_refused", { ...now, sealpoint: { x: 1 } });
        await attack("malformed", { ...now, sealpoint: "sealpoint:v1:AAAA" });
        await attack("unsupported_version", { ...now, sealpoint: "sealpoint:v9:AAAA" });
        await write(ns, "a", now);
        await refused("authentication_failed", () => sealed({ tenant: fixed("umbrella"), clearFields: ["role"] }).get(ns, "a"), "tru-secret");
        await store.delete(ns, "a");
      }
    });

    test("one bad item fails a search; one below the offset is not opened", async () => {
      const [ns, store] = [fresh(), sealed()];
      for (const key of ["a", "b", "c"]) await store.put(ns, key, { key });
      const order = (await store.search(ns)).map((item) => item.key);
      await write(ns, order[0], { planted: true });
      await refused("plaintext_refused", () => store.search(ns));
      await refused("plaintext_refused", () => store.search(ns, { filter: { key: order[2] } }));
    });

    test("filters: clear ones by the store, sealed ones after opening, with limit and offset", async () => {
      const [ns, store] = [fresh(), sealed({ clearFields: ["kind"] })];
      for (let i = 0; i < 150; i++) await store.put(ns, `k${i}`, { kind: i % 2 ? "odd" : "even", n: i, tag: `t${i % 5}` });
      const ns_of = async (how) => (await store.search(ns, how)).map((item) => item.value.n);
      assert.equal((await ns_of({ filter: { kind: "odd" }, limit: 200 })).length, 75);
      const all = await ns_of({ limit: 200 });
      const expected = all.filter((n) => n % 2 === 1 && n % 5 === 3 && n >= 20);
      const filter = { kind: "odd", tag: "t3", n: { $gte: 20 } };
      assert.deepEqual(await ns_of({ filter, limit: 200 }), expected);
      assert.deepEqual(await ns_of({ filter, limit: 3, offset: 4 }), expected.slice(4, 7));
      assert.deepEqual(
        await ns_of({ filter: { n: { $in: [1, 149] } } }),
        all.filter((n) => [1, 149].includes(n)),
      );
      assert.deepEqual(await ns_of({ limit: 7, offset: 140 }), all.slice(140, 147));
      assert.deepEqual(await ns_of({ limit: 7, offset: 147 }), all.slice(147));
      assert.deepEqual(await ns_of({ limit: 0 }), []);
      await refused("invalid_argument", () => ns_of({ filter: { n: { $regex: "x" } } }));
      await refused("invalid_argument", () => ns_of({ filter: { n: { $in: 5 } } }));
      await refused("invalid_argument", () => ns_of({ limit: -1 }));
      await refused("invalid_argument", () => ns_of({ offset: 0.5 }));
      const strict = sealed({ clearFields: ["kind"], strictFilters: true });
      assert.equal((await strict.search(ns, { filter: { kind: "odd" }, limit: 200 })).length, 75);
      await refused("invalid_argument", () => strict.search(ns, { filter: { tag: "t3" } }));
    });

    test("a namespace that begins alike is not searched, whoever's it is", async () => {
      const ns = fresh();
      const sibling = [ns[0], `${ns[1]}0`];
      for (let i = 0; i < 5; i++) await sealed().put(ns, `k${i}`, { n: i });
      for (let i = 0; i < 30; i++) await sealed({ tenant: fixed("umbrella") }).put(sibling, `k${i}`, { n: 100 + i });
      await sealed().put([...ns, "below"], "k", { n: 5 });
      const found = async (how) => (await sealed().search(ns, how)).map((item) => item.value.n);
      assert.deepEqual((await found()).sort(), [0, 1, 2, 3, 4, 5]);
      const order = await found({ limit: 50 });
      assert.deepEqual([...(await found({ limit: 2 })), ...(await found({ limit: 2, offset: 2 })), ...(await found({ limit: 9, offset: 4 }))], order);
      assert.equal((await found({ filter: { n: { $lt: 3 } } })).length, 3);
    });

    test("unsealed items while migrating", async () => {
      const ns = fresh();
      await write(ns, "old", { kind: "plain", n: 1 });
      await refused("plaintext_refused", () => sealed().get(ns, "old"));
      const migration = new Migration({ acme: new Date(Date.now() + 60_000) });
      const store = sealed({ mode: "migrating", migration });
      const item = await store.get(ns, "old");
      assert.deepEqual(item.value, { kind: "plain", n: 1 });
      assert.equal((await store.search(ns, { filter: { n: 1 } })).length, 1);
      assert.deepEqual(migration.counts(), { acme: { items: 2 } });
      await refused("plaintext_refused", () => sealed({ mode: "migrating", migration, tenant: fixed("umbrella") }).get(ns, "old"));
      await write(ns, "stripped", { sealpoint: 7, a: 1 });
      await refused("authentication_failed", () => store.get(ns, "stripped"));
      await write(ns, "stripped", { a: "sealpoint:v1:AAAA" });
      await refused("authentication_failed", () => store.get(ns, "stripped"));
      await store.put(ns, "old", item.value);
      assert.deepEqual(Object.keys(await read(ns, "old")), ["sealpoint"]);
      const past = new Migration(new Date(0));
      await write(ns, "late", { a: 1 });
      await refused("plaintext_refused", () => sealed({ mode: "migrating", migration: past }).get(ns, "late"));
    });

    test("20 tenants at once, each in its own scope", async () => {
      const ns = fresh();
      const store = sealed({ tenant: fromConfig("workspace_id") });
      const tenants = Array.from({ length: 20 }, (_, i) => `tenant-${i}`);
      await Promise.all(tenants.map((tenant) => tenantScope(tenant, () => store.put(ns, tenant, { tenant }))));
      const items = await Promise.all(tenants.map((tenant) => tenantScope(tenant, () => store.get(ns, tenant))));
      assert.deepEqual(
        items.map((item) => item.value.tenant),
        tenants,
      );
      for (const tenant of tenants) await refused("authentication_failed", () => tenantScope("other", () => store.get(ns, tenant)));
    });
  });
}

describe("values that JSON cannot hold", async () => {
  const store = new SealedStore(new InMemoryStore(), await connect(), { tenant: fixed("acme"), clearFields: ["clear"] });
  const cyclic = {};
  cyclic.self = cyclic;
  let deep = [];
  for (let i = 0; i < 100_000; i++) deep = [deep];
  class Point {
    x = "tru-secret";
  }
  const cases = {
    bigint: 1n,
    undefined: undefined,
    nan: Number.NaN,
    infinity: -Infinity,
    date: new Date(),
    map: new Map([["a", 1]]),
    set: new Set(),
    cyclic,
    deep,
    instance: new Point(),
    "tru-secret boxed": Object("tru-secret"),
    symbol: Symbol("tru-secret"),
    function: () => 1,
    bytes: new Uint8Array(3),
    lone: "tru-secret\ud800",
    "lone name": { "\udc00": 1 },
    hole: new Array(2),
    "array with a property": Object.assign([1], { tru: 1 }),
    "symbol key": { [Symbol("tru-secret")]: 1 },
    hidden: Object.defineProperty({}, "tru", { value: 1 }),
    inherited: Object.create({ tru: 1 }),
    error: new Error("tru-secret"),
  };
  for (const [name, value] of Object.entries(cases)) {
    test(name, async () => {
      for (const given of [{ rest: value }, { rest: [{ in: value }] }, { clear: value }]) {
        await refused("invalid_argument", () => store.put(NS, "k", given), "tru-secret");
      }
    });
  }
  test("a value that is no plain object", async () => {
    for (const value of [undefined, 5, "x", [], new Point(), new Map()]) await refused("invalid_argument", () => store.put(NS, "k", value));
    await refused("invalid_argument", () => store.put(NS, "k", { [Symbol("x")]: 1 }));
  });
  test("clear fields that databases change", async () => {
    for (const clear of [2 ** 53 + 2, -(2 ** 60), 1e300, [{ n: 1e17 }], -0, "sealpoint:v1:x", "sealpoint-key:v1:x"]) {
      await refused("invalid_argument", () => store.put(NS, "k", { clear }));
    }
    await store.put(NS, "k", { clear: 2 ** 53 });
  });
  test("what is given is read at once", async () => {
    const value = { list: [1] };
    const done = store.put(NS, "k", value);
    value.list.push(2);
    await done;
    assert.deepEqual((await store.get(NS, "k")).value, { list: [1] });
  });
});

describe("refusals", async () => {
  const keyring = await connect();
  const make = (options, inner = new InMemoryStore()) => new SealedStore(inner, keyring, { tenant: fixed("acme"), ...options });

  test("options", async () => {
    for (const options of [
      { tenant: "acme" },
      { tenant: undefined },
      { unknown: 1 },
      { seal: "some" },
      { clearFields: "kind" },
      { clearFields: [""] },
      { clearFields: ["sealpoint"] },
      { embed: ["text"] },
      { strictFilters: 1 },
      { mode: "lax" },
      { mode: "migrating" },
      { migration: new Migration(new Date()) },
    ]) {
      await refused("invalid_argument", () => make(options));
    }
    await refused("invalid_argument", () => make({}, {}));
    await refused("invalid_argument", () => make({}, make({})));
    await refused("invalid_argument", () => make({}, make({}).store));
    await refused("invalid_argument", () => make({}, new AsyncBatchedStore(new InMemoryStore())));
    await refused("invalid_argument", () => new SealedStore(new InMemoryStore(), {}, { tenant: fixed("acme") }));
  });

  test("operations", async () => {
    const store = make({});
    await refused("invalid_argument", () => store.batch([{ limit: 1 }]));
    await refused("invalid_argument", () => store.batch([{ namespace: ["a.b"], key: "k", value: {} }]));
    await refused("invalid_argument", () => store.batch([{ namespace: ["a:b"], key: "k" }]));
    await refused("invalid_argument", () => store.batch([{ namespace: "ab", key: "k" }]));
    await refused("invalid_argument", () => store.batch([{ namespace: ["a"], key: 5 }]));
    await refused("invalid_argument", () => store.search(["a"], { mode: "text" }));
    await refused("invalid_argument", () => store.put(["a"], "k", {}, undefined, { until: 5 }));
    await refused("invalid_argument", () => store.put(["a"], "k", { a: 1 }, ["a"]));
  });

  test("a query without embed", async () => {
    await refused("invalid_argument", () => make({}).search(["a"], { query: "tru-secret" }), "tru-secret");
  });

  test("a row from a namespace that was not asked for", async () => {
    const inner = new InMemoryStore();
    const store = make({}, inner);
    await store.put(["b"], "k", { a: 1 });
    const rows = await inner.search(["b"]);
    inner.batch = async () => [rows];
    await refused("authentication_failed", () => store.search(["a"]));
  });
});

test("setup sets up both, start and stop are the inner store's, and so is what it does beyond a store", async (t) => {
  const keyring = await connect();
  const setups = t.mock.method(keyring, "setup");
  const inner = PostgresStore.fromConnString(await postgres(), { ttl: { defaultTtl: 5 }, ensureTables: false });
  const store = new SealedStore(inner, keyring, { tenant: fixed("acme") });
  await store.setup();
  assert.equal(setups.mock.callCount(), 1);
  await store.put(NS, "k", { a: 1 }, undefined, { ttl: 1e-9 });
  assert.equal((await store.getStats()).totalItems, 1);
  assert.equal(await store.sweepExpiredItems(), 1);
  assert.equal((await store.getStats()).totalItems, 0);
  assert.equal(store.inner, inner);
  await store.stop();
  assert.ok(inner.isClosed);
  assert.equal(new SealedStore(new InMemoryStore(), keyring, { tenant: fixed("acme") }).sweepExpiredItems, undefined);
});

describe("the same items in Python", () => {
  const ITEMS = "from sealpoint.langgraph.items import ItemSealer\nargs = (key['tenant'], tuple(given['ns']), given['item'])\n";
  for (const apart of [undefined, ["text", "a/b~c", "looks"]]) {
    test(apart === undefined ? "every field by itself" : "some fields by themselves", async () => {
      const keyring = await connect();
      const inner = new InMemoryStore();
      const store = new SealedStore(inner, keyring, { tenant: fixed("acme"), clearFields: ["kind", "rank"], seal: apart ? "whole" : "fields" });
      const given = { key: handed(keyring, "acme"), ns: NS, item: "k", apart: apart ?? null };
      await store.put(NS, "k", VALUE);
      const stored = inner.data.get(NS.join(":")).get("k").value;
      const opened = inPython(`${ITEMS}print(json.dumps(run(ItemSealer(keyring, (), None).open(*args, given['stored']), keyring)))`, { ...given, stored });
      assert.deepEqual(Object.entries(opened).sort(), Object.entries(VALUE).sort());
      const program = `${ITEMS}print(json.dumps(run(ItemSealer(keyring, ('kind', 'rank'), given['apart']).seal(*args, given['value']), keyring)))`;
      const plus = { ...VALUE, minus: 0 }; // JSON.stringify, which hands it over here, drops the sign
      await inner.put(NS, "k", inPython(program, { ...given, value: plus }));
      assert.deepEqual(Object.entries((await store.get(NS, "k")).value).sort(), Object.entries(plus).sort());
      await inner.put(NS, "other", inner.data.get(NS.join(":")).get("k").value);
      await refused("authentication_failed", () => store.get(NS, "other"));
    });
  }

  const vectors = JSON.parse(readFileSync(new URL("../../../tests/vectors/store.json", import.meta.url))).vectors;
  for (const vector of vectors) {
    test(`vector ${vector.id}`, async () => {
      const keyring = await connect();
      const program = `
import pathlib
sys.path.insert(0, given["reference"])
from sealpoint_ref import derive
print(json.dumps(derive.key_check(bytes.fromhex(given["dek"]), "data", bytes.fromhex(given["dek_id"]), 1, given["tenant"]).hex()))`;
      const { dek, dek_id } = vector.key;
      const reference = new URL("../../../tests/reference", import.meta.url).pathname;
      const check = inPython(program, { key: handed(keyring, "x"), reference, dek, dek_id, tenant: vector.tenant });
      const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
      const record = { tenant: vector.tenant, dekId: bytes(dek_id), dekPurpose: 1, version: 1, suite: 1, keyCheck: bytes(check) };
      keyring._cache.insert(DataKey.fromSecret(SecretKey.fromBytes(bytes(dek)), record), { active: true });
      const inner = new InMemoryStore();
      inner.batch = async () => [{ namespace: vector.ns, key: vector.item, value: vector.stored }];
      const store = new SealedStore(inner, keyring, { tenant: fixed(vector.tenant) });
      const get = async () => (await store.batch([{ namespace: vector.ns, key: vector.item }]))[0];
      // A label that stores would split is refused before anything is read.
      if (vector.op === "open") return refused(vector.ns.some((label) => label.includes(".")) ? "invalid_argument" : vector.expect, get);
      assert.deepEqual((await get()).value, vector.value);
    });
  }
});
