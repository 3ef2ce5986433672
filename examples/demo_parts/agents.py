"""The same agent three times: sealed, unsealed, and with LangGraph's own EncryptedSerializer. Each has a SQLite file."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from sealpoint import Keyring, from_config
from sealpoint.langgraph import SealedSaver
from support_agent import Conversation, build_graph, load_conversation
from support_agent.driver import Graph

SEALED, UNSEALED, ENCRYPTED = "sealed", "unsealed", "EncryptedSerializer"
LABELS = (UNSEALED, ENCRYPTED, SEALED)
LABEL_WIDTH = max(map(len, LABELS))


@dataclass(frozen=True)
class Files:
    """Where everything lies."""

    folder: Path
    aes_key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    """What EncryptedSerializer encrypts with: one key for everybody."""

    @property
    def kek(self) -> Path:
        return self.folder / "kek.b64"

    @property
    def keys(self) -> Path:
        return self.folder / "keys.db"

    def state(self, label: str) -> Path:
        return self.folder / {SEALED: "state.db", UNSEALED: "unsealed.db", ENCRYPTED: "encrypted.db"}[label]

    def with_companions(self, *files: Path) -> list[Path]:
        """The files, and what SQLite keeps beside them (-wal, -shm)."""
        return [one for file in files for one in sorted(self.folder.glob(f"{file.name}*"))]


@dataclass(frozen=True)
class Agent:
    """One graph on one database."""

    label: str
    saver: BaseCheckpointSaver[Any]
    graph: Graph


def keyring(files: Files) -> Keyring:
    """What an application does at its start."""
    return Keyring.connect(f"sqlite:///{files.keys}", kek=f"file:{files.kek}")


@contextmanager
def agent(files: Files, label: str) -> Iterator[Agent]:
    """The agent on its database, as a process would open it."""
    with SqliteSaver.from_conn_string(str(files.state(label))) as inner:
        if label == SEALED:
            with keyring(files) as keys:
                yield _compiled(label, SealedSaver(inner, keys, tenant=from_config("workspace_id")))
            return
        if label == ENCRYPTED:
            inner.serde = EncryptedSerializer.from_pycryptodome_aes(inner.serde, key=files.aes_key)
        yield _compiled(label, inner)


def thread_of(tenant: str) -> str:
    """The thread that holds the tenant's case."""
    return f"{tenant}-1"


def cases(acme_turns: int) -> tuple[Conversation, Conversation]:
    """The recorded cases of both tenants; acme's up to so many turns."""
    acme, globex = load_conversation("acme"), load_conversation("globex")
    if acme_turns < len(acme.turns):
        end = acme.messages.index(acme.turns[acme_turns].message)
        acme = Conversation(acme.tenant, acme.lines[:end])
    return acme, globex


@contextmanager
def database(file: Path) -> Iterator[sqlite3.Connection]:
    """The rows as they lie there, without any saver."""
    db = sqlite3.connect(file)
    try:
        with db:
            yield db
    finally:
        db.close()


def _compiled(label: str, saver: Any) -> Agent:
    saver.setup()
    return Agent(label, saver, build_graph().compile(checkpointer=saver))
