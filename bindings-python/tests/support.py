"""What several tests share: contexts, KEKs, a provider that can be told to fail, and checks for leaks."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sealpoint import (
    Context,
    KeyManagementProvider,
    Keyring,
    ProviderCapabilities,
    SealpointError,
    SecretKey,
    WrappedKey,
)
from sealpoint._native import LocalKek
from sealpoint.errors import error_for

TENANT = "acme-secret-tenant"
OTHER_TENANT = "globex-secret-tenant"
PLAINTEXT = b"the plaintext nobody may see"
KEK = "env:SEALPOINT_KEK"
CONTEXT = Context(tenant=TENANT, purpose="field", document="u-42", path="/card")
OTHER_CONTEXT = Context(tenant=OTHER_TENANT, purpose="field", document="u-42", path="/card")
KEK_TEXT = "7sPazxTa4Ip+THz1+IWURrAWmkTnRM38uEnz0eNoE0k="
OTHER_KEK_TEXT = "0d4c1be5a1f3b5fbf6ff5d9c7f4f5f0f2f6c7e8d9a0b1c2d3e4f5a6b7c8d9e0f"


class FakeKms:
    """A provider whose calls are counted, can be told what to answer, and can be held up."""

    def __init__(self, uri: str = "fake:one", kek: str = KEK_TEXT, *, authenticates: bool = True) -> None:
        self.uri = uri
        self.capabilities = ProviderCapabilities(binds_context=True, authenticates=authenticates)
        self.calls: Counter[str] = Counter()
        self.answer: Exception | None = None
        self.before: Callable[[str], object] = lambda _: None
        self._kek = LocalKek.parse(kek)
        self._lock = threading.Lock()

    def fail(self, code: str | None) -> None:
        self.answer = None if code is None else error_for(code, "the service said so")

    def hold_up(self) -> tuple[threading.Event, threading.Event]:
        """From now on each call waits. Returns (set when a call has come, to be set to let it go on)."""
        entered, proceed, here = threading.Event(), threading.Event(), os.getpid()

        def wait(_: str) -> None:
            entered.set()
            assert os.getpid() != here or proceed.wait(30)

        self.before = wait
        return entered, proceed

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        self._count("wrap")
        return WrappedKey(self._kek.wrap(secret, context), "fake", "v1")

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        self._count("unwrap")
        return self._kek.unwrap(wrapped.wrapped, context)

    def _count(self, call: str) -> None:
        with self._lock:
            self.calls[call] += 1
        self.before(call)
        if self.answer is not None:
            raise self.answer


def provider_is_protocol(provider: FakeKms) -> KeyManagementProvider:
    """mypy proves here that the fake follows the protocol."""
    return provider


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def ready(store: str, kek: object = "env:SEALPOINT_KEK", **options: object) -> Keyring:
    """A keyring on a store that is set up."""
    keyring = Keyring.connect(store, kek=kek, **options)  # type: ignore[arg-type]
    keyring.setup()
    return keyring


def seal_in_a_process(url: str, start: Barrier, results: Any) -> None:
    """A process of its own that seals once; all of them have seen no DEK before one of them wraps."""
    kms = FakeKms()
    with Keyring.connect(url, kek=kms) as keyring:
        kms.before = lambda call: start.wait(30) if call == "wrap" else None
        results.put(keyring.seal(PLAINTEXT, CONTEXT))


def assert_error(error: SealpointError, code: str, *words: str) -> None:
    """The code, words of the message, and that nothing secret is said."""
    assert error.code == code, error
    for word in words:
        assert word in str(error), error
    for shown in (str(error), repr(error), str(error.__cause__), repr(error.__context__)):
        for secret in (TENANT, OTHER_TENANT, KEK_TEXT, OTHER_KEK_TEXT, PLAINTEXT.decode(), "u-42"):
            assert secret not in shown


def refused(call: Callable[[], object], code: str, *words: str) -> SealpointError:
    with pytest.raises(SealpointError) as caught:
        call()
    assert_error(caught.value, code, *words)
    return caught.value


def query(store: str | Path, sql: str, *parameters: object) -> Any:
    """Runs a statement in the database of a key store: a URL, or the path of a SQLite file."""
    if str(store).startswith("postgresql://"):
        with psycopg.connect(str(store)) as connection:
            done = connection.execute(sql.replace("?", "%s"), parameters)
            return done.fetchall() if done.description else []
    with closing(sqlite3.connect(str(store).removeprefix("sqlite:///"))) as db, db:
        return db.execute(sql, parameters).fetchall()


def lift_constraints(url: str) -> None:
    """What the database itself refuses, whoever owns the tables can have."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as db:
            db.execute("PRAGMA writable_schema = ON")
            db.execute("UPDATE sqlite_master SET sql = replace(sql, 'key_check BLOB NOT NULL', 'key_check BLOB')")
        return
    query(url, "ALTER TABLE sealpoint_deks ALTER key_check DROP NOT NULL")
    checks = (
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conrelid::regclass::text LIKE 'sealpoint%'"
    )
    for table, name in query(url, checks.replace("%", "%%")):
        query(url, f"ALTER TABLE {table} DROP CONSTRAINT {name}")


def lose(store: str) -> None:
    """What a key store held is gone."""
    if store.startswith("postgresql://"):
        ((schema,),) = query(store, "SELECT current_schema")
        query(store, f"DROP SCHEMA {schema} CASCADE")
    else:
        Path(store.removeprefix("sqlite:///")).unlink()


def in_threads(count: int, work: Callable[[int], object]) -> list[Any]:
    """Starts them all at once; results or errors, in order."""
    start = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return results


def serve_key_service(
    kms: Any,
    endpoint: str,
    fault: Callable[[Any], object],
    *,
    shown: Callable[[Any], object] = lambda request: request,
    key: Callable[[str], object] = lambda _: None,
) -> None:
    """A key service for tests in other languages: one JSON object a line on standard input, each answered by one, until the input ends.

    `reset`: no faults, and counts at zero; `fault`: from now on; `faults`: one a call, before that; `key`: one is made. The answer has
    `endpoint`, `calls` and `requests`. fault: makes one from JSON; shown: makes JSON of a request.
    """
    for line in sys.stdin:
        asked = json.loads(line)
        kms.hanging.set()
        if "reset" in asked:
            kms.reset()
        kms.hanging = threading.Event()
        if "key" in asked:
            key(asked["key"])
        if "fault" in asked:
            kms.fault = fault(asked["fault"])
        kms.faults += [fault(given) for given in asked.get("faults", ())]
        answer = {"endpoint": endpoint, "calls": kms.calls, "requests": [shown(request) for request in kms.requests]}
        print(json.dumps(answer), flush=True)
