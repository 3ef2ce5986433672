"""Back into the past of a thread and of its subgraphs, forks of forks, and states that are edited: the same bare and sealed."""

import json
import operator
from typing import Annotated, Any, TypedDict

import pytest
from backends import Backend
from langgraph.graph import START, StateGraph
from langgraph.types import Command, StateUpdate, interrupt
from same import SOME, SYNC_AND_ASYNC, TENANT_KEY, assert_same, config, wrapped
from support import refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, fixed, tenant_scope


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    note: str
    count: int


def line(saver: Any, **options: Any) -> Any:
    """Three nodes in a row."""
    builder = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda state, name=name: {"log": [f"canary {name}"], "count": len(state["log"])})
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    return builder.compile(checkpointer=saver, **options)


def asking_below(saver: Any) -> Any:
    """A subgraph of three nodes that pauses in the middle."""
    sub = StateGraph(State)
    sub.add_node("one", lambda state: {"log": ["canary one"], "note": "canary from one"})
    sub.add_node("ask", lambda state: {"log": [f"canary {state['note']} {interrupt('canary?')}"]})
    sub.add_node("three", lambda state: {"log": ["canary three"]})
    sub.add_edge(START, "one")
    sub.add_edge("one", "ask")
    sub.add_edge("ask", "three")
    builder = StateGraph(State)
    builder.add_node("above", lambda state: {"note": "canary above"})
    builder.add_node("sub", sub.compile())
    builder.add_edge(START, "above")
    builder.add_edge("above", "sub")
    return builder.compile(checkpointer=saver)


def at(states: list[Any], *following: str) -> Any:
    """The config of the newest state with these nodes to come."""
    return next(state.config for state in states if state.next == following)


def scenario_forks_of_forks(backend: Backend, wrap: Any) -> Any:
    """Each fork in a new saver. Two forks hold different values under the same channel version."""
    found: list[Any] = []
    with backend.opened(wrap) as saver:
        backend.invoke(line(saver), {"log": ["canary in"]}, config())
        here = at(backend.history(line(saver), config()), "b")
    for number in range(3):
        with backend.opened(wrap) as saver:
            graph = line(saver)
            fork = backend.update(graph, here, {"log": [f"canary fork {number}"], "note": f"canary {number}"}, as_node="a")
            sibling = backend.update(graph, here, {"note": f"canary sibling {number}"}, as_node="a")
            found.append([backend.invoke(graph, None, fork), backend.invoke(graph, None, sibling)])
            found.append(backend.state(graph, fork))
            here = fork
    with backend.opened(wrap) as saver:
        history = backend.history(line(saver), config())
        assert found[4][0]["log"] == ["canary in", "canary a", "canary fork 0", "canary fork 1", "canary fork 2", "canary b", "canary c"]
        return found, history


def scenario_replays(backend: Backend, wrap: Any) -> Any:
    """From each state of a finished thread, newest first: what ran before is not run again, and each replay is a branch."""
    with backend.opened(wrap) as saver:
        graph = line(saver)
        backend.invoke(graph, {"log": ["canary in"]}, config())
        states = backend.history(graph, config())
        results = [backend.invoke(graph, None, state.config) for state in states]
        assert all(result["log"] == ["canary in", "canary a", "canary b", "canary c"] for result in results)
        return results, backend.history(graph, config())


def scenario_as_node(backend: Backend, wrap: Any) -> Any:
    with backend.opened(wrap) as saver:
        graph = line(saver, interrupt_before=["b"])
        backend.invoke(graph, {"log": ["canary in"]}, config())
        skipped = backend.update(graph, config(), {"log": ["canary instead of b"]}, as_node="b")
        state = backend.state(graph, skipped)
        assert state.next == ("c",)
        copied = backend.update(graph, config(), None, as_node="__copy__")
        ended = backend.update(graph, config(), None, as_node="__end__")
        again = backend.update(graph, config(), {"log": ["canary input"]}, as_node="__input__")
        return state, [backend.state(graph, fork) for fork in (copied, ended, again)], backend.history(graph, config())


def scenario_bulk_updates(backend: Backend, wrap: Any) -> Any:
    """A thread that is built without running anything: supersteps of one and of several updates."""
    steps = [
        [StateUpdate({"log": ["canary in"]}, "__input__")],
        [StateUpdate({"log": ["canary a"], "count": 1}, "a")],
        [StateUpdate({"log": ["canary b"], "note": "canary"}, "b"), StateUpdate({"log": ["canary too"]}, "b")],
    ]
    with backend.opened(wrap) as saver:
        graph = line(saver)
        built = backend.run(graph, "bulk_update_state", config(), steps)
        state = backend.state(graph, built)
        assert state.values == {"log": ["canary a", "canary b", "canary too"], "note": "canary", "count": 1}
        return state, backend.invoke(graph, None, built), backend.history(graph, config())


