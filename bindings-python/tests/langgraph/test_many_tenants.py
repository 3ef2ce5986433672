"""Twenty tenants at once in one process, in threads and in tasks, over the same savers, stores and caches: nobody meets another's data."""

import asyncio
import operator
import os
import random
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import psycopg
import pytest
from backends import stored_bytes
from langchain_core.runnables import RunnableConfig
from langgraph.cache.sqlite import SqliteCache
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from langgraph.types import CachePolicy, Send
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from support import FakeKms, ready

from sealpoint import Keyring
from sealpoint.errors import SealpointError
from sealpoint.langgraph import SealedCache, SealedSaver, SealedStore, from_config, tenant_scope

TENANTS = 20
ROUNDS = 25 if os.environ.get("SEALPOINT_SOAK") == "1" else 3
"""Of each tenant over each of the four savers: 240 runs, or 2,000."""

REFUSALS = {"authentication_failed", "key_not_found"}
SOURCE = from_config("workspace_id")


class State(TypedDict, total=False):
    question: str
    answer: str
    found: list[str]
    log: Annotated[list[str], operator.add]


class Question(TypedDict):
    question: str


def word(tenant: str) -> str:
    return f"canary-{tenant}-word"


def words(value: object) -> set[str]:
    return set(re.findall(r"canary-tenant-\d+-word", repr(value)))


def config(tenant: str, thread: str) -> Any:
    return {"configurable": {"thread_id": thread, "workspace_id": tenant, "private": word(tenant)}}


def tenant_of(given: RunnableConfig) -> str:
    return str(given["configurable"]["workspace_id"])


def graph_of(saver: Any, store: Any, cache: Any, asynchronous: bool) -> Any:
    """A cached node, whose input is the same for all tenants; one that remembers and recalls; and a fan of parallel ones."""

    def answer(state: Question, config: RunnableConfig) -> State:
        return {"answer": word(tenant_of(config))}

    def remember(state: State, config: RunnableConfig, runtime: Runtime[None]) -> State:
        assert runtime.store is not None
        here, item = (tenant_of(config), "facts"), {"word": word(tenant_of(config))}
        runtime.store.put(here, config["configurable"]["thread_id"], item)
        return {"found": [found.value["word"] for found in runtime.store.search(here)]}

    async def aremember(state: State, config: RunnableConfig, runtime: Runtime[None]) -> State:
        assert runtime.store is not None
        here, item = (tenant_of(config), "facts"), {"word": word(tenant_of(config))}
        await runtime.store.aput(here, config["configurable"]["thread_id"], item)
        return {"found": [found.value["word"] for found in await runtime.store.asearch(here)]}

    def parallel(state: Any, config: RunnableConfig) -> State:
        assert words(state) <= {word(tenant_of(config))}
        return {"log": [f"{word(tenant_of(config))} {state['number']}"]}

    builder = StateGraph(State)
    builder.add_node("cached", answer, input_schema=Question, cache_policy=CachePolicy(ttl=600))
    builder.add_node("remember", aremember if asynchronous else remember)
    builder.add_node("parallel", parallel)
    builder.add_edge(START, "cached")
    builder.add_edge("cached", "remember")
    builder.add_conditional_edges(
        "remember", lambda state: [Send("parallel", {"number": number, "seen": state["answer"]}) for number in range(3)], ["parallel"]
    )
    return builder.compile(checkpointer=saver, store=store, cache=cache)


class Place(NamedTuple):
    """Where runs go. `thread` differs for each, so that a thread has one run at a time."""

    name: str
    graph: Any
    saver: SealedSaver
    store: SealedStore

    def thread(self, tenant: str) -> str:
        return f"{self.name} {tenant}"


