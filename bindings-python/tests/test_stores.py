"""Key stores: memory, SQLite and Postgres alike, then what only a file can do wrong. Postgres' own: test_postgres.py."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import CONTEXT, PLAINTEXT, TENANT, assert_error, query, ready, refused, sqlite_url

from sealpoint import KeyNotFoundError, Keyring, KeyStore, KeyUnusableError, SealpointError, StoreError
from sealpoint.stores import (
    DekRecord,
    KeyLifecycle,
    StoreSettings,
    TenantRecord,
    WrapChange,
    WrapDrop,
    WrapRecord,
    now,
    sqlite,
    store_from_url,
)
from sealpoint.stores.memory import MemoryStore
from sealpoint.stores.postgres import PostgresStore
from sealpoint.stores.sqlite import SqliteStore

KEK = "env:SEALPOINT_KEK"
DEK_ID = bytes(range(16))


def dek(dek_id: bytes = DEK_ID, version: int = 1, tenant: str = TENANT, **changes: Any) -> DekRecord:
    wraps = tuple(WrapRecord(uri, "v1", "alg", b"wrapped", now(), now()) for uri in ("env:A", "env:B"))
    return replace(DekRecord(dek_id, tenant, 1, 1, version, "active", bytes(32), now(), wraps), **changes)


def execute(path: Path, sql: str, *parameters: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(sql, parameters).rowcount != 0


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, path: Path) -> str:
    """A key store of each kind, before setup()."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_schema"))
    return "memory:" if request.param == "memory" else sqlite_url(path)


@pytest.fixture
def store(empty_url: str) -> KeyStore:
    made = store_from_url(empty_url)
    made.setup(3600)
    return made


def test_what_is_stored_comes_back(store: KeyStore) -> None:
    assert isinstance(store, KeyStore)
    assert (store.dek(DEK_ID), store.active_dek(TENANT, 1), store.tenant(TENANT), store.next_version(TENANT, 1)) == (
        None,
        None,
        None,
        1,
    )
    record = dek()
    assert store.create_dek(record) == record
    assert store.dek(DEK_ID) == record
    assert store.active_dek(TENANT, 1) == record
    assert isinstance(store.tenant(TENANT), TenantRecord)
    assert (store.next_version(TENANT, 1), store.next_version(TENANT, 2), store.next_version("other", 1)) == (2, 1, 1)
    assert (store.active_dek(TENANT, 2), store.active_dek("other", 1), store.dek(bytes(16))) == (None, None, None)


def test_the_second_dek_loses(store: KeyStore) -> None:
    first = store.create_dek(dek())
    assert store.create_dek(dek(bytes(16), version=2)) == first
    assert store.dek(bytes(16)) is None
    assert store.create_dek(dek(bytes(15) + b"2", purpose=2)).purpose == 2


def test_setup_twice_changes_nothing(store: KeyStore) -> None:
    store.create_dek(dek())
    store.add_canary("env:A", b"canary")
    store.setup(9999)
    assert store.settings() == StoreSettings(schema_version=2, max_ttl=3600)
    store.add_canary("env:A", b"another")
    assert store.canaries() == {"env:A": b"canary"}
    assert store.dek(DEK_ID) is not None


@pytest.mark.parametrize("create_file", [False, True])
def test_before_setup_everything_says_so(create_file: bool, empty_url: str, path: Path) -> None:
    if create_file:
        path.touch()
    store = store_from_url(empty_url)
    assert store.settings() is None
    calls: list[Callable[[], object]] = [
        store.canaries,
        lambda: store.add_canary("env:A", b"x"),
        lambda: store.tenant(TENANT),
        lambda: store.dek(DEK_ID),
        lambda: store.active_dek(TENANT, 1),
        lambda: store.next_version(TENANT, 1),
        lambda: store.create_dek(dek()),
    ]
    assert isinstance(store, KeyLifecycle)
    lifecycle: list[Callable[[], object]] = [
        lambda: store.page_tenants(None, 1),
        lambda: store.page_deks(None, 1),
        lambda: store.deks_of([TENANT]),
        lambda: store.replace_active(DEK_ID, dek()),
        lambda: store.put_wraps([WrapChange(DEK_ID, dek().wraps[0])]),
        lambda: store.drop_wraps([WrapDrop(DEK_ID, *dek().wraps)]),
        lambda: store.set_state(DEK_ID, "active", "retired"),
        lambda: store.shred_tenant(TENANT, 1),
        lambda: store.readmit_tenant(TENANT),
    ]
    for call in calls + lifecycle:
        with pytest.raises(StoreError) as caught:
            call()
        assert_error(caught.value, "store_invalid", "setup()")


