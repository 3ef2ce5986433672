"""A large string on Postgres is stored once, in the table of values; from there on it is left out of the checkpoint's row as long as it
is known to lie there, and inline as text when it is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import ormsgpack
import psycopg
import pytest
from backends import AsyncPostgres, Backend, Postgres
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from psycopg.types.json import Jsonb
from test_attacks import NEW, OLD, checkpoint, config, refused
from typing_extensions import TypedDict

from conftest import MakeBackend
from sealpoint import DataKey, Keyring, Migration
from sealpoint._native import envelope_dek_id
from sealpoint.langgraph import SealedSaver, backfill, fixed, from_config
from sealpoint.langgraph.capabilities import copy_thread

HERE, AFTER_OLD = config("acme", "t1"), config("acme", "t1", "", OLD)
METADATA: Any = {"source": "loop", "step": 1, "parents": {}}
LARGE = "large string " * 2000
KINDS = pytest.mark.parametrize("kind", [Postgres, AsyncPostgres], ids=lambda kind: kind.__name__)


@contextmanager
def opened(backend: Backend, keyring: Keyring, **options: Any) -> Iterator[Any]:
    with backend.opened(lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"), **options)) as saver:
        yield saver


def rows(backend: Backend) -> tuple[dict[str, bool], list[str]]:
    """By checkpoint, whether the string lies in its row; and the versions under which it lies in the table."""
    with psycopg.connect(backend.place) as sql:
        found = sql.execute("SELECT checkpoint_id, checkpoint->'channel_values' ? 'role' FROM checkpoints ORDER BY 1").fetchall()
        table = sql.execute("SELECT version FROM checkpoint_blobs WHERE channel = 'role' ORDER BY 1").fetchall()
    return dict(found), [version for (version,) in table]


def first_put(saver: Any, backend: Backend, value: Any = LARGE, version: Any = "1") -> dict[str, Any]:
    first = {**checkpoint(OLD, value, version)}
    backend.run(saver, "put", HERE, first, METADATA, first["channel_versions"])
    return first


def role(saver: Any, backend: Backend, checkpoint_id: str = NEW) -> Any:
    return backend.run(saver, "get_tuple", config("acme", "t1", "", checkpoint_id)).checkpoint["channel_values"]["role"]


@KINDS
def test_it_is_stored_once(kind: type[Backend], make_backend: MakeBackend, keyring: Keyring) -> None:
    backend = make_backend(kind)
    with opened(backend, keyring) as saver:
        first = first_put(saver, backend)
        backend.run(saver, "put", AFTER_OLD, {**first, "id": NEW}, METADATA, {})
        assert rows(backend) == ({OLD: False, NEW: False}, ["1"])
        assert [role(saver, backend, at) for at in (OLD, NEW)] == [LARGE, LARGE]


@KINDS
def test_a_saver_that_read_it_knows_where_it_lies(kind: type[Backend], make_backend: MakeBackend, keyring: Keyring) -> None:
    backend = make_backend(kind)
    with opened(backend, keyring) as saver:
        first_put(saver, backend)
    with opened(backend, keyring) as saver:
        found = backend.run(saver, "get_tuple", HERE)
        backend.run(saver, "put", AFTER_OLD, {**found.checkpoint, "id": NEW}, METADATA, {})
        assert rows(backend) == ({OLD: False, NEW: False}, ["1"])
        assert role(saver, backend) == LARGE


@KINDS
def test_a_saver_that_does_not_know_stores_text(kind: type[Backend], make_backend: MakeBackend, keyring: Keyring) -> None:
    """Right whether or not the table has it: there the envelope of that version is read instead."""
    backend = make_backend(kind)
    with opened(backend, keyring) as saver:
        first = first_put(saver, backend)
    with opened(backend, keyring) as saver:
        for before, at in ((OLD, NEW), (NEW, NEW + "9")):
            backend.run(saver, "put", config("acme", "t1", "", before), {**first, "id": at}, METADATA, {})
        assert rows(backend) == ({OLD: False, NEW: True, NEW + "9": True}, ["1"])
        assert [role(saver, backend, at) for at in (NEW, NEW + "9")] == [LARGE, LARGE]
        with psycopg.connect(backend.place, autocommit=True) as sql:
            sql.execute("DELETE FROM checkpoint_blobs WHERE channel = 'role'")
        assert [role(saver, backend, at) for at in (NEW, NEW + "9")] == [LARGE, LARGE]
        assert refused(lambda: role(saver, backend, OLD)) == "authentication_failed"


def test_what_was_not_stored_is_not_taken_for_stored(make_backend: MakeBackend, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = make_backend(Postgres)
    with opened(backend, keyring) as saver:

        def fails(*_: Any) -> Any:
            raise ConnectionError("the server went away")

        with monkeypatch.context() as patch:
            patch.setattr(saver._storage, "put", fails)
            with pytest.raises(ConnectionError):
                first_put(saver, backend)
        saver.put(AFTER_OLD, checkpoint(NEW, LARGE, "1"), METADATA, {"note": "1"})
        assert rows(backend) == ({NEW: True}, [])
        assert role(saver, backend) == LARGE


def test_what_lies_inline_stays_inline(make_backend: MakeBackend, keyring: Keyring) -> None:
    """Strings from before sealing do."""
    backend = make_backend(Postgres)
    with backend.opened(lambda inner: inner) as saver:
        first_put(saver, backend)
    options: Any = {"mode": "migrating", "migration": Migration(datetime.now(UTC) + timedelta(days=1))}
    with opened(backend, keyring, **options) as saver:
        found = saver.get_tuple(HERE)
        for before, at in ((OLD, NEW), (NEW, NEW + "9")):
            saver.put(config("acme", "t1", "", before), {**found.checkpoint, "id": at}, METADATA, {})
            found = saver.get_tuple(HERE)
        assert rows(backend) == ({OLD: True, NEW: True, NEW + "9": True}, [])
        assert [role(saver, backend, at) for at in (NEW, NEW + "9")] == [LARGE, LARGE]


@pytest.mark.parametrize(
    ("value", "version"), [("s" * ((16 << 10) - 1), "1"), (LARGE, 1), (LARGE, 1.5)], ids=["not large", "integer", "float"]
)
def test_what_stays_inline(make_backend: MakeBackend, keyring: Keyring, value: str, version: Any) -> None:
    """A version that is no string can repeat in a fork, and the table holds one value of a version."""
    backend = make_backend(Postgres)
    with opened(backend, keyring) as saver:
        first = first_put(saver, backend, value, version)
        saver.put(AFTER_OLD, {**first, "id": NEW}, METADATA, {})
        assert rows(backend) == ({OLD: True, NEW: True}, [])
        assert role(saver, backend) == value


def test_a_new_version_under_another_name_stays_inline(make_backend: MakeBackend, keyring: Keyring) -> None:
    """The table would hold it under a version that the checkpoint does not name."""
    backend = make_backend(Postgres)
    with opened(backend, keyring) as saver:
        saver.put(HERE, checkpoint(OLD, LARGE, "1"), METADATA, {"role": "2"})
        assert rows(backend) == ({OLD: True}, [])
        assert role(saver, backend, OLD) == LARGE


def test_on_a_first_checkpoint_nothing_lies_in_the_table(make_backend: MakeBackend, keyring: Keyring) -> None:
    backend = make_backend(Postgres)
    with opened(backend, keyring) as saver:
        first = first_put(saver, backend)
        saver.delete_thread("t1")
        saver.put(HERE, {**first, "id": NEW}, METADATA, {})
        assert rows(backend) == ({NEW: True}, [])
        assert role(saver, backend) == LARGE


@pytest.mark.parametrize("read", [False, True], ids=["written", "read"])
def test_after_a_rotation_it_stays_where_it_is(make_backend: MakeBackend, keyring: Keyring, read: bool) -> None:
    """While what is stored again is sealed with the new key."""
    backend, third = make_backend(Postgres), NEW + "9"
    with opened(backend, keyring) as saver:
        first = checkpoint(OLD, LARGE, "1")
        for part, value in (("channel_values", "small"), ("channel_versions", "1")):
            first[part]["name"] = value
        saver.put(HERE, first, METADATA, first["channel_versions"])
        saver.put(AFTER_OLD, {**first, "id": NEW}, METADATA, {})
        found = saver.get_tuple(HERE).checkpoint if read else first
        key, _ = DataKey.generate(tenant="acme", version=2)
        keyring._cache.insert(key, active=True)
        saver.put(config("acme", "t1", "", NEW), {**found, "id": third}, METADATA, {})
        assert rows(backend) == ({OLD: False, NEW: False, third: False}, ["1"])
        assert role(saver, backend, third) == LARGE
    with psycopg.connect(backend.place) as sql:
        texts = sql.execute("SELECT checkpoint->'channel_values'->>'name' FROM checkpoints ORDER BY checkpoint_id").fetchall()
    assert [envelope_dek_id(text) == key.dek_id for (text,) in texts] == [False, False, True]


class State(TypedDict, total=False):
    large: str
    count: int


def graph(saver: Any) -> Any:
    def work(state: State) -> State:
        done = state.get("count", 0)
        return {"count": done + 1, **({} if done % 4 else {"large": f"{done} {LARGE}"})}  # type: ignore[typeddict-item]

    made = StateGraph(State).add_node("work", work).add_edge("__start__", "work")
    return made.add_conditional_edges("work", lambda state: "work" if state["count"] % 6 else "__end__").compile(checkpointer=saver)


@KINDS
def test_a_graph_with_forks_copies_and_pruning(kind: type[Backend], make_backend: MakeBackend, keyring: Keyring) -> None:
    """The same as bare, and no more envelopes than strings: none lies inline."""
    here: Any = {"configurable": {"thread_id": "t", "workspace_id": "acme"}}

    def told(wrap: Any, name: str) -> tuple[Any, Backend]:
        backend, seen = make_backend(kind, name), []
        for _ in range(2):  # the second one is a saver that has to read where the string lies
            with backend.opened(wrap) as saver:
                run = graph(saver)
                backend.invoke(run, {"count": len(seen)}, here)
                past = backend.history(run, here)[2]
                fork = backend.update(run, past.config, {"count": 7})
                backend.invoke(run, None, fork)
                backend.update(run, fork, {"large": f"forked {LARGE}"})
                seen.append([(state.values, state.next) for state in backend.history(run, here)])
        with backend.opened(wrap) as saver:
            seen.append([(state.values, state.next) for state in backend.history(graph(saver), here)])
            backend.run(saver, "prune", ["t"], strategy="keep_latest")
            seen.append([(state.values, state.next) for state in backend.history(graph(saver), here)])
        return seen, backend

    bare, _ = told(lambda inner: inner, "bare")
    sealed, backend = told(lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id")), "sealed")
    assert sealed == bare
    with psycopg.connect(backend.place) as sql:
        assert sql.execute("SELECT count(*) FROM checkpoints WHERE checkpoint->'channel_values' ? 'large'").fetchone() == (0,)
        assert sql.execute("SELECT count(*) FROM checkpoint_blobs WHERE channel = 'large'").fetchone() == (1,)


def test_a_copy_of_a_thread(make_backend: MakeBackend, keyring: Keyring) -> None:
    backend = make_backend(Postgres)
    with opened(backend, keyring) as saver:
        run = graph(saver)
        run.invoke({"count": 0}, HERE)
        assert type(saver).copy_thread is BaseCheckpointSaver.copy_thread, "Postgres copies rows, if at all"
        copy_thread(saver, "t1", "t2")
        there = config("acme", "t2")
        assert [state.values for state in run.get_state_history(there)] == [state.values for state in run.get_state_history(HERE)]


def test_backfill_leaves_it_in_the_row(make_backend: MakeBackend, keyring: Keyring) -> None:
    backend = make_backend(Postgres)
    with backend.opened(lambda inner: inner) as saver:
        first = first_put(saver, backend)
        saver.put(AFTER_OLD, {**first, "id": NEW}, METADATA, {})
    report = backfill(backend.place, keyring, tenant=fixed("acme"))
    assert (report.checkpoints, report.failed) == (2, ())
    assert rows(backend) == ({OLD: True, NEW: True}, [])
    with opened(backend, keyring) as saver:
        assert [role(saver, backend, at) for at in (OLD, NEW)] == [LARGE, LARGE]


@pytest.mark.parametrize("value", ["small", LARGE, 5], ids=["small", "large", "number"])
def test_primitives_that_old_releases_kept_in_the_table(make_backend: MakeBackend, keyring: Keyring, value: Any) -> None:
    """Those of `langgraph-checkpoint-postgres` before it kept primitives inline: a thread goes on, is backfilled, and goes on."""
    backend = make_backend(Postgres)
    with backend.opened(lambda inner: inner) as saver, psycopg.connect(backend.place, autocommit=True) as sql:
        first_put(saver, backend, value)
        row: Any = sql.execute("SELECT checkpoint FROM checkpoints").fetchone()
        del row[0]["channel_values"]["role"]
        sql.execute("UPDATE checkpoints SET checkpoint = %s", (Jsonb(row[0]),))
        sql.execute(
            "INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) VALUES ('t1', '', 'role', '1', %s, %s)",
            ("msgpack", ormsgpack.packb(value)),
        )
    options: Any = {"mode": "migrating", "migration": Migration(datetime.now(UTC) + timedelta(days=1))}
    with opened(backend, keyring, **options) as saver:
        found = saver.get_tuple(HERE)
        assert found.checkpoint["channel_values"]["role"] == value
        saver.put(AFTER_OLD, {**found.checkpoint, "id": NEW}, METADATA, {})
        assert role(saver, backend) == value
    assert backfill(backend.place, keyring, tenant=fixed("acme")).failed == ()
    with opened(backend, keyring) as saver:
        found = saver.get_tuple(HERE)
        assert found.checkpoint["channel_values"]["role"] == value
        saver.put(config("acme", "t1", "", NEW), {**found.checkpoint, "id": NEW + "9"}, METADATA, {})
        assert role(saver, backend, NEW + "9") == value
