"""What the tests of `scan` on SQLite share."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from backends import Sqlite, database
from graphs import CHAT_INPUT, asking, chat, delta
from langgraph.checkpoint.base import BaseCheckpointSaver

from sealpoint.scan import Report, Verdict

SECRET = "a diagnosis nobody may read"


def played(path: Path, wrap: Callable[[BaseCheckpointSaver[Any]], BaseCheckpointSaver[Any]]) -> Path:
    """A database with every kind of value that LangGraph persists."""
    backend = Sqlite(str(path))
    with backend.opened(wrap) as saver:
        for thread, graph in (("chat", chat(saver)), ("asking", asking(saver)), ("delta", delta(saver))):
            given = {"chat": CHAT_INPUT, "asking": {"answers": []}, "delta": {"log": ["start"], "turn": 1}}[thread]
            config = {"configurable": {"thread_id": thread, "note": SECRET}, "metadata": {"customer": SECRET}}
            for _ in range(2 if thread == "delta" else 1):
                backend.invoke(graph, given, config)
    return path


def edit(path: Path, sql: str, *parameters: Any) -> None:
    with closing(database(path)) as db:
        assert db.execute(sql, parameters).rowcount > 0


def where(report: Report, verdict: Verdict = Verdict.UNSEALED) -> set[tuple[str, str]]:
    return {(finding.table, finding.column) for finding in report.of(verdict)}