def test_concurrent_creation_has_one_winner(store: KeyStore) -> None:
    start = threading.Barrier(8)
    winners: list[bytes] = []

    def create(number: int) -> None:
        start.wait()
        winners.append(store.create_dek(dek(bytes([number]) * 16)).dek_id)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 8
    assert len(set(winners)) == 1


@pytest.mark.parametrize("tenant", ["with'quote", "nul\0inside", "ünï", "日本\U0001f511", "x" * 1024, "TENANT", "tenant ", "%", "%s"])
def test_tenants_are_told_apart_bytewise(tenant: str, store: KeyStore) -> None:
    if "\0" in tenant and isinstance(store, PostgresStore):
        for call in (lambda: store.create_dek(dek(tenant=tenant)), lambda: store.active_dek(tenant, 1), lambda: store.tenant(tenant)):
            refused(call, "invalid_argument", "NUL")
        assert store.dek(DEK_ID) is None
        return
    store.create_dek(dek(tenant=tenant))
    found = store.active_dek(tenant, 1)
    assert found is not None
    assert found.tenant == tenant
    for near in (tenant.lower() + "'", tenant.strip() + " x", tenant.split("\0")[0] + "\0"):
        if "\0" not in near or not isinstance(store, PostgresStore):
            assert store.active_dek(near, 1) is None


def test_a_tombstone(store: KeyStore, empty_url: str) -> None:
    store.create_dek(dek())
    if isinstance(store, MemoryStore):
        store._tenants[TENANT] = TenantRecord(1, shredded_at=2)
    else:
        query(empty_url, "UPDATE sealpoint_tenants SET shredded_at = 2")
    found = store.dek(DEK_ID)
    assert found is not None
    assert found.shredded_at == 2
    tenant = store.tenant(TENANT)
    assert tenant is not None
    assert tenant.shredded_at == 2
    with pytest.raises(KeyUnusableError) as caught:
        store.create_dek(dek(bytes(16), version=2))
    assert_error(caught.value, "key_destroyed")
    assert store.next_version(TENANT, 1) == 2


BAD_ROWS: dict[str, dict[str, Any]] = {
    "dek_id": {"dek_id": bytes(15)},
    "dek_id text": {"dek_id": "0" * 16},
    "tenant": {"tenant": b"x"},
    "no tenant": {"tenant": ""},
    "purpose": {"purpose": 5},
    "purpose bool": {"purpose": True},
    "suite": {"suite": 0},
    "version": {"version": 0},
    "version text": {"version": "1"},
    "version long": {"version": 2**32},
    "state": {"state": "sleeping"},
    "key_check": {"key_check": bytes(31)},
    "no key_check": {"key_check": None},
    "created_at": {"created_at": "now"},
    "shredded_at": {"shredded_at": "now"},
}


@pytest.mark.parametrize("changes", BAD_ROWS.values(), ids=list(BAD_ROWS))
def test_a_record_checks_itself(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError) as caught:
        dek(**changes)
    assert_error(caught.value, "store_invalid")


@pytest.mark.parametrize(
    "changes",
    [
        {"kek_uri": 1},
        {"kek_version": None},
        {"wrap_alg": b""},
        {"wrapped": "text"},
        {"wrapped": b""},
        {"wrapped": bytes(65_537)},
        {"created_at": None},
        {"verified_at": "x"},
    ],
)
def test_a_wrap_checks_itself(changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError) as caught:
        replace(dek().wraps[0], **changes)
    assert_error(caught.value, "store_invalid")


def test_records_show_nothing() -> None:
    shown = repr(dek()) + repr(dek().wraps[0])
    assert TENANT not in shown
    assert "wrapped" not in shown.replace("WrapRecord", "")


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys.db",
        "sqlite:",
        "sqlite://keys.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a?mode=ro",
        "sqlite:///a#b",
        "memory",
        "memory:x",
        "SQLITE:///a",
        "redis://x",
        "postgresql:hunter2",
        "postgresql+psycopg://user:hunter2@host/db",
        "postgresql://user:hunter2@host/db?poolsize=5",
        "postgresql://user:hunter2@[::1/db",
        "postgres://user:hunter2@host/db\0",
        "postgres://user:hunter2@host/\ud800",
    ],
)
def test_no_url_of_a_store(url: str) -> None:
    with pytest.raises(SealpointError) as caught:
        Keyring.connect(url, kek=KEK)
    assert_error(caught.value, "invalid_argument")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("store", [None, 7, b"memory:", Path("keys.db"), MemoryStore, object()])
