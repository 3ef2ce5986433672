"""Every byte that a database keeps is searched for what the application put in."""

import base64
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

import bson
import psycopg
import psycopg.sql
import pytest
import redis_server
from backends import (
    AsyncBackend,
    AsyncPostgres,
    AsyncRedis,
    AsyncShallowPostgres,
    AsyncShallowRedis,
    AsyncSqlite,
    Backend,
    FakeMongo,
    Home,
    Postgres,
    ShallowPostgres,
    ShallowRedis,
    Sqlite,
    Unseen,
    stored_bytes,
)
from backends import Redis as RedisBackend
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from postgres import Server
from pydantic import BaseModel
from redis_server import Redis

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, from_config

TEXT = [
    "CANARY-channel",
    "CANARY-message",
    "CANARY-nested",
    "CANARY-bytes",
    "CANARY-metadata",
    "CANARY-configurable",
    "CANARY-update",
    "CANARY-interrupt",
    "CANARY-resume",
    "CANARY-write",
    "CANARY-send",
    "CANARY-delta",
    "CANARY-task",
    "CANARY-entry",
    "CANARY-result",
    "CANARY-saved",
    "CANARY-error",
    "CANARY-pydantic",
]
INTEGER, CONFIGURED_INTEGER = 0x1CED_C0FF_EE15_900D, 7_263_548_190_273
FLOAT = -123456.789012345


def in_base64(text: bytes) -> list[bytes]:
    """What is the same in each base64 that has the text somewhere within."""
    return [base64.b64encode(b"\0" * shift + text)[4 * (shift > 0) :].rstrip(b"=")[:-2] for shift in range(3)]


def in_jsonb(digits: str, first: int | None = None) -> bytes:
    """The digits as Postgres' numbers have them, in groups of four."""
    first = first or len(digits) % 4 or 4
    groups = [digits[:first], *(digits[at : at + 4] for at in range(first, len(digits), 4))]
    return b"".join(struct.pack("<h", int(group)) for group in groups)


CANARIES: dict[str, list[bytes]] = {
    **{text: [text.encode(), text.encode("utf-16-le"), *in_base64(text.encode())] for text in TEXT},
    "integer": [struct.pack(">q", INTEGER), str(INTEGER).encode(), in_jsonb(str(INTEGER))],
    "configured integer": [struct.pack(">q", CONFIGURED_INTEGER), str(CONFIGURED_INTEGER).encode(), in_jsonb(str(CONFIGURED_INTEGER))],
    "float": [struct.pack(">d", FLOAT), repr(FLOAT).encode(), in_jsonb("123456789012345000", 2)],
}
NOT_KEPT_BY_REDIS = {"CANARY-metadata", "CANARY-configurable", "configured integer", "CANARY-error"}
"""These savers do not store the config's metadata, nor what an error says."""


class Card(BaseModel):
    number: str


class State(TypedDict, total=False):
    text: str
    nothing: str | None
    card: Card
    integer: int
    number: float
    flag: bool
    messages: Annotated[list[AnyMessage], add_messages]
    nested: dict[str, Any]
    data: bytes
    log: Annotated[
        list[str], DeltaChannel(lambda state, writes: [*(state or []), *(item for write in writes for item in write)], snapshot_frequency=2)
    ]


def graph(saver: Any) -> Any:
    def first(state: State) -> Any:
        return {
            "messages": [AIMessage("CANARY-message", id="m")],
            "nested": {"a": ["CANARY-nested"]},
            "card": Card(number="CANARY-pydantic"),
            "log": ["CANARY-delta"],
        }

    def second(state: State) -> Any:
        return {"text": "CANARY-write " + interrupt({"question": "CANARY-interrupt"}), "log": ["CANARY-delta"]}

    def failing(state: State) -> Any:
        raise ValueError("CANARY-error")

    builder = StateGraph(State)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_node("sent", lambda state: {})
    builder.add_node("failing", failing)
    builder.add_edge(START, "first")
    builder.add_conditional_edges("first", lambda state: [Send("sent", {"text": "CANARY-send"}), "second"], ["sent", "second"])
    builder.add_edge("second", "failing")
    return builder.compile(checkpointer=saver)


def workflow(saver: Any, asynchronous: bool) -> Any:
    @task
    def work(text: str) -> str:
        return f"CANARY-task {text}"

    @entrypoint(checkpointer=saver)
    def run(text: str) -> Any:
        return entrypoint.final(value="CANARY-result" + work(text).result(), save="CANARY-saved")

    @task
    async def awork(text: str) -> str:
        return f"CANARY-task {text}"

    @entrypoint(checkpointer=saver)
    async def arun(text: str) -> Any:
        return entrypoint.final(value="CANARY-result" + await awork(text), save="CANARY-saved")

    return arun if asynchronous else run


class FilledServer(Server):
    untouched: dict[Path, bytes]


