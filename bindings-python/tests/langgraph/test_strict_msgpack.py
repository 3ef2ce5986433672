"""LangGraph's strict mode rebuilds serializers when a graph is compiled: sealed must stay sealed, and the state's classes must come back.

The mode is read from the environment at import, hence the subprocess."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis_server
from backends import Backend, Home, Postgres, Redis, ShallowPostgres, ShallowRedis, Sqlite, stored_bytes

PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[5:]
import backends
from pydantic import BaseModel
from langgraph.checkpoint.serde._msgpack import STRICT_MSGPACK_ENABLED
from langgraph.graph import START, StateGraph
from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, SealedSerializer, fixed

assert STRICT_MSGPACK_ENABLED
folder = Path(sys.argv[1])

class Card(BaseModel):
    number: str

class Unlisted(BaseModel):
    number: str

class State(BaseModel):
    card: Card | None = None
    other: object = None

def pay(state):
    return {"card": Card(number="CANARY-card"), "other": Unlisted(number="CANARY-other")}

builder = StateGraph(State)
builder.add_node("pay", pay)
builder.add_edge(START, "pay")
config = {"configurable": {"thread_id": "t"}}

with Keyring.connect(f"sqlite:///{folder / 'keys.db'}", kek=f"file:{folder / 'kek'}") as keyring:
    keyring.setup()
    how, kind, place = sys.argv[2:5]
    with getattr(backends, kind)(place).opened(lambda inner: inner) as inner:
        if how == "saver":
            saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
        elif how == "serializer":
            inner.serde = SealedSerializer(keyring, tenant=fixed("acme"))
            saver = inner
        else:
            saver = inner
        graph = builder.compile(checkpointer=saver)
        graph.invoke({}, config)
        values = graph.get_state(config).values
    print(type(values["card"]).__name__, type(values["other"]).__name__)
"""


def readable(kind: type[Backend], place: str) -> bool:
    if kind.home is Home.redis:
        return b"CANARY" in redis_server.stored_bytes(place)
    if kind.home is Home.postgres:
        with psycopg.connect(place) as sql:
            tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
            rows = str([sql.execute(f"SELECT {table}::text FROM {table}").fetchall() for table in tables])  # type: ignore[call-overload]
        return "CANARY" in rows or b"CANARY".hex() in rows
    return b"CANARY" in stored_bytes(place)


CASES: list[tuple[str, type[Backend]]] = [
    *(("saver", kind) for kind in (Sqlite, Postgres, ShallowPostgres, Redis, ShallowRedis)),
    ("serializer", Sqlite),
    ("serializer", Postgres),
    ("bare", Sqlite),
    ("bare", Postgres),
    ("bare", Redis),
]


@pytest.mark.parametrize(("how", "kind"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_strict_mode(how: str, kind: type[Backend], make_backend: Any, tmp_path: Path) -> None:
    (tmp_path / "kek").write_bytes(os.urandom(32))
    (tmp_path / "kek").chmod(0o600)
    (tmp_path / "program.py").write_text(PROGRAM)
    backend, here = make_backend(kind), Path(__file__).parent
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path), how, kind.__name__, backend.place, str(here), str(here.parent)],
        env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    # The state's class comes back as itself; one that the schema does not name stays data. Redis' serializer rebuilds neither: its JSON is
    # outside the mode, bare and sealed.
    assert ran.stdout.split() == ["dict" if kind.home is Home.redis else "Card", "dict"]
    assert readable(kind, backend.place) == (how == "bare")
    assert "Strict msgpack deserialization will not be enforced" not in ran.stderr
