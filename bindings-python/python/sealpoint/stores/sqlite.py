"""The embedded key store: one SQLite file, used by any number of threads and processes of one machine.

Every operation opens its own connection and closes it again. That costs a fraction of a millisecond, once per tenant and
minute at most, and leaves nothing to share between threads or to inherit in a fork.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from urllib.parse import quote

from ..errors import KeyNotFoundError, KeyUnusableError, StoreError
from . import (
    NO_ACTIVE_DEK,
    NOT_SET_UP,
    SCHEMA_VERSION,
    DamagedDek,
    DekRecord,
    DekState,
    StoreSettings,
    TenantRecord,
    WrapChange,
    WrapDrop,
    WrapRecord,
    now,
)
from ._rows import SELECT_DEK, record, records, tenants, uris

__all__ = ["SqliteStore"]

BUSY_TIMEOUT_S = 5.0

_TABLES = """
CREATE TABLE IF NOT EXISTS sealpoint_settings (
    id INTEGER PRIMARY KEY CHECK (id = 1), schema_version INTEGER NOT NULL, max_ttl INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sealpoint_canaries (kek_uri TEXT PRIMARY KEY NOT NULL, wrapped BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sealpoint_tenants (
    tenant TEXT PRIMARY KEY NOT NULL, kek_uri TEXT, created_at INTEGER NOT NULL, shredded_at INTEGER);
CREATE TABLE IF NOT EXISTS sealpoint_deks (
    dek_id BLOB PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, purpose INTEGER NOT NULL CHECK (purpose BETWEEN 1 AND 4),
    suite INTEGER NOT NULL, version INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'retired', 'pending_destroy', 'destroyed')),
    key_check BLOB NOT NULL, created_at INTEGER NOT NULL, retired_at INTEGER, destroyed_at INTEGER, rotated_by TEXT,
    UNIQUE (tenant, purpose, version));
CREATE UNIQUE INDEX IF NOT EXISTS sealpoint_deks_active ON sealpoint_deks (tenant, purpose) WHERE state = 'active';
CREATE TABLE IF NOT EXISTS sealpoint_wraps (
    dek_id BLOB NOT NULL, kek_uri TEXT NOT NULL, kek_version TEXT NOT NULL, wrap_alg TEXT NOT NULL, wrapped BLOB NOT NULL,
    created_at INTEGER NOT NULL, verified_at INTEGER, PRIMARY KEY (dek_id, kek_uri));
"""
_JOINED = "LEFT JOIN sealpoint_tenants t ON t.tenant = d.tenant LEFT JOIN sealpoint_wraps w ON w.dek_id = d.dek_id"
_DEK = SELECT_DEK + "FROM sealpoint_deks d " + _JOINED
_PAGE = "FROM (SELECT * FROM sealpoint_deks {where} ORDER BY dek_id LIMIT ?) d {joined} ORDER BY d.dek_id, w.kek_uri"
_TENANTS = """
SELECT n.tenant, t.created_at, t.shredded_at, t.kek_uri FROM (
    SELECT tenant FROM (SELECT tenant FROM sealpoint_tenants {where} ORDER BY tenant LIMIT ?)
    UNION SELECT tenant FROM (SELECT DISTINCT tenant FROM sealpoint_deks {where} ORDER BY tenant LIMIT ?)) n
