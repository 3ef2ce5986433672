"""One scenario on a bare saver and on a sealed one: what a graph gives, made comparable."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from backends import AsyncBackend, AsyncMemory, AsyncPostgres, AsyncSqlite, Backend, Home, Memory, Postgres, Sqlite, stored_bytes
from langchain_core.messages import BaseMessage

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, from_config

Scenario = Callable[[Backend, Any], Any]

TENANT_KEY = "workspace_id"
CANARY = "canary"
"""Part of every value that a scenario stores, and of no name: no sealed file may hold it, and every bare one does."""

SOME: tuple[type[Backend], ...] = (Sqlite, AsyncSqlite, Postgres, AsyncPostgres)
"""Values in the row, values in a table, sync and async."""
SYNC_AND_ASYNC: tuple[type[Backend], ...] = (Memory, AsyncMemory)
ASYNC: tuple[type[AsyncBackend], ...] = (AsyncSqlite, AsyncPostgres)


def config(thread: str = "t", **extra: Any) -> Any:
    return {"configurable": {"thread_id": thread, TENANT_KEY: "acme", "locale": "canary locale"}, **extra}


def wrapped(keyring: Keyring) -> Any:
    return lambda inner: SealedSaver(inner, keyring, tenant=from_config(TENANT_KEY))


def assert_same(kind: type[Backend], scenario: Scenario, keyring: Keyring, make_backend: Any, *wraps: Any) -> None:
    """`wraps`: how to wrap the saver bare and sealed, if it is not the saver alone that is wrapped."""
    bare, sealed = wraps or (lambda inner: inner, wrapped(keyring))
    places = [make_backend(kind, "bare"), make_backend(kind, "sealed")]
    expected = comparable(scenario(places[0], bare))
    assert comparable(scenario(places[1], sealed)) == expected
    if kind.home is Home.file and not issubclass(kind, Memory):
        assert [CANARY.encode() in stored_bytes(backend.place) for backend in places] == [True, False]


_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^ \"']*")


def comparable(value: Any) -> Any:
    """Plain data, equal for equal runs: ids become numbers in the order of their first appearance, times go, and so does the tenant, which
    a sealed saver puts back into the configs that it returns."""
    numbers: dict[str, str] = {}

    def named(text: str) -> str:
        return _TIME.sub("<time>", _ID.sub(lambda found: numbers.setdefault(found[0], f"<{len(numbers)}>"), text))

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return named(value)
        if isinstance(value, Mapping):
            # In an order that does not depend on the ids or on the database, so that the numbers don't either.
            entries = sorted(value.items(), key=lambda entry: _ID.sub("", str(entry[0])))
            return {named(str(key)): plain(item) for key, item in entries if key != TENANT_KEY}
        if isinstance(value, BaseMessage):
            # Reducers give a message its id in place, while a background thread may be storing the message already.
            own = {"id": value.id} if value.id and not _ID.search(value.id) else {}
            return [value.type, plain({**value.model_dump(exclude={"id"}), **own})]
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, (set, frozenset)):
            return sorted(plain(item) for item in value)
        if isinstance(value, datetime):
            return "<time>"
        if isinstance(value, BaseException):
            return [type(value).__name__, named(str(value))]
        if hasattr(value, "__dict__") or hasattr(value, "__slots__"):
            fields = getattr(value, "__slots__", None) or vars(value)
            return [type(value).__name__, *(plain(getattr(value, name)) for name in fields)]
        return value

    return plain(value)
