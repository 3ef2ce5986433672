"""Databases with anything in them, savers that fail, processes that die, servers that go away."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from backends import Backend, Postgres, Sqlite
from graphs import CHAT_INPUT, chat
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from postgres import Server
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from test_attacks import config, refused

from sealpoint import Keyring
from sealpoint.errors import KeyNotFoundError, KeyUnusableError, PlaintextRefusedError, SealpointError
from sealpoint.langgraph import SealedSaver, from_config


def wrap(keyring: Keyring) -> Any:
    return lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"))


def run(saver: Any, thread: str) -> Any:
    return chat(saver).invoke(CHAT_INPUT, config("acme", thread), durability="sync")


DAMAGE = {
    "blob-cut": ("UPDATE checkpoint_blobs SET blob = substr(blob, 1, 100) WHERE thread_id = %s", {"authentication_failed", "malformed"}),
    "blob-short": ("UPDATE checkpoint_blobs SET blob = substr(blob, 1, 5) WHERE thread_id = %s", {"malformed"}),
    "blob-none": ("UPDATE checkpoint_blobs SET blob = '' WHERE thread_id = %s", {"plaintext_refused"}),
    "blob-noise": ("UPDATE checkpoint_blobs SET blob = '\\x00ff00ff' WHERE thread_id = %s", {"plaintext_refused"}),
    "blob-wrong-type": ("UPDATE checkpoint_blobs SET type = 'yaml' WHERE thread_id = %s", {"plaintext_refused"}),
    "write-cut": ("UPDATE checkpoint_writes SET blob = substr(blob, 1, 92) WHERE thread_id = %s", {"malformed"}),
    "metadata-of-another-program": (
        'UPDATE checkpoints SET metadata = \'{"sealpoint": "sealpoint:v9:AAAA"}\' WHERE thread_id = %s',
        {"unsupported_version"},
    ),
    "metadata-cut": (
        "UPDATE checkpoints SET metadata = jsonb_build_object('sealpoint', left(metadata->>'sealpoint', 40)) WHERE thread_id = %s",
        {"malformed"},
    ),
    "text-in-a-blob": (
        "UPDATE checkpoint_blobs SET type = 'bytes', blob = 'sealpoint:v1:wVMB' WHERE thread_id = %s",
        {"malformed"},
    ),
    "no-v": ("UPDATE checkpoints SET checkpoint = checkpoint - 'v' WHERE thread_id = %s", {"malformed"}),
    "no-map": ("UPDATE checkpoints SET checkpoint = '[1]' WHERE thread_id = %s", {"malformed"}),
    "versions-no-map": ("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{versions_seen}', '7') WHERE thread_id = %s", None),
    "version-of-odd-type": (
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{updated_channels}', '[{\"a\": 1.5}]') WHERE thread_id = %s",
        {"authentication_failed"},
    ),
    "values-no-map": (
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values}', '{\"note\": {\"a\": [1]}}') WHERE thread_id = %s",
        {"plaintext_refused"},
    ),
}


def test_a_database_with_anything_in_it(make_backend: Any, keyring: Keyring) -> None:
    """Each damaged thread is refused with its code, in `get_tuple` and in `list`; the others read as before."""
    backend = make_backend(Postgres)
    with backend.opened(lambda inner: inner) as bare:
        run(bare, "foreign")
    with backend.opened(wrap(keyring)) as saver, psycopg.connect(backend.place, autocommit=True) as sql:
        for thread in ("well", *DAMAGE):
            run(saver, thread)
        for thread, (statement, _) in DAMAGE.items():
            assert sql.execute(statement, (thread,)).rowcount > 0, thread  # type: ignore[call-overload]
        for thread, (_, codes) in {**DAMAGE, "foreign": ("", {"plaintext_refused"})}.items():
            # The newest checkpoint has no writes.
            for read in (lambda where: list(saver.list(where)), saver.get_tuple)[: 1 if thread == "write-cut" else 2]:
                with pytest.raises(SealpointError) as caught:
                    read(config("acme", thread))
                assert caught.value.code in (codes or {"authentication_failed", "malformed"}), thread
                assert "acme" not in str(caught.value)
                assert caught.value.__context__ is None or isinstance(caught.value.__context__, SealpointError), "no driver's own words"
                assert "a question" not in str(caught.value)
        assert chat(saver).get_state(config("acme", "well")).values["count"] == 7
        assert run(saver, "another")["count"] == 7


def test_an_error_names_what_it_is_about(make_backend: Any, keyring: Keyring) -> None:
    backend = make_backend(Postgres)
    with backend.opened(wrap(keyring)) as saver, psycopg.connect(backend.place, autocommit=True) as sql:
        run(saver, "t")
        sql.execute("UPDATE checkpoint_blobs SET type = 'bytes', blob = 'x' WHERE channel = 'messages'")
        with pytest.raises(PlaintextRefusedError, match=r"thread 't': channel 'messages'.*stored without SealedSaver"):
            saver.get_tuple(config("acme", "t"))


def test_an_unknown_tenant(make_backend: Any, keyring: Keyring) -> None:
    backend = make_backend(Postgres)
    with backend.opened(wrap(keyring)) as saver:
        run(saver, "t")
        assert refused(lambda: saver.get_tuple(config("nobody", "t"))) == "authentication_failed"
        with pytest.raises(KeyNotFoundError):
            keyring.load("nobody", create=False)


def test_a_destroyed_key(make_backend: Any, keyring: Keyring, tmp_path: Path) -> None:
    """Its tenant's threads are gone, with a code that says so; the other tenant's are there."""
    backend = make_backend(Postgres)
    with backend.opened(wrap(keyring)) as saver:
        run(saver, "a")
        chat(saver).invoke(CHAT_INPUT, config("globex", "g"))
        with closing(sqlite3.connect(tmp_path / "keys.db")) as keys, keys:
            keys.execute("UPDATE sealpoint_deks SET state = 'destroyed' WHERE tenant = 'acme'")
        keyring._cache.clear()
        with pytest.raises(KeyUnusableError) as caught:
            saver.get_tuple(config("acme", "a"))
        assert caught.value.code == "key_destroyed"
        assert chat(saver).get_state(config("globex", "g")).values["count"] == 7


class Interrupted(Exception):
    pass


class Failing(SqliteSaver):
    """Fails before or after it has stored, as often as told."""

    fail: str | None = None

    def put(self, *args: Any) -> Any:
        if self.fail == "before put":
            raise Interrupted
        stored = super().put(*args)
        if self.fail == "after put":
            raise Interrupted
        return stored

    def put_writes(self, *args: Any, **options: Any) -> None:
        if self.fail == "before put_writes":
            raise Interrupted
        super().put_writes(*args, **options)
        if self.fail == "after put_writes":
            raise Interrupted


@pytest.mark.parametrize("when", ["before put", "after put", "before put_writes", "after put_writes"])
def test_an_inner_saver_that_fails(when: str, keyring: Keyring, tmp_path: Path) -> None:
    """Its error comes through as it is, what was there before reads, and the same saver goes on."""
    with Failing.from_conn_string(str(tmp_path / "state.db")) as inner:
        assert isinstance(inner, Failing)
        saver = wrap(keyring)(inner)
        run(saver, "t")
        before = chat(saver).get_state(config("acme", "t"))
        saver._storage.fail = when
        with pytest.raises(Interrupted):
            run(saver, "t")
        saver._storage.fail = None
        for row in saver.list(config("acme", "t")):
            assert row.metadata["step"] >= -1
        assert run(saver, "t")["count"] == 7
        assert chat(saver).get_state(before.config).values == before.values


def test_a_saver_that_returns_rows_of_another_place(keyring: Keyring) -> None:
    class Astray(InMemorySaver):
        def get_tuple(self, config: Any) -> Any:
            return super().get_tuple({"configurable": {**config["configurable"], "thread_id": "other"}})

    saver = wrap(keyring)(Astray())
    chat(wrap(keyring)(saver.inner)).invoke(CHAT_INPUT, config("acme", "other"))
    assert refused(lambda: saver.get_tuple(config("acme", "t"))) == "authentication_failed"


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
from backends import Postgres, Sqlite
from graphs import CHAT_INPUT, chat
from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, from_config

kind, place, keys, kek, method, count = sys.argv[3:]
kind = {"Postgres": Postgres, "Sqlite": Sqlite}[kind]
with Keyring.connect(keys, kek=kek) as keyring, kind(place).opened(
    lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
) as saver:
    original, left = getattr(saver._storage, method), [int(count)]

    def kill(*args, **options):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return original(*args, **options)

    setattr(saver._storage, method, kill)
    chat(saver).invoke(CHAT_INPUT, {"configurable": {"thread_id": "t", "workspace_id": "acme"}}, durability="sync")
"""