LEFT JOIN sealpoint_tenants t ON t.tenant = n.tenant ORDER BY n.tenant LIMIT ?
"""


class SqliteStore:
    """`sqlite:///path`. The file is made by setup(), readable by its owner only, in WAL mode; commits are synced to disk.

    A file, folder or medium that cannot be written serves for opening; creating a DEK there is `store_unavailable`.
    """

    def __init__(self, path: str) -> None:
        """Touches nothing yet."""
        self._path = os.path.abspath(path)

    def __repr__(self) -> str:
        return f"SqliteStore({self._path!r})"

    def setup(self, max_ttl: int) -> None:
        """See `KeyStore`."""
        try:
            self.settings()
        except StoreError as error:
            if NOT_SET_UP not in str(error):  # what is missing, setup is there to create
                raise
        try:
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError("store_unavailable", f"{self!r} cannot be created: {error.strerror}") from None
        with self._typed_errors(), closing(self._connect("rw")) as db, suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode = WAL")  # faster; where it cannot be had, the default serves
        with self._transaction(write=True) as db:
            for statement in filter(str.strip, _TABLES.split(";")):
                db.execute(statement)
            if not any(name == "required_keks" for (_, name, *_) in db.execute("PRAGMA table_info(sealpoint_settings)")):
                db.execute("ALTER TABLE sealpoint_settings ADD COLUMN required_keks TEXT NOT NULL DEFAULT ''")
            db.execute(
                "INSERT INTO sealpoint_settings (id, schema_version, max_ttl) VALUES (1, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET schema_version = excluded.schema_version",
                (SCHEMA_VERSION, max_ttl),
            )

    def settings(self) -> StoreSettings | None:
        """See `KeyStore`."""
        if not os.path.exists(self._path):
            if not os.path.isdir(os.path.dirname(self._path)):
                raise StoreError("store_unavailable", f"the folder of {self!r} does not exist: create it")
            return None
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'sealpoint\\_%' ESCAPE '\\' LIMIT 1").fetchone():
                return None
            row = db.execute("SELECT schema_version, max_ttl FROM sealpoint_settings WHERE id = 1").fetchone()
            if row is None:
                raise StoreError("store_invalid", NOT_SET_UP)
            settings = StoreSettings(*row)
            if settings.schema_version == 1:
                return settings
            ((required,),) = db.execute("SELECT required_keks FROM sealpoint_settings WHERE id = 1")
        return replace(settings, required_keks=uris(required))

    def require_keks(self, uris: Sequence[str]) -> None:
        """See `KeyLifecycle`."""
        with self._transaction(write=True) as db:
            db.execute("UPDATE sealpoint_settings SET required_keks = ? WHERE id = 1", ("\n".join(uris),))

    def canaries(self) -> Mapping[str, bytes]:
        """See `KeyStore`."""
        with self._transaction() as db:
            return dict(db.execute("SELECT kek_uri, wrapped FROM sealpoint_canaries").fetchall())

    def add_canary(self, kek_uri: str, wrapped: bytes) -> None:
        """See `KeyStore`."""
        with self._transaction(write=True) as db:
            db.execute("INSERT OR IGNORE INTO sealpoint_canaries VALUES (?, ?)", (kek_uri, wrapped))

    def tenant(self, tenant: str) -> TenantRecord | None:
        """See `KeyStore`."""
        with self._transaction() as db:
            row = db.execute("SELECT created_at, shredded_at, kek_uri FROM sealpoint_tenants WHERE tenant = ?", (tenant,)).fetchone()
        return row and TenantRecord(*row)

    def dek(self, dek_id: bytes) -> DekRecord | None:
        """See `KeyStore`."""
        with self._transaction() as db:
            return _record(db, "d.dek_id = ?", dek_id)

    def active_dek(self, tenant: str, purpose: int) -> DekRecord | None:
        """See `KeyStore`."""
        with self._transaction() as db:
            return _active(db, tenant, purpose)

    def next_version(self, tenant: str, purpose: int) -> int:
        """See `KeyStore`."""
        with self._transaction() as db:
            sql = "SELECT coalesce(max(version), 0) + 1 FROM sealpoint_deks WHERE tenant = ? AND purpose = ?"
            return int(db.execute(sql, (tenant, purpose)).fetchone()[0])

    def create_dek(self, record: DekRecord) -> DekRecord:
        """See `KeyStore`."""
        with self._transaction(write=True) as db:
            _admit(db, record.tenant)
            winner = _active(db, record.tenant, record.purpose)
            if winner is None:
                _insert(db, record)
            return winner or record

    def page_tenants(self, after: str | None, limit: int) -> Sequence[tuple[str, TenantRecord | None]]:
        """See `KeyLifecycle`."""
        where, cursor = ("", ()) if after is None else ("WHERE tenant > ?", (after,))
        with self._transaction() as db:
            return tenants(db.execute(_TENANTS.format(where=where), (*cursor, limit, *cursor, limit, limit)))

    def page_deks(self, after: bytes | None, limit: int) -> Sequence[DekRecord | DamagedDek]:
        """See `KeyLifecycle`."""
        where, cursor = ("", ()) if after is None else ("WHERE dek_id > ?", (after,))
        with self._transaction() as db:
            return records(db.execute(SELECT_DEK + _PAGE.format(where=where, joined=_JOINED), (*cursor, limit)))

    def deks_of(self, tenants: Sequence[str]) -> Sequence[DekRecord | DamagedDek]:
        """See `KeyLifecycle`."""
        where = f" WHERE d.tenant IN ({', '.join('?' * len(tenants))}) ORDER BY d.tenant, d.purpose, d.version, d.dek_id, w.kek_uri"
        with self._transaction() as db:
            return records(db.execute(_DEK + where, tuple(tenants)))

    def replace_active(self, retired: bytes, successor: DekRecord) -> DekRecord:
        """See `KeyLifecycle`."""
        with self._transaction(write=True) as db:
            _admit(db, successor.tenant)
            active = _active(db, successor.tenant, successor.purpose)
            if active is None:
                raise KeyNotFoundError("key_not_found", NO_ACTIVE_DEK)
            if active.dek_id != retired:
                return active
            db.execute(
                "UPDATE sealpoint_deks SET state = 'retired', retired_at = ?, rotated_by = ? WHERE dek_id = ?",
                (now(), successor.dek_id.hex(), retired),
            )
            _insert(db, successor)
            return successor

    def put_wraps(self, changes: Sequence[WrapChange]) -> int:
        """See `KeyLifecycle`."""
        with self._transaction(write=True) as db:
            before = db.total_changes
            db.executemany(
                "INSERT OR IGNORE INTO sealpoint_wraps SELECT ?, ?, ?, ?, ?, ?, ? "
                "FROM sealpoint_deks WHERE dek_id = ?1 AND state <> 'destroyed'",
                [_wrap_row(change.dek_id, change.wrap) for change in changes if change.replaces is None],
            )
            db.executemany(
                "UPDATE sealpoint_wraps SET kek_version = ?3, wrap_alg = ?4, wrapped = ?5, created_at = ?6, verified_at = ?7 "
                "WHERE dek_id = ?1 AND kek_uri = ?2 AND wrapped = ?8",
                [(*_wrap_row(change.dek_id, change.wrap), change.replaces) for change in changes if change.replaces is not None],
            )
            return db.total_changes - before

    def drop_wraps(self, drops: Sequence[WrapDrop]) -> int:
        """See `KeyLifecycle`."""
        with self._transaction(write=True) as db:
            before = db.total_changes
            db.executemany(
                "DELETE FROM sealpoint_wraps WHERE dek_id = ?1 AND kek_uri = ?2 AND wrapped = ?3 AND EXISTS "
                "(SELECT 1 FROM sealpoint_wraps WHERE dek_id = ?1 AND kek_uri = ?4 AND wrapped = ?5)",
                [(d.dek_id, d.dropped.kek_uri, d.dropped.wrapped, d.kept.kek_uri, d.kept.wrapped) for d in drops],
            )
            return db.total_changes - before

    def set_state(self, dek_id: bytes, expected: DekState, state: DekState) -> bool:
        """See `KeyLifecycle`."""
        with self._transaction(write=True) as db:
            destroyed_at = now() if state == "destroyed" else None
            sql = "UPDATE sealpoint_deks SET state = ?, destroyed_at = ? WHERE dek_id = ? AND state = ?"
            changed = db.execute(sql, (state, destroyed_at, dek_id, expected)).rowcount == 1
            if changed and state == "destroyed":
                db.execute("DELETE FROM sealpoint_wraps WHERE dek_id = ?", (dek_id,))
            return changed

    def shred_tenant(self, tenant: str, at: int) -> Sequence[bytes]:
        """See `KeyLifecycle`."""
        with self._transaction(write=True) as db:
            db.execute("INSERT OR IGNORE INTO sealpoint_tenants (tenant, created_at) VALUES (?, ?)", (tenant, at))
            db.execute("UPDATE sealpoint_tenants SET shredded_at = coalesce(shredded_at, ?) WHERE tenant = ?", (at, tenant))
            theirs = [dek_id for (dek_id,) in db.execute("SELECT dek_id FROM sealpoint_deks WHERE tenant = ?", (tenant,))]
            db.execute(
                "UPDATE sealpoint_deks SET state = 'destroyed', destroyed_at = ? WHERE tenant = ? AND state <> 'destroyed'", (at, tenant)
            )
            db.executemany("DELETE FROM sealpoint_wraps WHERE dek_id = ?", [(dek_id,) for dek_id in theirs])
            return theirs

    def readmit_tenant(self, tenant: str) -> bool:
        """See `KeyLifecycle`."""
        sql = "UPDATE sealpoint_tenants SET shredded_at = NULL WHERE tenant = ? AND shredded_at IS NOT NULL"
        with self._transaction(write=True) as db:
            return db.execute(sql, (tenant,)).rowcount == 1

    def scrub(self) -> str:
        """See `KeyLifecycle`. What was deleted is overwritten, the file written anew without its free pages, its log cut off."""
        try:
            with self._typed_errors(), closing(self._connect("rw")) as db:
                db.execute("VACUUM")
                (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except StoreError as error:
            if error.code != "store_unavailable":
                raise
            busy = 1
        return f"free pages of {self._path} or its -wal file, which another process was using: run it again" if busy else ""

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(self._path)}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)

    def _reader(self) -> sqlite3.Connection:
        """A connection that can read, also where nothing can be written: WAL wants a file beside the database even for reading."""
        db = self._connect("rw")
        try:
            db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            return db
        except sqlite3.OperationalError:
            db.close()
            if os.access(os.path.dirname(self._path), os.W_OK) or os.path.exists(self._path + "-wal"):
                raise
            return self._connect("ro&immutable=1")
        except BaseException:
            db.close()
            raise

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """All reads of one transaction see one state; what ends with an exception is rolled back."""
        if not os.path.exists(self._path):
            raise StoreError("store_invalid", NOT_SET_UP)
        with self._typed_errors(), closing(self._connect("rw") if write else self._reader()) as db:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield db
            db.execute("COMMIT")

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._typed(error) from None

    def _typed(self, error: sqlite3.Error) -> StoreError:
        """SQLite's own text is not passed on: it can quote a value."""
        for seen, code, message in _FAILURES:
            if seen in str(error):
                return StoreError(code, message if message is NOT_SET_UP else f"{self!r} {message}")
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        code = "store_unavailable" if isinstance(error, sqlite3.OperationalError) else "store_invalid"
        return StoreError(code, f"{self!r} failed: {name}")


