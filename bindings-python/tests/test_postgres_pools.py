"""The Postgres key store on pools that others own: blocking ones, and asyncio ones whose event loop must never wait for itself."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from postgres import Server
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, NullConnectionPool
from support import CONTEXT, KEK, PLAINTEXT, TENANT, FakeKms, assert_error, in_threads, query, ready, refused
from test_fork import in_child
from test_postgres import TABLES, tables

from sealpoint import Context, Keyring, SealpointError, is_sealed
from sealpoint.stores import _connections
from sealpoint.stores.postgres import PostgresStore

LANGGRAPHS = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
"""What LangGraph's savers want of a connection."""


@pytest.fixture
def url(postgres_schema: str) -> str:
    return postgres_schema


@contextmanager
def pool_of(url: str, kind: type[ConnectionPool[Any]] = ConnectionPool, **options: Any) -> Iterator[ConnectionPool[Any]]:
    least = 0 if kind is NullConnectionPool else 1
    with kind(url, **{"min_size": least, "max_size": 2, "kwargs": LANGGRAPHS, "open": True} | options) as pool:
        yield pool


@asynccontextmanager
async def async_pool_of(url: str, **options: Any) -> AsyncIterator[AsyncConnectionPool[Any]]:
    async with AsyncConnectionPool(url, **{"min_size": 1, "max_size": 2, "kwargs": LANGGRAPHS, "open": False} | options) as pool:
        yield pool


async def arefused(call: Awaitable[object], code: str, *words: str) -> None:
    with pytest.raises(SealpointError) as caught:
        await call
    assert_error(caught.value, code, *words)


# blocking pools


@pytest.mark.parametrize("kind", [ConnectionPool, NullConnectionPool])
@pytest.mark.parametrize("kwargs", [{}, LANGGRAPHS])
def test_a_pool(kind: type[ConnectionPool[Any]], kwargs: dict[str, Any], url: str) -> None:
    with pool_of(url, kind, kwargs=kwargs) as pool:
        with Keyring.connect(pool, kek=KEK) as keyring:
            keyring.setup()
            sealed = keyring.seal(PLAINTEXT, CONTEXT)
            keyring._cache.clear()
            assert keyring.open(sealed, CONTEXT) == PLAINTEXT
            in_threads(8, lambda number: keyring.load(f"tenant {number}"))
        with pool.connection() as connection:  # still the owner's, and as it was
            assert not pool.closed
            count = connection.execute("SELECT count(*) AS c FROM pg_prepared_statements", prepare=False).fetchone()
            assert count in ({"c": 0}, (0,))
            assert connection.execute("SHOW statement_timeout").fetchone() in ({"statement_timeout": "0"}, ("0",))
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(9,)]


def test_a_pool_and_a_schema(postgres: str) -> None:
    with pool_of(postgres) as pool, Keyring.connect(PostgresStore(pool, schema="keys"), kek=KEK) as keyring:
        keyring.setup()
        assert is_sealed(keyring.seal(PLAINTEXT, CONTEXT))
    assert tables(postgres, "keys") == TABLES


def test_a_pool_that_is_not_open(url: str) -> None:
    pool = ConnectionPool(url, open=False)
    refused(lambda: Keyring.connect(pool, kek=KEK), "invalid_argument", "open")
    with pool_of(url) as closing:
        store = PostgresStore(closing)
        store.setup(3600)
    refused(store.settings, "invalid_argument", "open")


def test_a_pool_that_has_none_to_give(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connections, "CONNECT_TIMEOUT_S", 0.1)
    with pool_of(url, max_size=1) as pool:
        store = PostgresStore(pool)
        with pool.connection():
            error = refused(store.settings, "store_unavailable", "too small")
        assert error.retryable
        assert store.settings() is None


def test_the_owners_shorter_patience_counts(url: str) -> None:
    with pool_of(url, max_size=1, timeout=0.1) as pool, pool.connection():
        refused(PostgresStore(pool).settings, "store_unavailable", "too small")


def test_a_null_pool_says_why_it_cannot_connect() -> None:
    with pool_of("postgresql://u:hunter2@127.0.0.1:1/db", NullConnectionPool) as pool:
        error = refused(PostgresStore(pool).settings, "store_unavailable", "cannot be reached")
        assert "hunter2" not in f"{error!r}{error.__context__!r}"


