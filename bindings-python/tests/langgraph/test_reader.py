"""`read_checkpoint` on a real Postgres: what it gives of a sealed thread, and what it refuses."""

import asyncio
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import sys
import uuid
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import numpy
import ormsgpack
import psycopg
import pytest
from graphs import asking, delta, fan
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from pydantic import BaseModel
from support import refused

from sealpoint import Keyring
from sealpoint.langgraph import PlainCheckpoint, PlainWrite, SealedSaver, aread_checkpoint, fixed, read_checkpoint
from sealpoint.langgraph.plain import PlainSerializer, reason_in

SECRET = "a diagnosis nobody may read"


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Visit:
    ward: str
    bed: int


class Patient(BaseModel):
    name: str
    visits: list[Visit]


class State(TypedDict, total=False):
    text: str
    number: float
    flag: bool
    nothing: None
    messages: Annotated[list[Any], add_messages]
    things: dict[Any, Any]
    scan: Any


GIVEN: dict[str, Any] = {
    "text": SECRET,
    "number": 1.5,
    "flag": True,
    "nothing": None,
    "messages": [HumanMessage(SECRET, id="m1"), AIMessage("so what?", id="m2")],
    "things": {
        "patient": Patient(name="Ada", visits=[Visit("C", 4)]),
        "set": {7},
        "tuple": (1, (2,)),
        "deque": deque(["a"]),
        "at": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "day": datetime.date(2026, 1, 2),
        "id": uuid.UUID("12345678-1234-5678-1234-567812345678"),
        "price": decimal.Decimal("1.10"),
        "path": pathlib.Path("/a/b"),
        "color": Color.RED,
        "raw": b"\xc1\x00",
        "inf": float("inf"),
        1: "one",
    },
    "scan": numpy.zeros(2),
}
PLAIN = {
    "text": SECRET,
    "number": 1.5,
    "flag": True,
    "nothing": None,
    "things": {
        "patient": {"name": "Ada", "visits": [{"ward": "C", "bed": 4}]},
        "set": [7],
        "tuple": [1, [2]],
        "deque": ["a"],
        "at": "2026-01-02T03:04:05+00:00",
        "day": "2026-01-02",
        "id": "12345678-1234-5678-1234-567812345678",
        "price": "1.10",
        "path": "/a/b",
        "color": "red",
        "raw": {"base64": "wQA="},
        "inf": "Infinity",
        "1": "one",
    },
}


@pytest.fixture
def saver(postgres: str, keyring: Keyring) -> Any:
    with PostgresSaver.from_conn_string(postgres) as inner:
        saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
        saver.setup()
        yield saver


@pytest.fixture
def thread(postgres: str, saver: Any, keyring: Keyring) -> Callable[..., Any]:
    """A thread with every kind of value, and how to read it."""
    builder = StateGraph(State)
    builder.add_node("look", lambda state: {"number": state["number"] + 1})
    builder.add_edge(START, "look")
    builder.add_edge("look", END)
    config: Any = {"configurable": {"thread_id": "t"}, "metadata": {"customer": SECRET}}
    builder.compile(checkpointer=saver).invoke(GIVEN, config)

    def read(source: Any = postgres, thread_id: str = "t", **options: Any) -> PlainCheckpoint:
        found = read_checkpoint(source, keyring, tenant="acme", thread_id=thread_id, **options)
        assert found is not None
        return found

    return read


def edit(dsn: str, sql: str, *parameters: Any) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.execute(sql, parameters).rowcount > 0


def test_each_kind_of_value_as_plain_json(thread: Any, saver: Any) -> None:
    found = thread()
    head = saver.get_tuple({"configurable": {"thread_id": "t"}})
    values = dict(found.values)
    messages = values.pop("messages")
    assert [(message["type"], message["content"], message["id"]) for message in messages] == [
        ("human", SECRET, "m1"),
        ("ai", "so what?", "m2"),
    ]
    assert {name: value for name, value in values.items() if name in PLAIN} == {**PLAIN, "number": 2.5}
    assert (found.thread_id, found.checkpoint_ns, found.checkpoint_id) == ("t", "", head.checkpoint["id"])
    assert (found.parent_id, found.ts) == (head.parent_config["configurable"]["checkpoint_id"], head.checkpoint["ts"])
    assert found.metadata == {**head.metadata}
    assert found.metadata["customer"] == SECRET
    assert [(left.part, left.name, left.reason) for left in found.unreadable] == [("values", "scan", "it holds a numpy array")]
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert SECRET not in repr(found)