def test_what_is_no_store(store: Any) -> None:
    with pytest.raises(SealpointError) as caught:
        Keyring.connect(store, kek=KEK)
    assert_error(caught.value, "invalid_argument", "KeyStore")


def test_relative_and_absolute_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_from_url("sqlite:///a b%41.db")
    monkeypatch.chdir("/")
    store.setup(3600)
    assert (tmp_path / "a b%41.db").exists()
    assert store_from_url(f"sqlite:///{tmp_path}/a b%41.db").settings() is not None


# SQLite


def test_the_file_is_its_owners_only(path: Path) -> None:
    before = os.umask(0)
    try:
        with ready(sqlite_url(path)) as keyring:
            keyring.seal(PLAINTEXT, CONTEXT)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_tables(path: Path) -> None:
    SqliteStore(str(path)).setup(3600)
    with closing(sqlite3.connect(path)) as db:
        tables = {
            name: [column[1] for column in db.execute(f"PRAGMA table_info({name})")]
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        assert tables == {
            "sealpoint_settings": ["id", "schema_version", "max_ttl", "required_keks"],
            "sealpoint_canaries": ["kek_uri", "wrapped"],
            "sealpoint_tenants": ["tenant", "kek_uri", "created_at", "shredded_at"],
            "sealpoint_deks": [
                "dek_id",
                "tenant",
                "purpose",
                "suite",
                "version",
                "state",
                "key_check",
                "created_at",
                "retired_at",
                "destroyed_at",
                "rotated_by",
            ],
            "sealpoint_wraps": ["dek_id", "kek_uri", "kek_version", "wrap_alg", "wrapped", "created_at", "verified_at"],
        }
        insert = "INSERT INTO sealpoint_deks VALUES (?, 't', 1, 1, ?, ?, zeroblob(32), 0, NULL, NULL, NULL)"
        db.execute(insert, (b"a", 1, "active"))
        db.execute(insert, (b"b", 2, "retired"))
        for dek_id, version, state in (
            (b"c", 3, "active"),
            (b"c", 2, "retired"),
            (b"a", 3, "retired"),
            (b"c", 3, "other"),
        ):
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(insert, (dek_id, version, state))


def test_connecting_makes_no_file(path: Path) -> None:
    with Keyring.connect(sqlite_url(path), kek=KEK) as keyring:
        assert not path.exists()
        for call in (lambda: keyring.seal(PLAINTEXT, CONTEXT), lambda: keyring.load(TENANT)):
            with pytest.raises(StoreError) as caught:
                call()
            assert_error(caught.value, "store_invalid", "setup()")
        assert not path.exists()
        assert keyring.health().status == "failed"
        keyring.setup()
        assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def test_other_tables_in_the_file_do_not_matter(path: Path, url: str) -> None:
    execute(path, "CREATE TABLE checkpoints (sealpointless TEXT)")
    with Keyring.connect(url, kek=KEK) as keyring:
        keyring.setup()
        assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def connecting_fails(url: str, code: str, *words: str) -> None:
    with pytest.raises(SealpointError) as caught:
        ready(url)
    assert_error(caught.value, code, *words)


def test_a_missing_folder(tmp_path: Path) -> None:
    connecting_fails(sqlite_url(tmp_path / "no" / "keys.db"), "store_unavailable", "folder")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    connecting_fails(sqlite_url(tmp_path), "store_unavailable", "cannot be opened")


def test_a_file_that_is_no_database(path: Path, url: str) -> None:
    path.write_bytes(b"this is no database, but long enough to look at" * 50)
    connecting_fails(url, "store_invalid", "no SQLite database")


def test_a_corrupt_database(path: Path, url: str) -> None:
    ready(url).seal(PLAINTEXT, CONTEXT)
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)
    connecting_fails(url, "store_invalid", "corrupt")


def test_a_newer_schema(path: Path, url: str) -> None:
    ready(url).close()
    execute(path, "UPDATE sealpoint_settings SET schema_version = 3")
    connecting_fails(url, "store_invalid", "upgrade")
    with pytest.raises(StoreError):
        SqliteStore(str(path)).setup(3600)


@pytest.mark.parametrize("value", [0, "one", b"1", 1.5])
def test_unreadable_settings(value: object, path: Path, url: str) -> None:
    ready(url).close()
    execute(path, "UPDATE sealpoint_settings SET schema_version = ?", value)
    connecting_fails(url, "store_invalid")


