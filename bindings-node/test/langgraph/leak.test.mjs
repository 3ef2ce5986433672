// A graph with a secret in every place that LangGraph JS stores. Every byte that then lies in the storage is searched for each of them, in every form in which a byte
// string may lie there: none is found. The same search finds them where the saver is bare, so it is able to.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { AIMessage, HumanMessage } from "@langchain/core/messages";
import { Annotation, Command, END, interrupt, MemorySaver, MessagesAnnotation, Send, START, StateGraph } from "@langchain/langgraph";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import { SqliteSaver } from "@langchain/langgraph-checkpoint-sqlite";
import pg from "pg";
import { fromConfig, Keyring } from "sealpoint";
import { SealedSaver } from "sealpoint/langgraph";
import { postgres } from "./servers.mjs";

const SECRETS = {
  string: "zanzibar-string",
  "long string": "zanzibar-long",
  escaped: 'zanzibar-"quoted"\n-ünïcödé-値',
  number: 7_361_528_490_417,
  "number with a fraction": 83_152.640_917,
  boolean: true,
  nested: "zanzibar-nested",
  bytes: "zanzibar-bytes",
  map: "zanzibar-map",
  message: "zanzibar-message",
  reply: "zanzibar-reply",
  "tool call": "zanzibar-tool-call",
  metadata: "zanzibar-metadata",
  configurable: "zanzibar-configurable",
  interrupt: "zanzibar-interrupt",
  resume: "zanzibar-resume",
  send: "zanzibar-send",
  "pending write": "zanzibar-pending-write",
  error: "zanzibar-error",
  "updated state": "zanzibar-updated",
  subgraph: "zanzibar-subgraph",
};
const KEK = randomBytes(32);
const TENANT = "acme-the-tenant";

const State = Annotation.Root({
  ...MessagesAnnotation.spec,
  text: Annotation(),
  long: Annotation(),
  amount: Annotation(),
  ratio: Annotation(),
  approved: Annotation(),
  nested: Annotation(),
  blob: Annotation(),
  log: Annotation({ reducer: (left, right) => left.concat(right), default: () => [] }),
});

const sub = new StateGraph(State)
  .addNode("inner", () => ({ text: SECRETS.subgraph }))
  .addNode("asks", () => ({ log: [interrupt({ question: SECRETS.interrupt })] }))
  .addEdge(START, "inner")
  .addEdge("inner", "asks");

const graph = new StateGraph(State)
  .addNode("fill", () => ({
    text: SECRETS.string,
    long: `${"x".repeat(17_000)}${SECRETS["long string"]}`,
    amount: SECRETS.number,
    ratio: SECRETS["number with a fraction"],
    approved: SECRETS.boolean,
    nested: { list: [{ deep: SECRETS.nested, escaped: SECRETS.escaped }], map: new Map([["key", SECRETS.map]]) },
    blob: new TextEncoder().encode(SECRETS.bytes),
    messages: [new AIMessage({ content: SECRETS.reply, tool_calls: [{ name: "search", args: { query: SECRETS["tool call"] }, id: "call-1" }] })],
  }))
  .addNode("each", ({ text }) => ({ log: [text.length] }))
  .addNode("ask", sub.compile())
  .addNode("good", () => ({ text: SECRETS["pending write"] }))
  .addNode("bad", () => {
    throw new Error(SECRETS.error);
  })
  .addEdge(START, "fill")
  .addConditionalEdges("fill", () => [new Send("each", { text: SECRETS.send })], ["each"])
  .addEdge("each", "ask")
  .addEdge("ask", "good")
  .addEdge("ask", "bad")
  .addEdge("good", END)
  .addEdge("bad", END);

