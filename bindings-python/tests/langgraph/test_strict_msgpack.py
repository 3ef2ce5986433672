"""LangGraph's strict mode rebuilds serializers when a graph is compiled: sealed must stay sealed, and the state's classes must come back.

The mode is read from the environment at import, hence the subprocess."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, warnings
from pathlib import Path
from pydantic import BaseModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde._msgpack import STRICT_MSGPACK_ENABLED
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
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
    how = sys.argv[2]
    with SqliteSaver.from_conn_string(str(folder / "state.db")) as inner:
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
    stored = b"".join(file.read_bytes() for file in folder.glob("state.db*"))
    print("readable" if b"CANARY" in stored else "sealed")
"""


@pytest.mark.parametrize(("how", "stored"), [("saver", "sealed"), ("serializer", "sealed"), ("bare", "readable")])
def test_strict_mode(how: str, stored: str, tmp_path: Path) -> None:
    (tmp_path / "kek").write_bytes(os.urandom(32))
    (tmp_path / "kek").chmod(0o600)
    (tmp_path / "program.py").write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path), how],
        env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    # The state's class comes back as itself; one that the schema does not name stays data.
    assert ran.stdout.split() == ["Card", "dict", stored]
    assert "Strict msgpack deserialization will not be enforced" not in ran.stderr