def test_older_checkpoints_by_their_id(thread: Any) -> None:
    head = thread()
    older = thread(checkpoint_id=head.parent_id)
    assert (older.values["number"], older.checkpoint_id) == (1.5, head.parent_id)


def test_pending_writes_and_interrupts(postgres: str, saver: Any, keyring: Keyring) -> None:
    asking(saver).invoke({"answers": []}, {"configurable": {"thread_id": "t"}})
    found = read_checkpoint(postgres, keyring, tenant="acme", thread_id="t")
    assert found is not None
    writes = {(write.channel, json.dumps(write.value)) for write in found.pending_writes}
    assert ("answers", '["beside"]') in writes
    (interrupts,) = [write.value for write in found.pending_writes if write.channel == "__interrupt__"]
    assert [pause["value"] for pause in interrupts] == [{"ask": "first"}]
    assert found.unreadable == ()


def test_namespaces_of_subgraphs_and_sends(postgres: str, saver: Any, keyring: Keyring) -> None:
    graph = fan(saver)
    graph.invoke({"items": ["a"]}, {"configurable": {"thread_id": "t"}}, durability="sync")
    found = read_checkpoint(postgres, keyring, tenant="acme", thread_id="t", checkpoint_ns="sub")
    assert found is not None
    assert found.values["inner"] == "12"
    with psycopg.connect(postgres) as connection:
        ids = [row[0] for row in connection.execute("SELECT checkpoint_id FROM checkpoints WHERE checkpoint_ns = ''")]
    every = [read_checkpoint(postgres, keyring, tenant="acme", thread_id="t", checkpoint_id=one) for one in ids]
    sends = [write.value for one in every if one is not None for write in one.pending_writes if write.channel == "__pregel_tasks"]
    assert {"node": "work", "args": {"item": "a"}} in sends


def test_delta_channels(postgres: str, saver: Any, keyring: Keyring) -> None:
    for _ in range(4):
        delta(saver, parallel=False).invoke({"log": ["start"], "turn": 1}, {"configurable": {"thread_id": "t"}})
    with psycopg.connect(postgres) as connection:
        ids = [row[0] for row in connection.execute("SELECT checkpoint_id FROM checkpoints")]
        kinds = {row[0] for row in connection.execute("SELECT type FROM checkpoint_blobs WHERE channel = 'log'")}
    found = [read_checkpoint(postgres, keyring, tenant="acme", thread_id="t", checkpoint_id=one) for one in ids]
    assert "msgpack" in kinds, "a snapshot holds its envelope"
    assert any("start" in one.values.get("log", ()) for one in found if one is not None)


def test_other_schemas_and_pools(postgres: str, keyring: Keyring) -> None:
    with psycopg.connect(postgres, autocommit=True, row_factory=dict_row) as connection:
        connection.execute('CREATE SCHEMA "a b"')
        connection.execute('SET search_path TO "a b"')
        saver = SealedSaver(PostgresSaver(connection), keyring, tenant=fixed("acme"))  # type: ignore[arg-type]
        saver.setup()
        asking(saver).invoke({"answers": []}, {"configurable": {"thread_id": "t"}})
    refused(lambda: read_checkpoint(postgres, keyring, tenant="acme", thread_id="t"), "store_invalid", "schema")
    with ConnectionPool(postgres, open=True, kwargs={"row_factory": dict_row}) as pool:
        found = read_checkpoint(pool, keyring, tenant="acme", thread_id="t", schema="a b")
        assert read_checkpoint(pool, keyring, tenant="acme", thread_id="other", schema="a b") is None

    async def read() -> list[PlainCheckpoint | None]:
        async with AsyncConnectionPool(postgres, open=False, kwargs={"row_factory": dict_row}) as pool:
            return [
                await aread_checkpoint(source, keyring, tenant="acme", thread_id="t", schema="a b")  # both kinds
                for source in (pool, postgres)
            ]

    assert asyncio.run(read()) == [found, found]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE checkpoints SET metadata = metadata - 'sealpoint'", "plaintext_refused"),
        ("UPDATE checkpoints SET metadata = jsonb_set(metadata, '{step}', '7')", "authentication_failed"),
        ("UPDATE checkpoints SET metadata = '[]'", "plaintext_refused"),
        ("UPDATE checkpoints SET checkpoint = '[]'", "malformed"),
        ("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values}', '[1]')", "malformed"),
        ("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{ts}', '\"2020\"')", "authentication_failed"),
        ("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,text}', '\"hello\"')", "plaintext_refused"),
        ("UPDATE checkpoints SET checkpoint = checkpoint #- '{channel_values,flag}'", "authentication_failed"),
        ("UPDATE checkpoints SET checkpoint = checkpoint #- '{channel_versions,messages}'", "authentication_failed"),
        (
            "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,flag}', checkpoint #> '{channel_values,text}') "
            "WHERE checkpoint -> 'channel_values' ?& ARRAY['flag', 'text']",
            "authentication_failed",
        ),
        ("UPDATE checkpoints SET parent_checkpoint_id = 'other'", "authentication_failed"),
        ("UPDATE checkpoints SET checkpoint_ns = 'elsewhere'", "authentication_failed"),
        ("DELETE FROM checkpoint_blobs WHERE channel = 'messages'", "authentication_failed"),
        (
            "UPDATE checkpoint_blobs SET blob = (SELECT blob FROM checkpoint_blobs WHERE channel = 'things' LIMIT 1) "
            "WHERE channel = 'messages'",
            "authentication_failed",
        ),
        ("UPDATE checkpoint_blobs SET type = 'msgpack', blob = '\\x80' WHERE channel = 'messages'", "plaintext_refused"),
        ("UPDATE checkpoint_blobs SET type = 'pickle' WHERE channel = 'messages'", "plaintext_refused"),
        ("UPDATE checkpoint_blobs SET type = 'json', blob = '\\xff' WHERE channel = 'messages'", "malformed"),
        ('UPDATE checkpoint_blobs SET type = \'json\', blob = \'{"lc":2,"type":"delta_snapshot","value":1}\'', "plaintext_refused"),
    ],
)
def test_what_was_changed_in_the_database_is_refused(thread: Any, postgres: str, change: str, code: str) -> None:
    ns = "elsewhere" if "elsewhere" in change else ""
    edit(postgres, change)
    if ns:
        edit(postgres, "UPDATE checkpoint_blobs SET checkpoint_ns = 'elsewhere'")
    error = refused(lambda: thread(checkpoint_ns=ns), code)
    assert SECRET not in str(error)


