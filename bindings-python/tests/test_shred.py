"""A tenant is erased: keys, wraps, caches, files; and again after a restore."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import CONTEXT, OTHER_CONTEXT, OTHER_TENANT, PLAINTEXT, TENANT, FakeKms, query, ready, refused, sqlite_url

from sealpoint import Keyring
from sealpoint.lifecycle import Tombstone


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
def sealed(keyring: Keyring) -> list[bytes]:
    """Of several versions and purposes; the last one is another tenant's."""
    first = keyring.seal(PLAINTEXT, CONTEXT)
    keyring.rotate(TENANT)
    keyring._store.create_dek(keyring._loader.make(TENANT, 2, 1)[0])  # an index key
    return [first, keyring.seal(PLAINTEXT, CONTEXT), keyring.seal(PLAINTEXT, OTHER_CONTEXT)]


def states(url: str, tenant: str = TENANT) -> set[str]:
    return {state for (state,) in query(url, "SELECT state FROM sealpoint_deks WHERE tenant = ?", tenant)}


def test_everything_of_a_tenant_goes(url: str, keyring: Keyring, kms: FakeKms, sealed: list[bytes]) -> None:
    for confirm in (None, OTHER_TENANT, TENANT.upper(), ""):
        refused(lambda confirm=confirm: keyring.shred(TENANT, confirm=confirm), "confirmation_required", "confirm=")  # type: ignore[misc]
    assert "destroyed" not in states(url)
    report = keyring.shred(TENANT, confirm=TENANT)
    assert (report.deks, report.dry_run, [stone.tenant for stone in report.tombstones]) == (3, False, [TENANT])
    assert states(url) == {"destroyed"}
    assert query(url, "SELECT tenant FROM sealpoint_deks d JOIN sealpoint_wraps w ON w.dek_id = d.dek_id") == [(OTHER_TENANT,)]
    assert any("backups" in what for what in report.unreached)
    with ready(url, kms) as fresh:
        for one in (keyring, fresh):  # here the cache was evicted at once
            for envelope in sealed[:2]:
                refused(lambda one=one, envelope=envelope: one.open(envelope, CONTEXT), "key_destroyed")  # type: ignore[misc]
            refused(lambda one=one: one.seal(PLAINTEXT, CONTEXT), "key_destroyed")  # type: ignore[misc]
            refused(lambda one=one: one.load(TENANT, dek_purpose="client"), "key_destroyed")  # type: ignore[misc]
            assert one.open(sealed[2], OTHER_CONTEXT) == PLAINTEXT


def test_elsewhere_within_the_ttl(url: str, keyring: Keyring, kms: FakeKms, sealed: list[bytes]) -> None:
    with ready(url, kms) as other:
        assert other.open(sealed[0], CONTEXT) == PLAINTEXT
        keyring.shred(TENANT, confirm=TENANT)
        assert other.open(sealed[0], CONTEXT) == PLAINTEXT
        other._cache._advance(3600)
        refused(lambda: other.open(sealed[0], CONTEXT), "key_destroyed")


def test_a_load_that_is_under_way_leaves_nothing_in_the_cache(keyring: Keyring, kms: FakeKms, sealed: list[bytes]) -> None:
    keyring._cache.clear()
    entered, proceed = kms.hold_up()
    loading = threading.Thread(target=lambda: keyring.open(sealed[0], CONTEXT))
    loading.start()
    assert entered.wait(30)
    keyring.shred(TENANT, confirm=TENANT)
    proceed.set()
    loading.join(30)
    assert len(keyring._cache) == 0
    refused(lambda: keyring.open(sealed[0], CONTEXT), "key_destroyed")


def test_dry_run_and_again(url: str, keyring: Keyring, sealed: list[bytes]) -> None:
    report = keyring.shred(TENANT, confirm=TENANT, dry_run=True)
    assert (report.dry_run, report.deks, report.tombstones) == (True, 3, ())
    assert "destroyed" not in states(url)
    first = keyring.shred(TENANT, confirm=TENANT)
    assert keyring.shred(TENANT, confirm=TENANT).tombstones == first.tombstones
    assert keyring.tombstones() == first.tombstones


def test_an_unknown_tenant_gets_its_tombstone(keyring: Keyring) -> None:
    assert keyring.shred("nobody", confirm="nobody").deks == 0
    refused(lambda: keyring.load("nobody"), "key_destroyed")


def test_readmitting(keyring: Keyring, sealed: list[bytes]) -> None:
    assert keyring.readmit(TENANT) is False
    keyring.shred(TENANT, confirm=TENANT)
    assert keyring.readmit(TENANT) is True
    again = keyring.seal(PLAINTEXT, CONTEXT)
    assert keyring.open(again, CONTEXT) == PLAINTEXT
    refused(lambda: keyring.open(sealed[0], CONTEXT), "key_destroyed")
    assert keyring.status(TENANT)[0].purposes[0].active_version == 3


