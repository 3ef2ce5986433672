"""What a key store does for the life of keys: memory, SQLite and Postgres alike. Each change names what it expects to find."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import TENANT, lift_constraints, query, refused, sqlite_url
from test_stores import DEK_ID, dek

from sealpoint.stores import DamagedDek, DekRecord, KeyLifecycle, TenantRecord, WrapChange, WrapDrop, WrapRecord, store_from_url
from sealpoint.stores.postgres import PostgresStore

SECOND = bytes(15) + b"2"
WRAP = WrapRecord("env:C", "v1", "alg", b"third", 1, 2)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_schema"))
    return "memory:" if request.param == "memory" else sqlite_url(path)


@pytest.fixture
def store(empty_url: str) -> KeyLifecycle:
    made = store_from_url(empty_url)
    assert isinstance(made, KeyLifecycle)
    made.setup(3600)
    made.create_dek(dek())
    return made


def stored(store: KeyLifecycle, dek_id: bytes = DEK_ID) -> DekRecord:
    found = store.dek(dek_id)
    assert found is not None
    return found


def test_pages(store: KeyLifecycle) -> None:
    for number, tenant in enumerate(["b", "a", "ä", "Z"]):
        store.create_dek(dek(bytes([255 - number]) * 16, tenant=tenant))
    names = sorted(["b", "a", "ä", "Z", TENANT], key=str.encode)
    assert [name for name, known in store.page_tenants(None, 9) if isinstance(known, TenantRecord)] == names
    assert [name for name, _ in store.page_tenants(names[1], 2)] == names[2:4]
    assert store.page_tenants(names[-1], 2) == []
    ids = [row.dek_id for row in store.page_deks(None, 9)]
    assert ids == sorted([DEK_ID, *(bytes([255 - number]) * 16 for number in range(4))])
    assert [row.dek_id for row in store.page_deks(ids[0], 2)] == ids[1:3]
    assert store.page_deks(ids[-1], 2) == []
    assert [row.tenant for row in store.deks_of(["a", "Z", "nobody"])] == ["Z", "a"]
    assert store.deks_of([TENANT]) == [stored(store)]


def test_replacing_the_active_one(store: KeyLifecycle) -> None:
    successor = dek(SECOND, version=2)
    assert store.replace_active(bytes(16), successor).dek_id == DEK_ID  # it is not that one
    assert store.dek(SECOND) is None
    assert store.replace_active(DEK_ID, successor) == successor
    assert store.replace_active(DEK_ID, successor).dek_id == SECOND  # repeated
    old = stored(store)
    assert (old.state, old.retired_at is not None, len(old.wraps)) == ("retired", True, 2)
    assert store.active_dek(TENANT, 1) == successor
    refused(lambda: store.replace_active(DEK_ID, dek(SECOND, purpose=2)), "key_not_found")
    store.shred_tenant(TENANT, 5)
    refused(lambda: store.replace_active(SECOND, dek(bytes(16), version=3)), "key_destroyed")


def test_putting_wraps(store: KeyLifecycle) -> None:
    before = stored(store)
    first = before.wraps[0]
    newer = replace(first, kek_version="v2", wrapped=b"newer")
    nothing = [
        WrapChange(bytes(16), WRAP),  # no such DEK
        WrapChange(DEK_ID, first),  # there is one already
        WrapChange(DEK_ID, newer, b"something else"),
        WrapChange(DEK_ID, WRAP, b"nothing there"),
    ]
    assert store.put_wraps(nothing) == 0
    assert stored(store) == before
    assert store.put_wraps([*nothing, WrapChange(DEK_ID, WRAP), WrapChange(DEK_ID, newer, first.wrapped)]) == 2
    assert sorted((wrap.kek_uri, wrap.wrapped) for wrap in stored(store).wraps) == [
        ("env:A", b"newer"),
        ("env:B", b"wrapped"),
        ("env:C", b"third"),
    ]
    assert store.put_wraps([WrapChange(DEK_ID, WRAP), WrapChange(DEK_ID, newer, first.wrapped)]) == 0  # repeated


def test_dropping_wraps(store: KeyLifecycle) -> None:
    first, second = stored(store).wraps
    assert store.drop_wraps([WrapDrop(DEK_ID, first, replace(second, wrapped=b"other"))]) == 0
    assert store.drop_wraps([WrapDrop(DEK_ID, replace(first, wrapped=b"other"), second)]) == 0
    assert store.drop_wraps([WrapDrop(bytes(16), first, second)]) == 0
    assert store.drop_wraps([WrapDrop(DEK_ID, first, second)]) == 1
    assert store.drop_wraps([WrapDrop(DEK_ID, second, first)]) == 0  # nothing would be left
    assert stored(store).wraps == (second,)


def test_states(store: KeyLifecycle) -> None:
    assert store.set_state(DEK_ID, "retired", "pending_destroy") is False
    assert stored(store).state == "active"
    assert store.set_state(DEK_ID, "active", "retired") is True
    assert store.set_state(DEK_ID, "retired", "destroyed") is True
    gone = stored(store)
    assert (gone.state, gone.wraps, gone.destroyed_at is not None) == ("destroyed", (), True)
    assert store.put_wraps([WrapChange(DEK_ID, WRAP)]) == 0
    assert store.set_state(bytes(16), "active", "retired") is False


def test_shredding(store: KeyLifecycle) -> None:
    store.create_dek(dek(SECOND, purpose=2))
    store.create_dek(dek(bytes(16), tenant="other"))
    assert set(store.shred_tenant(TENANT, 7)) == {DEK_ID, SECOND}
    assert set(store.shred_tenant(TENANT, 9)) == {DEK_ID, SECOND}
    gone = stored(store)
    assert (gone.state, gone.shredded_at, gone.destroyed_at, gone.wraps) == ("destroyed", 7, 7, ())
    assert (stored(store, bytes(16)).state, len(stored(store, bytes(16)).wraps)) == ("active", 2)
    refused(lambda: store.create_dek(dek(b"3" * 16, version=3)), "key_destroyed")
    assert store.put_wraps([WrapChange(DEK_ID, WRAP)]) == 0
    assert (store.readmit_tenant(TENANT), store.readmit_tenant(TENANT), store.readmit_tenant("nobody")) == (True, False, False)
    assert store.create_dek(dek(b"3" * 16, version=3)).dek_id == b"3" * 16
    assert stored(store).state == "destroyed"
    assert store.shred_tenant("never seen", 7) == []
    refused(lambda: store.create_dek(dek(b"4" * 16, tenant="never seen")), "key_destroyed")


def test_damaged_rows_are_listed(any_url: str) -> None:
    store: Any = store_from_url(any_url)
    store.setup(3600)
    store.create_dek(dek())
    store.create_dek(dek(SECOND, tenant="other"))
    lift_constraints(any_url)
    query(any_url, "UPDATE sealpoint_deks SET key_check = NULL WHERE dek_id = ?", DEK_ID)
    first, second = store.page_deks(None, 5)
    assert (first.dek_id, isinstance(first, DekRecord), second) == (SECOND, True, DamagedDek(DEK_ID, TENANT))
    assert store.deks_of([TENANT]) == [DamagedDek(DEK_ID, TENANT)]
    assert TENANT not in repr(second)
    query(any_url, "DELETE FROM sealpoint_tenants WHERE tenant = 'other'")
    assert dict(store.page_tenants(None, 5))["other"] is None
    refused(lambda: store.dek(DEK_ID), "store_invalid")


def test_a_nul_in_a_list(postgres_schema: str) -> None:
    with PostgresStore(postgres_schema) as store:
        store.setup(3600)
        refused(lambda: store.deks_of(["a\0b"]), "invalid_argument", "NUL")


def test_a_wrap_waits_for_whoever_destroys_its_dek(postgres_schema: str) -> None:
    """Not committed yet, the destruction is invisible to others; a wrap that did not wait for it would outlive the DEK."""
    with PostgresStore(postgres_schema) as store, ThreadPoolExecutor(1) as pool:
        store.setup(3600)
        store.create_dek(dek())
        with psycopg.connect(postgres_schema) as shredding:
            shredding.execute("UPDATE sealpoint_deks SET state = 'destroyed'")
            shredding.execute("DELETE FROM sealpoint_wraps")
            putting = pool.submit(store.put_wraps, [WrapChange(DEK_ID, WRAP)])
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
            deadline = time.monotonic() + 8
            while not putting.done() and query(postgres_schema, waiting) == [(0,)]:
                assert time.monotonic() < deadline
            shredding.commit()
        assert putting.result(30) == 0
        assert query(postgres_schema, "SELECT count(*) FROM sealpoint_wraps") == [(0,)]
