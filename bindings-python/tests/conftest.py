"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
    """The same as a URL."""
    return sqlite_url(path)


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
