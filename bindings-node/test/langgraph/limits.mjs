// What LangGraph JS itself says to a database of Python's, without sealpoint: `node limits.mjs '{"url": …, "thread": …}'`.
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";

const { url, thread } = JSON.parse(process.argv[2]);
const saver = PostgresSaver.fromConnString(url);
const said = async (call) => {
  try {
    return (await call()) ?? null;
  } catch (error) {
    return error.message;
  }
};
console.log(
  JSON.stringify({
    read: await said(() => saver.getTuple({ configurable: { thread_id: thread } })),
    version: await said(() => saver.getNextVersion("00000000000000000000000000000003.0.5")),
  }),
);
await saver.end();