/** An interrupt, a resumption, a step of which one half fails and leaves the other's writes pending, and a change from outside with metadata of the caller's. */
async function session(checkpointer) {
  const compiled = graph.compile({ checkpointer });
  const config = {
    configurable: { thread_id: "thread-1", workspace_id: TENANT, model: SECRETS.configurable },
    metadata: { note: SECRETS.metadata },
  };
  const asked = await compiled.invoke({ messages: [new HumanMessage(SECRETS.message)] }, config);
  assert.equal(asked.__interrupt__[0].value.question, SECRETS.interrupt);
  await assert.rejects(compiled.invoke(new Command({ resume: SECRETS.resume }), config), { message: SECRETS.error });
  const { values, tasks } = await compiled.getState(config);
  assert.equal(values.amount, SECRETS.number);
  assert.equal(tasks.length, 2);
  const other = { ...config, configurable: { ...config.configurable, thread_id: "thread-2" } };
  await compiled.updateState(other, { text: SECRETS["updated state"] }, "fill");
  await compiled.updateState(other, null, END);
}

// -- the search

/** The forms in which a value may lie in a storage. A value that is too short to be searched for is searched for with its name, or as all that a cell holds. */
function forms(name, value) {
  if (typeof value === "boolean") return { json: Buffer.from(`"approved":${value}`), cell: Buffer.from(`\0${value}\0`) };
  const found = {};
  if (typeof value === "number") {
    const double = Buffer.alloc(8);
    double.writeDoubleLE(value);
    found["double, LE"] = double;
    found["double, BE"] = Buffer.from(double).reverse();
  }
  const text = Buffer.from(String(value));
  found["UTF-8"] = text;
  found.JSON = Buffer.from(JSON.stringify(String(value)).slice(1, -1));
  found["JSON, ASCII"] = Buffer.from(ascii(String(value)));
  found["JSON in JSON"] = Buffer.from(JSON.stringify(JSON.stringify(String(value))).slice(3, -3));
  found["UTF-16LE"] = Buffer.from(String(value), "utf16le");
  for (const [kind, bytes] of Object.entries({ ...found })) {
    found[`hex of ${kind}`] = Buffer.from(bytes.toString("hex"));
    found[`HEX of ${kind}`] = Buffer.from(bytes.toString("hex").toUpperCase());
    for (let before = 0; before < 3; before++) {
      // What depends on the bytes around it is left out.
      const whole = Buffer.concat([Buffer.alloc(before), bytes]).subarray(0, before + bytes.length - ((before + bytes.length) % 3));
      for (const encoding of ["base64", "base64url"]) {
        found[`${encoding} of ${kind}, at ${before}`] = Buffer.from(whole.toString(encoding).slice(before === 0 ? 0 : 4));
      }
    }
  }
  for (const [form, bytes] of Object.entries(found)) assert.ok(bytes.length >= 8, `${name}, ${form}: too short to be told from chance`);
  // Most are the same bytes in more than one of them.
  const distinct = new Map(Object.entries(found).map(([form, bytes]) => [bytes.toString("latin1"), form]));
  return Object.fromEntries([...distinct].map(([bytes, form]) => [form, Buffer.from(bytes, "latin1")]));
}

