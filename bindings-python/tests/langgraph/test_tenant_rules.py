"""Whose data it is: from the config or the scope, never a default, and never somebody else's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from backends import Backend
from graphs import CHAT_INPUT, Chat, chat
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from sealpoint import Keyring
from sealpoint.errors import AuthenticationError, InvalidArgumentError, KeyNotFoundError, TenantRequiredError
from sealpoint.langgraph import SealedSaver, fixed, from_config, tenant_scope


def config(thread: str, tenant: str | None = None) -> Any:
    return {"configurable": {"thread_id": thread, **({} if tenant is None else {"workspace_id": tenant})}}


def wrap(keyring: Keyring) -> Any:
    return lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"))


def test_without_a_tenant_nothing_is_written(backend: Backend, keyring: Keyring) -> None:
    with backend.opened(wrap(keyring)) as saver:
        graph = chat(saver)
        with pytest.raises(TenantRequiredError) as caught:
            backend.invoke(graph, CHAT_INPUT, config("t"))
        assert "workspace_id" in str(caught.value)
        with pytest.raises(TenantRequiredError):
            backend.state(graph, config("t"))
    with backend.opened(lambda inner: inner) as bare:
        assert backend.history(chat(bare), config("t")) == []


def test_every_method_needs_a_tenant(keyring: Keyring) -> None:
    inner = InMemorySaver()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    here: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}
    checkpoint: Any = {"v": 4, "id": "c", "ts": "", "channel_values": {}, "channel_versions": {}, "versions_seen": {}}
    for call in (
        lambda: saver.put(here, checkpoint, {}, {}),
        lambda: saver.put_writes(here, [("a", 1)], "task"),
        lambda: saver.get_tuple(here),
        lambda: saver.list(here),
        lambda: saver.list(None),
        lambda: saver.alist(here),
        lambda: saver.get_delta_channel_history(config=here, channels=["a"]),
    ):
        with pytest.raises(TenantRequiredError):
            call()
    for acall in (
        lambda: saver.aput(here, checkpoint, {}, {}),
        lambda: saver.aput_writes(here, [("a", 1)], "task"),
        lambda: saver.aget_tuple(here),
        lambda: saver.aget_delta_channel_history(config=here, channels=["a"]),
    ):
        with pytest.raises(TenantRequiredError):
            asyncio.run(acall())
    assert not inner.storage
    assert not inner.writes
    assert not inner.blobs


@pytest.mark.parametrize("tenant", ["", None, 7])
def test_what_is_no_tenant_is_refused(tenant: Any, keyring: Keyring) -> None:
    saver = SealedSaver(InMemorySaver(), keyring, tenant=from_config("workspace_id"))
    with pytest.raises(TenantRequiredError):
        saver.get_tuple({"configurable": {"thread_id": "t", "workspace_id": tenant}})


def test_another_tenant_cannot_read(backend: Backend, keyring: Keyring) -> None:
    with backend.opened(wrap(keyring)) as saver:
        graph = chat(saver)
        backend.invoke(graph, CHAT_INPUT, config("t", "acme"))
        backend.invoke(graph, CHAT_INPUT, config("other", "globex"))
        for read in (backend.state, backend.history):
            with pytest.raises((AuthenticationError, KeyNotFoundError)):
                read(graph, config("t", "globex"))
        with pytest.raises((AuthenticationError, KeyNotFoundError)):
            backend.invoke(graph, CHAT_INPUT, config("t", "globex"))
        assert backend.state(graph, config("t", "acme")).values["count"] == 7


def test_a_read_never_makes_a_key(keyring: Keyring) -> None:
    inner = InMemorySaver()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    assert saver.get_tuple(config("t", "nobody")) is None
    assert list(saver.list(config("t", "nobody"))) == []
    chat(saver).invoke(CHAT_INPUT, config("t", "acme"))
    with pytest.raises((AuthenticationError, KeyNotFoundError)):
        saver.get_tuple(config("t", "nobody"))
    with pytest.raises(KeyNotFoundError):
        keyring.load("nobody", create=False)


def test_returned_configs_carry_the_tenant(backend: Backend, keyring: Keyring) -> None:
    with backend.opened(wrap(keyring)) as saver:
        graph = chat(saver)
        backend.invoke(graph, CHAT_INPUT, config("t", "acme"))
        states = backend.history(graph, config("t", "acme"))
        assert len(states) > (2 if backend.history_kept else 0)
        for state in states:
            assert state.config["configurable"]["workspace_id"] == "acme"
            assert state.parent_config is None or state.parent_config["configurable"]["workspace_id"] == "acme"
        updated = backend.update(graph, config("t", "acme"), {"note": "x"}, as_node="join")
        assert updated["configurable"]["workspace_id"] == "acme"
        assert backend.state(graph, updated).values["note"] == "x"


@pytest.mark.parametrize("source", [fixed("acme"), lambda config: "acme"], ids=["fixed", "function"])
def test_other_sources_add_nothing_to_configs(source: Any, keyring: Keyring) -> None:
    saver = SealedSaver(InMemorySaver(), keyring, tenant=source)
    graph = chat(saver)
    graph.invoke(CHAT_INPUT, config("t"))
    state = graph.get_state(config("t"))
    assert set(state.config["configurable"]) == {"thread_id", "checkpoint_ns", "checkpoint_id"}
    assert state.values["count"] == 7


def test_the_scope_serves_calls_without_a_config(backend: Backend, keyring: Keyring) -> None:
    def linear(saver: Any) -> Any:
        builder = StateGraph(Chat)
        builder.add_node("one", lambda state: {"note": "one"})
        builder.add_node("two", lambda state: {"count": 2})
        builder.add_edge(START, "one")
        builder.add_edge("one", "two")
        return builder.compile(checkpointer=saver)

    with backend.opened(wrap(keyring)) as saver:
        with tenant_scope("acme"):
            backend.invoke(linear(saver), {"seen": ["x"]}, config("t"))
        with pytest.raises(TenantRequiredError):
            backend.state(linear(saver), config("t"))
        with tenant_scope("globex"), pytest.raises((AuthenticationError, KeyNotFoundError)):
            backend.state(linear(saver), config("t"))
        state = backend.state(linear(saver), config("t", "acme"))
        assert state.values == {"messages": [], "seen": ["x"], "note": "one", "count": 2}


def test_a_lost_scope_is_refused_not_guessed(keyring: Keyring) -> None:
    """LangGraph commits the writes of parallel threads outside of the caller's context: no tenant then, rather than a wrong one."""
    inner = InMemorySaver()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    here: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}
    with ThreadPoolExecutor(1) as pool, tenant_scope("acme"):
        with pytest.raises(TenantRequiredError):
            pool.submit(saver.put_writes, here, [("a", 1)], "task").result()
        assert not inner.writes
        pool.submit(copy_context().run, saver.put_writes, here, [("a", 1)], "task").result()
        assert len(inner.writes) == 1


