"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Server, new_database, new_schema
from redis_server import Redis
from support import CONTEXT, KEK_TEXT, OTHER_KEK_TEXT, PLAINTEXT, FakeKms, ready, sqlite_url

from sealpoint import Keyring


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEALPOINT_KEK", KEK_TEXT)
    monkeypatch.setenv("OTHER_KEK", OTHER_KEK_TEXT)
    monkeypatch.delenv("NO_KEK", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a key store may be made."""
    return tmp_path / "keys.db"


@pytest.fixture
def url(path: Path) -> str:
    """The same as a URL; modules that run on every kind of key store have another one."""
    return sqlite_url(path)


@pytest.fixture(params=["sqlite", "postgres"])
def any_url(request: pytest.FixtureRequest, path: Path) -> str:
    """A new key store of each kind. A module whose `url` is this runs on all of them."""
    return sqlite_url(path) if request.param == "sqlite" else request.getfixturevalue("postgres_schema")


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


@pytest.fixture
def keyring(url: str, kms: FakeKms) -> Iterator[Keyring]:
    """Set up, on SQLite, with a KEK whose calls are counted; the counts start at zero."""
    with ready(url, kms) as keyring:
        kms.calls.clear()
        yield keyring


@pytest.fixture
def pair(url: str) -> tuple[Keyring, FakeKms, FakeKms, bytes]:
    """Two KEKs, an envelope, and an empty cache."""
    first, second = FakeKms("fake:one"), FakeKms("fake:two", OTHER_KEK_TEXT)
    keyring = ready(url, [first, second])
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    first.calls.clear()
    second.calls.clear()
    return keyring, first, second, sealed


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The Postgres server of this run, started when the first test asks for it."""
    server = Server()
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postgres_admin(request: pytest.FixtureRequest) -> str:
    """Who may create databases: on our own server or on that of SEALPOINT_TEST_POSTGRES (a URL)."""
    return os.environ.get("SEALPOINT_TEST_POSTGRES") or request.getfixturevalue("postgres_server").dsn()


@pytest.fixture
def postgres(postgres_admin: str) -> Iterator[str]:
    """The DSN of a new Postgres database."""
    with new_database(postgres_admin) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def postgres_shared(postgres_admin: str) -> Iterator[str]:
    """The DSN of one database for all tests that are content with a schema in it."""
    with new_database(postgres_admin) as dsn:
        yield dsn


@pytest.fixture
def postgres_schema(postgres_shared: str) -> Iterator[str]:
    """The DSN of a new, empty schema."""
    with new_schema(postgres_shared) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """The Redis server of this run, started when the first test asks for it."""
    server = Redis()
    try:
        yield server
    finally:
        server.close()
