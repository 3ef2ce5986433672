"""The wrapper is what its inner saver is, no more and no less."""

import asyncio
import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
from backends import Backend, Sqlite
from graphs import CHAT_INPUT, chat, delta
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.mongodb import MongoDBSaver
from langgraph.checkpoint.postgres import PostgresSaver, ShallowPostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.postgres.shallow import AsyncShallowPostgresSaver
from langgraph.checkpoint.redis import RedisSaver, ShallowRedisSaver
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from unseen import UnseenSaver

from sealpoint import Keyring
from sealpoint.errors import AuthenticationError, SealpointError, TenantRequiredError
from sealpoint.langgraph import SealedSaver, fixed, from_config, tenant_scope
from sealpoint.langgraph.layouts import Layout, layout_of

SAVERS = (
    InMemorySaver,
    SqliteSaver,
    AsyncSqliteSaver,
    PostgresSaver,
    AsyncPostgresSaver,
    ShallowPostgresSaver,
    AsyncShallowPostgresSaver,
    RedisSaver,
    AsyncRedisSaver,
    ShallowRedisSaver,
    AsyncShallowRedisSaver,
    MongoDBSaver,
    UnseenSaver,
)
OPTIONAL = ("delete_thread", "delete_for_runs", "copy_thread", "prune", "get_delta_channel_history")


class Copying(InMemorySaver):
    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        raise AssertionError("the wrapper seals again instead")

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        raise AssertionError("the wrapper seals again instead")


class Pruning(InMemorySaver):
    def prune(self, thread_ids: Any, *, strategy: str = "keep_latest") -> None:
        self.pruned = (thread_ids, strategy)

    async def adelete_for_runs(self, run_ids: Any) -> None:
        self.deleted = run_ids


@pytest.mark.parametrize("inner", [*SAVERS, Copying, Pruning], ids=lambda cls: cls.__name__)
def test_optional_methods_are_those_of_the_inner_class(inner: Any, keyring: Keyring) -> None:
    wrapper = type(SealedSaver.__new__(SealedSaver, object.__new__(inner)))
    assert issubclass(wrapper, SealedSaver)
    assert issubclass(wrapper, BaseCheckpointSaver)
    for name in (*OPTIONAL, *(f"a{name}" for name in OPTIONAL)):
        base = getattr(BaseCheckpointSaver, name)
        assert (getattr(wrapper, name) is base) == (getattr(inner, name) is base), name


def test_optional_methods_reach_the_inner_saver(keyring: Keyring) -> None:
    inner = Pruning()
    saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
    storage: Any = saver._storage
    saver.prune(["t"], strategy="delete")
    asyncio.run(saver.adelete_for_runs(["r"]))
    assert storage.pruned == (["t"], "delete")
    assert storage.deleted == ["r"]
    chat(saver).invoke(CHAT_INPUT, {"configurable": {"thread_id": "t"}})
    assert inner.storage["t"]
    saver.delete_thread("t")
    assert "t" not in inner.storage
    with pytest.raises(NotImplementedError):
        saver.copy_thread("t", "u")


def test_layouts_follow_the_class_tree() -> None:
    assert layout_of(Copying).new_versions_only
    assert layout_of(SqliteSaver).exact
    assert layout_of(AsyncSqliteSaver).exact
    assert not layout_of(BaseCheckpointSaver).exact
    assert {saver for saver in SAVERS if layout_of(saver) == Layout()} == {UnseenSaver}, "a class that moved is not found any more"


def test_put_writes_names_its_task_path(keyring: Keyring) -> None:
    saver = SealedSaver(InMemorySaver(), keyring, tenant=fixed("acme"))
    for method in (saver.put_writes, saver.aput_writes):
        assert inspect.signature(method).parameters["task_path"].default == ""


def test_delegated_properties(keyring: Keyring) -> None:
    class Odd(InMemorySaver):
        @property
        def config_specs(self) -> Any:
            return ["spec"]

        def get_next_version(self, current: Any, channel: None) -> Any:
            return "next"

    inner = Odd()
    saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
    assert saver.config_specs == ["spec"]
    assert saver.get_next_version(None, None) == "next"
    assert saver.serde is inner.serde
    assert saver.inner is inner
    assert copy.copy(saver).inner is inner


