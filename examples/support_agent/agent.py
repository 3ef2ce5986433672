"""The support agent: an ordinary LangGraph graph, which knows nothing about sealing.

    triage -> agent -> tools -> agent -> ... -> end of the turn
                    -> approval (waits for a supervisor) -> tools, or back to agent

Next to the messages the state has channels of plain str, int, float and bool. Savers may store
those by another way than objects, so they are where a leak would be overlooked.
"""

import json
import operator
from typing import Annotated, Any, Literal, TypedDict, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt

from support_agent.conversation import Decision, load_conversation, tenant_of
from support_agent.scripted import ScriptedChatModel
from support_agent.tools import DENIED, TOOLS

TOPICS = {
    "payment": ("refund", "charged", "card", "invoice"),
    "safety": ("alarm", "urgent", "near miss", "emergency"),
    "delivery": ("parcel", "driver", "courier", "delivery"),
}
ALARMING = ("unacceptable", "inspector", "regulator", "solicitor", "police")


class SupportState(TypedDict, total=False):
    """The state of one case."""

    messages: Annotated[list[AnyMessage], add_messages]
    turn: int
    topic: str
    customer_tier: str
    case_note: str
    refund_total: Annotated[float, operator.add]
    escalated: bool


def triage(state: SupportState) -> SupportState:
    """Sort the customer's message. An escalated case stays escalated."""
    text = state["messages"][-1].text.lower()
    matching = (name for name, words in TOPICS.items() if any(word in text for word in words))
    return {
        "turn": state.get("turn", 0) + 1,
        "topic": next(matching, "general"),
        "escalated": state.get("escalated", False) or any(word in text for word in ALARMING),
    }


def agent(state: SupportState, config: RunnableConfig) -> SupportState:
    """Let the scripted model speak; a note that it makes for colleagues becomes the case note."""
    model = ScriptedChatModel(script=load_conversation(tenant_of(config)).script)
    answer = model.invoke(state["messages"], config)
    update: SupportState = {"messages": [answer]}
    if note := answer.additional_kwargs.get("note"):
        update["case_note"] = note
    return update


def after_agent(state: SupportState) -> str:
    """Money waits for approval, look-ups do not, and an answer ends the turn."""
    names = {call["name"] for call in _asked(state).tool_calls}
    if "refund" in names:
        return "approval"
    return "tools" if names else END


def approval(state: SupportState) -> Command[Literal["tools", "agent"]]:
    """Stop until a supervisor decides, in this process or in another one, next week.

    The model asks for a refund alone, never beside other calls: refusing it answers them all.
    """
    (call,) = _asked(state).tool_calls
    decision: Decision = interrupt({"call_id": call["id"], **call["args"]})
    verdict = "approved" if decision["approved"] else "refused"
    note = f"refund {verdict} by {decision['by']}: {decision['note']}"
    if decision["approved"]:
        return Command(goto="tools", update={"case_note": note})
    refusal = DENIED.format(**decision)
    message = ToolMessage(refusal, id=call["id"], tool_call_id=call["id"], name=call["name"])
    return Command(goto="agent", update={"case_note": note, "messages": [message]})


def tools(state: SupportState, config: RunnableConfig) -> SupportState:
    """Run what the model asked for, and keep what the case needs to know of the results."""
    update: SupportState = {"messages": []}
    for call in _asked(state).tool_calls:
        message: ToolMessage = TOOLS[call["name"]].invoke(cast(Any, call), config)
        message.id = call["id"]
        update["messages"].append(message)
        document = json.loads(message.text)
        if tier := document.get("customer_tier"):
            update["customer_tier"] = tier
        if amount := document.get("refunded"):
            update["refund_total"] = amount
    return update


def build_graph() -> StateGraph[SupportState, None, SupportState, SupportState]:
    """The graph, not compiled: `build_graph().compile(checkpointer=...)`."""
    graph = StateGraph(SupportState)
    graph.add_node("triage", triage)
    graph.add_node("agent", agent)
    graph.add_node("approval", approval)
    graph.add_node("tools", tools)
    graph.add_edge(START, "triage")
    graph.add_edge("triage", "agent")
    graph.add_conditional_edges("agent", after_agent, ["approval", "tools", END])
    graph.add_edge("tools", "agent")
    return graph


def _asked(state: SupportState) -> AIMessage:
    return cast(AIMessage, state["messages"][-1])
