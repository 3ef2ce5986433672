"""How transactions of the Postgres key store run: on connections of its own, on those of a pool, or on those of an asyncio pool.

A transaction is a generator (`Steps`) that yields statements and is sent their rows, so it is written once and driven by blocking and
by asynchronous code. Each must be safe to repeat: after a connection was lost it runs a second time, even if its commit was the last
thing that was asked for. No text of Postgres' own is passed on: it can quote values, and a connection string holds a password.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeAlias, TypeVar

import psycopg
import psycopg_pool
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from ..errors import InvalidArgumentError, SealpointError, StoreError
from . import NOT_SET_UP

CONNECT_TIMEOUT_S = 5
"""To make a connection (per address; `connect_timeout` in the DSN is stronger), or to wait for a free one."""
STATEMENT_TIMEOUT_S = 10.0
"""Enforced by the server for each statement, waiting for locks included."""
DEADLINE_S = 15.0
"""For a whole call once it has a connection, enforced here: also for a server that is reached and does not answer."""
MAX_CONNECTIONS = 8
MAX_IDLE = 2
IDLE_S = 300.0

Result = TypeVar("Result")
Query: TypeAlias = tuple[str, Sequence[object]]
Steps: TypeAlias = Generator[Query, list[tuple[Any, ...]], Result]


class Connections(Protocol):
    """Where transactions run."""

    def run(self, steps: Callable[[], Steps[Result]]) -> Result:
        """One READ COMMITTED transaction; what ends with an exception is rolled back."""

    def refuse_own_loop(self) -> None:
        """Raises `invalid_argument` in a thread that this would block for ever."""

    def close(self) -> None:
        """Closes what was opened here."""

    def after_fork(self) -> None: ...


class _Blocking:
    """Transactions in the caller's own thread."""

    def run(self, steps: Callable[[], Steps[Result]]) -> Result:
        """See `Connections`."""
        until = time.monotonic() + DEADLINE_S
        for first in (True, False):
            try:
                with self._connection() as connection, _deadline(connection, until):
                    return _transact(connection, steps())
            except psycopg.Error as error:
                failure, lost = _typed(error), _was_lost(error)
            if not (first and lost):
                break
            self._discard_lost()
        raise failure  # here, where it has no context: that would be Postgres' own text

    def refuse_own_loop(self) -> None:
        """See `Connections`."""

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        raise NotImplementedError
        yield

    def _discard_lost(self) -> None:
        raise NotImplementedError