def test_setup_sets_up_both(keyring: Keyring, tmp_path: Path) -> None:
    kek = next(tmp_path.glob("kek"))
    with (
        Keyring.connect(f"sqlite:///{tmp_path / 'new.db'}", kek=f"file:{kek}") as fresh,
        SqliteSaver.from_conn_string(str(tmp_path / "state.db")) as inner,
    ):
        saver = SealedSaver(inner, fresh, tenant=fixed("acme"))
        with pytest.raises(SealpointError) as caught:
            saver.put_writes({"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}, [("a", 1)], "task")
        assert caught.value.code == "store_invalid"
        assert saver.setup() is None
        assert chat(saver).invoke(CHAT_INPUT, {"configurable": {"thread_id": "t"}})["count"] == 7


def test_setup_of_an_async_saver_is_awaited(tmp_path: Path, keyring: Keyring) -> None:
    kek = next(tmp_path.glob("kek"))

    async def run() -> Any:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "state.db")) as inner:
            with Keyring.connect(f"sqlite:///{tmp_path / 'new.db'}", kek=f"file:{kek}") as fresh:
                saver = SealedSaver(inner, fresh, tenant=fixed("acme"))
                await saver.setup()
                return await chat(saver).ainvoke(CHAT_INPUT, {"configurable": {"thread_id": "t"}})

    assert asyncio.run(run())["count"] == 7


def test_wrong_halves_fail_as_bare(keyring: Keyring, tmp_path: Path) -> None:
    here: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

    async def run() -> None:
        with (
            SqliteSaver.from_conn_string(str(tmp_path / "a.db")) as sync_only,
            pytest.raises(NotImplementedError, match="does not support async"),
        ):
            await SealedSaver(sync_only, keyring, tenant=fixed("acme")).aget_tuple(here)
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "b.db")) as async_only:
            with pytest.raises(asyncio.InvalidStateError, match="different thread"):
                SealedSaver(async_only, keyring, tenant=fixed("acme")).get_tuple(here)
            saver = SealedSaver(async_only, keyring, tenant=fixed("acme"))
            assert await asyncio.to_thread(saver.get_tuple, here) is None

    asyncio.run(run())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_copy_thread_seals_again(asynchronous: bool, keyring: Keyring) -> None:
    inner = Copying()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    graph = delta(saver)
    source: Any = {"configurable": {"thread_id": "t", "workspace_id": "acme"}}
    target: Any = {"configurable": {"thread_id": "u", "workspace_id": "acme"}}
    for turn in range(4):
        graph.invoke({"turn": turn, "log": [f"in{turn}"]}, source)
    if asynchronous:
        with pytest.raises(TenantRequiredError):
            asyncio.run(saver.acopy_thread("t", "u"))
        with tenant_scope("acme"):
            asyncio.run(saver.acopy_thread("t", "u"))
    else:
        with pytest.raises(TenantRequiredError):
            saver.copy_thread("t", "u")
        with tenant_scope("globex"), pytest.raises(AuthenticationError):
            saver.copy_thread("t", "u")
        with tenant_scope("acme"):
            saver.copy_thread("t", "u")
    there, here = list(graph.get_state_history(target)), list(graph.get_state_history(source))
    assert [state.values for state in there] == [state.values for state in here]
    assert [state.metadata for state in there] == [state.metadata for state in here]
    assert len(there) == len(here) > 8
    parents = [state.parent_config and state.parent_config["configurable"]["checkpoint_id"] for state in there]
    assert parents == [state.parent_config and state.parent_config["configurable"]["checkpoint_id"] for state in here]
    assert set(inner.blobs) >= {("u", *place[1:]) for place in inner.blobs if place[0] == "t"}
    assert graph.invoke({"turn": 9, "log": ["on"]}, target)["log"] == [*here[0].values["log"], "on", "a9", "b9", "c"]


class Walked(InMemorySaver):
    """A saver that has no history of its own, and leaves the walk to the base class."""

    get_delta_channel_history = BaseCheckpointSaver.get_delta_channel_history
    aget_delta_channel_history = BaseCheckpointSaver.aget_delta_channel_history


