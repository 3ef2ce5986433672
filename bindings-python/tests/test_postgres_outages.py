"""The Postgres key store while its server restarts, hangs, refuses, only replicates or decays: on a server of these tests' own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import psycopg
import pytest
from postgres import PASSWORD_ROLE, Server, new_schema, with_options
from support import CONTEXT, KEK, OTHER_CONTEXT, PLAINTEXT, TENANT, query, ready, refused
from test_postgres import waiting

from sealpoint import Keyring
from sealpoint.stores import _connections, postgres
from sealpoint.stores.postgres import PostgresStore


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    server = Server()
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def server(started: Server) -> Iterator[Server]:
    yield started
    if started.pid is None:
        started.start()


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    with new_schema(server.dsn()) as dsn:
        yield dsn


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Every process of the server is stopped: connections are accepted by the kernel, and nobody answers."""
    assert server.pid is not None
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["in good order", "as in a crash"])
def test_a_restart_goes_unnoticed(how: signal.Signals, server: Server, url: str) -> None:
    with ready(url) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        assert len(keyring._store._connections._idle) == 1  # type: ignore[attr-defined]
        server.stop(how)
        server.start()
        keyring._cache.clear()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        server.stop(how)
        server.start()
        assert keyring.open(keyring.seal(PLAINTEXT, OTHER_CONTEXT), OTHER_CONTEXT) == PLAINTEXT


def test_a_server_that_is_away(server: Server, url: str) -> None:
    with ready(url) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        server.stop()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        keyring._cache.clear()
        for _ in range(2):
            error = refused(lambda: keyring.open(sealed, CONTEXT), "store_unavailable", "cannot be reached")
            assert error.retryable
        refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "store_unavailable")
        assert (keyring.health().status, keyring.health().store) == ("failed", "store_unavailable")
        refused(lambda: Keyring.connect(url, kek=KEK), "store_unavailable")
        server.start()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        assert keyring.health().status == "ok"


def test_a_connection_that_breaks_twice_is_given_up(url: str) -> None:
    """Each attempt kills its own connection: one repetition, then the error."""
    attempts = 0

    def breaking() -> _connections.Steps[None]:
        nonlocal attempts
        attempts += 1
        yield "SELECT pg_terminate_backend(pg_backend_pid())", ()

    with PostgresStore(url) as store:
        refused(lambda: store._connections.run(breaking), "store_unavailable")
        assert attempts == 2
        assert store.settings() is None


def test_a_commit_whose_answer_is_lost_is_found_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks just after the commit of a new DEK: the repetition finds it and takes it for its own."""
    from test_stores import DEK_ID, dek

    transact, attempts = _connections._transact, 0

    def committed_but_lost(connection: psycopg.Connection, steps: object) -> object:
        nonlocal attempts
        attempts += 1
        result = transact(connection, steps)  # type: ignore[arg-type]
        if attempts == 1:
            connection.close()
            raise psycopg.OperationalError("the connection is lost")
        return result

    with PostgresStore(url) as store:
        store.setup(3600)
        monkeypatch.setattr(_connections, "_transact", committed_but_lost)
        assert store.create_dek(dek()).dek_id == DEK_ID
        assert attempts == 2
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(1,)]


def test_a_server_that_hangs(server: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own time limits do not help then: this side ends the call, whether it holds a connection or makes one."""
    with ready(url) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache.clear()
        with frozen(server), monkeypatch.context() as short:
            short.setattr(_connections, "DEADLINE_S", 0.3)
            refused(lambda: keyring.open(sealed, CONTEXT), "store_unavailable", "did not answer")
            with PostgresStore(with_options(url, connect_timeout="2")) as fresh:
                refused(fresh.settings, "store_unavailable", "no answer in time")
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT


def test_a_lock_that_is_held_for_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ready(url) as keyring:
        keyring.load(TENANT)
        monkeypatch.setattr(_connections, "STATEMENT_TIMEOUT_S", 0.1)
        with psycopg.connect(url) as holding:
            holding.execute("LOCK TABLE sealpoint_tenants IN ACCESS EXCLUSIVE MODE")
            error = refused(lambda: keyring.load("another"), "store_unavailable", "in time")
            assert error.retryable
        keyring.load("another")
        assert query(url, "SHOW statement_timeout") == [("0",)]


