"""LangGraph's own conformance suite, wrapped against bare, test by test."""

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mongomock
import psycopg
import pytest
import redis
from backends import (
    AsyncBackend,
    AsyncMemory,
    AsyncPostgres,
    AsyncRedis,
    AsyncShallowPostgres,
    AsyncShallowRedis,
    AsyncSqlite,
    AsyncUnseen,
    Backend,
    FakeMongo,
    Home,
    Saver,
    Wrap,
)
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import ProgressCallbacks
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.mongodb import MongoDBSaver
from unseen import UnseenSaver

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, fixed


class WholeMemorySaver(InMemorySaver):
    """An in-memory saver with the optional capabilities too."""

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self.storage[target_thread_id] = copy.deepcopy(self.storage[source_thread_id])
        for place, value in [(place, value) for place, value in self.blobs.items() if place[0] == source_thread_id]:
            self.blobs[(target_thread_id, *place[1:])] = value
        for at, writes in [(at, writes) for at, writes in self.writes.items() if at[0] == source_thread_id]:
            self.writes[(target_thread_id, *at[1:])] = dict(writes)

    async def adelete_for_runs(self, run_ids: Any) -> None:
        for thread_id, namespaces in self.storage.items():
            for ns, rows in namespaces.items():
                for checkpoint_id in [key for key, row in rows.items() if self.serde.loads_typed(row[1]).get("run_id") in run_ids]:
                    del rows[checkpoint_id]
                    self.writes.pop((thread_id, ns, checkpoint_id), None)

    async def aprune(self, thread_ids: Any, *, strategy: str = "keep_latest") -> None:
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
                continue
            for ns, rows in self.storage.get(thread_id, {}).items():
                for checkpoint_id in sorted(rows)[:-1]:
                    del rows[checkpoint_id]
                    self.writes.pop((thread_id, ns, checkpoint_id), None)
                rows.update({key: (*row[:2], None) for key, row in rows.items()})


class WholeMemory(AsyncMemory):
    pass


@asynccontextmanager
async def emptied(kind: type[Backend], place: str) -> AsyncIterator[Saver]:
    """A saver with nothing in it, as the suite wants one for each capability."""
    if kind is WholeMemory:
        yield WholeMemorySaver()
    elif kind is AsyncMemory:
        yield InMemorySaver()
    elif kind is FakeMongo:
        yield MongoDBSaver(mongomock.MongoClient())
    elif kind is AsyncUnseen:
        Path(place).unlink(missing_ok=True)
        yield UnseenSaver(place)
    else:
        if kind.home is Home.postgres:
            with psycopg.connect(place, autocommit=True) as connection:
                connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        elif kind.home is Home.redis:
            redis.Redis.from_url(place).flushall()
        else:
            Path(place).unlink(missing_ok=True)
        assert issubclass(kind, AsyncBackend)
        async with kind.asaver(place) as saver:
            await saver.setup()
            yield saver


def outcomes(kind: type[Backend], place: str, wrap: Wrap) -> dict[str, Any]:
    tests: dict[str, bool] = {}

    @checkpointer_test(name="saver")
    async def factory() -> AsyncGenerator[Saver, None]:
        async with emptied(kind, place) as saver:
            yield wrap(saver)

    def remember(capability: str, name: str, passed: bool, *_: object) -> None:
        tests[f"{capability}:{name}"] = passed

    report = asyncio.run(validate(factory, progress=ProgressCallbacks(on_test_result=remember)))
    return {**{name: result.detected for name, result in report.results.items()}, **tests}


# How many tests and detected capabilities are expected to be true, so that a suite which runs nothing is seen.
KINDS: dict[type[Backend], int] = {
    AsyncMemory: 63,
    WholeMemory: 89,
    AsyncSqlite: 63,
    AsyncPostgres: 72,
    AsyncShallowPostgres: 41,
    AsyncRedis: 65,
    AsyncShallowRedis: 50,
    FakeMongo: 63,
    AsyncUnseen: 63,
}
# Redis' savers do not filter on what they do not index, and one of them lists summaries only.
BETTER: dict[type[Backend], set[str]] = {
    AsyncRedis: {"list:test_list_metadata_custom_keys"},
    AsyncShallowRedis: {"list:test_list_includes_pending_writes"},
}


@pytest.mark.parametrize(("kind", "passed"), KINDS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_wrapped_conforms_like_bare(kind: type[Backend], passed: int, keyring: Keyring, make_backend: Any) -> None:
    place = make_backend(kind).place
    bare = outcomes(kind, place, lambda saver: saver)
    wrapped = outcomes(kind, place, lambda saver: SealedSaver(saver, keyring, tenant=fixed("acme")))
    assert sum(value is True for value in bare.values()) == passed
    better = BETTER.get(kind, set())
    assert {name: value for name, value in wrapped.items() if bare.get(name) is not value} == dict.fromkeys(better, True)
    assert wrapped.keys() == bare.keys()
