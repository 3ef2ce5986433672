"""Stores and caches inside running graphs: the tenant is that of the run, sync and async, for many tenants at once."""

import asyncio
import logging
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from backends import stored_bytes
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.cache.sqlite import SqliteCache
from langgraph.config import get_store
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import InjectedStore, ToolNode
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.types import CachePolicy
from store_backends import AsyncStoreBackend, Sqlite, StoreBackend
from support import in_threads, refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedCache, SealedStore, from_config, tenant_scope


class State(TypedDict, total=False):
    messages: Annotated[list[Any], operator.add]
    found: list[Any]


def config(tenant: str | None) -> Any:
    return {"configurable": {"workspace_id": tenant} if tenant else {}}


def wrap(keyring: Keyring) -> Callable[[BaseStore], SealedStore]:
    return lambda inner: SealedStore(inner, keyring, tenant=from_config("workspace_id"))


@tool
def remember(fact: str, store: Annotated[Any, InjectedStore()]) -> str:
    """Stores a fact."""
    store.put(("facts",), fact, {"fact": fact, "by": "tool"})
    return "ok"


@tool
async def aremember(fact: str, store: Annotated[Any, InjectedStore()]) -> str:
    """Stores a fact."""
    await store.aput(("facts",), fact, {"fact": fact, "by": "tool"})
    return "ok"


def tools_of(state: State) -> Any:
    called = state["messages"][0]
    call = {"name": called["tool"], "args": {"fact": called["fact"]}, "id": "1", "type": "tool_call"}
    return {"messages": [AIMessage("", tool_calls=[call])]}


def sync_graph(store: Any) -> Any:
    def by_runtime(state: State, runtime: Runtime[None]) -> Any:
        assert runtime.store is not None
        runtime.store.put(("facts",), "runtime", {"fact": state["messages"][0]["fact"], "by": "runtime"})
        return {}

    def by_get_store(state: State) -> Any:
        get_store().put(("facts",), "get_store", {"fact": state["messages"][0]["fact"], "by": "get_store"})
        found = get_store().search(("facts",), filter={"by": {"$ne": ""}})
        return {"found": sorted((item.value["by"], item.value["fact"]) for item in found)}

    return built(by_runtime, by_get_store, store)


def async_graph(store: Any) -> Any:
    async def by_runtime(state: State, runtime: Runtime[None]) -> Any:
        assert runtime.store is not None
        await runtime.store.aput(("facts",), "runtime", {"fact": state["messages"][0]["fact"], "by": "runtime"})
        return {}

    async def by_get_store(state: State) -> Any:
        store = get_store()
        await store.aput(("facts",), "get_store", {"fact": state["messages"][0]["fact"], "by": "get_store"})
        found = await store.asearch(("facts",), filter={"by": {"$ne": ""}})
        return {"found": sorted((item.value["by"], item.value["fact"]) for item in found)}

    return built(by_runtime, by_get_store, store)


