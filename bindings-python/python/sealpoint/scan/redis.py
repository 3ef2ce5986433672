"""Reading Redis, with commands that only read. What a key begins with is its table, a JSON document a row.

Redis has no snapshot: each key is read as it is at that moment.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError, MissingDependencyError, StoreError
from .plain import Pairs, from_json
from .report import printable
from .rows import Row, unread
from .tables import POINTER, TABLES

__all__ = ["RedisReader"]

OTHER = "(other keys)"
CACHE = "langgraph:cache:"
_MOVING = "Redis has no snapshot: what was written during the scan may have been seen or not"


class RedisReader:
    """One database of a server, and every key in it."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise MissingDependencyError("missing_dependency", "scanning Redis needs its client: pip install redis") from error
        try:
            self._client: Any = redis.Redis.from_url(url)
        except (ValueError, redis.RedisError):
            raise InvalidArgumentError("invalid_argument", "this is no Redis URL: redis://user@host:6379/0 or unix:///path?db=0") from None
        where = self._client.connection_pool.connection_kwargs
        self._database = int(where.get("db") or 0)
        self.source = f"the Redis database {self._database} at {printable(str(where.get('host') or where.get('path')))}"
        self.notes = [_MOVING]

    def files(self) -> list[Path]:
        """They are the server's."""
        return []

    def rows(self, everything: bool) -> Iterator[Row]:
        """See `Reader`."""
        import redis

        seen: set[str] = set()
        try:
            for key in self._client.scan_iter(count=1000):
                name = _table(key)
                table = name or OTHER
                if table not in seen:
                    seen.add(table)
                    yield Row(table, name)
                if name or everything:
                    yield from self._rows(key, table, name)
            others = {database for database in self._client.info("keyspace") if database != f"db{self._database}"}
        except (redis.RedisError, OSError) as error:
            # The server's own text is not passed on.
            raise StoreError(
                "store_unavailable",
                f"{self.source} cannot be read ({type(error).__name__}): check the URL, the password, and whether it runs",
            ) from None
        finally:
            self._client.close()
        if others:
            self.notes.append(f"the server has other databases, which were not read: {', '.join(sorted(map(printable, others)))}")

    def _rows(self, key: bytes, table: str, name: str) -> Iterator[Row]:
        """A key's one row; none if the key is gone by now."""
        import redis

        try:
            value = self._value(key)
        except (redis.ResponseError, ValueError) as error:
            yield unread(table, name, type(error).__name__)
            return
        if value is None:
            return
        shown = _string(key)
        if name == "cache":
            encoding, _, cached = value.partition(b":") if isinstance(value, bytes) else ("", "", value)
            yield Row(table, name, {"key": shown, "encoding": _string(encoding), "val": cached})
        elif isinstance(value, dict) and name:
            if isinstance(value.get("blob"), str):
                value["blob"] = _bytes(value["blob"])
            yield Row(table, name, value)
        else:
            yield Row(table, name, {"key": shown, POINTER: value if isinstance(value, list) or not name else _string(value)})

    def _value(self, key: bytes) -> Any:
        """Raises: `ValueError`."""
        kind = _string(self._client.type(key))
        if kind == "ReJSON-RL":
            raw = self._client.execute_command("JSON.GET", key)
            document = None if raw is None else from_json(raw)
            return dict(document) if isinstance(document, Pairs) else document
        if kind == "string":
            return self._client.get(key)
        if kind == "hash":
            return {_string(field): value for field, value in self._client.hgetall(key).items()} or None
        if kind == "zset":
            return [_string(member) for member in self._client.zrange(key, 0, -1)] or None
        if kind == "list":
            return self._client.lrange(key, 0, -1) or None
        if kind == "set":
            return list(self._client.smembers(key)) or None
        if kind == "stream":
            return self._client.xrange(key) or None
        # A module's own type: what it looks like on disk, which may be compressed.
        return self._client.dump(key)


def _table(key: bytes) -> str:
    """The known table that a key belongs to, or nothing."""
    if key.startswith(CACHE.encode()):
        return "cache"
    name = _string(key.partition(b":")[0])
    return name if name in TABLES and not name.startswith("sealpoint_") else ""


def _string(raw: Any) -> str:
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else str(raw)


def _bytes(text: str) -> bytes | str:
    """Bytes that a saver keeps as base64."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return text
