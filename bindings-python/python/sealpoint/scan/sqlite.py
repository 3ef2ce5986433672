"""Reading a SQLite file: its rows as of one moment, changing nothing and creating nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ..errors import InvalidArgumentError, StoreError
from .rows import Row, unread
from .tables import TABLES

__all__ = ["SqliteReader", "is_sqlite"]

_MAGIC = b"SQLite format 3\0"
_WAL_MODE = 2
BUSY_TIMEOUT_S = 5.0
COMPANIONS = ("-wal", "-shm", "-journal")


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as SQLite files do. An empty one is a database without tables. Raises: `OSError`."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) in (_MAGIC, b"")


class SqliteReader:
    """A file that other processes may be writing to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.source = f"the SQLite file {path.name}"
        self.notes: list[str] = []

    def files(self) -> list[Path]:
        """The database and what SQLite keeps beside it."""
        names = [self._path, *(self._path.with_name(self._path.name + suffix) for suffix in COMPANIONS)]
        return [path for path in names if path.exists()]

    def rows(self, everything: bool) -> Iterator[Row]:
        """See `Reader`."""
        try:
            with closing(self._connected()) as db:
                db.text_factory = _text
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA trusted_schema = OFF")  # what the file defines is not trusted to call functions
                db.execute("BEGIN")
                names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")]
                free = db.execute("PRAGMA freelist_count").fetchone()[0]
                if free:
                    self.notes.append(
                        f"{free:,} free pages can hold rows that were deleted: --expect searches them, and VACUUM removes them"
                    )
                for name in names:
                    yield from self._table(db, name, everything)
        except sqlite3.Error as error:
            raise self._typed(error) from None

    def _table(self, db: sqlite3.Connection, table: str, everything: bool) -> Iterator[Row]:
        name = table.lower()
        yield Row(table, name)
        if name not in TABLES and not everything:
            return
        try:
            for row in db.execute(f'SELECT * FROM "{table.replace(chr(34), chr(34) * 2)}"'):  # noqa: S608 (a quoted name)
                yield Row(table, name, dict(zip(map(str.lower, row.keys()), tuple(row), strict=True)))
        except sqlite3.Error as error:
            # One damaged table does not hide the others.
            yield unread(table, name, getattr(error, "sqlite_errorname", type(error).__name__))

    def _connected(self) -> sqlite3.Connection:
        """Read-only, in the one way that leaves no file behind.

        `mode=ro` makes a -shm where there is none, and a -wal too. So: where neither is there, nobody has the database open, and
        it is read as a file that nobody changes, which is checked in the end; where only the -wal is there (a copy, or after a
        crash), the index of the -wal is kept in this process's memory.
        """
        wal, shm = (self._path.with_name(self._path.name + suffix).exists() for suffix in ("-wal", "-shm"))
        with self._path.open("rb") as file:
            head = file.read(20)
        if len(head) < 20 or head[18] != _WAL_MODE or (wal and shm):
            return self._open("mode=ro")
        if wal:
            db = self._open("mode=ro&vfs=unix-none")
            db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            return db
        return self._open("mode=ro&immutable=1", _Unchanged)

    def _open(self, options: str, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
        uri = f"file:{quote(os.path.abspath(self._path))}?{options}"
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, factory=factory)
        if isinstance(db, _Unchanged):
            db.watch(self._path)
        return db

    def _typed(self, error: sqlite3.Error) -> StoreError | InvalidArgumentError:
        """SQLite's own text is not passed on: it can quote a value."""
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if name in ("SQLITE_BUSY", "SQLITE_LOCKED"):
            return StoreError("store_unavailable", f"{self.source} is locked by another process: try again")
        if name == "SQLITE_READONLY_ROLLBACK":
            return StoreError(
                "store_invalid",
                f"{self.source} was left in the middle of a transaction: open it once with the application, which rolls it back",
            )
        return StoreError("store_invalid", f"{self.source} cannot be read ({name}): is it a whole SQLite database?")


class _Unchanged(sqlite3.Connection):
    """A database that nobody had open. Closing it tells whether that stayed so."""

    _path: Path
    _state: tuple[int, int, int, bool]

    def watch(self, path: Path) -> None:
        self._path = path
        self._state = self._look()

    def close(self) -> None:
        super().close()
        if self._look() != self._state:
            raise StoreError("store_unavailable", f"{self._path.name} was opened and changed while it was read: try again")

    def _look(self) -> tuple[int, int, int, bool]:
        stat = self._path.stat()
        return stat.st_size, stat.st_mtime_ns, stat.st_ino, self._path.with_name(self._path.name + "-wal").exists()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