def exercise(backend: Backend, wrap: Any) -> None:
    configurable = {"workspace_id": "acme", "api_token": "CANARY-configurable", "account": CONFIGURED_INTEGER}

    def config(thread: str) -> Any:
        return {"configurable": {"thread_id": thread, **configurable}, "metadata": {"customer": "CANARY-metadata"}}

    with backend.opened(wrap) as saver:
        compiled = graph(saver)
        given = {
            "text": "CANARY-channel",
            "integer": INTEGER,
            "number": FLOAT,
            "flag": True,
            "nothing": None,
            "data": b"CANARY-bytes",
            "log": [],
        }
        backend.invoke(compiled, given, config("t"))
        with pytest.raises(ValueError):
            backend.invoke(compiled, Command(resume="CANARY-resume"), config("t"))
        backend.update(compiled, config("t"), {"text": "CANARY-update"}, as_node="first")
        backend.invoke(workflow(saver, isinstance(backend, AsyncBackend)), "CANARY-entry", config("f"))


def stored_in_files(backend: Backend, _: Any) -> bytes:
    return stored_bytes(backend.place)


def stored_in_postgres(backend: Backend, server: FilledServer) -> bytes:
    """The data directory, write-ahead log included, but for the files that are as they were before anything was put in."""
    return b"\n".join(content for path, content in server.files() if server.untouched.get(path) != content)


def stored_in_redis(backend: Backend, server: Redis) -> bytes:
    """What a client can read, and the file that a backup takes."""
    return redis_server.stored_bytes(backend.place) + redis_server.snapshot_bytes(server)


def stored_in_mongo(backend: Backend, _: Any) -> bytes:
    assert isinstance(backend, FakeMongo)
    collections = [backend.client["checkpointing_db"][name] for name in ("checkpoints", "checkpoint_writes")]
    return b"\n".join(bson.encode(document) for collection in collections for document in collection.find())


Stored = Callable[[Backend, Any], bytes]
STORED: dict[type[Backend], Stored] = {
    **dict.fromkeys((Sqlite, AsyncSqlite, Unseen), stored_in_files),
    **dict.fromkeys((Postgres, AsyncPostgres, ShallowPostgres, AsyncShallowPostgres), stored_in_postgres),
    **dict.fromkeys((RedisBackend, AsyncRedis, ShallowRedis, AsyncShallowRedis), stored_in_redis),
    FakeMongo: stored_in_mongo,
}


@contextmanager
def alone(kind: type[Backend], folder: Path, name: str) -> Iterator[tuple[Backend, Any]]:
    """A backend on a server of its own, so that its files hold nothing of anybody else."""
    server: Any = None
    if kind.home is Home.postgres:
        server = FilledServer()
        server.init()
        server.start()
        place = server.dsn()
    elif kind.home is Home.redis:
        server = Redis()
        place = server.url
    else:
        place = str(folder / f"{name}.db")
    backend = kind(place)
    try:
        if kind.home is Home.postgres:
            uncompressed(backend, place)
            server.untouched = dict(server.files())
        yield backend, server
    finally:
        backend.close()
        if server is not None:
            server.close()


def uncompressed(backend: Backend, dsn: str) -> None:
    """Postgres compresses larger values: a canary in one would not be found."""
    with backend.opened(lambda inner: inner):
        pass
    columns = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND data_type IN ('jsonb', 'bytea')"
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, column in connection.execute(columns).fetchall():
            alter = psycopg.sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STORAGE EXTERNAL")
            connection.execute(alter.format(psycopg.sql.Identifier(table), psycopg.sql.Identifier(column)))


@pytest.mark.parametrize("kind", STORED, ids=lambda cls: cls.__name__)
def test_no_canary_is_stored(kind: type[Backend], keyring: Keyring, tmp_path: Path) -> None:
    def found(name: str, wrap: Any) -> tuple[set[str], bytes]:
        with alone(kind, tmp_path, name) as (backend, server):
            exercise(backend, wrap)
            stored = STORED[kind](backend, server)
        return {name for name, forms in CANARIES.items() if any(form in stored for form in forms)}, stored

    kept = set(CANARIES) - (NOT_KEPT_BY_REDIS if kind.home is Home.redis else set())
    bare, _ = found("bare", lambda inner: inner)
    assert bare >= kept, "the search itself finds them where they are"
    sealed, stored = found("sealed", lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id")))
    assert sealed == set()
    assert b"acme" not in stored
    assert b"sealpoint" in stored


def test_lengths_of_primitives_do_not_tell(keyring: Keyring, tmp_path: Path) -> None:
    """'approved' and 'denied' look the same, and so do true and 12345."""
    from langgraph.checkpoint.memory import InMemorySaver

    inner = InMemorySaver()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c", "workspace_id": "acme"}}
    lengths = set()
    for value in (None, True, 12345, 0.5, "approved", "denied", ""):
        saver.put_writes(config, [("decision", value)], f"task of {value}")
    for _, _, (_, stored), _ in inner.writes["t", "", "c"].values():
        lengths.add(len(stored))
    assert len(inner.writes["t", "", "c"]) == 7
    assert len(lengths) == 1
