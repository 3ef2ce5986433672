"""`scan`: proves that a LangGraph database holds no plaintext. It needs no key, and LangGraph itself neither.

report = scan("sqlite:///state.db")
assert report.ok, report.to_text()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError, StoreError
from .report import Finding, Report, Tally, Verdict, WordHit, printable, withheld
from .rows import Reader, Row
from .sqlite import SqliteReader, is_sqlite
from .tables import TABLES, judge_row
from .values import position
from .words import Words

__all__ = ["Envelope", "Finding", "Report", "Verdict", "WordHit", "envelopes", "scan"]

NOT_LANGGRAPHS = "not a table of LangGraph or sealpoint: not judged"
_PROGRESS_ROWS = 1000


def scan(
    target: str | os.PathLike[str],
    *,
    clear_fields: Collection[str] = (),
    clear_vectors: bool = False,
    schemas: Sequence[str] = (),
    expect: str | os.PathLike[str] | None = None,
    data_directory: str | os.PathLike[str] | None = None,
    strict: bool = False,
    examples: int = 3,
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Reads everything that a database holds and says what of it is sealed.

    Args:
        target: a SQLite file or `sqlite:///path`, a Postgres DSN, `redis://…`, `mongodb://…`; with `expect`, any file.
        clear_fields: fields of store items that are meant to be readable.
        clear_vectors: whether embeddings are meant to be there. They are derived from plaintext.
        schemas: Postgres only: the schemas to read; none: all but the system's own.
        expect: a file of words, one a line, UTF-8, that must occur nowhere: neither in a row nor in a byte of the files.
        data_directory: Postgres only: its data directory, to be searched for the words.
        strict: whether tables that are not LangGraph's count as findings.
        examples: how many positions each finding names.
        progress: is told what is being read.

    Raises: `invalid_argument` (nothing to scan there), `store_unavailable`, `store_invalid`, `missing_dependency`.
    """
    words = None if expect is None else Words.read(Path(expect))
    if data_directory is not None and words is None:
        raise InvalidArgumentError("invalid_argument", "a data directory is searched for words: give a file of words, too")
    path, reader = _reader(os.fspath(target), schemas, data_directory)
    if reader is None and words is None:
        raise InvalidArgumentError(
            "invalid_argument", f"{printable(path.name)} is no SQLite database; its bytes can be searched: give a file of words"
        )
    tally = Tally(examples)
    if reader is not None:
        _read_rows(reader, tally, words, progress, clear_fields=frozenset(clear_fields), clear_vectors=clear_vectors)
    notes = [] if reader is None else reader.notes
    searched = 0
    if words is not None:
        files = [path] if reader is None else reader.files()
        searched = sum(words.search_file(file, progress) for file in files)
        notes += words.notes
        if reader is None:
            notes.append("no SQLite database: its bytes were searched for the words, and nothing else was judged")
        elif not files:
            notes.append("only rows were searched for the words: the files of this database were not given")
    report = Report(
        source=f"the file {printable(path.name)}" if reader is None else reader.source,
        findings=tally.findings(),
        words=None if words is None else len(words),
        searched_bytes=searched,
        hits=() if words is None else tuple(words.hits),
        notes=tuple(notes),
        strict=strict,
    )
    return report if words is None else withheld(report, words.occur_in)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope that lies in a database."""

    dek_id: bytes
    at: Callable[[], str]
    """Where: a table, and a position in it."""


class _Envelopes(Tally):
    def __init__(self) -> None:
        super().__init__()
        self.of_row: list[Envelope] = []

    def envelope(self, dek_id: bytes, at: Callable[[], str]) -> None:
        self.of_row.append(Envelope(dek_id, at))


def envelopes(target: str, *, schemas: Sequence[str] = (), progress: Callable[[str], object] = lambda _: None) -> Iterator[list[Envelope]]:
    """The well-formed envelopes of each row of a LangGraph database. Raises: as `scan`."""
    path, reader = _reader(target, schemas, None)
    if reader is None:
        raise InvalidArgumentError("invalid_argument", f"{printable(path.name)} is no SQLite database")
    known = False
    for count, row in enumerate(reader.rows(everything=False)):
        if count % _PROGRESS_ROWS == 0:
            progress(f"{count:,} rows read, in {printable(row.table)}")
        if row.damage:
            raise StoreError("store_invalid", f"a table of {reader.source} {row.damage}")
        known |= row.name in TABLES
        if row.name in TABLES and row.values is not None:
            tally = _Envelopes()
            judge_row(tally, row.table, row.name, row.values)
            if tally.of_row:
                yield tally.of_row
    if not known:
        raise InvalidArgumentError("invalid_argument", f"{reader.source} has no table of LangGraph or sealpoint: is it the right one?")


def _read_rows(reader: Reader, tally: Tally, words: Words | None, progress: Callable[[str], object], **options: Any) -> None:
    known: set[str] = set()
    for count, row in enumerate(reader.rows(everything=words is not None)):
        if count % _PROGRESS_ROWS == 0:
            progress(f"{count:,} rows read, in {printable(row.table)}")
        if row.damage:
            tally.add(row.table, "", Verdict.CORRUPT, row.damage, 0)
        elif row.name not in TABLES:
            tally.add(row.table, "", Verdict.UNKNOWN, NOT_LANGGRAPHS, 0, values=0 if row.values is None else 1)
        elif row.values is None:
            known.add(row.table)
        else:
            judge_row(tally, row.table, row.name, row.values, **options)
        if words is not None and row.values is not None:
            words.search_row(row.table, row.values, _place(row, count))
    if not known:
        raise InvalidArgumentError(
            "invalid_argument", f"{reader.source} has no table of LangGraph or sealpoint: is it the right one? Nothing was proven"
        )


def _place(row: Row, count: int) -> Callable[[], str]:
    """A known row is named by its ids; of others nothing is known that may be shown."""
    return lambda: position(row.values or {}) if row.name in TABLES else f"row {count} of all"


_NO_FILE = Path()


def _reader(target: str, schemas: Sequence[str], data_directory: str | os.PathLike[str] | None) -> tuple[Path, Reader | None]:
    """The reader for a target; none for a file of another kind."""
    if "\0" in target:
        raise InvalidArgumentError("invalid_argument", "a path or DSN has no NUL")
    scheme, separator, _ = target.partition("://")
    if not separator:
        # Postgres' other form of a DSN: host=… dbname=…
        scheme = "postgresql" if "=" in target and not os.path.exists(target) else "sqlite"
    if scheme in ("postgres", "postgresql"):
        from .postgres import PostgresReader

        return _NO_FILE, PostgresReader(target, schemas, data_directory)
    if schemas or data_directory is not None:
        raise InvalidArgumentError("invalid_argument", "only Postgres has schemas and a data directory")
    if scheme in ("redis", "rediss", "unix"):
        from .redis import RedisReader

        return _NO_FILE, RedisReader(target)
    if scheme in ("mongodb", "mongodb+srv"):
        from .mongo import MongoReader

        return _NO_FILE, MongoReader(target)
    path = Path(target.removeprefix("sqlite:///"))
    if scheme != "sqlite" or (separator and not target.startswith("sqlite:///")):
        raise InvalidArgumentError(
            "invalid_argument", "a database is a SQLite file, sqlite:///path, postgresql://…, redis://… or mongodb://…"
        )
    try:
        sqlite = is_sqlite(path)
    except OSError as error:
        raise InvalidArgumentError("invalid_argument", f"{printable(str(path))} cannot be read: {error.strerror}") from None
    return path, SqliteReader(path) if sqlite else None