_FAILURES = (
    ("no such table", "store_invalid", NOT_SET_UP),
    (
        "column",
        "store_invalid",
        "has tables of another shape, or rows that are not text: it was not written by sealpoint",
    ),
    ("not a database", "store_invalid", "is no SQLite database"),
    ("malformed", "store_invalid", "is corrupt: restore it from a backup"),
    ("UNIQUE constraint", "store_unavailable", "was changed by another process at the same moment: try again"),
    ("locked", "store_unavailable", "is locked by another process: try again"),
    ("is full", "store_unavailable", "cannot grow: the disk is full"),
    ("readonly", "store_unavailable", "is read-only, and this call has to write"),
    ("unable to open", "store_unavailable", "cannot be opened: check the path and its permissions"),
)


def _record(db: sqlite3.Connection, where: str, *parameters: object) -> DekRecord | None:
    rows = db.execute(f"{_DEK} WHERE {where} ORDER BY w.kek_uri", parameters).fetchall()
    return record(rows) if rows else None


def _active(db: sqlite3.Connection, tenant: str, purpose: int) -> DekRecord | None:
    return _record(db, "d.tenant = ? AND d.purpose = ? AND d.state = 'active'", tenant, purpose)


def _admit(db: sqlite3.Connection, tenant: str) -> None:
    tombstone = db.execute("SELECT shredded_at FROM sealpoint_tenants WHERE tenant = ?", (tenant,)).fetchone()
    if tombstone and tombstone[0] is not None:
        raise KeyUnusableError("key_destroyed", "this tenant was shredded")


def _insert(db: sqlite3.Connection, r: DekRecord) -> None:
    db.execute("INSERT OR IGNORE INTO sealpoint_tenants (tenant, created_at) VALUES (?, ?)", (r.tenant, now()))
    db.execute(
        "INSERT INTO sealpoint_deks (dek_id, tenant, purpose, suite, version, state, key_check, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (r.dek_id, r.tenant, r.purpose, r.suite, r.version, r.state, r.key_check, r.created_at),
    )
    db.executemany(
        "INSERT INTO sealpoint_wraps VALUES (?, ?, ?, ?, ?, ?, ?)",
        [_wrap_row(r.dek_id, wrap) for wrap in r.wraps],
    )


def _wrap_row(dek_id: bytes, w: WrapRecord) -> tuple[object, ...]:
    return dek_id, w.kek_uri, w.kek_version, w.wrap_alg, w.wrapped, w.created_at, w.verified_at
