"""The database that the key store lies in: the file's mode, the role's privileges, what guards the tables, the clock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..lifecycle._jobs import SKEW_S
from ..scan.report import printable
from ..stores import KeyStore
from ..stores.sqlite import SqliteStore
from ._machine import folder_verdict
from .report import Check

if TYPE_CHECKING:
    from ..stores._connections import Steps
    from ..stores.postgres import PostgresStore

APPLICATION = {
    "settings": {"SELECT"},
    "canaries": {"SELECT"},
    "tenants": {"SELECT", "INSERT", "UPDATE"},
    "deks": {"SELECT", "INSERT"},
    "wraps": {"SELECT", "INSERT"},
}
"""What an application's role needs (docs/OPERATIONS.md)."""
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER")
SLOW_CLOCK_S = 5
_INDEX = "sealpoint_deks_active"
_GUARD_REMEDY = "two active keys of one tenant are possible: make the index again, as docs of sealpoint.stores have it"


def database(store: KeyStore, role: str | None) -> Iterator[Check]:
    """Checks of what this release knows; none for a key store of another kind. role: None: the one that connects.

    Raises: `store_*`.
    """
    if isinstance(store, SqliteStore):
        yield from _sqlite(store)
    elif type(store).__module__ == "sealpoint.stores.postgres":
        yield from _postgres(store, role)  # type: ignore[arg-type]


def folder(store: KeyStore) -> str:
    """Of the key store's file; empty: it has none."""
    return os.path.dirname(store._path) if isinstance(store, SqliteStore) else ""


def _sqlite(store: SqliteStore) -> Iterator[Check]:
    paths = [path for suffix in ("", "-wal", "-shm") if os.path.exists(path := store._path + suffix)]
    modes = {path: os.stat(path) for path in paths}
    open_to_others = [path for path, status in modes.items() if status.st_mode & 0o077]
    verdict, exchangeable = folder_verdict(folder(store))
    if os.name == "posix" and open_to_others:
        seen = ", ".join(f"{printable(path)} has mode {stat.S_IMODE(modes[path].st_mode):03o}" for path in open_to_others)
        yield Check("store file", "problem", seen, "chmod 600: others than its owner read, or change, the key store")
    elif verdict != "ok":
        yield Check("store file", verdict, exchangeable, "chmod go-w on the folder")
    elif os.name == "posix" and modes[store._path].st_uid not in (os.geteuid(), 0):
        seen = f"it belongs to user {modes[store._path].st_uid}"
        yield Check("store file", "warning", seen, "make the user that runs sealpoint its owner")
    else:
        yield Check("store file", "ok", f"{printable(store._path)}, its owner's alone")
    with store._typed_errors(), closing(store._reader()) as db:
        journal = db.execute("PRAGMA journal_mode").fetchone()[0]
        damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        guarded = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name = ?", (_INDEX,)).fetchone()[0]
        triggers = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'sealpoint%'").fetchone()[0]
    if journal == "wal":
        yield Check("store journal", "ok", "WAL")
    else:
        yield Check(
            "store journal", "warning", f"{journal}: works, but writers hold up readers", "PRAGMA journal_mode = WAL on a local disk"
        )
    if damage != "ok":
        yield Check("store integrity", "problem", "SQLite's quick_check finds damage", "restore the key store from a backup")
    else:
        yield Check("store integrity", "ok", "SQLite's quick_check finds no damage")
    yield from _guards(bool(guarded), triggers)
    yield Check("clock", "ok", "the key store is a file of this machine: no other clock to compare")


def _postgres(store: PostgresStore, role: str | None) -> Iterator[Check]:
    before = time.time()
    server, encrypted, local, user = store._connections.run(lambda: _session(store))
    drift = server - (before + time.time()) / 2
    yield Check("store encoding", "ok", "UTF8")  # another one is `store_invalid` before this
    if local or encrypted:
        yield Check("store connection", "ok", "on this machine" if local else "encrypted")
    else:
        yield Check(
            "store connection", "warning", "not encrypted: who is on the way reads it, and changes it", "sslmode=verify-full in the DSN"
        )
    if abs(drift) > SKEW_S:
        verdict = Check("clock", "problem", f"{drift:+.0f} s between the database's server and this machine", "run NTP on both")
    elif abs(drift) > SLOW_CLOCK_S:
        verdict = Check("clock", "warning", f"{drift:+.0f} s between the database's server and this machine", "run NTP on both")
    else:
        verdict = Check("clock", "ok", f"within {SLOW_CLOCK_S} s of the database's server")
    yield verdict
    yield _privileges(store, role or user, named=role is not None)
    index, triggers, public = store._connections.run(lambda: _tables(store))
    yield from _guards(index, triggers)
    if public:
        seen = "everybody who may connect has privileges on " + ", ".join(public)
        yield Check("store public", "warning", seen, "REVOKE ALL ON … FROM PUBLIC")


