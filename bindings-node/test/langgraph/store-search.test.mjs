import assert from "node:assert/strict";
import { test } from "node:test";
import { InMemoryStore } from "@langchain/langgraph-checkpoint";
import { PostgresStore } from "@langchain/langgraph-checkpoint-postgres/store";
import pg from "pg";
import { fixed, isSealed } from "sealpoint";
import { SealedStore } from "sealpoint/langgraph";
import { connect } from "./keyring.mjs";
import { postgres } from "./servers.mjs";
import { DIMS, FakeEmbeddings, refused } from "./store-keys.mjs";

const NS = ["m"];
const options = (more) => ({ tenant: fixed("acme"), embed: ["text"], ...more });

function memory() {
  const embeddings = new FakeEmbeddings();
  return { embeddings, inner: new InMemoryStore({ index: { dims: DIMS, embeddings } }) };
}

async function filled(store) {
  await store.put(NS, "a", { text: "zebra zoo", kind: "x", secret: "tru-secret" });
  await store.put(NS, "b", { text: "apple pie", kind: "y", secret: "tru-secret" });
  await store.put(NS, "c", { text: "zzz", kind: "y", secret: "tru-secret" }, false);
}

test("a semantic search finds what the bare store finds, and the embedder sees only what embed names", async () => {
  const bare = memory();
  await filled(bare.inner);
  bare.embeddings.seen = [];
  const { inner, embeddings } = memory();
  const store = new SealedStore(inner, await connect(), options());
  await filled(store);
  assert.deepEqual(embeddings.seen, ["zebra zoo", "apple pie"]);
  const found = await store.search(NS, { query: "zebra", limit: 2 });
  assert.deepEqual(embeddings.queries, ["zebra"]);
  assert.deepEqual(
    found.map((item) => [item.key, item.value.text]),
    [
      ["a", "zebra zoo"],
      ["b", "apple pie"],
    ],
  );
  assert.ok(found[0].score > found[1].score);
  assert.deepEqual((await store.search(NS, { query: "zebra", filter: { kind: "y" }, limit: 1 }))[0].key, "b");
  const raw = JSON.stringify([...inner.data.get("m").values()]);
  assert.ok(!raw.includes("zebra") && !raw.includes("tru-secret"));
  assert.equal(inner.indexConfig.embeddings, embeddings);
});

test("refusals", async () => {
  const { inner } = memory();
  const keyring = await connect();
  const store = new SealedStore(inner, keyring, options());
  await refused("invalid_argument", () => store.put(NS, "k", { text: "a", secret: "tru-secret" }, ["secret"]), "tru-secret");
  await refused("invalid_argument", () => store.search(NS, { query: "sealpoint:v1:AAAA" }));
  await refused("invalid_argument", () => new SealedStore(inner, keyring, options({ embed: ["text.more"] })));
  await refused("invalid_argument", () => new SealedStore(inner, keyring, options({ embed: ["$"] })));
  await refused("invalid_argument", () => new SealedStore(inner, keyring, options({ clearFields: ["text"] })));
  await refused("invalid_argument", () => new SealedStore(inner, keyring, options({ embed: [] })).search(NS, { query: "x" }));
});

test("what the inner store is told to embed: nothing, unless embed names it and the caller does not say false", async () => {
  for (const [embed, index, told] of [
    [[], undefined, false],
    [[], [], false],
    [["text"], undefined, ["text"]],
    [["text"], false, false],
    [["text", "absent"], undefined, ["text"]],
    [["absent"], undefined, []],
  ]) {
    const { inner } = memory();
    const asked = [];
    const store = new SealedStore(inner, await connect(), options({ embed }));
    inner.batch = async (ops) => asked.push(...ops) && [undefined];
    await store.put(NS, "k", { text: "a" }, index);
    assert.deepEqual(asked[0].index, told);
  }
});

test("an embedder that is asked after the call is refused, not handed an envelope", async () => {
  const { inner, embeddings } = memory();
  const store = new SealedStore(inner, await connect(), options());
  let late;
  inner.batch = async function (ops) {
    late = () => this._indexConfig.embeddings.embedDocuments([ops[0].value.text]);
    return [undefined];
  };
  await store.put(NS, "k", { text: "later" });
  await refused("internal", () => late());
  assert.deepEqual(embeddings.seen, []);
});

/** PostgresStore needs pgvector, which the test server does not have. Its own code runs up to the table of vectors, which is one of our making: text, not vectors. */
test("what PostgresStore stores of an index, with a stand-in for the table of vectors", async () => {
  const dsn = await postgres();
  const pool = new pg.Pool({ connectionString: dsn });
  const plain = PostgresStore.fromConnString(dsn);
  await plain.setup();
  await pool.query("create table store_vectors (namespace_path text, key text, field_path text, text_content text, embedding text)");
  const embeddings = new FakeEmbeddings();
  for (const embed of [embeddings, (texts) => embeddings.embedDocuments(texts)]) {
    embeddings.seen = [];
    const inner = PostgresStore.fromConnString(dsn, { index: { dims: DIMS, embed }, ensureTables: false });
    const store = new SealedStore(inner, await connect(), options());
    await filled(store);
    assert.deepEqual(embeddings.seen, ["zebra zoo", "apple pie"]);
    const { rows } = await pool.query("select key, field_path, text_content from store_vectors order by key");
    assert.deepEqual(
      rows.map((row) => [row.key, row.field_path, isSealed(row.text_content)]),
      [
        ["a", "text", true],
        ["b", "text", true],
      ],
    );
    await store.put(NS, "a", { text: null }); // its old vector goes, as with the bare store
    assert.equal((await pool.query("select 1 from store_vectors where key = 'a'")).rowCount, 0);
    assert.equal(inner.core.indexConfig.embed, embed);
    const unnamed = new SealedStore(inner, await connect(), options({ embed: [] }));
    embeddings.seen = [];
    await unnamed.put(NS, "d", { text: "tru-secret" });
    assert.deepEqual(embeddings.seen, []);
    await inner.stop();
  }
  const everything = JSON.stringify([(await pool.query("select * from store")).rows, (await pool.query("select * from store_vectors")).rows]);
  for (const word of ["zebra", "apple", "tru-secret"]) assert.ok(!everything.includes(word));
  await pool.end();
  await plain.stop();
});
