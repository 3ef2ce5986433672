"""What somebody who can write the database, but holds no key, can do to it. SQL and public formats, nothing else."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from demo_parts.agents import database

_SERDE = JsonPlusSerializer()
_NEWEST = "SELECT * FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id DESC LIMIT 1"
Row = tuple[Any, ...]
"""thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"""


class OneCiphertextError(Exception):
    """Nothing in the row can be edited alone."""


@contextmanager
def tampering(file: Path, thread: str) -> Iterator[None]:
    """Puts the thread's newest row back afterwards."""
    with database(file) as db:
        before: Row = db.execute(_NEWEST, (thread,)).fetchone()
    try:
        yield
    finally:
        with database(file) as db:
            db.execute("DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_id >= ?", (thread, before[2]))
            _insert(db, before)


def copy_newest(file: Path, source: str, target: str) -> None:
    """One thread's newest row, into another thread, where it is the newest as well."""
    with database(file) as db:
        _, *rest = db.execute(_NEWEST, (source,)).fetchone()
        _insert(db, (target, *rest))


def put_back_row(file: Path, thread: str, steps: int) -> None:
    """The content of an older row of the same thread under the newest row's id, which is put inside too where that can be done."""
    with database(file) as db:
        newest: Row = db.execute(_NEWEST, (thread,)).fetchone()
        older = db.execute(f"{_NEWEST} OFFSET {steps}", (thread,)).fetchone()
        db.execute("DELETE FROM checkpoints WHERE thread_id = ? AND checkpoint_id = ?", (thread, newest[2]))
        _insert(db, (*newest[:4], *older[4:]))
        if older[4] == "msgpack":
            _replace(db, newest, {**_parsed(older), "id": newest[2]})


def put_back_channel(file: Path, thread: str, channel: str) -> None:
    """An older value of one channel, with the version number that belongs to it."""
    with database(file) as db:
        rows = db.execute("SELECT * FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id DESC", (thread,))
        newest: Row = rows.fetchone()
        checkpoint = _parsed(newest)
        for older in map(_parsed, rows):
            if older["channel_versions"][channel] != checkpoint["channel_versions"][channel]:
                break
        checkpoint["channel_values"][channel] = older["channel_values"][channel]
        checkpoint["channel_versions"][channel] = older["channel_versions"][channel]
        _replace(db, newest, checkpoint)


def mark_as_run(file: Path, thread: str, node: str) -> None:
    """`versions_seen` edited: the node has run already, whatever it was waiting for."""
    with database(file) as db:
        newest: Row = db.execute(_NEWEST, (thread,)).fetchone()
        checkpoint = _parsed(newest)
        trigger = f"branch:to:{node}"
        checkpoint["versions_seen"][node] = {trigger: checkpoint["channel_versions"][trigger]}
        _replace(db, newest, checkpoint)


def plant(file: Path, thread: str, call: dict[str, Any]) -> None:
    """A new thread, written by hand and unsealed, in which the agent has just asked for a tool, and the tool runs next."""
    version = f"{1:032}.0"
    checkpoint = empty_checkpoint()
    asked = AIMessage("", id="planted", tool_calls=[{"id": "planted-call", **call}])
    checkpoint["channel_values"] = {"messages": [asked], "branch:to:tools": None}
    checkpoint["channel_versions"] = {"messages": version, "branch:to:tools": version}
    with database(file) as db:
        _insert(db, (thread, "", checkpoint["id"], None, *_SERDE.dumps_typed(checkpoint), b'{"source": "loop", "step": 1, "parents": {}}'))


def _parsed(row: Row) -> dict[str, Any]:
    """The row's checkpoint: everything of an unsealed one, and of a sealed one all but the values."""
    if row[4] != "msgpack":
        raise OneCiphertextError
    checkpoint: dict[str, Any] = _SERDE.loads_typed((row[4], row[5]))
    return checkpoint


def _replace(db: sqlite3.Connection, row: Row, checkpoint: dict[str, Any]) -> None:
    kind, blob = _SERDE.dumps_typed(checkpoint)
    db.execute(
        "UPDATE checkpoints SET type = ?, checkpoint = ? WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
        (kind, blob, *row[:3]),
    )


def _insert(db: sqlite3.Connection, row: Row) -> None:
    db.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)", row)
