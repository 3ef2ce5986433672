"""What the savers make of what they are given, one by one: each test is about a field of `Layout`, and fails without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ormsgpack
import psycopg
import pytest
import redis
from backends import AsyncPostgres, AsyncShallowRedis, Backend, FakeMongo, Postgres, Redis, ShallowPostgres, ShallowRedis
from graphs import CHAT_INPUT, chat, delta
from langgraph.constants import TASKS
from psycopg.rows import dict_row
from test_attacks import NEW, OLD, checkpoint, config, refused
from test_listing import rows, shown

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, fixed, tenant_scope
from sealpoint.langgraph.layouts import Layout

HERE = config("acme", "t1")
METADATA = {"source": "loop", "step": 1, "parents": {}}


@contextmanager
def opened(backend: Backend, keyring: Keyring) -> Iterator[Any]:
    with backend.opened(lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))) as saver:
        yield saver


PRIMITIVES = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    0.5,
    float("inf"),
    "",
    "text",
    "nul \0 in text",
    "sealpoint:v1:AAAA",
]


@pytest.mark.parametrize("value", PRIMITIVES, ids=repr)
def test_postgres_keeps_primitives_that_do_not_change(value: Any, make_backend: Any, keyring: Keyring) -> None:
    """They are in no later `new_versions`, so Postgres has no place for them but the checkpoint's row."""
    with opened(make_backend(Postgres), keyring) as saver:
        first = {**checkpoint(OLD, value, "1")}
        saver.put(HERE, first, METADATA, first["channel_versions"])
        saver.put(config("acme", "t1", "", OLD), {**first, "id": NEW}, METADATA, {})
        for checkpoint_id in (OLD, NEW):
            found = saver.get_tuple(config("acme", "t1", "", checkpoint_id)).checkpoint["channel_values"]
            assert found["role"] == value
            assert type(found["role"]) is type(value)
            assert found["note"] == ["n"]


def test_a_wrong_layout_is_refused_not_short_of_a_channel(make_backend: Any, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saver that keeps primitives inline, and that no layout names: an unchanged one has no row for its bytes."""
    monkeypatch.setattr("sealpoint.langgraph.saver.layout_of", lambda _: Layout())
    with opened(make_backend(Postgres), keyring) as saver:
        first = checkpoint(OLD, "admin", "1")
        saver.put(HERE, first, METADATA, first["channel_versions"])
        assert saver.get_tuple(HERE).checkpoint["channel_values"] == first["channel_values"]
        saver.put(
            config("acme", "t1", "", OLD),
            {**first, "id": NEW, "channel_versions": {**first["channel_versions"], "role": "2"}},
            METADATA,
            {},
        )
        assert refused(lambda: saver.get_tuple(HERE)) == "authentication_failed"


@pytest.mark.parametrize("kind", [Postgres, ShallowPostgres], ids=lambda cls: cls.__name__)
def test_what_is_not_new_is_not_missed(kind: type[Backend], make_backend: Any, keyring: Keyring) -> None:
    """On a thread's first checkpoint Postgres drops values that are not in `new_versions`: a manifest must not list them."""
    values = []
    for wrap in (lambda inner: inner, lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))):
        with make_backend(kind).opened(wrap) as saver:
            saver.put(HERE, checkpoint(OLD, "admin", "1"), METADATA, {"role": "1"})
            values.append(saver.get_tuple(HERE).checkpoint["channel_values"])
    assert "note" not in values[0]
    assert values[1] == values[0]


def swapped_in_postgres(backend: Backend) -> None:
    other = "(SELECT checkpoint->'channel_values'->'role' FROM checkpoints WHERE checkpoint_id = %s)"
    change = f"UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{{channel_values,role}}', {other}) WHERE checkpoint_id = %s"
    with psycopg.connect(backend.place, autocommit=True) as sql:
        sql.execute(change, (OLD, NEW))  # type: ignore[call-overload]


def swapped_in_redis(backend: Backend) -> None:
    client = redis.Redis.from_url(backend.place, decode_responses=True)
    other: Any = client.json().get(f"checkpoint:t1:__empty__:{OLD}")
    client.json().set(f"checkpoint:t1:__empty__:{NEW}", "$.checkpoint.channel_values.role", other["checkpoint"]["channel_values"]["role"])


def swapped_in_mongo(backend: Backend) -> None:
    assert isinstance(backend, FakeMongo)
    rows = backend.client["checkpointing_db"]["checkpoints"]
    old, new = (ormsgpack.unpackb(rows.find_one({"checkpoint_id": at})["checkpoint"]) for at in (OLD, NEW))
    new["channel_values"]["role"] = old["channel_values"]["role"]
    rows.update_one({"checkpoint_id": NEW}, {"$set": {"checkpoint": ormsgpack.packb(new)}})