function ascii(text) {
  return JSON.stringify(text)
    .slice(1, -1)
    .replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const NEEDLES = Object.fromEntries(Object.entries(SECRETS).map(([name, value]) => [name, forms(name, value)]));

/** The names of what is found, each with the forms in which it is. */
function found(bytes) {
  return Object.fromEntries(
    Object.entries(NEEDLES).flatMap(([name, needles]) => {
      const seen = Object.entries(needles).flatMap(([form, needle]) => (bytes.includes(needle) ? [form] : []));
      return seen.length > 0 ? [[name, seen]] : [];
    }),
  );
}

// -- the storages: a saver, a place for keys beside its data, and every byte that lies in it

const scratch = mkdtempSync(join(tmpdir(), "sealpoint-leak-"));
after(() => rmSync(scratch, { recursive: true }));

const storages = {
  async memory() {
    const saver = new MemorySaver();
    return { saver, keys: "memory:", bytes: async () => flat([saver.storage, saver.writes]), close: async () => {} };
  },

  /** The database file and its write-ahead log. */
  async sqlite() {
    const file = join(mkdtempSync(join(scratch, "sqlite-")), "state.db");
    const saver = SqliteSaver.fromConnString(file);
    saver.setup();
    const bytes = async () => {
      assert.ok(existsSync(`${file}-wal`));
      return Buffer.concat([file, `${file}-wal`].map((path) => readFileSync(path)));
    };
    return { saver, keys: `sqlite:///${file}`, bytes, close: async () => saver.db.close() };
  },

  /** All rows of all tables, as text and as they are. */
  async postgres() {
    const dsn = await postgres();
    const pool = new pg.Pool({ connectionString: dsn });
    const saver = new PostgresSaver(pool);
    await saver.setup();
    const bytes = async () => {
      const { rows: tables } = await pool.query("SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public'");
      assert.ok(tables.length >= 4, "the saver's tables");
      const dumped = [];
      for (const { name } of tables) {
        dumped.push(flat((await pool.query(`SELECT * FROM ${name}`)).rows));
        dumped.push(flat((await pool.query(`SELECT t::text AS row FROM ${name} t`)).rows));
      }
      return Buffer.concat(dumped);
    };
    return { saver, keys: dsn, bytes, close: async () => pool.end() };
  },
};

/** Every string and every byte in a value, names too, each with a zero byte before and after it. */
function flat(value) {
  const parts = [];
  const walk = (one) => {
    if (one instanceof Uint8Array) parts.push(one);
    else if (typeof one !== "object" || one === null) parts.push(Buffer.from(String(one)));
    else if (one instanceof Map) for (const entry of one) walk(entry);
    else for (const [name, inner] of Object.entries(one)) [name, inner].forEach(walk);
  };
  walk(value);
  return Buffer.concat([Buffer.from([0]), ...parts.flatMap((part) => [part, Buffer.from([0])])]);
}

/** What the session leaves in a new storage. */
async function left(storage, wrap) {
  const { saver, keys, bytes, close } = await storage();
  try {
    await wrap(saver, keys, session);
    return await bytes();
  } finally {
    await close();
  }
}

const bare = (saver, _, use) => use(saver);
async function sealed(saver, keys, use) {
  process.env.SEALPOINT_LEAK_KEK = KEK.toString("base64");
  const keyring = await Keyring.connect(keys, { kek: "env:SEALPOINT_LEAK_KEK" });
  try {
    const wrapped = new SealedSaver(saver, keyring, { tenant: fromConfig("workspace_id") });
    await wrapped.setup();
    await use(wrapped);
  } finally {
    await keyring.close();
  }
}

for (const [name, storage] of Object.entries(storages)) {
  describe(name, () => {
    test("a bare saver leaves every secret readable", async () => {
      const seen = Object.keys(found(await left(storage, bare)));
      assert.deepEqual(seen, Object.keys(SECRETS));
    });

    test("a sealed one leaves none, nor the KEK", async () => {
      const bytes = await left(storage, sealed);
      assert.ok(bytes.includes("thread-1"), "what is in the clear is found");
      assert.ok(bytes.includes("sealpoint:v1:") || bytes.includes(Buffer.from([0xc1, 0x53, 1])), "and envelopes are");
      assert.deepEqual(found(bytes), {});
      for (const encoding of ["latin1", "base64", "hex"]) assert.ok(!bytes.includes(Buffer.from(KEK.toString(encoding), "latin1")), `the KEK, ${encoding}`);
    });
  });
}

test("the search finds a value in each form, wherever it begins", () => {
  for (const [name, value] of Object.entries(SECRETS)) {
    for (const [form, needle] of Object.entries(NEEDLES[name])) assert.ok(found(Buffer.concat([Buffer.from("\0\0 "), needle]))[name].includes(form), form);
    if (typeof value === "boolean") continue;
    for (let before = 0; before < 3; before++) {
      const text = Buffer.from(`${"-".repeat(before)}${value}--`);
      for (const encoding of ["base64", "base64url", "hex", "utf8", "utf16le"]) {
        const lies = encoding === "utf16le" ? Buffer.from(String(text), "utf16le") : Buffer.from(text.toString(encoding));
        assert.ok(name in found(lies), `${name}, ${encoding} at ${before}`);
      }
    }
  }
});