def test_setup_waits_for_the_lock_no_longer_than_a_statement_may_take(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connections, "STATEMENT_TIMEOUT_S", 0.1)
    with PostgresStore(url) as store, psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [postgres.SETUP_LOCK])
        refused(lambda: store.setup(3600), "store_unavailable", "in time")
        other.rollback()
        store.setup(3600)
        assert not waiting(url)


def test_more_callers_than_connections(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connections, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(_connections, "CONNECT_TIMEOUT_S", 0.1)
    with PostgresStore(with_options(url, connect_timeout="5")) as store:
        with store._connections._connection():  # type: ignore[attr-defined]
            refused(store.settings, "store_unavailable", "in use")
        assert store.settings() is None


# what the server refuses


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"user": PASSWORD_ROLE, "password": "wrong-hunter2"}, "user and password"),
        ({"user": PASSWORD_ROLE}, "password"),
        ({"user": "hunter2"}, "no such database or user"),
        ({"dbname": "hunter2"}, "no such database or user"),
        ({"host": "/hunter2"}, "check address"),
    ],
)
def test_what_the_server_refuses(change: dict[str, str], hint: str, url: str) -> None:
    query(url, f"DROP ROLE IF EXISTS {PASSWORD_ROLE}")
    query(url, f"CREATE ROLE {PASSWORD_ROLE} LOGIN PASSWORD 'right'")
    dsn = psycopg.conninfo.make_conninfo(url, **change)
    error = refused(lambda: PostgresStore(dsn).settings(), "store_unavailable", hint)
    assert "hunter2" not in f"{error!r}{error.__context__!r}{error.__cause__!r}"
    with PostgresStore(psycopg.conninfo.make_conninfo(url, user=PASSWORD_ROLE, password="right")) as store:
        assert store.settings() is None


def test_a_server_without_connections_to_spare(server: Server, url: str) -> None:
    query(url, "CREATE ROLE limited LOGIN CONNECTION LIMIT 0")
    try:
        dsn = psycopg.conninfo.make_conninfo(url, user="limited")
        refused(lambda: PostgresStore(dsn).settings(), "store_unavailable", "no connection left")
    finally:
        query(url, "DROP ROLE limited")


# replicas and decay


def test_a_hot_standby_opens_and_makes_no_key(server: Server, url: str) -> None:
    with ready(url) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    standby = Server()
    try:
        standby.copy_of(server)
        standby.start()
        replica = url.replace(str(server.folder), str(standby.folder))
        assert query(replica, "SELECT pg_is_in_recovery()") == [(True,)]
        with Keyring.connect(replica, kek=KEK) as reader:
            assert reader.open(sealed, CONTEXT) == PLAINTEXT
            assert reader.open(reader.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT
            reader.setup()
            error = refused(lambda: reader.load("new"), "store_unavailable", "read-only")
            assert error.retryable
            assert reader.health().status == "ok"
        refused(lambda: Keyring.connect(replica, kek=[KEK, "env:OTHER_KEK"]).setup(), "store_unavailable", "read-only")
        with PostgresStore(replica, schema="absent") as store:
            refused(lambda: store.setup(3600), "store_unavailable", "read-only")
    finally:
        standby.close()


def test_a_page_that_decayed(server: Server, url: str) -> None:
    with ready(url) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        ((file,),) = query(url, "SELECT pg_relation_filepath('sealpoint_wraps')")
        server.stop()
        content = bytearray((server.data / file).read_bytes())
        content[4000:8192] = b"\xff" * (8192 - 4000)
        (server.data / file).write_bytes(content)
        server.start()
        keyring._cache.clear()
        error = refused(lambda: keyring.open(sealed, CONTEXT), "store_invalid", "corrupt")
        assert not error.retryable


def test_a_deadline_that_passes_late_leaves_the_connection_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[Callable[[], None]] = []

    class Late(threading.Thread):
        def __init__(self, _: float, function: Callable[[], None]) -> None:
            super().__init__()
            late.append(function)

        def cancel(self) -> None:
            pass

    monkeypatch.setattr(threading, "Timer", Late)
    with PostgresStore(url) as store:
        store.settings()
        ((_, first),) = store._connections._idle  # type: ignore[attr-defined]
        (expire,) = late
        expire()
        assert store.settings() is None
        assert store._connections._idle[0][1] is first  # type: ignore[attr-defined]