def lose_connections(url: str) -> None:
    """As a restart of the server does."""
    query(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")


def test_a_pool_whose_connections_broke(url: str) -> None:
    with pool_of(url, min_size=2, max_size=2) as pool, Keyring.connect(pool, kek=KEK) as keyring:
        keyring.setup()
        pool.wait()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache.clear()
        lose_connections(url)
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_pool_is_refused_in_a_child(url: str) -> None:
    with pool_of(url) as pool, Keyring.connect(pool, kek=KEK) as keyring:
        keyring.setup()

        def child() -> bool:
            refused(lambda: keyring.load(TENANT), "invalid_argument", "forked")
            return True

        assert in_child(child)
        keyring.load(TENANT)


def test_a_single_connection_is_refused(url: str) -> None:
    with psycopg.connect(url) as connection:
        refused(lambda: Keyring.connect(connection, kek=KEK), "invalid_argument", "single connection")  # type: ignore[arg-type]

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await arefused(Keyring.aconnect(connection, kek=KEK), "invalid_argument", "single connection")  # type: ignore[arg-type]

    asyncio.run(run())


# asyncio pools


def test_an_async_pool(url: str) -> None:
    async def run() -> None:
        async with async_pool_of(url) as pool:
            async with await Keyring.aconnect(pool, kek=KEK) as keyring:
                await keyring.asetup()
                await keyring.asetup()
                sealed = await keyring.aseal(PLAINTEXT, CONTEXT)
                keyring._cache.clear()
                assert await keyring.aopen(sealed, CONTEXT) == PLAINTEXT
                assert keyring.open(sealed, CONTEXT) == PLAINTEXT  # what is held needs no key store
                assert (await keyring.ahealth()).status == "ok"
                await asyncio.gather(*(keyring.aload(f"tenant {number}") for number in range(20)))
                assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(21,)]
                await arefused(keyring.aload("nul\0"), "invalid_argument", "NUL")
            async with pool.connection() as connection:  # still the owner's
                assert await (await connection.execute("SELECT 1 AS one")).fetchone() == {"one": 1}

    asyncio.run(run(), debug=True)


def test_blocking_calls_work_in_other_threads_and_are_refused_in_the_loops(url: str) -> None:
    async def run() -> None:
        async with async_pool_of(url) as pool:
            keyring = await Keyring.aconnect(pool, kek=KEK)
            for call in (
                keyring.setup,
                lambda: keyring.load(TENANT),
                lambda: keyring.seal(PLAINTEXT, CONTEXT),
                lambda: keyring.export_data_key(TENANT, reason="a test"),
            ):
                refused(call, "invalid_argument", "async methods")
            assert keyring.health().store == "invalid_argument"
            await asyncio.to_thread(keyring.setup)
            sealed = await asyncio.to_thread(keyring.seal, PLAINTEXT, CONTEXT)
            keyring._cache.clear()
            refused(lambda: keyring.open(sealed, CONTEXT), "invalid_argument", "async methods")
            assert await asyncio.to_thread(keyring.open, sealed, CONTEXT) == PLAINTEXT
            assert is_sealed(await keyring.aexport_data_key(TENANT, reason="a test"))

    asyncio.run(run())


def test_a_blocking_call_in_the_loop_does_not_board_an_async_calls_flight(url: str) -> None:
    """The flight would need the loop that waits for it."""
    kms = FakeKms()

    async def run() -> None:
        async with async_pool_of(url) as pool:
            keyring = await Keyring.aconnect(pool, kek=kms)
            await keyring.asetup()
            entered, proceed = kms.hold_up()
            loading = asyncio.create_task(keyring.aload(TENANT))
            await asyncio.to_thread(entered.wait, 30)
            refused(lambda: keyring.load(TENANT), "invalid_argument", "async methods")
            refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "invalid_argument", "async methods")
            proceed.set()
            await loading
            assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT

    asyncio.run(run())


def test_an_async_pool_outside_its_loop(url: str) -> None:
    pool = AsyncConnectionPool(url, open=False)
    refused(lambda: Keyring.connect(pool, kek=KEK), "invalid_argument", "aconnect")  # type: ignore[arg-type]
    refused(lambda: PostgresStore(pool), "invalid_argument", "aconnect")

    async def run() -> Keyring:
        async with async_pool_of(url) as pool:
            keyring = await Keyring.aconnect(pool, kek=KEK)
            await keyring.asetup()
            return keyring

    late = asyncio.run(run())
    refused(lambda: late.load(TENANT), "invalid_argument", "event loop", "ended")
    asyncio.run(arefused(late.aload(TENANT), "invalid_argument", "event loop", "ended"))


def test_an_async_pool_that_is_not_open(url: str) -> None:
    async def run() -> None:
        await arefused(Keyring.aconnect(AsyncConnectionPool(url, open=False), kek=KEK), "invalid_argument", "open")

    asyncio.run(run())


def test_an_async_pool_that_has_none_to_give(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connections, "CONNECT_TIMEOUT_S", 0.1)

    async def run() -> None:
        async with async_pool_of(url, max_size=1) as pool:
            keyring = await Keyring.aconnect(pool, kek=KEK)
            await keyring.asetup()
            async with pool.connection():
                await arefused(keyring.aload(TENANT), "store_unavailable", "too small")
            await keyring.aload(TENANT)

    asyncio.run(run())