def test_replaying_after_a_restore(url: str, keyring: Keyring, kms: FakeKms, sealed: list[bytes]) -> None:
    backup = {table: query(url, f"SELECT * FROM sealpoint_{table}") for table in ("tenants", "deks", "wraps")}
    report = keyring.shred(TENANT, confirm=TENANT)
    for table, rows in backup.items():
        query(url, f"DELETE FROM sealpoint_{table}")
        for row in rows:
            query(url, f"INSERT INTO sealpoint_{table} VALUES ({', '.join('?' * len(row))})", *row)
    with ready(url, kms) as restored:
        assert restored.open(sealed[0], CONTEXT) == PLAINTEXT  # what a backup brings back
        stones = [*report.tombstones, Tombstone("gone before", datetime(2026, 1, 1, tzinfo=UTC))]
        assert restored.replay_tombstones(stones, dry_run=True).shredded == 2
        assert restored.open(sealed[0], CONTEXT) == PLAINTEXT
        replayed = restored.replay_tombstones(stones)
        assert (replayed.shredded, replayed.already, replayed.failed) == (2, 0, 0)
        refused(lambda: restored.open(sealed[0], CONTEXT), "key_destroyed")
        assert set(restored.tombstones()) == set(stones)
        again = restored.replay_tombstones(stones)
        assert (again.shredded, again.already) == (0, 2)
        assert restored.open(sealed[2], OTHER_CONTEXT) == PLAINTEXT


def test_a_readmitted_tenant_is_not_shredded_by_an_old_tombstone(keyring: Keyring, sealed: list[bytes]) -> None:
    stones = keyring.shred(TENANT, confirm=TENANT).tombstones
    keyring.readmit(TENANT)
    again = keyring.seal(PLAINTEXT, CONTEXT)
    report = keyring.replay_tombstones(stones)
    assert (report.shredded, report.failed, report.failures[0].code) == (0, 1, "confirmation_required")
    assert keyring.open(again, CONTEXT) == PLAINTEXT


def test_what_is_no_tombstone(keyring: Keyring, sealed: list[bytes]) -> None:
    for bad in (TENANT, (TENANT, 1), Tombstone(TENANT, datetime(2026, 1, 1)), Tombstone(7, datetime.now(UTC)), None):  # type: ignore[arg-type]
        good = Tombstone(TENANT, datetime.now(UTC))
        refused(lambda bad=bad, good=good: keyring.replay_tombstones([good, bad]), "invalid_argument")  # type: ignore[misc, list-item]
    assert keyring.open(sealed[0], CONTEXT) == PLAINTEXT


async def test_async_twins_in_memory(kms: FakeKms) -> None:
    async with await Keyring.aconnect("memory:", kek=kms) as keyring:
        sealed = await keyring.aseal(PLAINTEXT, CONTEXT)
        report = await keyring.ashred(TENANT, confirm=TENANT)
        assert report.deks == 1
        refused(lambda: keyring.open(sealed, CONTEXT), "key_destroyed")
        assert await keyring.atombstones() == report.tombstones
        assert (await keyring.areplay_tombstones(report.tombstones)).already == 1
        assert await keyring.areadmit(TENANT)
        assert (await keyring.astatus(TENANT))[0].shredded_at is None


# the files of SQLite


def contents(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()) if file.name.startswith(path.name))


@pytest.fixture
def wrapped(path: Path, kms: FakeKms) -> list[bytes]:
    """The wraps of a tenant with many keys, in a file beside those of another tenant."""
    with ready(sqlite_url(path), kms) as keyring:
        keyring.load(OTHER_TENANT)
        keyring.load(TENANT)
        for _ in range(40):
            keyring.rotate(TENANT)
    found = query(path, "SELECT wrapped FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE tenant = ?", TENANT)
    assert len(found) == 41
    assert all(wrap in contents(path) for (wrap,) in found)
    return [wrap for (wrap,) in found]


def test_the_wraps_are_in_no_file_of_sqlite(path: Path, kms: FakeKms, wrapped: list[bytes]) -> None:
    with closing(sqlite3.connect(path)) as held:  # so that the -wal is kept when others close
        held.execute("SELECT count(*) FROM sealpoint_deks").fetchone()
        with Keyring.connect(sqlite_url(path), kek=kms) as keyring:
            report = keyring.shred(TENANT, confirm=TENANT)
        assert not any(str(path) in what for what in report.unreached)
        assert path.with_name(path.name + "-wal").stat().st_size == 0
        left = contents(path)
    assert [wrap for wrap in wrapped if wrap in left] == []
    assert query(path, "SELECT count(*) FROM sealpoint_wraps") == [(1,)]


def test_a_reader_in_the_way_is_reported(path: Path, kms: FakeKms, wrapped: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealpoint.stores.sqlite.BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader, Keyring.connect(sqlite_url(path), kek=kms) as keyring:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sealpoint_wraps").fetchone()
        report = keyring.shred(TENANT, confirm=TENANT)
        assert states(sqlite_url(path)) == {"destroyed"}
        assert any(str(path) in what and "run it again" in what for what in report.unreached)
        reader.execute("COMMIT")
        report = keyring.shred(TENANT, confirm=TENANT)
        assert not any(str(path) in what for what in report.unreached)
        left = contents(path)
    assert [wrap for wrap in wrapped if wrap in left] == []


def test_a_backup_of_the_file_and_its_tombstones(path: Path, kms: FakeKms, tmp_path: Path) -> None:
    url = sqlite_url(path)
    with ready(url, kms) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    shutil.copy(path, tmp_path / "backup")
    with Keyring.connect(url, kek=kms) as keyring:
        stones = keyring.shred(TENANT, confirm=TENANT).tombstones
    shutil.copy(tmp_path / "backup", path)
    with Keyring.connect(url, kek=kms) as keyring:
        keyring.replay_tombstones(stones)
        refused(lambda: keyring.open(sealed, CONTEXT), "key_destroyed")


def test_the_report_says_what_postgres_keeps(postgres_schema: str, kms: FakeKms) -> None:
    with ready(postgres_schema, kms) as keyring:
        keyring.load(TENANT)
        unreached: Any = keyring.shred(TENANT, confirm=TENANT).unreached
    assert any("VACUUM" in what for what in unreached)
