"""Real savers behind one small interface, so that a scenario is written once and runs sync and async, bare and sealed."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

Wrap = Callable[[BaseCheckpointSaver[Any]], BaseCheckpointSaver[Any]]


class Backend:
    """`opened` gives a new saver over the same data. The methods call a graph through its sync or its async half."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[BaseCheckpointSaver[Any]]:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def invoke(self, graph: Any, value: Any, config: Any, *, durability: str = "sync") -> Any:
        """With LangGraph's default durability a saver serializes in the background what the next step is already changing (the set of
        a barrier, say): two runs over one and the same saver then differ now and again."""
        return graph.invoke(value, config, durability=durability)

    def state(self, graph: Any, config: Any, **options: Any) -> Any:
        return graph.get_state(config, **options)

    def history(self, graph: Any, config: Any, **options: Any) -> list[Any]:
        return list(graph.get_state_history(config, **options))

    def update(self, graph: Any, config: Any, values: Any, **options: Any) -> Any:
        return graph.update_state(config, values, **options)


class Memory(Backend):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.inner = InMemorySaver()

    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[BaseCheckpointSaver[Any]]:
        yield wrap(self.inner)


class Sqlite(Backend):
    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[BaseCheckpointSaver[Any]]:
        with SqliteSaver.from_conn_string(str(self.path)) as inner:
            yield wrap(inner)


class AsyncBackend(Backend):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.loop.close()

    def invoke(self, graph: Any, value: Any, config: Any, *, durability: str = "sync") -> Any:
        return self.loop.run_until_complete(graph.ainvoke(value, config, durability=durability))

    def state(self, graph: Any, config: Any, **options: Any) -> Any:
        return self.loop.run_until_complete(graph.aget_state(config, **options))

    def history(self, graph: Any, config: Any, **options: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [state async for state in graph.aget_state_history(config, **options)]

        return self.loop.run_until_complete(collect())

    def update(self, graph: Any, config: Any, values: Any, **options: Any) -> Any:
        return self.loop.run_until_complete(graph.aupdate_state(config, values, **options))


class AsyncMemory(AsyncBackend, Memory):
    def __init__(self, path: Path) -> None:
        super().__init__(path)


class AsyncSqlite(AsyncBackend):
    @contextmanager
    def opened(self, wrap: Wrap) -> Iterator[BaseCheckpointSaver[Any]]:
        context = AsyncSqliteSaver.from_conn_string(str(self.path))
        inner = self.loop.run_until_complete(context.__aenter__())
        try:
            yield wrap(inner)
        finally:
            self.loop.run_until_complete(context.__aexit__(None, None, None))


BACKENDS = (Memory, AsyncMemory, Sqlite, AsyncSqlite)


def stored_bytes(path: Path) -> bytes:
    """Every byte that SQLite keeps, its write-ahead log included."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


def database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)
