// Threads as an application in JavaScript leaves them, for tests in other languages: `node threads.mjs '{"saver": "postgres", "url": …}'`. With `keys` and `kek` sealed, else bare.
import { AIMessage, HumanMessage } from "@langchain/core/messages";
import { Annotation, Command, DeltaChannel, END, interrupt, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph";

const {
  saver: kind,
  url,
  keys,
  kek,
  tenant = "acme",
  secret = "a diagnosis nobody may read",
  schema,
  threads = ["all", "asking", "delta"],
} = JSON.parse(process.argv[2]);

const closing = [];
const inner = await makers()[kind]();
const saver = keys === undefined ? inner : await sealed();
if (kind !== "redis" && kind !== "shallow") await saver.setup?.();
for (const thread of threads) await games()[thread]({ configurable: { thread_id: thread, note: secret }, metadata: { customer: secret } });
for (const close of closing.reverse()) await close();

async function sealed() {
  const [{ fixed, Keyring }, { SealedSaver }] = await Promise.all([import("sealpoint"), import("sealpoint/langgraph")]);
  const keyring = await Keyring.connect(keys, { kek });
  closing.push(() => keyring.close());
  return new SealedSaver(inner, keyring, { tenant: fixed(tenant) });
}

function makers() {
  return {
    async postgres() {
      const { PostgresSaver } = await import("@langchain/langgraph-checkpoint-postgres");
      const made = PostgresSaver.fromConnString(url, schema === undefined ? undefined : { schema });
      closing.push(() => made.end());
      return made;
    },
    async sqlite() {
      const { SqliteSaver } = await import("@langchain/langgraph-checkpoint-sqlite");
      const made = SqliteSaver.fromConnString(url);
      closing.push(() => made.db.close());
      return made;
    },
    redis: () => redis(async (client) => new (await import("@langchain/langgraph-checkpoint-redis")).RedisSaver(client)),
    shallow: () => redis(async (client) => new (await import("@langchain/langgraph-checkpoint-redis/shallow")).ShallowRedisSaver(client)),
    async mongo() {
      const [{ MongoDBSaver }, { MongoStub }] = await Promise.all([import("@langchain/langgraph-checkpoint-mongodb"), import("./mongo-stub.mjs")]);
      const stub = new MongoStub();
      closing.push(() => console.log(stub.json()));
      return new MongoDBSaver({ client: stub, enableTimestamps: true });
    },
  };
}

async function redis(make) {
  const { createClient } = await import("redis");
  const client = createClient(url.startsWith("unix://") ? { socket: { path: url.slice("unix://".length) } } : { url });
  await client.connect();
  closing.push(() => client.quit());
  return make(client);
}

function games() {
  return {
    /** Every kind of value, and a subgraph with checkpoints of its own. */
    async all(config) {
      const Sub = Annotation.Root({ inner: Annotation() });
      const sub = new StateGraph(Sub)
        .addNode("one", ({ inner }) => ({ inner: `${inner ?? ""}1` }))
        .addEdge(START, "one")
        .compile({ checkpointer: true });
      const State = Annotation.Root({
        ...MessagesAnnotation.spec,
        text: Annotation(),
        number: Annotation(),
        flag: Annotation(),
        things: Annotation(),
        inner: Annotation(),
      });
      const graph = new StateGraph(State)
        .addNode("look", ({ number }) => ({ number: number + 1, messages: [new AIMessage({ content: "so what?", id: "m2" })] }))
        .addNode("sub", sub)
        .addEdge(START, "look")
        .addEdge("look", "sub")
        .addEdge("sub", END)
        .compile({ checkpointer: saver });
      const things = {
        set: new Set([7]),
        map: new Map([["a", 1]]),
        pairs: new Map([[1, "one"]]),
        raw: new Uint8Array([193, 0]),
        none: undefined,
        list: [1.5, null],
      };
      await graph.invoke({ text: secret, number: 1.5, flag: true, things, messages: [new HumanMessage({ content: secret, id: "m1" })] }, config);
    },
    /** Stopped at an interrupt, beside a branch that has finished. */
    async asking(config) {
      const State = Annotation.Root({ answers: Annotation({ reducer: (a, b) => a.concat(b), default: () => [] }) });
      const graph = new StateGraph(State)
        .addNode("ask", () => ({ answers: [interrupt({ ask: secret })] }))
        .addNode("beside", () => ({ answers: [secret] }))
        .addEdge(START, "ask")
        .addEdge(START, "beside")
        .compile({ checkpointer: saver });
      await graph.invoke({ answers: [] }, config);
    },
    /** As `asking`, resumed here. */
    async resumed(config) {
      const State = Annotation.Root({ answer: Annotation() });
      const graph = new StateGraph(State)
        .addNode("ask", () => ({ answer: interrupt("sure?") }))
        .addEdge(START, "ask")
        .compile({ checkpointer: saver });
      await graph.invoke({}, config);
      await graph.invoke(new Command({ resume: secret }), config);
    },
    /** A delta channel, with snapshots. */
    async delta(config) {
      const State = Annotation.Root({
        log: () => new DeltaChannel((state, writes) => [...(state ?? []), ...writes.flat()], { snapshotFrequency: 2, initialValueFactory: () => [] }),
        turn: Annotation(),
      });
      const graph = new StateGraph(State)
        .addNode("a", ({ turn }) => ({ log: [`${secret} ${turn}`], turn: turn + 1 }))
        .addEdge(START, "a")
        .compile({ checkpointer: saver });
      for (let turn = 0; turn < 3; turn++) await graph.invoke({ log: [secret], turn }, config);
    },
  };
}
