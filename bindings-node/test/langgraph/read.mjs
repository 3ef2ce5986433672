// Reads checkpoints for tests in other languages; of a refusal, its code: `node read.mjs '{"url": …, "keys": …, "kek": …, "asks": [{…}]}'`. With `saver`, through SealedSaver.
import { fixed, isSealpointError, Keyring } from "sealpoint";
import { readCheckpoint, SealedSaver } from "sealpoint/langgraph";

const { url, keys, kek, asks, saver } = JSON.parse(process.argv[2]);
const keyring = await Keyring.connect(keys, { kek });
const answers = [];
for (const ask of asks) {
  try {
    answers.push({ found: (await (saver ? bySaver(ask) : readCheckpoint(url, keyring, ask))) ?? null });
  } catch (error) {
    if (!isSealpointError(error)) throw error;
    answers.push({ code: error.code, message: error.message });
  }
}
console.log(JSON.stringify(answers));
await keyring.close();

async function bySaver(ask) {
  const { PostgresSaver } = await import("@langchain/langgraph-checkpoint-postgres");
  const inner = PostgresSaver.fromConnString(url);
  try {
    return await new SealedSaver(inner, keyring, { tenant: fixed(ask.tenant) }).getTuple({ configurable: { thread_id: ask.threadId } });
  } finally {
    await inner.end();
  }
}
