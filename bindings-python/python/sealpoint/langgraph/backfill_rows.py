"""The databases that a backfill works on, row by row."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from sealpoint.errors import InvalidArgumentError, MissingDependencyError, StoreError


class Rows(Protocol):
    """A database of LangGraph's, row by row. What is not sealed of a row is read by the saver and written here."""

    saver: BaseCheckpointSaver[Any]

    def threads(self) -> list[str]: ...

    def transaction(self, thread: str, *, commit: bool) -> Any:
        """In which nobody else changes the rows that the thread has now: what an application writes meanwhile must not be undone."""

    def put(self, thread: str, ns: str, checkpoint: dict[str, Any], metadata: dict[str, Any], dumps: Any) -> None: ...

    def values(self, thread: str) -> list[tuple[str, str, str, str, bytes]]:
        """ns, channel, version, type, value of what lies in a table of its own."""

    def put_value(self, thread: str, ns: str, channel: str, version: str, kind: str, value: bytes) -> None: ...

    def writes(self, thread: str) -> list[tuple[str, str, str, int, str, str, bytes]]:
        """ns, checkpoint, task, index, channel, type, value."""

    def put_write(self, thread: str, ns: str, checkpoint: str, task: str, index: int, kind: str, value: bytes) -> None: ...

    def clean(self) -> str:
        """Removes what updates left behind, as far as that is its to do; see `BackfillReport.left_behind`."""


@contextmanager
def opened(database: str | Path, schema: str | None) -> Iterator[Rows]:
    if isinstance(database, str) and database.partition("://")[0] in ("postgres", "postgresql"):
        with _postgres(database, schema) as rows:
            yield rows
        return
    if schema is not None:
        raise InvalidArgumentError("invalid_argument", "schema= is for Postgres")
    with _sqlite(Path(database)) as rows:
        yield rows


@contextmanager
def _sqlite(path: Path) -> Iterator[Rows]:
    if not path.is_file():
        raise StoreError("store_unavailable", f"there is no file {str(path)!r}")
    try:
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
            connection.execute("PRAGMA secure_delete = ON")  # what is overwritten does not stay in free pages
            yield _SqliteRows(connection)
    except sqlite3.DatabaseError as error:
        raise _database_error(error, "locked" in str(error) or "full" in str(error)) from None


@contextmanager
def _postgres(dsn: str, schema: str | None) -> Iterator[Rows]:
    try:
        import psycopg
        from psycopg import sql
        from psycopg.rows import dict_row
    except ImportError:
        raise MissingDependencyError("missing_dependency", "psycopg is not installed: pip install 'sealpoint[postgres]'") from None
    try:
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
            if schema is not None:
                connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
            yield _PostgresRows(connection)
    except psycopg.Error as error:
        raise _database_error(error, isinstance(error, psycopg.OperationalError)) from None


def _database_error(error: Exception, retryable: bool) -> StoreError:
    """Without the database's own words, which may hold values."""
    if retryable:
        return StoreError("store_unavailable", f"the database cannot be reached, is locked or full ({type(error).__name__})")
    return StoreError("store_invalid", f"this is no database of LangGraph's SqliteSaver or PostgresSaver ({type(error).__name__})")


