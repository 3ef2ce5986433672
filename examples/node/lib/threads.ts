// What both servers do with a request. `tenant` may be undefined: SealedSaver then refuses the call (`tenant_required`), before anything is read or written.
import { type BaseMessage, HumanMessage } from "@langchain/core/messages";
import { Refusal } from "./answers.ts";
import { sealed } from "./sealed.ts";

const configOf = (tenant: string | undefined, thread: string) => ({ configurable: { thread_id: thread, workspace_id: tenant } });

/** The agent's answer to one more message of this thread. */
export async function run(tenant: string | undefined, thread: string, text: string) {
  const { graph } = await sealed();
  const { messages } = await graph.invoke({ messages: [new HumanMessage(text)] }, configOf(tenant, thread));
  return { reply: messages.at(-1)?.text };
}

/** What was said so far. */
export async function read(tenant: string | undefined, thread: string) {
  const { graph } = await sealed();
  const { values } = await graph.getState(configOf(tenant, thread));
  const messages: BaseMessage[] = values.messages ?? [];
  if (messages.length === 0) throw new Refusal(404, "not_found");
  return { messages: messages.map((message) => ({ from: message.getType(), text: message.text })) };
}