def scenario_into_a_subgraph(backend: Backend, wrap: Any) -> Any:
    """Its states are listed, one is replayed, one is edited; then the whole graph goes on from there."""
    with backend.opened(wrap) as saver:
        graph = asking_below(saver)
        backend.invoke(graph, {"log": ["canary in"]}, config())
        below = backend.state(graph, config(), subgraphs=True).tasks[0].state.config
        whole = {key: value for key, value in below["configurable"].items() if key != "checkpoint_id"}
        states = backend.history(graph, {"configurable": whole})
        assert [state.next for state in states] == [("ask",), ("one",), ("__start__",)]
    with backend.opened(wrap) as saver:
        graph = asking_below(saver)
        replayed = backend.invoke(graph, None, at(states, "one"))
        edited = backend.update(graph, below, {"note": "canary edited"})
        paused = backend.state(graph, config(), subgraphs=True)
    with backend.opened(wrap) as saver:
        graph = asking_below(saver)
        result = backend.invoke(graph, Command(resume="canary yes"), edited)
        assert "canary canary edited canary yes" in result["log"]
        return states, replayed, paused, result, backend.history(graph, config())


def scenario_filters(backend: Backend, wrap: Any) -> Any:
    """On what stays readable, on what is sealed, on both; with a limit and an older bound."""
    with backend.opened(wrap) as saver:
        graph = line(saver)
        for number in range(3):
            backend.invoke(graph, {"log": ["canary in"]}, {**config(), "metadata": {"turn": number, "who": f"canary {number % 2}"}})
        states = backend.history(graph, config())
        found = [
            backend.history(graph, config(), **query)
            for query in (
                {"filter": {"source": "input"}},
                {"filter": {"source": "loop", "step": 2}},
                {"filter": {"turn": 1}},
                {"filter": {"who": "canary 0"}, "limit": 3},
                {"filter": {"who": "canary 0", "source": "input"}},
                {"filter": {"who": "canary 0"}, "before": states[5].config, "limit": 2},
                {"filter": {"who": "canary nobody"}},
                {"filter": {"locale": "canary locale", "turn": 2}},
            )
        ]
        assert [len(each) for each in found] == [3, 1, 5, 3, 2, 2, 0, 5]
        return found


SCENARIOS = [value for name, value in sorted(globals().items()) if name.startswith("scenario_")]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.removeprefix("scenario_"))
@pytest.mark.parametrize("kind", [*SYNC_AND_ASYNC, *SOME])
def test_travels(kind: type[Backend], scenario: Any, keyring: Keyring, make_backend: Any) -> None:
    assert_same(kind, scenario, keyring, make_backend)


@pytest.mark.parametrize("kind", [*SYNC_AND_ASYNC, *SOME])
def test_the_place_of_a_subgraphs_state_names_the_tenant(kind: type[Backend], keyring: Keyring, make_backend: Any) -> None:
    """LangGraph leaves the application's keys out of it: it has the thread's id and a namespace."""
    backend = make_backend(kind)
    with backend.opened(wrapped(keyring)) as saver:
        graph = asking_below(saver)
        backend.invoke(graph, {"log": ["canary in"]}, config())
        (task,) = backend.state(graph, config()).tasks
        assert task.state["configurable"].keys() == {"thread_id", "checkpoint_ns"}
        assert backend.state(graph, task.state).next == ("ask",)
        assert len(backend.history(graph, task.state)) == 3
        elsewhere = json.loads(json.dumps(task.state))
        refused(lambda: backend.state(graph, elsewhere), "tenant_required", TENANT_KEY)
        with tenant_scope("globex"):
            refused(lambda: backend.state(graph, elsewhere), "authentication_failed")


def bare_config(state: Any) -> Any:
    """What an application keeps that stores a checkpoint's place itself."""
    kept = {key: state.config["configurable"][key] for key in ("thread_id", "checkpoint_ns", "checkpoint_id")}
    return {"configurable": json.loads(json.dumps(kept))}


@pytest.mark.parametrize("kind", SOME)
def test_a_replay_from_a_bare_config(kind: type[Backend], keyring: Keyring, make_backend: Any) -> None:
    """It names no tenant: refused, unless the scope or the wrapper does."""
    backend = make_backend(kind)
    with backend.opened(wrapped(keyring)) as saver:
        graph = line(saver)
        backend.invoke(graph, {"log": ["canary in"]}, config())
        before = backend.history(graph, config())
        here = bare_config(next(state for state in before if state.next == ("b",)))
        for call in (backend.state, backend.history, lambda graph, here: backend.invoke(graph, None, here)):
            refused(lambda call=call: call(graph, here), "tenant_required", TENANT_KEY)
        refused(lambda: backend.update(graph, here, {"note": "canary"}, as_node="a"), "tenant_required", TENANT_KEY)
        assert backend.history(graph, config()) == before
        with tenant_scope("globex"):
            refused(lambda: backend.invoke(graph, None, here), "authentication_failed")
        with tenant_scope("acme"):
            replayed = backend.invoke(graph, None, here)
        assert replayed["log"] == ["canary in", "canary a", "canary b", "canary c"]
    with backend.opened(lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))) as saver:
        assert backend.invoke(line(saver), None, here) == replayed
