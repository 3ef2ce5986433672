"""The key store in Postgres: any number of machines, each tenant's first DEK made once, whoever comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, LiteralString, Self

from ..errors import InvalidArgumentError, KeyNotFoundError, KeyUnusableError, MissingDependencyError, StoreError

try:
    import psycopg_pool
    from psycopg import sql
except ImportError as error:
    raise MissingDependencyError("missing_dependency", "a Postgres key store needs psycopg: pip install 'sealpoint[postgres]'") from error

from .. import _fork
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
from ._connections import Connections, LoopConnections, OwnConnections, PoolConnections, Query, Steps
from ._rows import SELECT_DEK, record, records, tenants, uris

__all__ = ["PostgresStore"]

SETUP_LOCK = 0x7365616C706F696E
"""The advisory lock under which setup() works, in every language: "sealpoin" in ASCII."""

_TABLES = ("settings", "canaries", "tenants", "deks", "wraps")
_MIGRATIONS: tuple[tuple[LiteralString, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS {settings} (
            id smallint PRIMARY KEY CHECK (id = 1), schema_version bigint NOT NULL, max_ttl bigint NOT NULL)""",
        """CREATE TABLE IF NOT EXISTS {canaries} (kek_uri text COLLATE "C" PRIMARY KEY, wrapped bytea NOT NULL)""",
        """CREATE TABLE IF NOT EXISTS {tenants} (
            tenant text COLLATE "C" PRIMARY KEY, kek_uri text COLLATE "C", created_at bigint NOT NULL, shredded_at bigint)""",
        """CREATE TABLE IF NOT EXISTS {deks} (
            dek_id bytea PRIMARY KEY CHECK (octet_length(dek_id) = 16), tenant text COLLATE "C" NOT NULL,
            purpose smallint NOT NULL CHECK (purpose BETWEEN 1 AND 4), suite smallint NOT NULL CHECK (suite BETWEEN 1 AND 255),
            version bigint NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
            state text NOT NULL CHECK (state IN ('active', 'retired', 'pending_destroy', 'destroyed')),
            key_check bytea NOT NULL CHECK (octet_length(key_check) = 32),
            created_at bigint NOT NULL, retired_at bigint, destroyed_at bigint, rotated_by text,
            UNIQUE (tenant, purpose, version))""",
        "CREATE UNIQUE INDEX IF NOT EXISTS sealpoint_deks_active ON {deks} (tenant, purpose) WHERE state = 'active'",
        """CREATE TABLE IF NOT EXISTS {wraps} (
            dek_id bytea NOT NULL, kek_uri text COLLATE "C" NOT NULL, kek_version text NOT NULL, wrap_alg text NOT NULL,
            wrapped bytea NOT NULL, created_at bigint NOT NULL, verified_at bigint, PRIMARY KEY (dek_id, kek_uri))""",
    ),
    ("""ALTER TABLE {settings} ADD COLUMN IF NOT EXISTS required_keks text COLLATE "C" NOT NULL DEFAULT ''""",),
)
"""What makes schema version n of version n-1 is the n-th. Names compare bytewise, whatever the database's collation is and becomes."""

_JOINED: LiteralString = "LEFT JOIN {tenants} t ON t.tenant = d.tenant LEFT JOIN {wraps} w ON w.dek_id = d.dek_id"
_DEK: LiteralString = SELECT_DEK + "FROM {deks} d " + _JOINED + " "
"""One statement, so that DEK, tombstone and wraps are of one moment."""
_TENANTS: LiteralString = """
SELECT n.tenant, t.created_at, t.shredded_at, t.kek_uri FROM (
    (SELECT tenant FROM {tenants} WHERE tenant > %s ORDER BY tenant LIMIT %s)
    UNION (SELECT DISTINCT tenant FROM {deks} WHERE tenant > %s ORDER BY tenant LIMIT %s)) n
LEFT JOIN {tenants} t ON t.tenant = n.tenant ORDER BY n.tenant LIMIT %s
"""
_INSERT_WRAPS: LiteralString = (
    "INSERT INTO {wraps} SELECT * FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bigint[], %s::bigint[]) "
)