class OwnConnections(_Blocking):
    """Connections made from a DSN when they are needed; a few stay open for the next call, none after `close`."""

    def __init__(self, dsn: str) -> None:
        """Touches nothing yet. Raises: `invalid_argument`."""
        self._parameters: Mapping[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "fallback_application_name": "sealpoint",
            **_parsed(dsn),
        }
        self._inherited: list[psycopg.Connection[Any]] = []
        self._idle: list[tuple[float, psycopg.Connection[Any]]] = []
        self._closed = False
        self.after_fork()

    def close(self) -> None:
        """See `Connections`."""
        self._closed = True
        self._discard_lost()

    def after_fork(self) -> None:
        """The parent's connections are kept, unused: to close one would end it for the parent, too."""
        self._inherited += [connection for _, connection in self._idle]
        self._idle = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        if not self._slots.acquire(timeout=CONNECT_TIMEOUT_S):
            raise StoreError("store_unavailable", f"all {MAX_CONNECTIONS} connections to the key store are in use: try again")
        try:
            connection = self._take_idle() or self._connect()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            failure = _unreachable(error)
        raise failure

    def _take_idle(self) -> psycopg.Connection[Any] | None:
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < IDLE_S:
                    return connection
                connection.close()
        return None

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            clean = connection.info.transaction_status == TransactionStatus.IDLE
            if clean and len(self._idle) < MAX_IDLE and not self._closed:
                self._idle.append((time.monotonic(), connection))
            else:
                connection.close()

    def _discard_lost(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop()[1].close()


class PoolConnections(_Blocking):
    """Connections of a `psycopg_pool.ConnectionPool`, which stays its owner's."""

    def __init__(self, pool: psycopg_pool.ConnectionPool[Any]) -> None:
        self._pool = pool
        self._forked = False

    def close(self) -> None:
        """See `Connections`."""

    def after_fork(self) -> None:
        self._forked = True

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        _refuse_forked(self._forked)
        connection = self._get()
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def _get(self) -> psycopg.Connection[Any]:
        try:
            connection: psycopg.Connection[Any] = self._pool.getconn(min(self._pool.timeout, CONNECT_TIMEOUT_S))
            return connection
        except psycopg.Error as error:
            failure = _unreachable(error)
        raise failure

    def _discard_lost(self) -> None:
        self._pool.check()


class LoopConnections:
    """Connections of a `psycopg_pool.AsyncConnectionPool`, which stays its owner's.

    Transactions run on the event loop that made this object; callers wait for them in other threads. The keyring's async methods never
    block that loop, so nothing waits for itself.
    """

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[Any]) -> None:
        """Raises: `invalid_argument` (no event loop runs in this thread)."""
        self._pool = pool
        self._forked = False
        loop = _running_loop()
        if loop is None:
            raise InvalidArgumentError(
                "invalid_argument",
                "an AsyncConnectionPool belongs to an event loop: use await Keyring.aconnect(pool, …), or make the PostgresStore there",
            )
        self._loop = loop

    def run(self, steps: Callable[[], Steps[Result]]) -> Result:
        """See `Connections`."""
        _refuse_forked(self._forked)
        self.refuse_own_loop()
        work = self._run(steps)
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise InvalidArgumentError(
                "invalid_argument", "the event loop of the key store's pool has ended: connect again in the one that runs now"
            ) from None
        try:
            return future.result(DEADLINE_S)
        except (TimeoutError, CancelledError):
            future.cancel()
        raise StoreError("store_unavailable", f"the key store, or the event loop of its pool, did not answer within {DEADLINE_S:g} seconds")

    def refuse_own_loop(self) -> None:
        """See `Connections`."""
        if _running_loop() is self._loop:
            raise InvalidArgumentError(
                "invalid_argument",
                "the key store's pool needs this thread's event loop, which a blocking call stops: use the async methods (aload, aseal, …)",
            )

    def close(self) -> None:
        """See `Connections`."""

    def after_fork(self) -> None:
        self._forked = True

    async def _run(self, steps: Callable[[], Steps[Result]]) -> Result:
        for first in (True, False):
            connection = await self._get()
            try:
                return await _atransact(connection, steps())
            except psycopg.Error as error:
                failure, lost = _typed(error), _was_lost(error)
            finally:
                await self._pool.putconn(connection)
            if not (first and lost):
                break
            await self._pool.check()
        raise failure

    async def _get(self) -> psycopg.AsyncConnection[Any]:
        try:
            connection: psycopg.AsyncConnection[Any] = await self._pool.getconn(min(self._pool.timeout, CONNECT_TIMEOUT_S))
            return connection
        except psycopg.Error as error:
            failure = _unreachable(error)
        raise failure


def _transact(connection: psycopg.Connection[Any], steps: Steps[Result]) -> Result:
    """Nothing is assumed of a pool's connection: neither its row factory nor its time limits, isolation, encoding, or who is behind it
    (a pooler may hand each transaction to another server process, which knows no prepared statements)."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_preamble(), prepare=False)
        rows: list[tuple[Any, ...]] | None = None
        try:
            while True:
                statement, parameters = next(steps) if rows is None else steps.send(rows)
                cursor.execute(statement, _storable(parameters), prepare=False)
                rows = cursor.fetchall() if cursor.description else []
        except StopIteration as done:
            result: Result = done.value
            return result


async def _atransact(connection: psycopg.AsyncConnection[Any], steps: Steps[Result]) -> Result:
    """See `_transact`."""
    async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_preamble(), prepare=False)
        rows: list[tuple[Any, ...]] | None = None
        try:
            while True:
                statement, parameters = next(steps) if rows is None else steps.send(rows)
                await cursor.execute(statement, _storable(parameters), prepare=False)
                rows = await cursor.fetchall() if cursor.description else []
        except StopIteration as done:
            result: Result = done.value
            return result


def _preamble() -> str:
    timeout_ms = round(STATEMENT_TIMEOUT_S * 1000)
    return f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {timeout_ms}; SET LOCAL client_encoding = 'UTF8'"


def _storable(parameters: Sequence[object]) -> Sequence[object]:
    """SPEC section 3 allows NUL in a tenant, Postgres does not allow it in text; another spelling could be another tenant's name."""
    listed = (one for parameter in parameters for one in (parameter if isinstance(parameter, list) else (parameter,)))
    if any(isinstance(one, str) and "\0" in one for one in listed):
        raise InvalidArgumentError(
            "invalid_argument",
            "a Postgres key store holds no tenant and no KEK URI with a NUL character: choose other names, or another key store",
        )
    return parameters