def test_an_async_pool_whose_connections_broke(url: str) -> None:
    async def run() -> None:
        async with async_pool_of(url, min_size=2, max_size=2) as pool, await Keyring.aconnect(pool, kek=KEK) as keyring:
            await keyring.asetup()
            await pool.wait()
            sealed = await keyring.aseal(PLAINTEXT, CONTEXT)
            keyring._cache.clear()
            lose_connections(url)
            assert await keyring.aopen(sealed, CONTEXT) == PLAINTEXT

    asyncio.run(run())


def test_a_connection_that_breaks_twice_is_given_up(url: str) -> None:
    attempts = 0

    def breaking() -> _connections.Steps[None]:
        nonlocal attempts
        attempts += 1
        yield "SELECT pg_terminate_backend(pg_backend_pid())", ()

    async def run() -> None:
        async with async_pool_of(url) as pool:
            store = PostgresStore(pool)
            await arefused(asyncio.to_thread(store._connections.run, breaking), "store_unavailable")

    asyncio.run(run())
    assert attempts == 2


def test_a_loop_that_does_not_get_to_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody blocks the event loop: a thread that waits for it is let go in time."""
    monkeypatch.setattr(_connections, "DEADLINE_S", 0.2)

    async def run() -> None:
        async with async_pool_of(url) as pool:
            store = PostgresStore(pool)
            errors: list[SealpointError] = []
            calling = threading.Thread(target=lambda: errors.append(refused(store.settings, "store_unavailable", "event loop")))
            calling.start()
            calling.join(30)  # blocks the loop
            assert len(errors) == 1
            await asyncio.sleep(0)
            assert await asyncio.to_thread(store.settings) is None

    asyncio.run(run())


def test_a_statement_that_takes_too_long_on_an_async_pool(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(url).close()
    monkeypatch.setattr(_connections, "STATEMENT_TIMEOUT_S", 0.1)

    async def run() -> None:
        async with async_pool_of(url) as pool:
            keyring = await Keyring.aconnect(pool, kek=KEK)
            with psycopg.connect(url) as holding:
                holding.execute("LOCK TABLE sealpoint_tenants IN ACCESS EXCLUSIVE MODE")
                await arefused(keyring.aload(TENANT), "store_unavailable", "in time")
            await keyring.aload(TENANT)

    asyncio.run(run())


def test_a_cancelled_caller_leaves_pool_and_keyring_in_order(url: str) -> None:
    kms = FakeKms()

    async def run() -> None:
        async with async_pool_of(url, max_size=1) as pool:
            keyring = await Keyring.aconnect(pool, kek=kms)
            await keyring.asetup()
            entered, proceed = kms.hold_up()
            loading = asyncio.create_task(keyring.aload(TENANT))
            await asyncio.to_thread(entered.wait, 30)
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loading
            proceed.set()
            await keyring.aload(TENANT)
            assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT

    asyncio.run(run())


def test_one_pool_for_a_saver_and_the_keys(postgres: str) -> None:
    """LangGraph's own saver and the keyring side by side, on the pool that the application has."""

    async def run() -> None:
        async with async_pool_of(postgres, max_size=4) as pool:
            saver = AsyncPostgresSaver(pool)
            keyring = await Keyring.aconnect(pool, kek=KEK)
            await asyncio.gather(saver.setup(), keyring.asetup())
            config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

            async def work(number: int) -> None:
                sealed = await keyring.aseal(PLAINTEXT, Context(tenant=f"tenant {number}", purpose="field"))
                assert is_sealed(sealed)
                assert await saver.aget_tuple(config) is None

            await asyncio.gather(*(work(number) for number in range(40)))
        assert query(postgres, "SELECT count(*) FROM sealpoint_deks") == [(40,)]

    asyncio.run(run())


def test_an_async_pool_through_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool connects again at its own pace; until then the error says that a retry can help."""
    monkeypatch.setattr(_connections, "CONNECT_TIMEOUT_S", 1)
    server = Server()

    async def run() -> None:
        async with async_pool_of(server.dsn()) as pool:
            keyring = await Keyring.aconnect(pool, kek=KEK)
            await keyring.asetup()
            sealed = await keyring.aseal(PLAINTEXT, CONTEXT)
            keyring._cache.clear()
            await asyncio.to_thread(server.stop)
            await arefused(keyring.aopen(sealed, CONTEXT), "store_unavailable")
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(60):
                while True:
                    try:
                        assert await keyring.aopen(sealed, CONTEXT) == PLAINTEXT
                        return
                    except SealpointError as error:
                        if not error.retryable:
                            raise

    try:
        server.init()
        server.start()
        asyncio.run(run())
    finally:
        server.close()