@pytest.mark.parametrize(("method", "count"), [("put_writes", 0), ("put_writes", 1), ("put", 1), ("put", 2)])
@pytest.mark.parametrize("kind", [Postgres, Sqlite], ids=lambda cls: cls.__name__)
def test_a_process_that_is_killed_between_its_writes(
    kind: type[Backend], method: str, count: int, make_backend: Any, keyring: Keyring, tmp_path: Path
) -> None:
    """What it left is a thread that another process reads and takes to its end."""
    backend = make_backend(kind)
    folder = Path(__file__).parent
    keys = [f"sqlite:///{tmp_path / 'keys.db'}", f"file:{tmp_path / 'kek'}"]
    command = [sys.executable, "-c", KILLED, str(folder), str(folder.parent), kind.__name__, backend.place, *keys, method, str(count)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with backend.opened(wrap(keyring)) as saver:
        graph = chat(saver)
        begun = graph.get_state(config("acme", "t")).created_at is not None
        assert begun or method == "put_writes", "the first writes may come before the first checkpoint"
        result = graph.invoke(None if begun else CHAT_INPUT, config("acme", "t"))
        assert (result["count"], result["note"]) == (7, "2 messages")
        assert sorted(result["seen"]) == ["join", "left", "right"]


@pytest.fixture
def own_server() -> Iterator[Server]:
    server = Server()
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.close()


def test_postgres_goes_away_and_comes_back(own_server: Server, keyring: Keyring) -> None:
    options: Any = {"kwargs": {"autocommit": True, "row_factory": dict_row}, "check": ConnectionPool.check_connection}
    with ConnectionPool(own_server.dsn(), min_size=1, max_size=2, timeout=10, **options) as pool:
        inner: Any = PostgresSaver(pool)  # type: ignore[arg-type]
        saver = wrap(keyring)(inner)
        saver.setup()
        run(saver, "t")
        before = chat(saver).get_state(config("acme", "t"))
        own_server.stop(signal.SIGQUIT)
        pool.timeout = 0.5
        with pytest.raises(psycopg.OperationalError):
            saver.get_tuple(config("acme", "t"))
        with pytest.raises(psycopg.OperationalError):
            run(saver, "t")
        own_server.start()
        pool.timeout = 30
        assert chat(saver).get_state(config("acme", "t")).values == before.values
        assert run(saver, "u")["count"] == 7