def test_writes_that_were_changed_are_refused(postgres: str, saver: Any, keyring: Keyring) -> None:
    asking(saver).invoke({"answers": []}, {"configurable": {"thread_id": "t"}})
    read = lambda: read_checkpoint(postgres, keyring, tenant="acme", thread_id="t")  # noqa: E731
    edit(postgres, "UPDATE checkpoint_writes SET task_id = 'x' || task_id")
    refused(read, "authentication_failed", "pending write")
    edit(postgres, "UPDATE checkpoint_writes SET blob = '\\x80', type = 'msgpack'")
    refused(read, "plaintext_refused", "pending write")


def test_other_tenants_and_bare_threads_are_refused(thread: Any, postgres: str, keyring: Keyring) -> None:
    keyring.load("globex")
    refused(lambda: read_checkpoint(postgres, keyring, tenant="globex", thread_id="t"), "authentication_failed")
    refused(lambda: read_checkpoint(postgres, keyring, tenant="", thread_id="t"), "tenant_required")
    with PostgresSaver.from_conn_string(postgres) as bare:
        asking(bare).invoke({"answers": []}, {"configurable": {"thread_id": "bare"}})
    refused(lambda: thread(thread_id="bare"), "plaintext_refused", "not sealed")


def test_questions_that_are_none(postgres: str, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(source: Any = postgres, ring: Any = keyring, **options: Any) -> Callable[[], object]:
        return lambda: read_checkpoint(source, ring, **{"tenant": "acme", "thread_id": "t", **options})

    for source in (None, 7, "no dsn"):
        refused(ask(source), "invalid_argument")
    refused(ask(ring=None), "invalid_argument", "Keyring.connect")
    for options in ({"thread_id": None}, {"thread_id": "a\0"}, {"schema": 7}, {"checkpoint_id": b""}, {"checkpoint_ns": None}):
        refused(ask(**options), "invalid_argument", "string")
    with pytest.raises(TypeError):
        ask(mode="migrating")()
    error = refused(ask("postgresql://u:hunter2@127.0.0.1:1/x"), "store_unavailable", "cannot be reached")
    assert "hunter2" not in str(error)
    assert error.__context__ is None
    refused(lambda: asyncio.run(aread_checkpoint(None, keyring, tenant="acme", thread_id="t")), "invalid_argument")
    monkeypatch.setitem(sys.modules, "psycopg_pool", None)
    refused(ask(), "missing_dependency", "pip install")


# -- single payloads

PACK = JsonPlusSerializer(pickle_fallback=True)


def called(code: int, *parts: Any) -> bytes:
    """An object of the serializer, by hand."""
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


def plain(kind: str, payload: bytes) -> Any:
    value = PlainSerializer().loads_typed((kind, payload))
    reason = reason_in(value)
    return f"no plain form: {reason}" if reason else value


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("null", b"", None),
        ("bytes", b"\x00", {"base64": "AA=="}),
        ("bytearray", b"\x00", {"base64": "AA=="}),
        ("msgpack", ormsgpack.packb([1, 2**64 - 1, -1.5]), [1, 2**64 - 1, -1.5]),
        (*PACK.dumps_typed(Send("node", {"a": 1})), {"node": "node", "args": {"a": 1}}),
        ("msgpack", called(1, "pathlib", "WindowsPath", ["C:\\", "a", "b"]), "C:\\a\\b"),
        (*PACK.dumps_typed(pathlib.Path("a/b")), "a/b"),
        (*PACK.dumps_typed(pathlib.Path("")), "."),
        (*PACK.dumps_typed(datetime.timedelta(1, 2, 3)), [1, 2, 3]),
        ("json", b'{"lc":2,"type":"undefined"}', None),
        ("json", b'[{"lc":2,"type":"constructor","id":["Set"],"method":null,"args":[[1,2]],"kwargs":{}}]', [[1, 2]]),
        ("json", b'{"lc":2,"type":"constructor","id":["Map"],"args":[[["a",1]]]}', {"a": 1}),
        ("json", b'{"lc":2,"type":"constructor","id":["Map"],"args":[[[1,2]]]}', [[1, 2]]),
        ("json", b'{"lc":2,"type":"constructor","id":["RegExp"],"args":["a+","g"]}', ["a+", "g"]),
        ("json", b'{"lc":2,"type":"constructor","id":["Error"],"args":["no"]}', "no"),
        ("json", b'{"lc":2,"type":"constructor","id":["Uint8Array"],"method":"from","args":[[193,0]]}', {"base64": "wQA="}),
        ("json", b'{"lc":2,"type":"delta_snapshot","value":[1]}', [1]),
        (
            "json",
            b'{"lc":1,"type":"constructor","id":["langchain_core","messages","AIMessageChunk"],"kwargs":{"content":"c"}}',
            {"type": "ai", "content": "c"},
        ),
        ("json", b'{"lc":1,"type":"constructor","id":["os","system"],"kwargs":{"command":"false"}}', {"command": "false"}),
        ("json", b'{"lc":1,"type":"secret","id":["KEY"]}', {"lc": 1, "type": "secret", "id": ["KEY"]}),
        ("json", b'{"lc":3}', {"lc": 3}),
        ("json", b"{", "no plain form: it does not parse as json, or is nested too deeply"),
        ("json", b"[" * 100_000, "no plain form: it does not parse as json, or is nested too deeply"),
        ("msgpack", b"\xc1", "no plain form: it does not parse as msgpack, or is nested too deeply"),
        (
            "msgpack",
            ormsgpack.packb(ormsgpack.Ext(9, b"")),
            "no plain form: it holds MessagePack's extension type 9, which is not LangGraph's",
        ),
        ("msgpack", ormsgpack.packb(ormsgpack.Ext(2, b"\x93")), "no plain form: an object in it does not parse, or is nested too deeply"),
        ("msgpack", ormsgpack.packb(ormsgpack.Ext(2, b"\x01")), "no plain form: an object in it is none of LangGraph's"),
        (
            "msgpack",
            ormsgpack.packb({1: "a", "1": "b"}, option=ormsgpack.OPT_NON_STR_KEYS),
            "no plain form: two keys of a map are one in JSON",
        ),
        ("pickle", b"cos\nsystem\n", "no plain form: its content type is 'pickle', which is read by the serializer that wrote it alone"),
    ],
)
def test_payloads(kind: str, payload: bytes, expected: Any) -> None:
    assert plain(kind, payload) == expected


def test_classes_that_data_names_are_neither_imported_nor_built(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap_of_the_reader.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for code in range(6):
        packed = ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(("trap_of_the_reader", "Trap", {"a": 1}, "m"))))
        assert plain("msgpack", packed) == {"a": 1}
    assert "trap_of_the_reader" not in sys.modules


def test_deep_extensions_do_not_crash() -> None:
    packed = ormsgpack.packb(1)
    for _ in range(3000):
        packed = ormsgpack.packb(ormsgpack.Ext(7, packed))
    assert "too deeply" in plain("msgpack", packed)


def test_a_write_shows_no_value() -> None:
    assert SECRET not in repr(PlainWrite("task", "channel", SECRET))