SWAPS: dict[type[Backend], Any] = {Postgres: swapped_in_postgres, Redis: swapped_in_redis, FakeMongo: swapped_in_mongo}


@pytest.mark.parametrize(("kind", "swap"), SWAPS.items(), ids=lambda value: value.__name__)
def test_a_value_of_a_fork_with_the_same_version(kind: type[Backend], swap: Any, make_backend: Any, keyring: Keyring) -> None:
    """It opens, for it is of that channel and version: where values lie in the row, the manifest says which one was put with it."""
    backend = make_backend(kind)
    with opened(backend, keyring) as saver:
        for at, role in ((OLD, "admin"), (NEW, "guest")):
            found = checkpoint(at, role, "1")
            saver.put(HERE, found, METADATA, found["channel_versions"])
        assert saver.get_tuple(HERE).checkpoint["channel_values"]["role"] == "guest"
        swap(backend)
        assert refused(lambda: saver.get_tuple(HERE)) == "authentication_failed"


def test_postgres_stores_primitives_in_the_row_only(make_backend: Any, keyring: Keyring) -> None:
    backend = make_backend(Postgres)
    with opened(backend, keyring) as saver, psycopg.connect(backend.place) as sql:
        first = checkpoint(OLD, "admin", "1")
        saver.put(HERE, first, METADATA, first["channel_versions"])
        (row,) = sql.execute("SELECT checkpoint FROM checkpoints").fetchone() or ({},)
        assert row["channel_values"].keys() == {"role", "branch:to:pay"}
        assert all(value.startswith("sealpoint:v1:") for value in row["channel_values"].values())
        assert sql.execute("SELECT channel FROM checkpoint_blobs").fetchall() == [("note",)]


@pytest.mark.parametrize("kind", [Postgres, AsyncPostgres], ids=lambda cls: cls.__name__)
def test_sends_of_old_checkpoints(kind: type[Backend], make_backend: Any, keyring: Keyring) -> None:
    """Postgres moves the parent's writes to `__pregel_tasks` into an old checkpoint, and gives that channel a version."""
    backend = make_backend(kind)
    with opened(backend, keyring) as saver:
        first, second = ({**checkpoint(at, "admin", "1"), "v": 3} for at in (OLD, NEW))
        backend.run(saver, "put", HERE, first, METADATA, first["channel_versions"])
        parent = config("acme", "t1", "", OLD)
        backend.run(saver, "put_writes", parent, [(TASKS, {"send": 1}), (TASKS, {"send": 2})], "task")
        backend.run(saver, "put", parent, second, METADATA, {})
        found = backend.run(saver, "get_tuple", HERE)
        assert found.checkpoint["channel_values"][TASKS] == [{"send": 1}, {"send": 2}]
        assert found.checkpoint["channel_values"]["role"] == "admin"
        listed = [row.checkpoint["channel_values"].get(TASKS) for row in backend.run(saver, "list", HERE)]
        assert listed == [[{"send": 1}, {"send": 2}], None]


@pytest.mark.parametrize("kind", [ShallowPostgres, Redis], ids=lambda cls: cls.__name__)
def test_sends_that_a_saver_adds(kind: type[Backend], make_backend: Any, keyring: Keyring) -> None:
    with opened(make_backend(kind), keyring) as saver:
        first = checkpoint(OLD, "admin", "1")
        saver.put(HERE, first, METADATA, first["channel_versions"])
        saver.put_writes(config("acme", "t1", "", OLD), [(TASKS, {"send": 1})], "task")
        second = {**checkpoint(NEW, "guest", "2"), "pending_sends": ["left over"]}
        saver.put(config("acme", "t1", "", OLD), second, METADATA, second["channel_versions"])
        newest = next(row for row in saver.list(HERE) if row.checkpoint["id"] == NEW)
        assert newest.checkpoint["pending_sends"] == [{"send": 1}]
        assert newest.checkpoint.keys() == second.keys()


def test_redis_makes_versions_strings(make_backend: Any, keyring: Keyring) -> None:
    with opened(make_backend(Redis), keyring) as saver:
        first: Any = {**checkpoint(OLD, "admin", "1"), "channel_versions": {"role": 1, "note": 1.5, "branch:to:pay": 2}}
        saver.put(HERE, first, METADATA, first["channel_versions"])
        found = saver.get_tuple(HERE).checkpoint
        assert found["channel_versions"] == {"role": "1", "note": "1.5", "branch:to:pay": "2"}
        assert found["channel_values"] == first["channel_values"]


