"""Every byte of the database is searched for what the application put in."""

from pathlib import Path
from typing import Any

import pytest
from backends import stored_bytes
from langgraph.store.postgres import PostgresStore
from postgres import Server, new_database
from store_backends import AsyncSqlite, Letters, Postgres, Sqlite, StoreBackend

from sealpoint import Keyring
from sealpoint.langgraph import SealedStore, fixed

NS = ("users", "u-1")
CANARIES = [b"CANARY-text", b"CANARY-nested", b"CANARY-key-of-a-dict", b"CANARY-embedded", b"8263548190273", b"0.123456789012345"]
FIELDS = [b"FIELD-text", b"FIELD-nested", b"FIELD-number"]
VALUE: dict[str, Any] = {
    "FIELD-text": "CANARY-text",
    "FIELD-nested": {"CANARY-key-of-a-dict": ["CANARY-nested"]},
    "FIELD-number": [8_263_548_190_273, 0.123456789012345],
    "embedded": "CANARY-embedded",
    "kind": "CLEAR-kind",
}


def leaks(stored: bytes, words: list[bytes]) -> list[bytes]:
    return [word for word in words if word in stored or word.decode().encode("utf-16-le") in stored]


def use(backend: StoreBackend, store: Any) -> None:
    backend.call(store, "put", NS, "k", VALUE)
    backend.call(store, "put", NS, "gone", VALUE)
    backend.call(store, "delete", NS, "gone")
    backend.call(store, "search", NS, filter={"FIELD-text": "CANARY-text"})
    backend.call(store, "get", NS, "k")


def wrap(keyring: Keyring, **options: Any) -> Any:
    return lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"), clear_fields=("kind",), **options)


INDEX: Any = {"dims": Letters.dims, "embed": Letters()}


@pytest.mark.parametrize("backend_class", [Sqlite, AsyncSqlite])
@pytest.mark.parametrize("options", [{}, {"seal": "fields"}, {"embed": ("embedded",)}], ids=str)
def test_sqlite_keeps_nothing_readable(backend_class: Any, tmp_path: Path, keyring: Keyring, options: Any) -> None:
    backend = backend_class(tmp_path / "store.db", None)
    index = {"index": INDEX} if "embed" in options else {}
    with backend.opened(wrap(keyring, **options), **index) as store:
        use(backend, store)
        stored = stored_bytes(backend.path)  # while it is open: with its log
    stored += stored_bytes(backend.path)
    assert leaks(stored, CANARIES) == []
    assert b"CLEAR-kind" in stored
    assert bool(leaks(stored, FIELDS)) == ("seal" in options)
    backend.close()


def test_a_bare_store_keeps_everything_readable(tmp_path: Path) -> None:
    backend = Sqlite(tmp_path / "store.db", None)
    with backend.opened(lambda inner: inner) as store:
        use(backend, store)
        assert leaks(stored_bytes(backend.path), CANARIES) == CANARIES


def test_postgres_keeps_nothing_readable(postgres_server: Server, tmp_path: Path, keyring: Keyring) -> None:
    with new_database(postgres_server.dsn()) as dsn:
        backend = Postgres(tmp_path / "none", dsn)
        with backend.opened(wrap(keyring)) as store:
            assert isinstance(store.inner, PostgresStore)
            use(backend, store)
        files = dict(postgres_server.files())
    found = {str(path): leaks(content, CANARIES + FIELDS) for path, content in files.items()}
    assert {path: words for path, words in found.items() if words} == {}
    assert any(b"CLEAR-kind" in content for content in files.values())


def test_a_vector_of_a_deleted_item_may_stay(tmp_path: Path, keyring: Keyring) -> None:
    """The guide says so: `SqliteStore` leaves it behind, sealed or not."""
    with Sqlite(tmp_path / "store.db", None).opened(lambda inner: inner, index=INDEX) as inner:
        store = SealedStore(inner, keyring, tenant=fixed("acme"), embed=("embedded",))
        store.put(NS, "k", VALUE)
        store.delete(NS, "k")
        assert store.get(NS, "k") is None
        assert inner.conn.execute("SELECT count(*) FROM store_vectors").fetchone() == (1,)