@pytest.mark.parametrize("damage", ["DROP TABLE sealpoint_settings", "DELETE FROM sealpoint_settings", "DROP TABLE sealpoint_canaries"])
def test_half_of_the_tables(damage: str, path: Path, url: str) -> None:
    ready(url).close()
    execute(path, damage)
    with pytest.raises(StoreError) as caught:
        Keyring.connect(url, kek=KEK)
    assert_error(caught.value, "store_invalid", "setup()")
    store_from_url(url).setup(3600)
    ready(url).close()


def test_tables_of_another_shape(path: Path, url: str) -> None:
    ready(url).close()
    execute(path, "ALTER TABLE sealpoint_canaries RENAME COLUMN wrapped TO bytes")
    connecting_fails(url, "store_invalid", "another shape")


def test_text_that_is_no_text(path: Path, url: str, keyring_env: Keyring) -> None:
    sealed = keyring_env.seal(PLAINTEXT, CONTEXT)
    execute(path, "UPDATE sealpoint_deks SET tenant = CAST(x'ff41' AS TEXT)")
    with Keyring.connect(url, kek=KEK) as other, pytest.raises(StoreError) as caught:
        other.open(sealed, CONTEXT)
    assert_error(caught.value, "store_invalid")


@pytest.fixture
def keyring_env(url: str) -> Keyring:
    return ready(url)


def test_a_locked_database(path: Path, url: str, keyring_env: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            keyring_env.seal(PLAINTEXT, CONTEXT)
        assert_error(caught.value, "store_unavailable", "locked")
        assert caught.value.retryable
        db.execute("ROLLBACK")
    assert keyring_env.open(keyring_env.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def test_a_full_disk(url: str, keyring_env: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = SqliteStore._connect

    def small(self: SqliteStore, mode: str) -> sqlite3.Connection:
        db = connect(self, mode)
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        return db

    monkeypatch.setattr(SqliteStore, "_connect", small)
    store = keyring_env._store

    def fill() -> None:
        for number in range(200):
            store.create_dek(dek(number.to_bytes(16), tenant="x" * 1000 + str(number)))

    with pytest.raises(StoreError) as caught:
        fill()
    assert_error(caught.value, "store_unavailable", "disk is full")


def test_a_file_that_vanished(path: Path, keyring_env: Keyring) -> None:
    sealed = keyring_env.seal(PLAINTEXT, CONTEXT)
    path.unlink()
    assert keyring_env.open(sealed, CONTEXT) == PLAINTEXT
    keyring_env._cache.clear()
    with pytest.raises(StoreError) as caught:
        keyring_env.open(sealed, CONTEXT)
    assert_error(caught.value, "store_invalid", "setup()")


READ_ONLY = """
import os, sys
import sealpoint.stores.sqlite
from sealpoint import Context, Keyring, SealpointError
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
context = Context(tenant="t", purpose="field", document="d", path="/p")
with Keyring.connect(sys.argv[1], kek="env:SEALPOINT_KEK") as keyring:
    print(keyring.open_text(sys.argv[2], context))
    keyring.load("t")
    for tenant in ("new", "new"):
        try:
            keyring.load(tenant)
        except SealpointError as error:
            print(error.code, "read-only" in str(error) or "cannot be opened" in str(error))
"""


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o555), (0o444, 0o777)])
def test_what_cannot_be_written_still_opens(file_mode: int, folder_mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    url = sqlite_url(folder / "keys.db")
    from sealpoint import Context

    with ready(url) as keyring:
        sealed = keyring.seal_text("readable", Context(tenant="t", purpose="field", document="d", path="/p"))
    (folder / "keys.db").chmod(file_mode)
    folder.chmod(folder_mode)
    for parent in folder.parents[: len(folder.parts) - 3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    try:
        done = subprocess.run([sys.executable, "-c", READ_ONLY, url, sealed], capture_output=True, text=True, check=False)
    finally:
        folder.chmod(0o700)
    assert (done.stdout.splitlines(), done.stderr) == (
        ["readable", "store_unavailable True", "store_unavailable True"],
        "",
    )


def test_an_unknown_key_is_not_found_twice_and_found_when_there(url: str, path: Path, tmp_path: Path) -> None:
    with ready(sqlite_url(tmp_path / "other.db")) as elsewhere, ready(url) as keyring:
        sealed = elsewhere.seal(PLAINTEXT, CONTEXT)
        for _ in range(2):
            with pytest.raises(KeyNotFoundError) as caught:
                keyring.open(sealed, CONTEXT)
            assert_error(caught.value, "key_not_found", "key store")
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
            for table in ("tenants", "deks", "wraps"):
                db.execute(f"INSERT INTO sealpoint_{table} SELECT * FROM other.sealpoint_{table}")
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