class PostgresStore:
    """`postgresql://…`, or a pool. What it opens itself it closes: a few connections, made when needed; a pool stays its owner's.

    A server that cannot be reached or written, or is too slow, is `store_unavailable`; a hot standby serves for opening. A call ends
    within about 20 seconds (see docs/OPERATIONS.md). After a fork the child opens connections of its own; one on a pool is refused there.
    """

    def __init__(
        self,
        source: str | psycopg_pool.ConnectionPool[Any] | psycopg_pool.AsyncConnectionPool[Any],
        *,
        schema: str | None = None,
    ) -> None:
        """Touches nothing yet.

        source: a DSN (a URL, or `host=… dbname=…`), a `ConnectionPool`, or an `AsyncConnectionPool`: the latter in the thread of its
        event loop, and then only async calls may come from there. A single connection is refused: others use it meanwhile.
        schema: where the tables are; without it the connection's `search_path` decides (`options=-csearch_path=…` in the DSN).

        Raises: `invalid_argument`.
        """
        self._connections = _connections(source)
        self._schema = _identifier(schema)
        self._names = {table: sql.Identifier(*self._schema, f"sealpoint_{table}").as_string(None) for table in _TABLES}
        _fork.watch(self)

    def __repr__(self) -> str:
        return f"<PostgresStore{f' schema={self._schema[0]!r}' if self._schema else ''}>"

    def setup(self, max_ttl: int) -> None:
        """See `KeyStore`. Needs the privilege to create tables (and the schema, if it is missing) only where something has to change."""
        self._connections.run(lambda: self._setup(max_ttl))

    def settings(self) -> StoreSettings | None:
        """See `KeyStore`."""
        return self._connections.run(self._settings)

    def require_keks(self, uris: Sequence[str]) -> None:
        """See `KeyLifecycle`."""
        self._connections.run(lambda: self._require_keks(uris))

    def canaries(self) -> Mapping[str, bytes]:
        """See `KeyStore`."""
        return self._connections.run(self._canaries)

    def add_canary(self, kek_uri: str, wrapped: bytes) -> None:
        """See `KeyStore`."""
        self._connections.run(lambda: self._add_canary(kek_uri, wrapped))

    def tenant(self, tenant: str) -> TenantRecord | None:
        """See `KeyStore`. Raises also: `invalid_argument` (a NUL character: here and wherever a tenant is given)."""
        return self._connections.run(lambda: self._tenant(tenant))

    def dek(self, dek_id: bytes) -> DekRecord | None:
        """See `KeyStore`."""
        return self._connections.run(lambda: self._dek("WHERE d.dek_id = %s ORDER BY w.kek_uri", dek_id))

    def active_dek(self, tenant: str, purpose: int) -> DekRecord | None:
        """See `KeyStore`."""
        return self._connections.run(lambda: self._active(tenant, purpose))

    def next_version(self, tenant: str, purpose: int) -> int:
        """See `KeyStore`."""
        return self._connections.run(lambda: self._next_version(tenant, purpose))

    def create_dek(self, record: DekRecord) -> DekRecord:
        """See `KeyStore`."""
        return self._connections.run(lambda: self._create(record))

    def page_tenants(self, after: str | None, limit: int) -> Sequence[tuple[str, TenantRecord | None]]:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._page_tenants(after or "", limit))

    def page_deks(self, after: bytes | None, limit: int) -> Sequence[DekRecord | DamagedDek]:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._page_deks(after or b"", limit))

    def deks_of(self, tenants: Sequence[str]) -> Sequence[DekRecord | DamagedDek]:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._deks_of(list(tenants)))

    def replace_active(self, retired: bytes, successor: DekRecord) -> DekRecord:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._replace_active(retired, successor))

    def put_wraps(self, changes: Sequence[WrapChange]) -> int:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._put_wraps(changes))

    def drop_wraps(self, drops: Sequence[WrapDrop]) -> int:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._drop_wraps(drops))

    def set_state(self, dek_id: bytes, expected: DekState, state: DekState) -> bool:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._set_state(dek_id, expected, state))

    def shred_tenant(self, tenant: str, at: int) -> Sequence[bytes]:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._shred_tenant(tenant, at))

    def readmit_tenant(self, tenant: str) -> bool:
        """See `KeyLifecycle`."""
        return self._connections.run(lambda: self._readmit_tenant(tenant))

    def scrub(self) -> str:
        """See `KeyLifecycle`. Nothing that a client can do at once: Postgres keeps deleted rows, and its log, by rules of its own."""
        return "the database's own files, until VACUUM on sealpoint_wraps and until its write-ahead log is recycled"

    def refuse_own_loop(self) -> None:
        """See `LoopBound`."""
        self._connections.refuse_own_loop()

    def close(self) -> None:
        """Closes the connections that were opened here. A call that is under way finishes; from now on none stays open after its call."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _setup(self, max_ttl: int) -> Steps[None]:
        yield self._query("SELECT pg_advisory_xact_lock(%s)", SETUP_LOCK)
        version = yield from self._version()
        if version == SCHEMA_VERSION:
            return
        for name in self._schema:
            if not (yield self._query("SELECT 1 FROM pg_namespace WHERE nspname = %s", name)):
                yield "CREATE SCHEMA " + _escaped(sql.Identifier(name).as_string(None)), ()
        for migration in _MIGRATIONS[version:]:
            for statement in migration:
                yield self._query(statement)
        yield self._query(
            "INSERT INTO {settings} (id, schema_version, max_ttl) VALUES (1, %s, %s) "
            "ON CONFLICT (id) DO UPDATE SET schema_version = EXCLUDED.schema_version",
            SCHEMA_VERSION,
            max_ttl,
        )

    def _version(self) -> Steps[int]:
        """The schema version; 0 if tables or settings are missing."""
        present = yield from self._present()
        if len(present) < len(_TABLES):
            return 0
        settings = yield self._query("SELECT schema_version, max_ttl FROM {settings} WHERE id = 1")
        return StoreSettings(*settings[0]).schema_version if settings else 0

    def _settings(self) -> Steps[StoreSettings | None]:
        if not (yield from self._present()):
            return None
        rows = yield self._query("SELECT schema_version, max_ttl FROM {settings} WHERE id = 1")
        if not rows:
            raise StoreError("store_invalid", NOT_SET_UP)
        settings = StoreSettings(*rows[0])
        if settings.schema_version == 1:
            return settings
        required = yield self._query("SELECT required_keks FROM {settings} WHERE id = 1")
        return replace(settings, required_keks=uris(required[0][0] if required else None))

    def _require_keks(self, uris: Sequence[str]) -> Steps[None]:
        yield self._query("UPDATE {settings} SET required_keks = %s WHERE id = 1", "\n".join(uris))

    def _present(self) -> Steps[list[str]]:
        """Which of the tables there are."""
        rows = yield self._query(
            "SELECT current_setting('server_encoding'), name, to_regclass(name) IS NOT NULL FROM unnest(%s::text[]) AS name",
            list(self._names.values()),
        )
        if rows[0][0] != "UTF8":
            raise StoreError("store_invalid", "the database of the key store has another encoding than UTF8: it cannot hold every name")
        return [name for _, name, present in rows if present]

    def _canaries(self) -> Steps[Mapping[str, bytes]]:
        return dict((yield self._query("SELECT kek_uri, wrapped FROM {canaries}")))

    def _add_canary(self, kek_uri: str, wrapped: bytes) -> Steps[None]:
        yield self._query("INSERT INTO {canaries} VALUES (%s, %s) ON CONFLICT DO NOTHING", kek_uri, wrapped)

    def _tenant(self, tenant: str) -> Steps[TenantRecord | None]:
        rows = yield self._query("SELECT created_at, shredded_at, kek_uri FROM {tenants} WHERE tenant = %s", tenant)
        return TenantRecord(*rows[0]) if rows else None

    def _dek(self, where: LiteralString, *parameters: object) -> Steps[DekRecord | None]:
        rows = yield self._query(_DEK + where, *parameters)
        return record(rows) if rows else None

    def _active(self, tenant: str, purpose: int) -> Steps[DekRecord | None]:
        where: LiteralString = "WHERE d.tenant = %s AND d.purpose = %s AND d.state = 'active' ORDER BY w.kek_uri"
        return (yield from self._dek(where, tenant, purpose))

    def _next_version(self, tenant: str, purpose: int) -> Steps[int]:
        rows = yield self._query("SELECT coalesce(max(version), 0) + 1 FROM {deks} WHERE tenant = %s AND purpose = %s", tenant, purpose)
        return int(rows[0][0])

    def _create(self, r: DekRecord) -> Steps[DekRecord]:
        """The lock on the tenant's row makes creators take turns, and holds off whoever wants to set the tombstone.

        READ COMMITTED is what this needs: each statement sees what was committed before it began, so whoever waited for the lock then
        finds the winner's DEK. Under a stricter level it would keep the view from before, and fail. Should somebody make a DEK without
        that lock, the partial unique index still admits one active DEK only, and the call fails with `store_unavailable`.
        """
        yield from self._lock_tenant(r.tenant)
        winner = yield from self._active(r.tenant, r.purpose)
        if winner is not None:
            return winner
        yield from self._insert(r)
        return r

    def _lock_tenant(self, tenant: str, *, admit: bool = True) -> Steps[None]:
        yield self._query("INSERT INTO {tenants} (tenant, created_at) VALUES (%s, %s) ON CONFLICT DO NOTHING", tenant, now())
        rows = yield self._query("SELECT shredded_at FROM {tenants} WHERE tenant = %s FOR UPDATE", tenant)
        if admit and (not rows or rows[0][0] is not None):
            raise KeyUnusableError("key_destroyed", "this tenant was shredded")

    def _insert(self, r: DekRecord) -> Steps[None]:
        yield self._query(
            "INSERT INTO {deks} (dek_id, tenant, purpose, suite, version, state, key_check, created_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            *(r.dek_id, r.tenant, r.purpose, r.suite, r.version, r.state, r.key_check, r.created_at),
        )
        yield self._query(_INSERT_WRAPS, *_columns([(r.dek_id, wrap) for wrap in r.wraps]))

    def _page_tenants(self, after: str, limit: int) -> Steps[Sequence[tuple[str, TenantRecord | None]]]:
        return tenants((yield self._query(_TENANTS, after, limit, after, limit, limit)))

    def _page_deks(self, after: bytes, limit: int) -> Steps[Sequence[DekRecord | DamagedDek]]:
        page: LiteralString = "(SELECT * FROM {deks} WHERE dek_id > %s ORDER BY dek_id LIMIT %s)"
        return records((yield self._query(SELECT_DEK + "FROM " + page + " d " + _JOINED + " ORDER BY d.dek_id, w.kek_uri", after, limit)))

    def _deks_of(self, names: list[str]) -> Steps[Sequence[DekRecord | DamagedDek]]:
        where: LiteralString = "WHERE d.tenant = ANY(%s) ORDER BY d.tenant, d.purpose, d.version, d.dek_id, w.kek_uri"
        return records((yield self._query(_DEK + where, names)))

    def _replace_active(self, retired: bytes, r: DekRecord) -> Steps[DekRecord]:
        yield from self._lock_tenant(r.tenant)
        active = yield from self._active(r.tenant, r.purpose)
        if active is None:
            raise KeyNotFoundError("key_not_found", NO_ACTIVE_DEK)
        if active.dek_id != retired:
            return active
        update: LiteralString = "UPDATE {deks} SET state = 'retired', retired_at = %s, rotated_by = %s WHERE dek_id = %s"
        yield self._query(update, now(), r.dek_id.hex(), retired)
        yield from self._insert(r)
        return r

    def _put_wraps(self, changes: Sequence[WrapChange]) -> Steps[int]:
        """The lock on the DEKs' rows holds off whoever destroys them: a wrap that came after would outlive its DEK."""
        alive = yield from self._lock_deks([change.dek_id for change in changes])
        new = [(change.dek_id, change.wrap) for change in changes if change.replaces is None and change.dek_id in alive]
        done = yield self._query(_INSERT_WRAPS + "ON CONFLICT DO NOTHING RETURNING 1", *_columns(new))
        old = [change for change in changes if change.replaces is not None and change.dek_id in alive]
        if old:
            done += yield self._query(
                "UPDATE {wraps} w SET kek_version = n.kek_version, wrap_alg = n.wrap_alg, wrapped = n.wrapped, created_at = n.created_at, "
                "verified_at = n.verified_at FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::bigint[], "
                "%s::bigint[], %s::bytea[]) n(dek_id, kek_uri, kek_version, wrap_alg, wrapped, created_at, verified_at, replaces) "
                "WHERE w.dek_id = n.dek_id AND w.kek_uri = n.kek_uri AND w.wrapped = n.replaces RETURNING 1",
                *_columns([(change.dek_id, change.wrap) for change in old]),
                [change.replaces for change in old],
            )
        return len(done)

    def _drop_wraps(self, drops: Sequence[WrapDrop]) -> Steps[int]:
        """The lock keeps two calls from removing each the wrap that the other one keeps."""
        yield from self._lock_deks([drop.dek_id for drop in drops])
        done = yield self._query(
            "DELETE FROM {wraps} w USING unnest(%s::bytea[], %s::text[], %s::bytea[], %s::text[], %s::bytea[]) "
            "n(dek_id, kek_uri, wrapped, kept_uri, kept) WHERE w.dek_id = n.dek_id AND w.kek_uri = n.kek_uri AND w.wrapped = n.wrapped "
            "AND EXISTS (SELECT 1 FROM {wraps} k WHERE k.dek_id = n.dek_id AND k.kek_uri = n.kept_uri AND k.wrapped = n.kept) RETURNING 1",
            [drop.dek_id for drop in drops],
            *([drop.dropped.kek_uri for drop in drops], [drop.dropped.wrapped for drop in drops]),
            *([drop.kept.kek_uri for drop in drops], [drop.kept.wrapped for drop in drops]),
        )
        return len(done)

    def _set_state(self, dek_id: bytes, expected: DekState, state: DekState) -> Steps[bool]:
        destroyed_at = now() if state == "destroyed" else None
        update: LiteralString = "UPDATE {deks} SET state = %s, destroyed_at = %s WHERE dek_id = %s AND state = %s RETURNING 1"
        changed = yield self._query(update, state, destroyed_at, dek_id, expected)
        if changed and state == "destroyed":
            yield self._query("DELETE FROM {wraps} WHERE dek_id = %s", dek_id)
        return bool(changed)

    def _shred_tenant(self, tenant: str, at: int) -> Steps[Sequence[bytes]]:
        yield from self._lock_tenant(tenant, admit=False)
        yield self._query("UPDATE {tenants} SET shredded_at = coalesce(shredded_at, %s) WHERE tenant = %s", at, tenant)
        rows = yield self._query("SELECT dek_id FROM {deks} WHERE tenant = %s ORDER BY dek_id FOR UPDATE", tenant)
        theirs = [dek_id for (dek_id,) in rows]
        destroy: LiteralString = "UPDATE {deks} SET state = 'destroyed', destroyed_at = %s WHERE dek_id = ANY(%s) AND state <> 'destroyed'"
        yield self._query(destroy, at, theirs)
        yield self._query("DELETE FROM {wraps} WHERE dek_id = ANY(%s)", theirs)
        return theirs

    def _readmit_tenant(self, tenant: str) -> Steps[bool]:
        update: LiteralString = "UPDATE {tenants} SET shredded_at = NULL WHERE tenant = %s AND shredded_at IS NOT NULL RETURNING 1"
        return bool((yield self._query(update, tenant)))

    def _lock_deks(self, dek_ids: list[bytes]) -> Steps[set[bytes]]:
        """Those that are not destroyed. In order, so that nobody waits for somebody who waits for them."""
        lock: LiteralString = "SELECT dek_id FROM {deks} WHERE dek_id = ANY(%s) AND state <> 'destroyed' ORDER BY dek_id FOR UPDATE"
        return {dek_id for (dek_id,) in (yield self._query(lock, dek_ids))}

    def _query(self, statement: LiteralString, *parameters: object) -> Query:
        return statement.format(**{table: _escaped(name) for table, name in self._names.items()}), parameters

    def _after_fork(self) -> None:
        self._connections.after_fork()