def test_listing_everything(keyring: Keyring) -> None:
    saver = SealedSaver(InMemorySaver(), keyring, tenant=from_config("workspace_id"))
    chat(saver).invoke(CHAT_INPUT, config("a", "acme"))
    chat(saver).invoke(CHAT_INPUT, config("b", "acme"))
    with tenant_scope("acme"):
        rows = saver.list(None)
    # The scope has ended: the tenant was taken when list was called, not at the first row.
    assert {row.config["configurable"]["thread_id"] for row in rows} == {"a", "b"}
    chat(saver).invoke(CHAT_INPUT, config("c", "globex"))
    with tenant_scope("acme"), pytest.raises(AuthenticationError):
        list(saver.list(None))


def test_async_listing_takes_the_tenant_at_once(keyring: Keyring) -> None:
    saver = SealedSaver(InMemorySaver(), keyring, tenant=from_config("workspace_id"))
    chat(saver).invoke(CHAT_INPUT, config("a", "acme"))

    async def collect() -> list[Any]:
        with tenant_scope("acme"):
            rows = saver.alist(None)
        with tenant_scope("globex"):
            return [row async for row in rows]

    assert len(asyncio.run(collect())) == 4


def test_a_function_sees_the_config(keyring: Keyring) -> None:
    seen: list[Any] = []

    def tenant(config: Any) -> str:
        seen.append(config)
        return "acme"

    saver = SealedSaver(InMemorySaver(), keyring, tenant=tenant)
    asked = {"configurable": {"thread_id": "t", "user": "u"}}
    assert saver.get_tuple(asked) is None  # type: ignore[arg-type]
    assert seen == [asked]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tenant": "acme"}, "from_config"),
        ({"tenant": fixed("acme"), "mode": "lenient"}, "mode must be"),
    ],
    ids=["bare string", "unknown mode"],
)
def test_refused_arguments(arguments: Any, says: str, keyring: Keyring) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        SealedSaver(InMemorySaver(), keyring, **arguments)


def test_wrong_objects_are_refused(keyring: Keyring) -> None:
    saver = SealedSaver(InMemorySaver(), keyring, tenant=fixed("acme"))
    for inner, ring in ((saver, keyring), (object(), keyring), (InMemorySaver(), object())):
        with pytest.raises(InvalidArgumentError):
            SealedSaver(inner, ring, tenant=fixed("acme"))  # type: ignore[arg-type]