def built(by_runtime: Any, by_get_store: Any, store: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("tools_of", tools_of)
    builder.add_node("tools", ToolNode([remember, aremember]))
    builder.add_node("by_runtime", by_runtime)
    builder.add_node("by_get_store", by_get_store)
    builder.add_edge(START, "tools_of")
    builder.add_edge("tools_of", "tools")
    builder.add_edge("tools_of", "by_runtime")  # in parallel with the tool
    builder.add_edge(["tools", "by_runtime"], "by_get_store")
    return builder.compile(store=store)


def run(stores: StoreBackend, store: Any, tenant: str | None, fact: str) -> Any:
    if isinstance(stores, AsyncStoreBackend):
        return stores.run(arun(store, tenant, fact))
    return sync_graph(store).invoke({"messages": [{"tool": "remember", "fact": fact}]}, config(tenant))


async def arun(store: Any, tenant: str | None, fact: str) -> Any:
    return await async_graph(store).ainvoke({"messages": [{"tool": "aremember", "fact": fact}]}, config(tenant))


def test_every_way_to_the_store_is_that_of_the_run(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(wrap(keyring)) as store:
        found = run(stores, store, "acme", "sealed fact")["found"]
        assert found == [("get_store", "sealed fact"), ("runtime", "sealed fact"), ("tool", "sealed fact")]
        assert stores.read(("facts",), "runtime").keys() == {"sealpoint"}
        with tenant_scope("acme"):
            assert stores.call(store, "get", ("facts",), "sealed fact").value == {"fact": "sealed fact", "by": "tool"}
        refused(lambda: run(stores, store, None, "none"), "tenant_required", "workspace_id")
        refused(lambda: run(stores, store, "globex", "theirs"), "authentication_failed", "another tenant")


def test_the_run_is_before_the_scope(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(wrap(keyring)) as store:
        with tenant_scope("globex"):
            run(stores, store, "acme", "fact")
            refused(lambda: stores.call(store, "get", ("facts",), "runtime"), "authentication_failed")
        with tenant_scope("acme"):
            assert stores.call(store, "get", ("facts",), "runtime").value["fact"] == "fact"


def tenant_graph(store: Any) -> Any:
    """Each tenant in a namespace of its own, with an await between the write and the read."""

    async def note(state: State, runtime: Runtime[None]) -> Any:
        assert runtime.store is not None
        tenant = state["messages"][0]
        await runtime.store.aput((tenant,), "k", {"of": tenant})
        await asyncio.sleep(0)
        return {"found": [item.value["of"] for item in await runtime.store.asearch((tenant,))]}

    def sync_note(state: State, runtime: Runtime[None]) -> Any:
        assert runtime.store is not None
        tenant = state["messages"][0]
        runtime.store.put((tenant,), "k", {"of": tenant})
        return {"found": [item.value["of"] for item in runtime.store.search((tenant,))]}

    builder = StateGraph(State)
    builder.add_node("note", note)
    sync_builder = StateGraph(State)
    sync_builder.add_node("note", sync_note)
    builder.add_edge(START, "note")
    sync_builder.add_edge(START, "note")
    return builder.compile(store=store), sync_builder.compile(store=store)


def test_many_tenants_at_once(stores: StoreBackend, keyring: Keyring) -> None:
    tenants = [f"tenant-{number}" for number in range(12)]
    with stores.opened(wrap(keyring)) as store:
        async_one, sync_one = tenant_graph(store)
        if isinstance(stores, AsyncStoreBackend):

            async def everybody() -> list[Any]:
                return await asyncio.gather(*(async_one.ainvoke({"messages": [tenant]}, config(tenant)) for tenant in tenants))

            results = stores.run(everybody())
        else:
            results = in_threads(len(tenants), lambda at: sync_one.invoke({"messages": [tenants[at]]}, config(tenants[at])))
        assert [result["found"] for result in results] == [[tenant] for tenant in tenants]


def test_the_functional_api(tmp_path: Path, keyring: Keyring) -> None:
    @task
    def save(text: str) -> None:
        get_store().put(("f",), "k", {"text": text})

    backend = Sqlite(tmp_path / "store.db", None)
    with backend.opened(wrap(keyring)) as store:

        @entrypoint(store=store)
        def work(text: str, *, store: BaseStore) -> Any:
            save(text).result()
            return store.get(("f",), "k").value  # type: ignore[union-attr]

        assert work.invoke("CANARY", config("acme")) == {"text": "CANARY"}
        assert b"CANARY" not in stored_bytes(backend.path)


# Caches


def cached_graph(cache: Any, calls: list[str], nodes: int = 1) -> Any:
    builder = StateGraph(State)
    for number in range(nodes):

        def node(state: State, number: int = number) -> Any:
            calls.append(f"{state['messages'][0]}{number}")
            return {"messages": [f"CANARY-{state['messages'][0]}-{len(calls)}"]}

        builder.add_node(f"node{number}", node, cache_policy=CachePolicy(ttl=60))
        builder.add_edge(START, f"node{number}")
    return builder.compile(cache=cache)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_node_runs_once_for_each_tenant(tmp_path: Path, keyring: Keyring, asynchronous: bool) -> None:
    path = tmp_path / "cache.db"
    calls: list[str] = []
    graph = cached_graph(SealedCache(SqliteCache(path=str(path)), keyring, tenant=from_config("workspace_id")), calls)

    def invoke(tenant: str) -> Any:
        with tenant_scope(tenant):
            if asynchronous:
                return asyncio.run(graph.ainvoke({"messages": ["same input"]}, config(tenant)))
            return graph.invoke({"messages": ["same input"]}, config(tenant))

    results = [invoke("acme"), invoke("globex"), invoke("acme"), invoke("globex")]
    assert calls == ["same input0"] * 2
    assert results[0] == results[2] != results[1] == results[3]
    assert b"CANARY" not in stored_bytes(path)
    with tenant_scope("acme"):
        graph.clear_cache()
    invoke("globex")
    assert len(calls) == 2
    invoke("acme")
    assert len(calls) == 3


def test_a_run_without_a_scope_is_refused_before_a_node_runs(keyring: Keyring) -> None:
    calls: list[str] = []
    graph = cached_graph(SealedCache(InMemoryCache(), keyring, tenant=from_config("workspace_id")), calls)
    refused(lambda: graph.invoke({"messages": ["x"]}, config("acme")), "tenant_required", "tenant_scope")
    assert calls == []


def test_parallel_nodes_of_a_sync_run_still_run(keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    """LangGraph stores one of the results in a thread that has lost the scope: it is not cached, and that is said."""
    calls: list[str] = []
    graph = cached_graph(SealedCache(InMemoryCache(), keyring, tenant=from_config("workspace_id")), calls, nodes=4)
    with caplog.at_level(logging.WARNING), tenant_scope("acme"):
        for _ in range(3):
            assert len(graph.invoke({"messages": ["x"]}, config("acme"))["messages"]) == 5
    again = len(calls) - 4
    assert sum("not cached" in record.message for record in caplog.records) >= again
    calls.clear()
    with tenant_scope("acme"):
        for _ in range(2):
            asyncio.run(graph.ainvoke({"messages": ["y"]}, config("acme")))
    assert sorted(calls) == ["y0", "y1", "y2", "y3"]