def _connections(source: object) -> Connections:
    if isinstance(source, str):
        return OwnConnections(source)
    if isinstance(source, psycopg_pool.ConnectionPool):
        return PoolConnections(source)
    if isinstance(source, psycopg_pool.AsyncConnectionPool):
        return LoopConnections(source)
    raise InvalidArgumentError(
        "invalid_argument",
        "a Postgres key store is a DSN, a psycopg_pool.ConnectionPool or an AsyncConnectionPool; not a single connection, whose "
        "transactions others would end",
    )


def _escaped(name: str) -> str:
    """For a statement with placeholders."""
    return name.replace("%", "%%")


def _identifier(schema: object) -> tuple[str, ...]:
    """One name, or none. Postgres would cut a longer one off, and take it for another."""
    if schema is None:
        return ()
    if not isinstance(schema, str) or not schema or "\0" in schema or len(schema.encode(errors="replace")) > 63:
        raise InvalidArgumentError("invalid_argument", "schema is the name of a Postgres schema: 1 to 63 bytes, without NUL")
    return (schema,)


def _columns(wraps: Sequence[tuple[bytes, WrapRecord]]) -> list[list[object]]:
    """As `_INSERT_WRAPS` takes them."""
    rows = [(dek_id, w.kek_uri, w.kek_version, w.wrap_alg, w.wrapped, w.created_at, w.verified_at) for dek_id, w in wraps]
    return [list(column) for column in zip(*rows, strict=True)] or [[]] * 7
