// An ordinary LangGraph agent with a scripted answer. It knows nothing of sealing.
import { AIMessage } from "@langchain/core/messages";
import { MessagesAnnotation, START, StateGraph } from "@langchain/langgraph";

export const agent = new StateGraph(MessagesAnnotation)
  .addNode("reply", ({ messages }) => {
    const asked = messages.filter((message) => message.getType() === "human");
    return { messages: [new AIMessage(`Note ${asked.length}: ${asked.at(-1)?.text}`)] };
  })
  .addEdge(START, "reply");