class Counts:
    """What was done, over all threads; and the clock of the keys, which the runs themselves move."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring, self.of, self.lock = keyring, Counter[str](), threading.Lock()

    def ran(self, result: Any, tenant: str, round: int) -> None:
        assert words(result) == {word(tenant)}
        assert len(result["log"]) == 3 * (round + 1)
        with self.lock:
            self.of["runs"] += 1
            if self.of["runs"] % 20 == 0:  # all keys expire, whoever is using them
                self.keyring._cache._advance(6)

    def refused(self, error: BaseException | None) -> None:
        assert isinstance(error, SealpointError)
        assert error.code in REFUSALS
        assert not words(str(error))
        with self.lock:
            self.of["refused"] += 1


def stranger_to(number: int, round: int) -> str:
    return f"tenant-{(number + 1 + round % (TENANTS - 1)) % TENANTS}"


def in_thread(place: Place, number: int, counts: Counts) -> None:
    tenant = f"tenant-{number}"
    here, foreign = place.thread(tenant), random.Random(number)
    for round in range(ROUNDS):
        with tenant_scope(tenant):
            counts.ran(place.graph.invoke({"question": "same"}, config(tenant, here)), tenant, round)
        other = stranger_to(number, round)
        call = foreign.choice([lambda at: place.graph.invoke({"question": "same"}, at), place.graph.get_state, place.saver.get_tuple])
        with tenant_scope(other), pytest.raises(SealpointError) as caught:
            call(config(other, here))
        counts.refused(caught.value)
        with tenant_scope(other), pytest.raises(SealpointError) as caught:
            place.store.get((tenant, "facts"), here)
        counts.refused(caught.value)


async def in_task(place: Place, number: int, counts: Counts) -> None:
    tenant = f"tenant-{number}"
    here, foreign = place.thread(tenant), random.Random(number)
    for round in range(ROUNDS):
        with tenant_scope(tenant):
            counts.ran(await place.graph.ainvoke({"question": "same"}, config(tenant, here)), tenant, round)
        other = stranger_to(number, round)
        call = foreign.choice([lambda at: place.graph.ainvoke({"question": "same"}, at), place.graph.aget_state, place.saver.aget_tuple])
        with tenant_scope(other), pytest.raises(SealpointError) as caught:
            await call(config(other, here))
        counts.refused(caught.value)
        with tenant_scope(other), pytest.raises(SealpointError) as caught:
            await place.store.aget((tenant, "facts"), here)
        counts.refused(caught.value)


def place_of(name: str, saver: Any, store: Any, cache: Any, keyring: Keyring) -> Place:
    sealed, items = SealedSaver(saver, keyring, tenant=SOURCE), SealedStore(store, keyring, tenant=SOURCE)
    graph = graph_of(sealed, items, SealedCache(cache, keyring, tenant=SOURCE), name.startswith("async"))
    return Place(name, graph, sealed, items)


POOL: dict[str, Any] = {"kwargs": {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}, "min_size": 2, "max_size": 4}


@pytest.fixture
def sync_places(tmp_path: Path, postgres: str, cold: Keyring) -> Iterator[list[Place]]:
    with ExitStack() as stack:
        files = [
            stack.enter_context(closing(sqlite3.connect(tmp_path / name, check_same_thread=False, isolation_level=None, timeout=60)))
            for name in ("state.db", "store.db")
        ]
        pool = stack.enter_context(ConnectionPool(postgres, **POOL))
        found = [
            place_of("sqlite", SqliteSaver(files[0]), SqliteStore(files[1]), SqliteCache(path=str(tmp_path / "cache.db")), cold),
            place_of("postgres", PostgresSaver(pool), PostgresStore(pool), SqliteCache(path=str(tmp_path / "cache.db")), cold),
        ]
        for place in found:
            place.saver.setup()
            place.store.setup()
        yield found


async def tasks(tmp_path: Path, dsn: str, keyring: Keyring, counts: Counts) -> None:
    async with AsyncExitStack() as stack:
        saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(tmp_path / "state.db")))
        store = await stack.enter_async_context(AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")))
        for connection in (saver.conn, store.conn):
            await connection.execute("PRAGMA busy_timeout = 60000")
        pool = await stack.enter_async_context(AsyncConnectionPool(dsn, open=False, **POOL))
        cache = SqliteCache(path=str(tmp_path / "cache.db"))
        places = [
            place_of("async sqlite", saver, store, cache, keyring),
            place_of("async postgres", AsyncPostgresSaver(pool), AsyncPostgresStore(pool), cache, keyring),
        ]
        await asyncio.gather(*(in_task(place, number, counts) for number in range(TENANTS) for place in places))


@pytest.fixture
def cold(tmp_path: Path, kms: FakeKms) -> Iterator[Keyring]:
    """No tenant is known yet; a key that is opened is held for five seconds of a clock that the runs move."""
    with ready(f"sqlite:///{tmp_path / 'keys.db'}", kms, cache_ttl=5) as keyring:
        kms.calls.clear()
        yield keyring


@pytest.mark.soak
def test_twenty_tenants_at_once(sync_places: list[Place], cold: Keyring, kms: FakeKms, postgres: str, tmp_path: Path) -> None:
    counts = Counts(cold)
    with ThreadPoolExecutor(9) as pool:
        async_half = pool.submit(lambda: asyncio.run(tasks(tmp_path, postgres, cold, counts)))
        sync_half = [pool.submit(in_thread, place, number, counts) for number in range(TENANTS) for place in sync_places]
        for done in (*sync_half, async_half):
            done.result()
    assert counts.of["runs"] == TENANTS * ROUNDS * 4
    assert counts.of["refused"] == 2 * counts.of["runs"]
    assert kms.calls["wrap"] == TENANTS
    assert kms.calls["unwrap"] >= TENANTS * ROUNDS / 5
    rows = afterwards(sync_places, postgres, tmp_path)
    print(
        f"\n{TENANTS} tenants: {counts.of['runs']} runs, {counts.of['refused']} refused, {kms.calls['unwrap']} unwraps, {rows} rows opened"
    )


def afterwards(places: list[Place], dsn: str, folder: Path) -> int:
    """Every checkpoint opens for its owner, with the owner's word alone; each tenant's newest one, and its items, for nobody else."""
    rows, names = 0, [f"tenant-{number}" for number in range(TENANTS)]
    for place, owner in product(places, names):
        for thread in (place.thread(owner), f"async {place.thread(owner)}"):
            found = list(place.saver.list(config(owner, thread)))
            assert words(found) == {word(owner)}
            rows += len(found)
            for other in names:
                read = partial(place.saver.get_tuple, config(other, thread))
                recall = partial(place.store.search, (owner, "facts"), limit=100)
                for call in (read, recall):
                    with tenant_scope(other):
                        if other == owner:
                            assert words(call()) == {word(owner)}
                            continue
                        with pytest.raises(SealpointError) as caught:
                            call()
                        assert caught.value.code in REFUSALS
    with closing(sqlite3.connect(folder / "cache.db")) as cache:
        assert cache.execute("SELECT count(DISTINCT ns) FROM cache").fetchone() == (TENANTS,)
    for name in ("state.db", "store.db", "cache.db"):
        assert b"canary" not in stored_bytes(folder / name)
    readable = "SELECT count(*), count(*) FILTER (WHERE row_to_json(t)::text ~ 'canary|63616e617279') FROM {} AS t"
    with psycopg.connect(dsn) as db:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "store"):
            ((count, canaries),) = db.execute(sql.SQL(readable).format(sql.Identifier(table))).fetchall()
            assert (count > 0, canaries) == (True, 0)
    return rows
