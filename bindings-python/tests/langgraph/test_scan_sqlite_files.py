"""How `scan` reads a SQLite file: beside writers, from copies and after crashes, changing nothing and making no file."""

import os
import shutil
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from backends import database
from scanning import SECRET, edit, played, where

from sealpoint import Keyring, SealpointError
from sealpoint.langgraph import SealedSaver, fixed
from sealpoint.scan import scan


@pytest.fixture
def sealed(keyring: Keyring, tmp_path: Path) -> Path:
    """A sealed database, alone in its folder."""
    folder = tmp_path / "state"
    folder.mkdir()
    return played(folder / "state.db", lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme")))


def state_of(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file with its content; the lock table of a writer's -shm is SQLite's own business."""
    return {
        path.name: (sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if not path.name.endswith("-shm")
    }


def test_nothing_is_changed_and_no_file_is_made(sealed: Path) -> None:
    before = state_of(sealed.parent)
    names = set(os.listdir(sealed.parent))
    assert scan(sealed).ok
    assert state_of(sealed.parent) == before
    assert set(os.listdir(sealed.parent)) == names == {"state.db"}


def test_a_database_in_the_older_journal_mode(sealed: Path) -> None:
    with closing(database(sealed)) as db:
        db.execute("PRAGMA journal_mode = DELETE").fetchall()
    assert scan(sealed).ok
    assert os.listdir(sealed.parent) == ["state.db"]


def test_while_a_writer_is_active(sealed: Path) -> None:
    with closing(database(sealed)) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("UPDATE writes SET type = 'bytes', value = ? WHERE rowid = 1", (SECRET.encode(),))
        before = state_of(sealed.parent)
        names = set(os.listdir(sealed.parent))
        assert names == {"state.db", "state.db-wal", "state.db-shm"}
        assert where(scan(sealed)) == {("writes", "value")}, "what is committed is seen, in the -wal too"
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE writes SET value = ? WHERE rowid = 2", (SECRET.encode(),))
        assert [finding.values for finding in scan(sealed).unsealed] == [1], "what is not committed is not"
        db.execute("ROLLBACK")
        assert state_of(sealed.parent) == before
        assert set(os.listdir(sealed.parent)) == names


def test_a_copy_with_its_wal_but_no_shm(sealed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    with closing(database(sealed)) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("UPDATE writes SET type = 'bytes', value = ? WHERE rowid = 1", (SECRET.encode(),))
        for name in ("state.db", "state.db-wal"):
            shutil.copy(sealed.with_name(name), folder / name)
    before = state_of(folder)
    assert where(scan(folder / "state.db")) == {("writes", "value")}
    assert state_of(folder) == before
    assert set(os.listdir(folder)) == {"state.db", "state.db-wal"}


def test_a_database_that_is_opened_meanwhile(sealed: Path) -> None:
    """Nobody had it open, so it was read without locks; a writer that comes meanwhile makes the result worthless."""
    changed = []

    def write(_: str) -> None:
        if not changed:
            changed.append(True)
            edit(sealed, "UPDATE writes SET channel = 'other' WHERE rowid = 1")

    with pytest.raises(SealpointError) as caught:
        scan(sealed, progress=write)
    assert caught.value.code == "store_unavailable"
    assert changed


def test_a_read_only_file_in_a_read_only_folder(sealed: Path) -> None:
    sealed.chmod(0o400)
    sealed.parent.chmod(0o500)
    try:
        assert scan(sealed).ok
    finally:
        sealed.parent.chmod(0o700)


def test_a_transaction_that_was_cut_off_is_not_rolled_back_here(sealed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crashed"
    folder.mkdir()
    with closing(database(sealed)) as db:
        db.execute("PRAGMA journal_mode = DELETE").fetchall()
        db.execute("PRAGMA cache_size = 1").fetchall()
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE writes SET value = randomblob(20000)")
        for name in ("state.db", "state.db-journal"):
            shutil.copy(sealed.with_name(name), folder / name)
    before = state_of(folder)
    with pytest.raises(SealpointError) as caught:
        scan(folder / "state.db")
    assert caught.value.code == "store_invalid"
    assert "transaction" in str(caught.value)
    assert state_of(folder) == before


def test_a_huge_value(sealed: Path) -> None:
    with closing(database(sealed)) as db:
        (blob,) = db.execute("SELECT value FROM writes WHERE rowid = 1").fetchone()
        # A well-formed envelope of 40 MB: whole chunks, then what there was.
        db.execute("UPDATE writes SET value = ? WHERE rowid = 1", (blob[:77] + os.urandom(16_400 * 2_500) + blob[77:],))
    report = scan(sealed)
    assert report.ok, report.to_text()
    assert max(finding.bytes for finding in report.sealed) > 40_000_000


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + bytes(84), b"SQLite format 3\0" + os.urandom(5000)])
def test_a_file_that_only_looks_like_sqlite(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(content)
    with pytest.raises(SealpointError) as caught:
        scan(path)
    assert caught.value.code in ("store_invalid", "invalid_argument")


def test_free_pages_are_mentioned(sealed: Path) -> None:
    assert scan(sealed).notes == ()
    with closing(database(sealed)) as db:
        db.execute("CREATE TABLE gone AS SELECT * FROM writes")
        db.execute("DROP TABLE gone")
    assert any("free pages" in note for note in scan(sealed).notes)


def test_sqlite_itself_is_not_quoted(sealed: Path) -> None:
    with closing(sqlite3.connect(sealed)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'writes'", (f"CREATE TABLE writes ({SECRET}",))
        db.commit()
    with pytest.raises(SealpointError) as caught:
        scan(sealed)
    assert caught.value.code == "store_invalid"
    assert SECRET not in str(caught.value)
