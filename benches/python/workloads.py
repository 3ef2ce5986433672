"""The graphs that benchmarks run, the same for every contender: deterministic, with fixed ids, one node per step."""

import random
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypedDict

import harness

MESSAGES, MIXED, DOCUMENTS, STRING = "messages", "messages and scalars", "documents", "string"
LARGE = 1 << 20

_TEXT = (
    "the invoice was approved after a review of each line and its totals while our customer asked for another delivery date because "
    "their warehouse closes early on Friday so we moved it and confirmed by mail"
)


class Workload(NamedTuple):
    graph: Any
    """A `StateGraph`, not compiled."""

    given: dict[str, Any]
    """What a run is invoked with."""

    channel: str
    length: int
    """What the state must hold in the end: a channel and how long its value is."""

    def check(self, values: dict[str, Any]) -> None:
        assert len(values[self.channel]) == self.length


def workload(name: str, steps: int) -> Workload:
    return _MAKERS[name](steps)


def config(thread: str = "0b8a3f6e-58c6-4d0e-9d3a-0d5a4c1f7b21", tenant: str = "acme") -> dict[str, Any]:
    return {"configurable": {"thread_id": thread, "workspace_id": tenant}, "recursion_limit": 1000}


def turn(compiled: Any, work: Workload) -> None:
    """What is timed: a run, and one look at the state."""
    compiled.invoke(work.given, config())
    work.check(compiled.get_state(config()).values)


# -- agents


def _messages(steps: int) -> Workload:
    """An agent and its tools take turns, as in every tutorial; the state is `MessagesState`, each message about 1 KB."""
    graph = harness.peer("langgraph.graph", "langgraph")
    replies = _replies(steps)

    def node(state: Any) -> dict[str, Any]:
        return {"messages": [replies[len(state["messages"]) - 1]]}

    def after_agent(state: Any) -> str:
        return "tools" if len(state["messages"]) <= steps else "__end__"

    def after_tools(state: Any) -> str:
        return "agent" if len(state["messages"]) <= steps else "__end__"

    made = graph.StateGraph(graph.MessagesState)
    made.add_node("agent", node)
    made.add_node("tools", node)
    made.add_edge("__start__", "agent")
    made.add_conditional_edges("agent", after_agent, ["tools", "__end__"])
    made.add_conditional_edges("tools", after_tools, ["agent", "__end__"])
    core = harness.peer("langchain_core.messages", "langgraph")
    question = core.HumanMessage(id="question", content=_words(random.Random(5), 150))
    return Workload(made, {"messages": [question]}, "messages", steps + 1)


def _replies(count: int) -> list[Any]:
    """Messages as a provider returns them: a call of a tool, what it answered, and so on."""
    core = harness.peer("langchain_core.messages", "langgraph")
    draw = random.Random(7)
    replies: list[Any] = []
    for number in range(count):
        call = f"call_{number // 2:08x}"
        if number % 2:
            replies.append(core.ToolMessage(id=f"tool-{number}", tool_call_id=call, name="search", content=_words(draw, 150)))
            continue
        replies.append(
            core.AIMessage(
                id=f"run--{draw.getrandbits(128):032x}",
                content=_words(draw, 90),
                tool_calls=[{"name": "search", "args": {"query": _words(draw, 8)}, "id": call}],
                response_metadata={"model_name": "example-large", "finish_reason": "tool_calls", "system_fingerprint": f"fp_{number:08x}"},
                usage_metadata={"input_tokens": 900 + number, "output_tokens": 140, "total_tokens": 1040 + number},
            )
        )
    return replies


def _mixed(steps: int) -> Workload:
    """One node appends a message of about 1 KB and changes four scalar channels at each step."""
    graph = harness.peer("langgraph.graph", "langgraph")
    reducers = harness.peer("langgraph.graph.message", "langgraph")
    core = harness.peer("langchain_core.messages", "langgraph")
    draw = random.Random(7)
    replies = [
        core.AIMessage(
            id=f"run--{draw.getrandbits(128):032x}",
            content=_words(draw, 130),
            response_metadata={"model_name": "example-large", "finish_reason": "stop", "system_fingerprint": f"fp_{number:08x}"},
            usage_metadata={"input_tokens": 900 + number, "output_tokens": 140, "total_tokens": 1040 + number},
        )
        for number in range(steps)
    ]

    class State(TypedDict, total=False):
        messages: Annotated[list[Any], reducers.add_messages]
        step: int
        status: str
        score: float
        approved: bool

    def reply(state: Any) -> dict[str, Any]:
        done = state.get("step", 0)
        return {
            "messages": [replies[done]],
            "step": done + 1,
            "status": "running" if done + 1 < steps else "done",
            "score": done / 7,
            "approved": done % 2 == 0,
        }

    return Workload(_loop(graph.StateGraph(State), reply, steps), {"messages": [], "step": 0}, "messages", steps)


# -- a large channel that the first step sets and no other one changes


def _documents(steps: int) -> Workload:
    """About 1 MB when serialized, as a retriever returns it: text with some structure around it."""
    ormsgpack = harness.peer("ormsgpack", "langgraph")
    draw, found, size = random.Random(1), [], 0
    while size < LARGE:
        document = {
            "id": f"doc-{len(found)}",
            "title": _words(draw, 8),
            "page": draw.randrange(500),
            "score": draw.random(),
            "tags": [_words(draw, 1) for _ in range(4)],
            "text": _words(draw, 120),
            "metadata": {"source": "archive", "language": "en", "reviewed": True},
        }
        found.append(document)
        size += len(ormsgpack.packb(document))
    return _unchanging(steps, found)


def _string(steps: int) -> Workload:
    return _unchanging(steps, _words(random.Random(1), LARGE // 5)[:LARGE])


def _unchanging(steps: int, value: Any) -> Workload:
    graph = harness.peer("langgraph.graph", "langgraph")

    class State(TypedDict, total=False):
        large: Any
        step: int

    def work(state: Any) -> dict[str, Any]:
        done = state.get("step", 0)
        return {"step": done + 1, **({} if done else {"large": value})}

    return Workload(_loop(graph.StateGraph(State), work, steps), {"step": 0}, "large", len(value))


def _loop(made: Any, node: Callable[[Any], dict[str, Any]], steps: int) -> Any:
    def more(state: Any) -> str:
        return "work" if state.get("step", 0) < steps else "__end__"

    made.add_node("work", node)
    made.add_edge("__start__", "work")
    made.add_conditional_edges("work", more, ["work", "__end__"])
    return made


def _words(draw: random.Random, count: int) -> str:
    words = _TEXT.split()
    return " ".join(draw.choice(words) for _ in range(count))


_MAKERS: dict[str, Callable[[int], Workload]] = {MESSAGES: _messages, MIXED: _mixed, DOCUMENTS: _documents, STRING: _string}