@contextmanager
def _deadline(connection: psycopg.Connection[Any], until: float) -> Iterator[None]:
    """Shuts the connection's socket down when time is up, which ends whatever waits for it."""
    lock, over, expired = threading.Lock(), False, False

    def expire() -> None:
        nonlocal expired
        with lock:
            if not over:
                expired = True
                with suppress(psycopg.Error, OSError):
                    borrowed = socket.socket(fileno=connection.fileno())
                    try:
                        borrowed.shutdown(socket.SHUT_RDWR)
                    finally:
                        borrowed.detach()

    timer = threading.Timer(until - time.monotonic(), expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.Error:
        if not expired:
            raise
    finally:
        with lock:
            over = True
        timer.cancel()
    if expired:
        raise StoreError("store_unavailable", f"the key store did not answer within {DEADLINE_S:g} seconds: try again")


def _parsed(dsn: str) -> dict[str, Any]:
    try:
        if "\0" not in dsn:  # libpq would read up to it
            return psycopg.conninfo.conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
        pass
    raise InvalidArgumentError(
        "invalid_argument",
        "this is no connection string that libpq understands: check its form and the names of its options",
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _refuse_forked(forked: bool) -> None:
    if forked:
        raise InvalidArgumentError(
            "invalid_argument",
            "the key store's pool belongs to the process that forked this one: connect anew here, or use a DSN in place of the pool",
        )


def _was_lost(error: psycopg.Error) -> bool:
    """Whether it was the connection that failed, so that another one may serve."""
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate.startswith(("08", "57P0"))


def _unreachable(error: psycopg.Error) -> SealpointError:
    """Why there is no connection. libpq gives no code for it, so the hint goes by the words of its message; the error is the same."""
    if isinstance(error, psycopg_pool.PoolClosed):
        return InvalidArgumentError("invalid_argument", "the key store's pool is not open: open it first, and keep it open")
    if isinstance(error, (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)):
        return StoreError("store_unavailable", "the key store's pool has no connection to give: it is too small, or cannot make any")
    for seen, hint in _UNREACHABLE:
        if seen in str(error):
            return StoreError("store_unavailable", f"the key store cannot be reached: {hint}")
    return StoreError("store_unavailable", "the key store cannot be reached: check address and network, and that the server runs")


_UNREACHABLE = (
    ("authentication failed", "the server refuses user and password"),
    ("no password supplied", "the server wants a password"),
    ("pg_hba.conf", "the server does not admit this user, database or address"),
    ("does not exist", "the server knows no such database or user"),
    ("too many", "the server has no connection left"),
    ("remaining connection slots", "the server has no connection left"),
    ("timeout", "no answer in time"),
    ("unsupported startup parameter", "a pooler refuses an option of the DSN: name the schema with schema= instead"),
    ("starting up", "the server is starting: try again"),
)


def _typed(error: psycopg.Error) -> StoreError:
    state = error.sqlstate or ""
    for prefix, code, message in _FAILURES:
        if state.startswith(prefix):
            return StoreError(code, message)
    if _was_lost(error):
        return StoreError("store_unavailable", "the connection to the key store was lost: try again")
    code = "store_unavailable" if isinstance(error, psycopg.OperationalError) else "store_invalid"
    return StoreError(code, f"the key store failed: {f'SQLSTATE {state}' if state else type(error).__name__}")


_FAILURES = (
    ("42P01", "store_invalid", NOT_SET_UP),
    ("3F000", "store_invalid", "the schema of the key store does not exist: create it, or name another"),
    ("42501", "store_unavailable", "this user may not do that in the key store: docs/OPERATIONS.md lists the privileges to grant"),
    ("42", "store_invalid", "the key store has tables of another shape: they were not made by sealpoint"),
    ("25006", "store_unavailable", "the key store is read-only (a replica?), and this call has to write"),
    ("23505", "store_unavailable", "the key store was changed by another process at the same moment: try again"),
    ("57014", "store_unavailable", "the key store did not finish in time, or is locked: try again"),
    ("40", "store_unavailable", "the key store was changed by another process at the same moment: try again"),
    ("53", "store_unavailable", "the server of the key store is out of disk, memory or connections"),
    ("XX", "store_invalid", "the key store is corrupt: restore it from a backup"),
)
"""SQLSTATE prefixes, the first that fits; the rest by their class."""