class _SqliteRows:
    def __init__(self, connection: Any) -> None:
        from langgraph.checkpoint.sqlite import SqliteSaver

        self._db = connection
        connection.execute("SELECT thread_id, checkpoint_ns, checkpoint_id, type, checkpoint, metadata FROM checkpoints LIMIT 0")
        self.saver: BaseCheckpointSaver[Any] = SqliteSaver(connection)
        self.saver.setup()

    def threads(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT DISTINCT thread_id FROM checkpoints ORDER BY 1")]

    @contextmanager
    def transaction(self, _thread: str, *, commit: bool) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT" if commit else "ROLLBACK")

    def put(self, thread: str, ns: str, checkpoint: dict[str, Any], metadata: dict[str, Any], dumps: Any) -> None:
        self._db.execute(
            "UPDATE checkpoints SET type = ?, checkpoint = ?, metadata = ? WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
            (*dumps(checkpoint), json.dumps(metadata, ensure_ascii=False).encode(), thread, ns, checkpoint["id"]),
        )

    def values(self, _thread: str) -> list[tuple[str, str, str, str, bytes]]:
        return []

    def put_value(self, thread: str, ns: str, channel: str, version: str, kind: str, value: bytes) -> None:
        raise NotImplementedError

    def writes(self, thread: str) -> list[tuple[str, str, str, int, str, str, bytes]]:
        sql = "SELECT checkpoint_ns, checkpoint_id, task_id, idx, channel, type, value FROM writes WHERE thread_id = ?"
        return list(self._db.execute(sql, (thread,)))

    def put_write(self, thread: str, ns: str, checkpoint: str, task: str, index: int, kind: str, value: bytes) -> None:
        self._db.execute(
            "UPDATE writes SET type = ?, value = ? "
            "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? AND task_id = ? AND idx = ?",
            (kind, value, thread, ns, checkpoint, task, index),
        )

    def clean(self) -> str:
        with suppress(sqlite3.OperationalError):  # others are reading or writing
            self._db.execute("VACUUM")
            busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return ""
        return "the file's free pages and write-ahead log: run VACUUM and PRAGMA wal_checkpoint(TRUNCATE) when nobody uses the database"


class _PostgresRows:
    def __init__(self, connection: Any) -> None:
        from langgraph.checkpoint.postgres import PostgresSaver

        self._db = connection
        connection.execute("SELECT version FROM checkpoint_blobs LIMIT 0")  # shallow savers' tables have no versions
        self.saver: BaseCheckpointSaver[Any] = PostgresSaver(connection)

    def threads(self) -> list[str]:
        return [row["thread_id"] for row in self._db.execute("SELECT DISTINCT thread_id FROM checkpoints ORDER BY 1")]

    @contextmanager
    def transaction(self, thread: str, *, commit: bool) -> Iterator[None]:
        with self._db.transaction(force_rollback=not commit):
            # Savers replace some writes (a resume value); their upsert then waits, and comes after ours. Stored values are never replaced.
            self._db.execute("SELECT 1 FROM checkpoints WHERE thread_id = %s FOR UPDATE", (thread,))
            self._db.execute("SELECT 1 FROM checkpoint_writes WHERE thread_id = %s FOR UPDATE", (thread,))
            yield

    def put(self, thread: str, ns: str, checkpoint: dict[str, Any], metadata: dict[str, Any], _dumps: Any) -> None:
        from psycopg.types.json import Jsonb

        # The row holds what is inline, and a mark in the place of a snapshot; the rest lies in the table of values.
        inline = {
            name: True if isinstance(value, _DeltaSnapshot) else value
            for name, value in checkpoint["channel_values"].items()
            if isinstance(value, (str, _DeltaSnapshot))
        }
        self._db.execute(
            "UPDATE checkpoints SET checkpoint = %s, metadata = %s WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s",
            (Jsonb({**checkpoint, "channel_values": inline}), Jsonb(metadata), thread, ns, checkpoint["id"]),
        )

    def values(self, thread: str) -> list[tuple[str, str, str, str, bytes]]:
        sql = "SELECT checkpoint_ns, channel, version, type, blob FROM checkpoint_blobs WHERE thread_id = %s AND type <> 'empty'"
        return [tuple(row.values()) for row in self._db.execute(sql, (thread,))]

    def put_value(self, thread: str, ns: str, channel: str, version: str, kind: str, value: bytes) -> None:
        self._db.execute(
            "UPDATE checkpoint_blobs SET type = %s, blob = %s "
            "WHERE thread_id = %s AND checkpoint_ns = %s AND channel = %s AND version = %s",
            (kind, value, thread, ns, channel, version),
        )

    def writes(self, thread: str) -> list[tuple[str, str, str, int, str, str, bytes]]:
        sql = "SELECT checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob FROM checkpoint_writes WHERE thread_id = %s"
        return [tuple(row.values()) for row in self._db.execute(sql, (thread,))]

    def put_write(self, thread: str, ns: str, checkpoint: str, task: str, index: int, kind: str, value: bytes) -> None:
        self._db.execute(
            "UPDATE checkpoint_writes SET type = %s, blob = %s "
            "WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s AND task_id = %s AND idx = %s",
            (kind, value, thread, ns, checkpoint, task, index),
        )

    def clean(self) -> str:
        return (
            "old row versions, until VACUUM FULL checkpoints, checkpoint_blobs, checkpoint_writes (it locks them); "
            "write-ahead log, replicas and backups, until they are recycled"
        )
