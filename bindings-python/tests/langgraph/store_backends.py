"""Real stores behind one small interface: a scenario is written once and runs sync and async, bare and sealed. `read` and `write` are the
attacker's: they go to the rows, past every store."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import aiosqlite
import psycopg
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from langgraph.store.sqlite import AsyncSqliteStore, SqliteStore
from psycopg.types.json import Jsonb

# Vectors need a SQLite that loads extensions, which some Pythons' own does not.
extensible: Any = sqlite3 if hasattr(sqlite3.Connection, "enable_load_extension") else import_module("pysqlite3")

Wrap = Callable[[BaseStore], Any]
Namespace = tuple[str, ...]


class Letters(Embeddings):
    """A deterministic embedding: how often each letter occurs. Remembers what it was given."""

    dims = 26

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.seen += texts
        return [[0.01 + text.lower().count(chr(ord("a") + at)) for at in range(self.dims)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class StoreBackend:
    """`opened` gives a new store over the same data."""

    def __init__(self, path: Path, dsn: str | None) -> None:
        self.path, self.dsn = path, dsn or ""

    @contextmanager
    def opened(self, wrap: Wrap, **options: Any) -> Iterator[Any]:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def call(self, store: Any, method: str, *args: Any, **options: Any) -> Any:
        return getattr(store, method)(*args, **options)

    def run(self, work: Any) -> Any:
        """What a `setup()` returned."""
        return work

    def read(self, namespace: Namespace, key: str) -> Any:
        raise NotImplementedError

    def write(self, namespace: Namespace, key: str, value: Any) -> None:
        raise NotImplementedError

    def move(self, namespace: Namespace, key: str, to_namespace: Namespace, to_key: str) -> None:
        self.write(to_namespace, to_key, self.read(namespace, key))


class AsyncStoreBackend(StoreBackend):
    def __init__(self, path: Path, dsn: str | None) -> None:
        super().__init__(path, dsn)
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.loop.close()

    def call(self, store: Any, method: str, *args: Any, **options: Any) -> Any:
        return self.loop.run_until_complete(getattr(store, f"a{method}")(*args, **options))

    def run(self, work: Any) -> Any:
        return work if work is None else self.loop.run_until_complete(work)

    @contextmanager
    def entered(self, context: Any) -> Iterator[Any]:
        async def enter() -> Any:  # the store asks for the running loop when it is made
            return await context.__aenter__()

        inner = self.loop.run_until_complete(enter())
        try:
            yield inner
        finally:
            self.loop.run_until_complete(context.__aexit__(None, None, None))


class Memory(StoreBackend):
    inner: InMemoryStore | None = None

    @contextmanager
    def opened(self, wrap: Wrap, **options: Any) -> Iterator[Any]:
        self.inner = self.inner or InMemoryStore(**options)
        yield wrap(self.inner)

    def read(self, namespace: Namespace, key: str) -> Any:
        return dict(self.inner._data[namespace][key].value)  # type: ignore[union-attr]

    def write(self, namespace: Namespace, key: str, value: Any) -> None:
        self.inner.put(namespace, key, {}, index=False)  # type: ignore[union-attr]
        self.inner._data[namespace][key].value = value  # type: ignore[union-attr]


class AsyncMemory(AsyncStoreBackend, Memory):
    pass


class SqliteRows(StoreBackend):
    def read(self, namespace: Namespace, key: str) -> Any:
        with closing(sqlite3.connect(self.path)) as db:
            (value,) = db.execute("SELECT value FROM store WHERE prefix = ? AND key = ?", (".".join(namespace), key)).fetchone()
        return json.loads(value)

    def write(self, namespace: Namespace, key: str, value: Any) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            place = (".".join(namespace), key, json.dumps(value))
            db.execute("INSERT OR REPLACE INTO store (prefix, key, value) VALUES (?, ?, ?)", place)


class Sqlite(SqliteRows):
    @contextmanager
    def opened(self, wrap: Wrap, **options: Any) -> Iterator[Any]:
        with closing(extensible.connect(str(self.path), check_same_thread=False, isolation_level=None)) as connection:
            inner = SqliteStore(connection, **options)
            inner.setup()
            yield wrap(inner)


class AsyncSqlite(AsyncStoreBackend, SqliteRows):
    @contextmanager
    def opened(self, wrap: Wrap, **options: Any) -> Iterator[Any]:
        with self.entered(self.connected(**options)) as inner:
            self.run(inner.setup())
            yield wrap(inner)

    @asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[AsyncSqliteStore]:
        async with aiosqlite.Connection(lambda: extensible.connect(str(self.path), isolation_level=None), 64) as connection:
            yield AsyncSqliteStore(connection, **options)


class PostgresRows(StoreBackend):
    def read(self, namespace: Namespace, key: str) -> Any:
        with psycopg.connect(self.dsn) as db:
            row = db.execute("SELECT value FROM store WHERE prefix = %s AND key = %s", (".".join(namespace), key)).fetchone()
        assert row is not None
        return row[0]

    def write(self, namespace: Namespace, key: str, value: Any) -> None:
        with psycopg.connect(self.dsn) as db:
            db.execute(
                "INSERT INTO store (prefix, key, value) VALUES (%s, %s, %s) ON CONFLICT (prefix, key) DO UPDATE SET value = EXCLUDED.value",
                (".".join(namespace), key, Jsonb(value)),
            )


class Postgres(PostgresRows):
    @contextmanager
    def opened(self, wrap: Wrap, **options: Any) -> Iterator[Any]:
        with PostgresStore.from_conn_string(self.dsn, **options) as inner:
            inner.setup()
            yield wrap(inner)


class AsyncPostgres(AsyncStoreBackend, PostgresRows):
    @contextmanager
    def opened(self, wrap: Wrap, **options: Any) -> Iterator[Any]:
        with self.entered(AsyncPostgresStore.from_conn_string(self.dsn, **options)) as inner:
            self.run(inner.setup())
            yield wrap(inner)


STORE_BACKENDS = (Memory, AsyncMemory, Sqlite, AsyncSqlite, Postgres, AsyncPostgres)
