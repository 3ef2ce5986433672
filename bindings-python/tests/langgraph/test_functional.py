"""The functional API with retries, failures and cached tasks, and cached nodes beside a saver: the same bare and sealed."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import pytest
from backends import AsyncBackend, Backend, stored_bytes
from langgraph.cache.base import BaseCache
from langgraph.cache.sqlite import SqliteCache
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, interrupt
from same import CANARY, SOME, SYNC_AND_ASYNC, TENANT_KEY, assert_same, config, wrapped

from sealpoint import Keyring
from sealpoint.langgraph import SealedCache, fixed, from_config, tenant_scope


class Wraps(NamedTuple):
    """How a scenario wraps its saver, and the cache that it uses, which is one file for all steps."""

    saver: Callable[[Any], Any]
    cache: BaseCache[Any]


def scenario_functional(backend: Backend, wraps: Wraps) -> Any:
    """A cached task, one that fails twice, one that fails until it is mended; a pause; what an entrypoint keeps for the next run."""
    ran: list[str] = []
    broken = True

    def workflow_of(saver: Any) -> Any:
        @task(cache_policy=CachePolicy(ttl=600))
        def costly(text: str) -> str:
            ran.append("costly")
            return f"canary costly {text} {len(ran)}"

        @task(retry_policy=RetryPolicy(initial_interval=0, jitter=False, max_attempts=3))
        def flaky(text: str) -> str:
            ran.append("flaky")
            if ran.count("flaky") % 3:
                raise ConnectionError("canary outage")
            return f"canary flaky {text}"

        @task
        def fragile(text: str) -> str:
            ran.append("fragile")
            if broken:
                raise ValueError("canary defect")
            return f"canary mended {text}"

        if isinstance(backend, AsyncBackend):

            @entrypoint(checkpointer=saver, cache=wraps.cache)
            async def workflow(text: str, *, previous: Any = None) -> Any:
                parts = [await costly(text), await flaky(text), await fragile(text)]
                answer = interrupt(f"canary {text}?")
                return entrypoint.final(value=[*parts, answer, previous], save=f"canary kept {text}")

        else:

            @entrypoint(checkpointer=saver, cache=wraps.cache)
            def workflow(text: str, *, previous: Any = None) -> Any:
                parts = [costly(text).result(), flaky(text).result(), fragile(text).result()]
                answer = interrupt(f"canary {text}?")
                return entrypoint.final(value=[*parts, answer, previous], save=f"canary kept {text}")

        return workflow

    found: list[Any] = []
    with backend.opened(wraps.saver) as saver, tenant_scope("acme"), pytest.raises(ValueError, match="canary defect"):
        backend.invoke(workflow_of(saver), "canary one", config())
    broken = False
    for step in (None, Command(resume="canary yes"), "canary one", Command(resume="canary again")):
        with backend.opened(wraps.saver) as saver, tenant_scope("acme"):
            workflow = workflow_of(saver)
            found.append((backend.invoke(workflow, step, config()), backend.state(workflow, config())))
    assert found[1][0] == ["canary costly canary one 1", "canary flaky canary one", "canary mended canary one", "canary yes", None]
    assert found[3][0][0] == found[1][0][0]
    assert found[3][0][3:] == ["canary again", "canary kept canary one"]
    assert {name: ran.count(name) for name in ran} == {"costly": 1, "flaky": 6, "fragile": 3}
    return found, ran


class State(TypedDict, total=False):
    question: str
    answer: str
    note: str


def scenario_cached_nodes(backend: Backend, wraps: Wraps) -> Any:
    """A node in the graph and one in a subgraph, both cached: a second thread runs neither, a third does once the cache is cleared."""
    ran: list[str] = []

    def answer(state: State) -> State:
        ran.append("answer")
        return {"answer": f"canary {len(ran)}"}

    def below(state: State) -> State:
        ran.append("below")
        return {"note": f"canary note {len(ran)}"}

    sub = StateGraph(State)
    sub.add_node("below", below, cache_policy=CachePolicy(ttl=600))
    sub.add_edge(START, "below")
    builder = StateGraph(State)
    builder.add_node("answer", answer, cache_policy=CachePolicy(ttl=600))
    below_graph = sub.compile(cache=wraps.cache)
    builder.add_node("sub", below_graph)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", "sub")
    results = []
    for thread in ("one", "two", "three"):
        with backend.opened(wraps.saver) as saver, tenant_scope("acme"):
            graph = builder.compile(checkpointer=saver, cache=wraps.cache)
            if thread == "three":
                for one in (graph, below_graph):
                    backend.run(one, "clear_cache")
            result = backend.invoke(graph, {"question": "canary same"}, config(thread))
            results.append((result, backend.history(graph, config(thread))))
    assert ran == ["answer", "below"] * 2
    return results, ran


@pytest.mark.parametrize("scenario", [scenario_functional, scenario_cached_nodes], ids=lambda scenario: scenario.__name__[9:])
@pytest.mark.parametrize("kind", [*SYNC_AND_ASYNC, *SOME])
def test_cached(kind: type[Backend], scenario: Any, keyring: Keyring, make_backend: Any, tmp_path: Any) -> None:
    paths = [tmp_path / name for name in ("bare-cache.db", "sealed-cache.db")]
    bare, sealed = (SqliteCache(path=str(path)) for path in paths)
    # A sync run stores a task's result in a thread that has lost the scope.
    source = from_config(TENANT_KEY) if issubclass(kind, AsyncBackend) else fixed("acme")
    wraps = (
        Wraps(lambda inner: inner, bare),
        Wraps(wrapped(keyring), SealedCache(sealed, keyring, tenant=source)),
    )
    assert_same(kind, scenario, keyring, make_backend, *wraps)
    assert [CANARY.encode() in stored_bytes(path) for path in paths] == [True, False]
