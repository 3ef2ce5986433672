"""Plays a recorded case through the graph, and reports each step so that a display can follow.

Both drivers begin where the thread stands: a thread that another process left at any point, even
in the middle of a refund waiting for approval, goes on from there.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from support_agent.agent import SupportState
from support_agent.conversation import Turn

Graph = CompiledStateGraph[SupportState, None, SupportState, SupportState]
Kind = Literal["user", "assistant", "tool", "approval"]


@dataclass(frozen=True)
class Progress:
    """One thing that happened."""

    turn: int
    kind: Kind
    node: str
    text: str


def play(graph: Graph, config: RunnableConfig, turns: Iterable[Turn]) -> Iterator[Progress]:
    """Feed the customer's messages one by one and answer what asks for approval."""
    for turn, given in _to_do(graph.get_state(config), turns):
        todo = given
        while todo is not _DONE:
            steps = graph.stream(todo, config, stream_mode="updates")
            todo = _DONE
            for step in steps:
                todo = _answer(turn, step) or todo
                yield from _progress(turn, step)


async def aplay(graph: Graph, config: RunnableConfig, turns: Iterable[Turn]) -> AsyncIterator[Progress]:
    """`play` for a graph with an async checkpointer."""
    for turn, given in _to_do(await graph.aget_state(config), turns):
        todo = given
        while todo is not _DONE:
            steps = graph.astream(todo, config, stream_mode="updates")
            todo = _DONE
            async for step in steps:
                todo = _answer(turn, step) or todo
                for progress in _progress(turn, step):
                    yield progress


Todo = SupportState | Command[Any] | None
"""A new message, the answer to an interrupt, or None: just go on."""

_DONE: Command[Any] = Command()


def _to_do(snapshot: StateSnapshot, turns: Iterable[Turn]) -> Iterator[tuple[Turn, Todo]]:
    """What is left, the turn that was under way included.

    A snapshot shows results of nodes that ran just before a crash, but they are not part of the
    state yet, and new input would discard them. `tasks` still names those nodes; `next` does not.
    """
    messages = snapshot.values.get("messages", [])
    begun = sum(isinstance(message, HumanMessage) for message in messages)
    if snapshot.next == (START,):
        begun += 1
    for turn in turns:
        if turn.number > begun:
            yield turn, {"messages": [turn.message]}
        elif turn.number == begun and snapshot.interrupts and snapshot.next:
            yield turn, _decide(turn, snapshot.interrupts[0].value)
        elif turn.number == begun and snapshot.tasks:
            yield turn, None


def _answer(turn: Turn, step: Mapping[str, Any]) -> Command[Any] | None:
    if "__interrupt__" not in step:
        return None
    return _decide(turn, step["__interrupt__"][0].value)


def _decide(turn: Turn, asked: Mapping[str, Any]) -> Command[Any]:
    return Command(resume=turn.decisions[asked["call_id"]])


def _progress(turn: Turn, step: Mapping[str, Any]) -> Iterator[Progress]:
    for node, update in step.items():
        if node == "__interrupt__":
            asked = update[0].value
            text = f"{asked['amount']:.2f} for {asked['order_id']}: {asked['reason']}"
            yield Progress(turn.number, "approval", "approval", text)
            continue
        if node == "triage":
            yield _said(turn, node, turn.message)
        for message in update.get("messages", ()):
            yield _said(turn, node, message)


def _said(turn: Turn, node: str, message: AnyMessage) -> Progress:
    kind: Kind = "user"
    if isinstance(message, AIMessage):
        kind = "assistant"
    elif isinstance(message, ToolMessage):
        kind = "tool"
    return Progress(turn.number, kind, node, message.text)
