"""A sealed saver and a bare one: the same graphs, the same results."""

from collections.abc import Callable
from typing import Any

import pytest
from backends import (
    BACKENDS,
    AsyncBackend,
    AsyncRedis,
    AsyncShallowRedis,
    AsyncSqlite,
    Backend,
    Memory,
    Redis,
    ShallowRedis,
    Sqlite,
)
from graphs import CHAT_INPUT, afunctional, asking, chat, delta, fan, functional, view
from langgraph.types import Command, Overwrite
from psycopg.errors import UndefinedColumn

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
        return [
            replayed,
            view([forked]),
            continued,
            view(history),
            [len(by_source), len(by_sealed)],
        ]


def scenario_before(backend: Backend, wrap: Any) -> Any:
    with backend.opened(wrap) as saver:
        graph = chat(saver)
        backend.invoke(graph, CHAT_INPUT, config("t"))
        middle = backend.history(graph, config("t"))[2 if backend.history_kept else 0]
        return len(backend.history(graph, config("t"), before=middle.config))


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
                graph = delta(saver, backend.write_order_kept)
                out.append(backend.invoke(graph, {"turn": turn, "log": [f"in{turn}"]}, config(durability), durability=durability))
        with backend.opened(wrap) as saver:
            graph = delta(saver, backend.write_order_kept)
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


def test_a_large_value_changed_in_place(keyring: Keyring, make_backend: Any) -> None:
    """The one difference to a bare saver, as `SealedSaver` says: what a node changed and did not return is not stored for sure, as with
    bare savers that have a table of values. What it returns is."""
    from typing import TypedDict

    from langgraph.graph import START, StateGraph

    class Cart(TypedDict, total=False):
        cart: list[str]
        turn: int

    def add(state: Cart) -> Cart:
        state["cart"].append("x" * 20_000)
        return {"turn": state["turn"] + 1} if state["turn"] < 4 else {"turn": 5, "cart": state["cart"]}

    builder = StateGraph(Cart)
    builder.add_node("add", add)
    builder.add_edge(START, "add")
    builder.add_conditional_edges("add", lambda state: "add" if state["turn"] < 5 else "__end__")

    def stored(kind: type[Backend], name: str, wrap: Any) -> list[int]:
        backend = make_backend(kind, name)
        with backend.opened(wrap) as saver:
            graph = builder.compile(checkpointer=saver)
            backend.invoke(graph, {"cart": [], "turn": 0}, config("t"))
            return [len(state.values["cart"]) for state in backend.history(graph, config("t")) if "cart" in state.values]

    def seal(inner: Any) -> SealedSaver:
        return SealedSaver(inner, keyring, tenant=from_config("workspace_id"))

    assert stored(Sqlite, "bare", lambda inner: inner) == [5, 4, 3, 2, 1, 0]
    assert stored(Sqlite, "sealed", seal) == [5, 1, 1, 1, 1, 0]
    assert stored(Memory, "bare-table", lambda inner: inner) == [5, 0, 0, 0, 0, 0]
    assert stored(Memory, "sealed-table", seal) == [5, 0, 0, 0, 0, 0]


SCENARIOS = [value for name, value in sorted(globals().items()) if name.startswith("scenario_")]


def run(scenario: Result, backend: Backend, wrap: Any) -> Any:
    """What the scenario gives, or the type of what it raises: a saver without history fails where a scenario looks for an older state."""
    try:
        return scenario(backend, wrap)
    except (StopIteration, UndefinedColumn) as error:
        assert not backend.history_kept
        return type(error)


# Where Redis' savers fail bare, or list JSON instead of objects: sealed they give what others give. `delta` needs a history with all
# writes, and `RedisSaver` forgets that a checkpoint has some if it is stored after them.
REFERENCES: dict[type[Backend], dict[Result, type[Backend]]] = {
    Redis: {
        **dict.fromkeys((scenario_chat, scenario_durability, scenario_fan, scenario_interrupts), AsyncRedis),
        scenario_time_travel: Sqlite,
    },
    AsyncRedis: {scenario_time_travel: AsyncSqlite},
    AsyncShallowRedis: dict.fromkeys((scenario_chat, scenario_durability, scenario_fan, scenario_interrupts), ShallowRedis),
}
PAIRS = [
    pytest.param(kind, scenario, id=f"{kind.__name__}-{scenario.__name__.removeprefix('scenario_')}")
    for kind in BACKENDS
    for scenario in SCENARIOS
    if not (issubclass(kind, (Redis, AsyncShallowRedis)) and scenario is scenario_delta)
]


def as_kept(value: Any, ordered: bool) -> Any:
    """Without what Redis' savers do not keep bare (the application's metadata, the name of the root namespace) and, unless the scenario is
    one whose writes come one by one, without what neither they nor MongoDB's keep: the order of parallel tasks' writes."""
    if isinstance(value, dict):
        return {key: as_kept(item, ordered) for key, item in value.items() if key not in ("channel", "locale")}
    if isinstance(value, (list, tuple)):
        strings = not ordered and bool(value) and all(isinstance(item, str) for item in value)
        return sorted(value) if strings else [as_kept(item, ordered) for item in value]
    return "" if value == "__empty__" else value


@pytest.mark.parametrize(("kind", "scenario"), PAIRS)
def test_sealed_equals_bare(kind: type[Backend], scenario: Result, keyring: Keyring, make_backend: Any) -> None:
    reference = REFERENCES.get(kind, {}).get(scenario, kind)
    expected = run(scenario, make_backend(reference, "bare"), lambda inner: inner)
    found = run(scenario, make_backend(kind, "sealed"), lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id")))
    if not kind.write_order_kept:
        ordered = scenario is scenario_delta
        expected, found = as_kept(expected, ordered), as_kept(found, ordered)
    assert found == expected
