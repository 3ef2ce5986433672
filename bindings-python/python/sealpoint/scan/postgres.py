"""Reading a Postgres database: one snapshot, read-only, a server-side cursor for each table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError, MissingDependencyError, StoreError
from .report import printable
from .rows import Row, unread
from .tables import TABLES
from .values import SNAPSHOTS

__all__ = ["PostgresReader"]

FETCHED_ROWS = 200
"""At a time. A row can be as large as a checkpoint."""

_TABLES = """
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
    AND CASE WHEN %(all)s THEN n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
             ELSE n.nspname = ANY(%(schemas)s) END
ORDER BY n.nspname, c.oid
"""

# PostgresSaver leaves `true` in the checkpoint where a delta snapshot went to checkpoint_blobs. Only if it is there, `true` is no data.
_WITH_SNAPSHOTS = """
SELECT c.*, ARRAY(
    SELECT v.key FROM jsonb_each(CASE jsonb_typeof(c.checkpoint -> 'channel_values')
                                 WHEN 'object' THEN c.checkpoint -> 'channel_values' ELSE '{{}}' END) v
    JOIN {blobs} b ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = v.key
        AND b.version = c.checkpoint -> 'channel_versions' ->> v.key
    WHERE v.value = 'true') AS {snapshots}
FROM {table} c
"""


class PostgresReader:
    """Every schema that is not the system's own, or those that are named."""

    def __init__(self, dsn: str, schemas: Sequence[str], data_directory: str | os.PathLike[str] | None = None) -> None:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as error:
            raise MissingDependencyError("missing_dependency", "scanning Postgres needs psycopg: pip install 'psycopg[binary]'") from error
        try:
            parsed = conninfo_to_dict(dsn)
        except psycopg.Error:
            # Its message quotes the DSN, and that may hold a password.
            raise InvalidArgumentError("invalid_argument", "this is no Postgres DSN: postgresql://user@host/database") from None
        self._dsn, self._schemas = dsn, list(schemas)
        self._data = None if data_directory is None else Path(data_directory)
        if self._data is not None and not (self._data / "PG_VERSION").is_file():
            raise InvalidArgumentError(
                "invalid_argument", "this is no data directory of Postgres, or it cannot be read: it has no PG_VERSION"
            )
        where = f" on {printable(str(parsed['host']))}" if parsed.get("host") else ""
        self.source = f"the Postgres database {printable(str(parsed.get('dbname') or '(default)'))}{where}"
        self.notes: list[str] = []

    def files(self) -> list[Path]:
        """All files of the data directory, those behind links (tablespaces, the write-ahead log) included; each once."""
        if self._data is None:
            return []

        def failed(error: OSError) -> None:
            raise InvalidArgumentError("invalid_argument", f"the data directory cannot be read: {error.strerror}") from None

        files: dict[str, Path] = {}
        entered: set[str] = set()
        for folder, folders, names in os.walk(self._data, onerror=failed, followlinks=True):
            entered.add(os.path.realpath(folder))
            folders[:] = [name for name in folders if os.path.realpath(os.path.join(folder, name)) not in entered]
            files.update((os.path.realpath(path), path) for name in names if (path := Path(folder, name)).is_file())
        return sorted(files.values())

    def rows(self, everything: bool) -> Iterator[Row]:
        """See `Reader`."""
        import psycopg

        try:
            with psycopg.connect(self._dsn, application_name="sealpoint scan") as connection:
                self._prepare(connection)
                tables = connection.execute(_TABLES, {"all": not self._schemas, "schemas": self._schemas}).fetchall()
                if missing := set(self._schemas) - {schema for schema, _ in tables}:
                    raise InvalidArgumentError(
                        "invalid_argument", f"{len(missing)} of the schemas that were named hold no table that is visible"
                    )
                for schema, name in tables:
                    yield from self._table(connection, tables, schema, name, everything)
                connection.rollback()
        except psycopg.Error as error:
            raise self._typed(error) from None

    def _prepare(self, connection: Any) -> None:
        from psycopg import IsolationLevel
        from psycopg.types.json import set_json_loads

        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # JSON stays text, for the judge to parse.
        set_json_loads(lambda raw: raw if isinstance(raw, str) else bytes(raw).decode(), connection)
        # Row-level security hides rows without a word; switched off, it is an error to ask for a table that has it.
        connection.execute("SET LOCAL row_security = off")

    def _table(self, connection: Any, tables: Sequence[tuple[str, str]], schema: str, name: str, everything: bool) -> Iterator[Row]:
        import psycopg

        shown = name if schema == "public" else f"{schema}.{name}"
        yield Row(shown, name)
        if name not in TABLES and not everything:
            return
        try:
            with connection.transaction(), connection.cursor(name="sealpoint_scan") as cursor:
                cursor.itersize = FETCHED_ROWS
                cursor.execute(self._select(connection, tables, schema, name))
                columns = [column.name for column in cursor.description]
                for values in cursor:
                    yield Row(shown, name, dict(zip(columns, values, strict=True)))
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except psycopg.Error as error:
            # One table that cannot be read does not hide the others.
            yield unread(shown, name, error.sqlstate or type(error).__name__)

    def _select(self, connection: Any, tables: Sequence[tuple[str, str]], schema: str, name: str) -> Any:
        from psycopg.sql import SQL, Identifier

        table = Identifier(schema, name)
        if name == "checkpoints" and (schema, "checkpoint_blobs") in tables:
            # The shallow saver's blobs have no version, and its checkpoints no such marks.
            columns = connection.execute(
                "SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
                "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND NOT a.attisdropped "
                "AND (c.relname, a.attname) IN (('checkpoint_blobs', 'version'), ('checkpoints', 'checkpoint'))",
                (schema,),
            ).fetchone()[0]
            if columns == 2:
                return SQL(_WITH_SNAPSHOTS).format(
                    blobs=Identifier(schema, "checkpoint_blobs"), snapshots=Identifier(SNAPSHOTS), table=table
                )
        return SQL("SELECT * FROM {}").format(table)

    def _typed(self, error: Any) -> StoreError:
        """The server's own text is not passed on: it can quote a value."""
        import psycopg

        name = error.sqlstate or type(error).__name__
        if isinstance(error, psycopg.OperationalError):
            return StoreError(
                "store_unavailable", f"{self.source} cannot be reached ({name}): check the DSN, the password, and whether it runs"
            )
        return StoreError("store_invalid", f"{self.source} cannot be read ({name})")