def _guards(index: bool, triggers: int) -> Iterator[Check]:
    if not index:
        yield Check("store guards", "problem", "the index that admits one active key is missing", _GUARD_REMEDY)
    elif triggers:
        yield Check(
            "store guards", "problem", f"{triggers} triggers or rules on its tables: sealpoint makes none", "look at them, and drop them"
        )
    else:
        yield Check("store guards", "ok", "the index that admits one active key is there, and no trigger")


def _session(store: PostgresStore) -> Steps[tuple[float, bool, bool, str]]:
    rows = yield store._query(
        "SELECT extract(epoch FROM clock_timestamp())::float8, current_user::text, "
        "coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), "
        "inet_server_addr() IS NULL OR inet_server_addr() << '127.0.0.0/8' OR inet_server_addr() = '::1'"
    )
    server, user, encrypted, local = rows[0]
    return server, encrypted, local, user


def _privileges(store: PostgresStore, role: str, *, named: bool) -> Check:
    rows = store._connections.run(lambda: _granted(store, role))
    shown = printable(role)
    if not rows:
        return Check("store privileges", "problem", f"there is no role {shown}", "name the application's role in --role")
    whose = f"the role {shown}" + ("" if named else ", which connects here,")
    if rows[0][0]:
        return Check(
            "store privileges", "warning", f"{whose} is a superuser", "give the application a role of its own (docs/OPERATIONS.md)"
        )
    if any(owns for _, _, owns, _, _ in rows):
        return Check(
            "store privileges", "warning", f"{whose} owns the tables: it can change them", "let another role set up (docs/OPERATIONS.md)"
        )
    held = {(table, privilege) for _, table, _, privilege, has in rows if has}
    lacking = [f"{p} on sealpoint_{t}" for t, needed in APPLICATION.items() for p in PRIVILEGES if p in needed and (t, p) not in held]
    beyond = [f"{p} on sealpoint_{t}" for t, needed in APPLICATION.items() for p in PRIVILEGES if p not in needed and (t, p) in held]
    if lacking:
        return Check(
            "store privileges", "warning", f"{whose} lacks {', '.join(lacking)}: it cannot seal for new tenants", "GRANT it, if it should"
        )
    if beyond:
        seen = f"{whose} has more than an application needs: {', '.join(beyond)}"
        return Check("store privileges", "warning", seen, "keep these for the role that rotates, rewraps and shreds; --role names another")
    return Check("store privileges", "ok", f"{whose} has what an application needs, and no more")


def _granted(store: PostgresStore, role: str) -> Steps[list[tuple[Any, ...]]]:
    """(superuser, table, owns it, privilege, has it): a privilege on a single column counts. Nothing: no such role."""
    return (
        yield store._query(
            "SELECT r.rolsuper, t.short, pg_has_role(r.oid, c.relowner, 'USAGE'), p.name, has_table_privilege(r.oid, c.oid, p.name) "
            "OR CASE WHEN p.name IN ('SELECT', 'INSERT', 'UPDATE') THEN has_any_column_privilege(r.oid, c.oid, p.name) ELSE false END "
            "FROM pg_roles r, unnest(%s::text[], %s::text[]) AS t(short, name) JOIN pg_class c ON c.oid = to_regclass(t.name), "
            "unnest(%s::text[]) AS p(name) WHERE r.rolname = %s",
            list(store._names),
            list(store._names.values()),
            list(PRIVILEGES),
            role,
        )
    )


def _tables(store: PostgresStore) -> Steps[tuple[bool, int, list[str]]]:
    """Whether the index is there, how many triggers and rules there are, and which tables everybody has privileges on."""
    index = yield store._query(
        "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass(%s) AND c.relname = %s "
        "AND i.indisunique AND i.indisvalid",
        store._names["deks"],
        _INDEX,
    )
    names = list(store._names.values())
    triggers = yield store._query(
        "SELECT (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = ANY(o.oids) AND NOT t.tgisinternal) + "
        "(SELECT count(*) FROM pg_rewrite w WHERE w.ev_class = ANY(o.oids)) "
        "FROM (SELECT array_agg(to_regclass(name)::oid) AS oids FROM unnest(%s::text[]) AS name) o",
        names,
    )
    public = yield store._query(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE has_table_privilege('public', to_regclass(name), "
        "'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')",
        names,
    )
    return bool(index), triggers[0][0], [name for (name,) in public]
