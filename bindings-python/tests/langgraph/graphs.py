"""Graphs that between them use everything that LangGraph persists, and a view of a thread that is equal for equal runs."""

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send, interrupt


class Chat(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    score: float
    count: int
    approved: bool
    note: str
    nothing: None
    blob: bytes
    seen: Annotated[list[str], operator.add]


def chat(saver: Any, blob: bytes = b"\xc1raw") -> Any:
    """Parallel branches, messages, every kind of primitive."""

    def left(state: Chat) -> Chat:
        return {"messages": [AIMessage("left answer", id="l")], "score": 0.5, "seen": ["left"]}

    def right(state: Chat) -> Chat:
        return {"count": 7, "approved": True, "nothing": None, "blob": blob, "seen": ["right"]}

    def join(state: Chat) -> Chat:
        return {"note": f"{len(state['messages'])} messages", "seen": ["join"]}

    builder = StateGraph(Chat)
    builder.add_node("left", left)
    builder.add_node("right", right)
    builder.add_node("join", join)
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge(["left", "right"], "join")
    return builder.compile(checkpointer=saver)


CHAT_INPUT = {"messages": [HumanMessage("a question", id="q")]}


class Fan(TypedDict, total=False):
    items: list[str]
    done: Annotated[list[str], operator.add]
    inner: str


def fan(saver: Any) -> Any:
    """Send, and a subgraph with a checkpointer of its own."""

    class Sub(TypedDict, total=False):
        inner: str
        steps: Annotated[list[str], operator.add]

    sub = StateGraph(Sub)
    sub.add_node("one", lambda state: {"steps": ["one"], "inner": state.get("inner", "") + "1"})
    sub.add_node("two", lambda state: {"steps": ["two"], "inner": state["inner"] + "2"})
    sub.add_edge(START, "one")
    sub.add_edge("one", "two")

    builder = StateGraph(Fan)
    builder.add_node("split", lambda state: {})
    builder.add_node("work", lambda state: {"done": [state["item"].upper()]})
    builder.add_node("sub", sub.compile(checkpointer=True))
    builder.add_edge(START, "split")
    builder.add_conditional_edges("split", lambda state: [Send("work", {"item": item}) for item in state["items"]], ["work"])
    builder.add_edge("work", "sub")
    builder.add_edge("sub", END)
    return builder.compile(checkpointer=saver)


class Asking(TypedDict, total=False):
    answers: Annotated[list[str], operator.add]


def asking(saver: Any) -> Any:
    """Two interrupts in one node, one in another, beside a branch that finishes."""

    def ask(state: Asking) -> Asking:
        return {"answers": [interrupt({"ask": "first"}), interrupt({"ask": "second"})]}

    def confirm(state: Asking) -> Asking:
        return {"answers": [interrupt("sure?")]}

    builder = StateGraph(Asking)
    builder.add_node("ask", ask)
    builder.add_node("beside", lambda state: {"answers": ["beside"]})
    builder.add_node("confirm", confirm)
    builder.add_edge(START, "ask")
    builder.add_edge(START, "beside")
    builder.add_edge(["ask", "beside"], "confirm")
    return builder.compile(checkpointer=saver)


def functional(saver: Any) -> Any:
    @task
    def square(number: int) -> int:
        return number * number

    @entrypoint(checkpointer=saver)
    def workflow(numbers: list[int], *, previous: Any = None) -> Any:
        total = sum(future.result() for future in [square(number) for number in numbers])
        answer = interrupt(f"total {total}?")
        return entrypoint.final(value={"answer": answer, "before": previous}, save={"total": total})

    return workflow


def afunctional(saver: Any) -> Any:
    @task
    async def square(number: int) -> int:
        return number * number

    @entrypoint(checkpointer=saver)
    async def workflow(numbers: list[int], *, previous: Any = None) -> Any:
        total = sum([await future for future in [square(number) for number in numbers]])
        answer = interrupt(f"total {total}?")
        return entrypoint.final(value={"answer": answer, "before": previous}, save={"total": total})

    return workflow


def _extend(state: list[str], writes: Any) -> list[str]:
    return [*(state or []), *(item for write in writes for item in write)]


class Log(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(_extend, snapshot_frequency=3)]
    turn: int


def delta(saver: Any, parallel: bool = True) -> Any:
    """`parallel`: whether two nodes write at once. A delta channel is rebuilt from writes in the order in which a saver gives them back."""
    builder = StateGraph(Log)
    builder.add_node("a", lambda state: {"log": [f"a{state['turn']}"]})
    builder.add_node("b", lambda state: {"log": [f"b{state['turn']}"]})
    builder.add_node("c", lambda state: {"log": ["c"], "turn": state["turn"] + 1})
    builder.add_edge(START, "a")
    if parallel:
        builder.add_edge(START, "b")
        builder.add_edge(["a", "b"], "c")
    else:
        builder.add_edge("a", "b")
        builder.add_edge("b", "c")
    return builder.compile(checkpointer=saver)


def view(states: list[Any]) -> list[Any]:
    """A thread's history without what differs from run to run: ids and times; and without the tenant, which a sealed saver puts back into
    the configs that it returns, so that a replay from one has it in its metadata again."""
    order = {state.config["configurable"]["checkpoint_id"]: number for number, state in enumerate(reversed(states))}

    def place(config: Any) -> Any:
        return config and (order.get(config["configurable"]["checkpoint_id"]), config["configurable"]["checkpoint_ns"].split(":")[0])

    return [
        {
            "values": state.values,
            "next": state.next,
            "at": place(state.config),
            "parent": place(state.parent_config),
            "metadata": {key: value for key, value in state.metadata.items() if key not in ("run_id", "parents", "workspace_id")},
            "parents": len(state.metadata["parents"]),
            "tasks": [(done.name, done.path, done.error, [pause.value for pause in done.interrupts], done.result) for done in state.tasks],
        }
        for state in states
    ]
