"""Reading MongoDB. A collection is a table, a document a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError, MissingDependencyError, StoreError
from .plain import Pairs, from_json, from_msgpack
from .report import printable
from .rows import Row, unread
from .tables import TABLES

__all__ = ["MongoReader"]

_SYSTEM = ("admin", "config", "local")


class MongoReader:
    """The database that the URL names, or every one that is not the system's own."""

    def __init__(self, url: str) -> None:
        try:
            import pymongo
            from pymongo.errors import PyMongoError
        except ImportError as error:
            raise MissingDependencyError("missing_dependency", "scanning MongoDB needs its client: pip install pymongo") from error
        try:
            self._client: Any = pymongo.MongoClient(url, appname="sealpoint scan")
            named = self._client.get_default_database(default=_SYSTEM[0]).name
        except (PyMongoError, ValueError, TypeError):
            # Its message can quote the URL, and that may hold a password.
            raise InvalidArgumentError("invalid_argument", "this is no MongoDB URL: mongodb://user@host/database") from None
        self._database = "" if named == _SYSTEM[0] else named
        self.source = f"the MongoDB database {printable(named)}" if self._database else "the MongoDB server"
        self.notes = ["MongoDB was read without a snapshot: what was written during the scan may have been seen or not"]

    def files(self) -> list[Path]:
        """They are the server's."""
        return []

    def rows(self, everything: bool) -> Iterator[Row]:
        """See `Reader`."""
        from pymongo.errors import PyMongoError

        try:
            names = [self._database] if self._database else sorted({*self._client.list_database_names()} - {*_SYSTEM})
            for database in names:
                for collection in sorted(self._client[database].list_collection_names()):
                    yield from self._collection(database, collection, everything)
        except PyMongoError as error:
            # The server's own text is not passed on.
            raise StoreError(
                "store_unavailable",
                f"{self.source} cannot be read ({type(error).__name__}): check the URL, the password, and whether it runs",
            ) from None
        finally:
            self._client.close()

    def _collection(self, database: str, name: str, everything: bool) -> Iterator[Row]:
        from pymongo.errors import OperationFailure

        table = name if self._database else f"{database}.{name}"
        yield Row(table, name)
        if name not in TABLES and not everything:
            return
        try:
            for document in self._client[database][name].find():
                maps = {field: _entries(value) for field, value in document.items() if isinstance(value, dict)}
                yield Row(table, name, {**document, **maps})
        except OperationFailure as error:
            yield unread(table, name, f"code {error.code}")


def _entries(value: Any) -> Any:
    """A map as it is in JavaScript, or metadata in Python: its values are serialized each for itself, as a pair of type and bytes."""
    if isinstance(value, dict):
        return Pairs((key, _entries(entry)) for key, entry in value.items())
    if isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[1], bytes):
        kind, payload = value
        try:
            if kind == "msgpack":
                return from_msgpack(payload)
            if kind == "json":
                return from_json(payload)
        except ValueError:
            pass
        return None if kind == "null" else payload
    return value