@pytest.mark.parametrize("kind", [ShallowPostgres, ShallowRedis, AsyncShallowRedis], ids=lambda cls: cls.__name__)
def test_shallow_savers_answer_with_the_latest(kind: type[Backend], make_backend: Any, keyring: Keyring) -> None:
    backend = make_backend(kind)
    with opened(backend, keyring) as saver:
        for at, role, version in ((OLD, "admin", "1"), (NEW, "guest", "2")):
            found = checkpoint(at, role, version)
            where = HERE if at == OLD else config("acme", "t1", "", OLD)
            backend.run(saver, "put", where, found, METADATA, found["channel_versions"])
        old = backend.run(saver, "get_tuple", config("acme", "t1", "", OLD))
        assert (old.checkpoint["id"], old.checkpoint["channel_values"]["role"], old.parent_config) == (NEW, "guest", None)
        (listed,) = backend.run(saver, "list", HERE)
        assert listed.config["configurable"]["checkpoint_ns"] == ""
        assert listed.checkpoint["channel_values"] == old.checkpoint["channel_values"]
        assert listed.metadata == old.metadata


FILTERS: list[Any] = [
    {"tags": ["a"]},
    {"tags": ["b", "a"]},
    {"tags": []},
    {"tags": ["z"]},
    {"tags": "a"},
    {"who": {"name": "n"}},
    {"who": {"name": "n", "age": 3}},
    {"who": {"age": True}},
    {"who": {}},
    {"who": None},
    {"nothing": None},
    {"missing": None},
    {"score": 1},
    {"score": True},
    {"score": 1.0, "source": "loop"},
]


def test_postgres_filters_by_containment(make_backend: Any, keyring: Keyring) -> None:
    extra = {"tags": ["a", "b", {"c": 1}], "who": {"name": "n", "age": 1}, "nothing": None, "score": 1}
    listed = []
    for wrap in (lambda inner: inner, lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))):
        with make_backend(Postgres).opened(wrap) as saver:
            for where, found, metadata, versions in rows():
                saver.put(where, found, {**metadata, **(extra if metadata["step"] % 3 == 1 else {})}, versions)
            listed.append([[row[0] for row in shown(saver.list(None, filter=filter))] for filter in FILTERS])
    assert listed[1] == listed[0]
    assert any(listed[0])
    assert not all(listed[0])


@pytest.mark.parametrize("kind", [Postgres, AsyncPostgres], ids=lambda cls: cls.__name__)
def test_prune(kind: type[Backend], make_backend: Any, keyring: Keyring) -> None:
    backend = make_backend(kind)
    with opened(backend, keyring) as saver:
        graph = chat(saver)
        backend.invoke(graph, CHAT_INPUT, HERE)
        values = backend.state(graph, HERE).values
        backend.run(saver, "prune", ["t1"], strategy="keep_latest")
        assert len(backend.history(graph, HERE)) == 1
        assert backend.state(graph, HERE).values == values
        backend.invoke(delta(saver), {"turn": 1, "log": ["in"]}, config("acme", "d"))
        with pytest.raises(NotImplementedError, match="DeltaChannel"):
            backend.run(saver, "prune", ["d"], strategy="keep_latest")
        backend.run(saver, "prune", ["t1"], strategy="delete")
        assert backend.history(graph, HERE) == []


def test_a_saver_that_copies_threads_by_sql(make_backend: Any, keyring: Keyring) -> None:
    """What a copy of rows would break, sealing again keeps."""
    from langgraph.checkpoint.postgres import PostgresSaver

    class Copying(PostgresSaver):
        def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
            raise AssertionError("the wrapper seals again instead")

    place = make_backend(Postgres).place
    with psycopg.connect(place, autocommit=True, row_factory=dict_row) as connection:
        inner: Any = Copying(connection)
        inner.setup()
        saver: Any = SealedSaver(inner, keyring, tenant=fixed("acme"))
        graph = delta(saver)
        for turn in range(3):
            graph.invoke({"turn": turn, "log": [f"in{turn}"]}, HERE, durability="sync")
        with tenant_scope("acme"):
            saver.copy_thread("t1", "t2")
        there, here = (list(graph.get_state_history(config("acme", thread))) for thread in ("t2", "t1"))
        assert [state.values for state in there] == [state.values for state in here]
        assert len(there) > 9
