"""A sealed saver and a bare one: the same graphs, the same results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backends import BACKENDS, AsyncBackend, Backend
from graphs import CHAT_INPUT, afunctional, asking, chat, delta, fan, functional, view
from langgraph.types import Command, Overwrite

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, from_config

Result = Callable[[Backend, Callable[[Any], Any]], Any]


def config(thread: str, **extra: Any) -> Any:
    return {"configurable": {"thread_id": thread, "workspace_id": "acme", "locale": "de", **extra}, "metadata": {"channel": "web"}}


def scenario_chat(backend: Backend, wrap: Any) -> Any:
    with backend.opened(wrap) as saver:
        graph = chat(saver)
        first = backend.invoke(graph, CHAT_INPUT, config("t"))
        second = backend.invoke(graph, {"messages": [("user", "again")], "seen": ["you"]}, config("t"))
        for message in second["messages"]:
            message.id = None
        history = backend.history(graph, config("t"))
        for state in history:
            for message in state.values.get("messages", []):
                message.id = None
        return first, second, view(history)


def scenario_fan(backend: Backend, wrap: Any) -> Any:
    with backend.opened(wrap) as saver:
        graph = fan(saver)
        runs = [backend.invoke(graph, {"items": ["x", "y", "z"], "inner": ""}, config("t")) for _ in range(2)]
        sub = backend.state(graph, config("t"), subgraphs=True)
        return runs, view(backend.history(graph, config("t"))), sub.values


def scenario_interrupts(backend: Backend, wrap: Any) -> Any:
    """Each step in a new saver, so that nothing but the database carries the state."""
    steps: list[Any] = [{"answers": ["start"]}, Command(resume="one"), Command(resume="two"), Command(resume="yes")]
    results = []
    for step in steps:
        with backend.opened(wrap) as saver:
            graph = asking(saver)
            result = backend.invoke(graph, step, config("t"))
            pauses = [pause.value for pause in result.pop("__interrupt__", ())]
            results.append((result, pauses, view([backend.state(graph, config("t"))])))
    with backend.opened(wrap) as saver:
        return results, view(backend.history(asking(saver), config("t")))


def scenario_time_travel(backend: Backend, wrap: Any) -> Any:
    with backend.opened(wrap) as saver:
        graph = chat(saver)
        backend.invoke(graph, CHAT_INPUT, config("t"))
        states = backend.history(graph, config("t"))
        before_join = next(state for state in states if state.next == ("join",))
        # Exactly what history gave back: no other key is added.
        replayed = backend.invoke(graph, None, before_join.config)
        fork = backend.update(graph, before_join.config, {"note": "forked", "seen": ["fork"]}, as_node="join")
        forked = backend.state(graph, fork)
        continued = backend.invoke(graph, {"seen": ["on"]}, fork)
        history = backend.history(graph, config("t"))
        by_source = backend.history(graph, config("t"), filter={"source": "update"})
        by_sealed = backend.history(graph, config("t"), filter={"locale": "de"}, limit=2)
        older = backend.history(graph, config("t"), before=before_join.config)
        return [
            replayed,
            view([forked]),
            continued,
            view(history),
            [len(by_source), len(by_sealed), len(older)],
        ]


def scenario_functional(backend: Backend, wrap: Any) -> Any:
    results = []
    for step in ([1, 2, 3], Command(resume="fine"), [4], Command(resume="good")):
        with backend.opened(wrap) as saver:
            workflow = (afunctional if isinstance(backend, AsyncBackend) else functional)(saver)
            result = backend.invoke(workflow, step, config("t"))
            results.append([pause.value for pause in result["__interrupt__"]] if "__interrupt__" in result else result)
    return results


def scenario_durability(backend: Backend, wrap: Any) -> Any:
    out = []
    for durability in ("sync", "async", "exit"):
        with backend.opened(wrap) as saver:
            graph = chat(saver)
            value = backend.invoke(graph, CHAT_INPUT, config(durability), durability=durability)
            states = backend.history(graph, config(durability))
            out.append((value, [state.values for state in states], None if durability == "async" else view(states)))
    return out


def scenario_delta(backend: Backend, wrap: Any) -> Any:
    out: list[Any] = []
    for durability in ("sync", "async", "exit"):
        for turn in range(5):
            with backend.opened(wrap) as saver:
                graph = delta(saver)
                out.append(backend.invoke(graph, {"turn": turn, "log": [f"in{turn}"]}, config(durability), durability=durability))
        with backend.opened(wrap) as saver:
            graph = delta(saver)
            states = backend.history(graph, config(durability))
            out.append([state.values for state in states])
            fork = backend.update(graph, states[len(states) // 2].config, {"log": ["forked"]}, as_node="c")
            out.append(backend.state(graph, fork).values)
            overwrite = backend.update(graph, fork, {"log": Overwrite(["new"])}, as_node="c")
            out.append(backend.state(graph, overwrite).values)
    return out


def scenario_changed_in_place(backend: Backend, wrap: Any) -> Any:
    """Nodes should not do this, but what a bare saver stores then, a sealed one must store too."""
    from typing import TypedDict

    from langgraph.graph import START, StateGraph

    class Cart(TypedDict, total=False):
        cart: list[str]
        turn: int

    def add(state: Cart) -> Cart:
        state["cart"].append("x" * 2000)
        return {"turn": state["turn"] + 1}

    builder = StateGraph(Cart)
    builder.add_node("one", add)
    builder.add_node("two", add)
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    with backend.opened(wrap) as saver:
        graph = builder.compile(checkpointer=saver)
        value = backend.invoke(graph, {"cart": [], "turn": 0}, config("t"))
        return value, backend.state(graph, config("t")).values


SCENARIOS = [value for name, value in sorted(globals().items()) if name.startswith("scenario_")]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.removeprefix("scenario_"))
@pytest.mark.parametrize("kind", BACKENDS, ids=lambda cls: cls.__name__)
def test_sealed_equals_bare(kind: type[Backend], scenario: Result, keyring: Keyring, tmp_path: Path) -> None:
    bare, sealed = kind(tmp_path / "bare.db"), kind(tmp_path / "sealed.db")
    try:
        expected = scenario(bare, lambda inner: inner)
        found = scenario(sealed, lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id")))
    finally:
        bare.close()
        sealed.close()
    assert found == expected
