"""Every stream mode, sync and async, gives the same events in the same order, bare and sealed."""

from collections.abc import Callable
from typing import Annotated, Any, TypedDict, get_args

import pytest
from backends import AsyncBackend, Backend
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, StreamMode, interrupt
from same import ASYNC, SOME, assert_same, config
from scripted import Scripted

from sealpoint import Keyring

MODES: tuple[StreamMode, ...] = get_args(StreamMode)


class Talk(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    note: str
    score: float


def talk(saver: Any) -> Any:
    """A model that speaks token by token, in the graph and in a subgraph; a subgraph that pauses."""
    model = Scripted(lines=[AIMessage("canary one two", id="first"), AIMessage("canary three four", id="second")])

    def speak(state: Talk) -> Talk:
        get_stream_writer()({"custom": f"canary {len(state['messages'])}"})
        return {"messages": [model.invoke(state["messages"])]}

    def ask(state: Talk) -> Talk:
        get_stream_writer()("canary asking")
        return {"note": interrupt({"canary": "sure?"}), "score": 0.5}

    sub = StateGraph(Talk)
    sub.add_node("again", speak)
    sub.add_node("ask", ask)
    sub.add_edge(START, "again")
    sub.add_edge("again", "ask")

    builder = StateGraph(Talk)
    builder.add_node("speak", speak)
    builder.add_node("sub", sub.compile())
    builder.add_node("last", lambda state: {"note": state["note"] + " canary"})
    builder.add_edge(START, "speak")
    builder.add_edge("speak", "sub")
    builder.add_edge("sub", "last")
    return builder.compile(checkpointer=saver)


STEPS: tuple[Any, ...] = ({"messages": [("user", "canary question")]}, Command(resume="canary yes"))


def scenario_modes(backend: Backend, wrap: Any) -> Any:
    found: dict[str, Any] = {}
    with backend.opened(wrap) as saver:
        graph = talk(saver)
        for modes in (*MODES, list(MODES)):
            for subgraphs in (False, True):
                here = config(f"{modes}{subgraphs}")
                options = {"stream_mode": modes, "subgraphs": subgraphs, "durability": "sync"}
                events = found[f"{modes} {subgraphs}"] = [backend.run(graph, "stream", step, here, **options) for step in STEPS]
                assert events[0], modes
    return found


def scenario_typed_parts(backend: Backend, wrap: Any) -> Any:
    """`version="v2"`: each part says its type, namespace and interrupts."""
    with backend.opened(wrap) as saver:
        options = {"stream_mode": list(MODES), "subgraphs": True, "durability": "sync", "version": "v2"}
        found = [backend.run(talk(saver), "stream", step, config(), **options) for step in STEPS]
    assert {part["type"] for parts in found for part in parts} == set(MODES)
    return found


def scenario_output_keys(backend: Backend, wrap: Any) -> Any:
    with backend.opened(wrap) as saver:
        graph = talk(saver)
        return [backend.run(graph, "stream", step, config(), output_keys=["note"], stream_mode="values") for step in STEPS]


def scenario_events(backend: Backend, wrap: Any) -> Any:
    found = []
    for step in STEPS:
        with backend.opened(wrap) as saver:
            found.append(backend.run(talk(saver), "stream_events", step, config(), version="v2", durability="sync"))
    assert {event["event"] for event in found[0]} >= {"on_chat_model_stream", "on_chain_start", "on_chain_stream", "on_chain_end"}
    return found


@pytest.mark.parametrize("scenario", [scenario_modes, scenario_typed_parts, scenario_output_keys], ids=lambda one: one.__name__[9:])
@pytest.mark.parametrize("kind", SOME)
def test_streams(kind: type[Backend], scenario: Callable[..., Any], keyring: Keyring, make_backend: Any) -> None:
    assert_same(kind, scenario, keyring, make_backend)


@pytest.mark.parametrize("kind", ASYNC)
def test_events(kind: type[AsyncBackend], keyring: Keyring, make_backend: Any) -> None:
    """`astream_events`, which has a sync twin for its newest version only."""
    assert_same(kind, scenario_events, keyring, make_backend)
