"""Real savers behind one small interface, so that a scenario is written once and runs sync and async, bare and sealed.

MongoDB is the exception: `FakeMongo` is the real `MongoDBSaver` over mongomock, which imitates the database.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import mongomock
import pytest
import redis
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.mongodb import MongoDBSaver
from langgraph.checkpoint.postgres import PostgresSaver, ShallowPostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.postgres.shallow import AsyncShallowPostgresSaver
from langgraph.checkpoint.redis import RedisSaver, ShallowRedisSaver
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from mongomock.collection import BulkOperationBuilder
from postgres import new_schema
from unseen import UnseenSaver

Saver = BaseCheckpointSaver[Any]
Wrap = Callable[[Saver], Saver]


class Home:
    """Where backends keep their data. `new` gives the place of a new, empty one, and takes it away afterwards."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.request, self.folder = request, folder

    @contextmanager
    def file(self, name: str) -> Iterator[str]:
        yield str(self.folder / f"{name}.db")

    @contextmanager
    def postgres(self, _: str) -> Iterator[str]:
        with new_schema(self.request.getfixturevalue("postgres_shared")) as dsn:
            yield dsn

    @contextmanager
    def redis(self, _: str) -> Iterator[str]:
        """Search indexes exist in one database of a server only: a new place empties the one before."""
        url = os.environ.get("SEALPOINT_TEST_REDIS") or self.request.getfixturevalue("redis_server").url
        redis.Redis.from_url(url).flushall()
        yield url


class Backend:
    """`opened` gives a new saver over the same data. The methods call a graph through its sync or its async half."""

    home: Callable[[Home, str], AbstractContextManager[str]] = Home.file
    saver: Callable[[str], AbstractContextManager[Any]]
    history_kept = True
    """False: the saver keeps a thread's latest checkpoint only."""
    write_order_kept = True
    """False: the writes of parallel tasks come back in the order in which they happened to arrive, or in none."""

    def __init__(self, place: str) -> None:
        self.place = place

    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[Saver]:
        with self.saver(self.place) as inner:
            if setup := getattr(inner, "setup", None):
                setup()
            yield wrap(inner)

    def close(self) -> None:
        pass

    def run(self, graph: Any, method: str, *args: Any, **options: Any) -> Any:
        """A method of a graph or of a saver, by the name of its sync half; an iterator becomes a list."""
        found = getattr(graph, method)(*args, **options)
        return list(found) if isinstance(found, Iterator) else found

    def invoke(self, graph: Any, value: Any, config: Any, *, durability: str = "sync") -> Any:
        """With LangGraph's default durability a saver serializes in the background what the next step is already changing (the set of
        a barrier, say): two runs over one and the same saver then differ now and again."""
        return self.run(graph, "invoke", value, config, durability=durability)

    def state(self, graph: Any, config: Any, **options: Any) -> Any:
        return self.run(graph, "get_state", config, **options)

    def history(self, graph: Any, config: Any, **options: Any) -> list[Any]:
        return list(self.run(graph, "get_state_history", config, **options))

    def update(self, graph: Any, config: Any, values: Any, **options: Any) -> Any:
        return self.run(graph, "update_state", config, values, **options)


class Memory(Backend):
    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.inner = InMemorySaver()

    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[Saver]:
        yield wrap(self.inner)


class Sqlite(Backend):
    saver = SqliteSaver.from_conn_string


class Postgres(Backend):
    home = Home.postgres
    saver = PostgresSaver.from_conn_string


class ShallowPostgres(Postgres):
    saver = ShallowPostgresSaver.from_conn_string
    history_kept = False


class Redis(Backend):
    home = Home.redis
    write_order_kept = False
    saver = RedisSaver.from_conn_string


class ShallowRedis(Redis):
    saver = ShallowRedisSaver.from_conn_string
    history_kept = False


_add_update = BulkOperationBuilder.add_update


def _add_update_of_newer_drivers(self: Any, *args: Any, sort: None = None, **options: Any) -> None:
    """mongomock does not know an option that the driver always passes."""
    assert sort is None
    _add_update(self, *args, **options)


BulkOperationBuilder.add_update = _add_update_of_newer_drivers


class FakeMongo(Backend):
    """The real saver, a fake database."""

    write_order_kept = False

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.client: Any = mongomock.MongoClient()

    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[Saver]:
        yield wrap(MongoDBSaver(self.client))


class Unseen(Backend):
    """A saver that the project knows nothing of."""

    saver = UnseenSaver.opened


class AsyncBackend(Backend):
    asaver: Callable[[str], AbstractAsyncContextManager[Any]]

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.loop = asyncio.new_event_loop()

    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[Saver]:
        async def enter() -> Any:
            inner = await context.__aenter__()
            if setup := getattr(inner, "setup", None):
                await setup()
            return inner

        async def make() -> AbstractAsyncContextManager[Any]:
            return self.asaver(self.place)

        context = self.loop.run_until_complete(make())
        inner = self.loop.run_until_complete(enter())
        try:
            yield wrap(inner)
        finally:
            self.loop.run_until_complete(context.__aexit__(None, None, None))

    def close(self) -> None:
        self.loop.close()

    def run(self, graph: Any, method: str, *args: Any, **options: Any) -> Any:
        async def run() -> Any:
            found = getattr(graph, f"a{method}")(*args, **options)
            return [item async for item in found] if hasattr(found, "__aiter__") else await found

        return self.loop.run_until_complete(run())


class AsyncMemory(AsyncBackend, Memory):
    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[Saver]:
        yield wrap(self.inner)


class AsyncSqlite(AsyncBackend):
    asaver = AsyncSqliteSaver.from_conn_string


class AsyncPostgres(AsyncBackend):
    home = Home.postgres
    asaver = AsyncPostgresSaver.from_conn_string


class AsyncShallowPostgres(AsyncPostgres):
    asaver = AsyncShallowPostgresSaver.from_conn_string
    history_kept = False


class AsyncRedis(AsyncBackend):
    home = Home.redis
    write_order_kept = False
    asaver = AsyncRedisSaver.from_conn_string


class AsyncShallowRedis(AsyncRedis):
    asaver = AsyncShallowRedisSaver.from_conn_string
    history_kept = False


class AsyncUnseen(AsyncBackend, Unseen):
    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[Saver]:
        with Unseen.opened(self, wrap) as saver:
            yield saver


BACKENDS: tuple[type[Backend], ...] = (
    Memory,
    AsyncMemory,
    Sqlite,
    AsyncSqlite,
    Postgres,
    AsyncPostgres,
    ShallowPostgres,
    AsyncShallowPostgres,
    Redis,
    AsyncRedis,
    ShallowRedis,
    AsyncShallowRedis,
    FakeMongo,
    Unseen,
    AsyncUnseen,
)


def stored_bytes(path: Path | str) -> bytes:
    """Every byte that SQLite keeps, its write-ahead log included."""
    path = Path(path)
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


def database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)