@pytest.mark.parametrize("cloned", [False, True])
@pytest.mark.parametrize("kind", [InMemorySaver, Walked], ids=lambda cls: cls.__name__)
def test_delta_history_is_verified(keyring: Keyring, kind: Any, cloned: bool) -> None:
    inner = kind(serde=JsonPlusSerializer(allowed_msgpack_modules=[("elsewhere", "Other")]))
    saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
    if cloned:
        first, saver = saver, saver.with_allowlist([("somewhere", "Something")])
        assert saver is not first
        del first._sealer  # the clone's history is its own
    graph = delta(saver)
    here: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for turn in range(2):
        graph.invoke({"turn": turn, "log": [f"in{turn}"]}, here)
    ids = sorted(saver.inner.storage["t"][""])
    history = saver.get_delta_channel_history(config=here, channels=["log", "turn"])
    assert history["log"]["writes"]
    assert asyncio.run(saver.aget_delta_channel_history(config=here, channels=["log", "turn"])) == history
    assert saver.get_delta_channel_history(config=here, channels=[]) == {}
    # An ancestor's parent is what its manifest says: skipping a checkpoint, and its writes with it, does not go unseen.
    checkpoint, metadata, _ = inner.storage["t"][""][ids[-2]]
    inner.storage["t"][""][ids[-2]] = (checkpoint, metadata, ids[-4])
    with pytest.raises(AuthenticationError):
        saver.get_delta_channel_history(config=here, channels=["log"])
    # Nor does taking the parent away, which is legal for reading a checkpoint alone.
    inner.storage["t"][""][ids[-2]] = (checkpoint, metadata, None)
    with pytest.raises(AuthenticationError, match="cut"):
        saver.get_delta_channel_history(config=here, channels=["log"])
    assert saver.get_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": ids[-2]}})


def test_old_checkpoints_with_tasks(keyring: Keyring) -> None:
    """Before version 4 some savers rebuild `__pregel_tasks` from writes when they read."""

    class Moving(InMemorySaver):
        def get_tuple(self, config: Any) -> Any:
            found = super().get_tuple(config)
            assert found is not None
            assert found.pending_writes is not None
            moved = [value for _, channel, value in found.pending_writes if channel == "__pregel_tasks"]
            found.checkpoint["channel_values"]["__pregel_tasks"] = moved
            return found

    saver = SealedSaver(Moving(), keyring, tenant=fixed("acme"))
    here: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}
    old: Any = {
        "v": 3,
        "id": "c",
        "ts": "",
        "channel_values": {"a": 1},
        "channel_versions": {"a": 1},
        "versions_seen": {},
        "pending_sends": ["x"],
    }
    saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, old, {}, {"a": 1})
    saver.put_writes(here, [("__pregel_tasks", {"send": 1}), ("__pregel_tasks", {"send": 2})], "task")
    found = saver.get_tuple(here)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": 1, "__pregel_tasks": [{"send": 1}, {"send": 2}]}
    assert found.checkpoint["pending_sends"] == ["x"]  # type: ignore[typeddict-item]


def test_over_langgraphs_own_encryption(keyring: Keyring, tmp_path: Path) -> None:
    """What that serializer hid (names of channels) stays hidden, and both layers open."""
    from backends import stored_bytes

    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"k" * 16)
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        inner.serde = serde
        saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
        graph = chat(saver)
        graph.invoke(CHAT_INPUT, {"configurable": {"thread_id": "t"}})
        assert graph.get_state({"configurable": {"thread_id": "t"}}).values["count"] == 7
    assert b"channel_versions" not in stored_bytes(path)


def test_a_saver_with_its_own_serializer(keyring: Keyring) -> None:
    """Its rows are its own affair; what they hold is sealed all the same."""
    import pickle

    class Pickle:
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            return "pickle", pickle.dumps(obj)

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return pickle.loads(data[1])  # noqa: S301  # a serializer that a user might bring

    inner = InMemorySaver(serde=Pickle())
    saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
    graph = chat(saver)
    graph.invoke(CHAT_INPUT, {"configurable": {"thread_id": "t"}})
    assert graph.get_state({"configurable": {"thread_id": "t"}}).values["count"] == 7
    assert all(b"question" not in stored for _, stored in inner.blobs.values())


def test_cold_keys_are_loaded(backend: Backend, keyring: Keyring) -> None:
    """Another process, another keyring: reading and writing load what they need."""
    wrap = lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))  # noqa: E731
    here = {"configurable": {"thread_id": "t"}}
    with backend.opened(wrap) as saver:
        backend.invoke(chat(saver), CHAT_INPUT, here)
        keyring._cache.clear()
        assert backend.state(chat(saver), here).values["count"] == 7
        keyring._cache.clear()
        assert backend.update(chat(saver), here, {"note": "x"}, as_node="join")
        keyring._cache.clear()
        assert len(backend.history(chat(saver), here)) == (5 if backend.history_kept else 1)


def test_the_ten_lines_of_the_readme(keyring: Keyring, tmp_path: Path) -> None:
    backend = Sqlite(str(tmp_path / "state.db"))
    with backend.opened(lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"))) as saver:
        saver.setup()  # type: ignore[attr-defined]
        graph = chat(saver)
        given = {"configurable": {"thread_id": "t1", "workspace_id": "acme"}}
        assert graph.invoke(CHAT_INPUT, given)["note"] == "2 messages"
