"""Key stores: where tenants, DEKs, their wraps and the canaries lie. Nothing in a key store is secret, and nothing in it is trusted.

Tables (prefix `sealpoint_`; every language reads and writes the same ones; schema version 2):

    tenants   tenant text, kek_uri text or null (null: the KEKs of the configuration), created_at, shredded_at or null
    deks      dek_id 16 bytes, tenant, purpose 1..4, suite, version, state, key_check 32 bytes,
              created_at, retired_at, destroyed_at, rotated_by
    wraps     dek_id, kek_uri, kek_version text, wrap_alg text, wrapped bytes, created_at, verified_at
    settings  one row: schema_version, max_ttl (seconds), required_keks text: URIs, a line feed between two (since schema version 2)
    canaries  kek_uri, wrapped bytes

Unique: tenants(tenant), deks(dek_id), deks(tenant, purpose, version), deks(tenant, purpose) where active, wraps(dek_id, kek_uri),
canaries(kek_uri). Text compares bytewise.
Times are integers: microseconds since 1970-01-01 UTC.

Who rotates sets, in one transaction, the old DEK's state to retired, its retired_at, and its rotated_by to the new DEK's dek_id in hex.
A destroyed DEK keeps its row, with destroyed_at, and has no wraps. A tombstone is a tenant's shredded_at: all its DEKs are destroyed
in the transaction that sets it, and while it stands nobody makes another one.
Whoever makes a DEK wraps it by every KEK that required_keks names, or makes none. That only adds demands: all KEKs of the configuration
wrap each new DEK in any case, so who empties the column takes none of these wraps away.
A migration runs in setup(), and keeps every row. A key store of schema version 1 serves as it is, until setup() is run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from ..errors import InvalidArgumentError, StoreError

__all__ = [
    "DamagedDek",
    "DekRecord",
    "DekState",
    "KeyLifecycle",
    "KeyStore",
    "LoopBound",
    "StoreSettings",
    "TenantRecord",
    "WrapChange",
    "WrapDrop",
    "WrapRecord",
    "store_from",
    "store_from_url",
]

SCHEMA_VERSION = 2
POINTER_TTL_S = 60
"""For how long after a rotation others may go on sealing under the DEK that was active before."""
NOT_SET_UP = "the key store has no sealpoint tables yet: run setup() once, on the keyring or on the saver that uses it"

NO_ACTIVE_DEK = "this tenant has no active key of this purpose: load(tenant) makes its first one"

DekState: TypeAlias = Literal["active", "retired", "pending_destroy", "destroyed"]


@dataclass(frozen=True)
class WrapRecord:
    """A DEK under one KEK. Raises: `store_invalid` (a field of another type or size)."""

    kek_uri: str
    kek_version: str
    wrap_alg: str
    wrapped: bytes = field(repr=False)
    created_at: int
    verified_at: int | None
    """When this wrap was last opened and compared."""

    def __post_init__(self) -> None:
        _require(type(self.kek_uri) is str and type(self.kek_version) is str and type(self.wrap_alg) is str)
        _require(type(self.wrapped) is bytes and 0 < len(self.wrapped) <= 65_536)
        _require(type(self.created_at) is int and type(self.verified_at) in (int, type(None)))


@dataclass(frozen=True)
class DekRecord:
    """A DEK with its wraps. Raises: `store_invalid` (a field of another type or size)."""

    dek_id: bytes
    tenant: str = field(repr=False)
    purpose: int
    suite: int
    version: int
    state: DekState
    key_check: bytes = field(repr=False)
    created_at: int
    wraps: tuple[WrapRecord, ...] = field(repr=False)
    shredded_at: int | None = None
    """The tenant's tombstone."""
    retired_at: int | None = None
    destroyed_at: int | None = None
    rotated_by: str | None = None
    """The dek_id, in hex, of the DEK that became active when this one was retired."""

    def __post_init__(self) -> None:
        _require(type(self.dek_id) is bytes and len(self.dek_id) == 16)
        _require(type(self.tenant) is str and self.tenant != "")
        _require(type(self.purpose) is int and 1 <= self.purpose <= 4)
        _require(type(self.suite) is int and 1 <= self.suite <= 255)
        _require(type(self.version) is int and 1 <= self.version < 2**32)
        _require(self.state in get_args(DekState))
        _require(type(self.key_check) is bytes and len(self.key_check) == 32)
        _require(type(self.created_at) is int and type(self.shredded_at) in (int, type(None)))
        _require(type(self.retired_at) in (int, type(None)) and type(self.destroyed_at) in (int, type(None)))
        _require(type(self.rotated_by) in (str, type(None)))


@dataclass(frozen=True)
class DamagedDek:
    """A DEK's row, or one of its wraps', that is not as sealpoint writes it. Listed, so that a job can name it and leave it alone."""

    dek_id: bytes
    """As it lies there, whatever that is."""
    tenant: str = field(repr=False)


@dataclass(frozen=True)
class WrapChange:
    """A wrap to be stored: beside the others (`replaces` is None), or in place of the one with these bytes under the same KEK."""

    dek_id: bytes
    wrap: WrapRecord
    replaces: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class WrapDrop:
    """A wrap to be removed, and the one that the DEK keeps."""

    dek_id: bytes
    dropped: WrapRecord
    kept: WrapRecord


@dataclass(frozen=True)
class TenantRecord:
    """A tenant that has, or had, DEKs."""

    created_at: int
    shredded_at: int | None = None
    kek_uri: str | None = None

    def __post_init__(self) -> None:
        _require(type(self.created_at) is int and type(self.shredded_at) in (int, type(None)))
        _require(type(self.kek_uri) in (str, type(None)))


@dataclass(frozen=True)
class StoreSettings:
    """What all who use a key store share. Raises: `store_invalid` (unreadable, or a newer schema than this release knows)."""

    schema_version: int
    max_ttl: int
    """Seconds. Nobody caches a DEK for longer, so a destroyed one is gone everywhere after this time."""
    required_keks: tuple[str, ...] = ()
    """URIs of KEKs. No DEK is made without a wrap under each."""

    def __post_init__(self) -> None:
        _require(type(self.schema_version) is int and self.schema_version >= 1 and type(self.max_ttl) is int and self.max_ttl >= 1)
        _require(all(type(uri) is str and uri != "" for uri in self.required_keks))
        if self.schema_version > SCHEMA_VERSION:
            raise StoreError(
                "store_invalid",
                f"the key store has schema version {self.schema_version}, this release knows {SCHEMA_VERSION}: upgrade sealpoint",
            )


@runtime_checkable
class KeyStore(Protocol):
    """Calls come from several threads at once, and never from an event loop's thread.

    Errors: `store_unavailable` and `store_invalid`, the latter naming setup() if the tables are missing.
    """

    def setup(self, max_ttl: int) -> None:
        """Creates what is missing and migrates what is old, atomically; settings that are there stay."""

    def settings(self) -> StoreSettings | None:
        """None: no sealpoint tables at all."""

    def canaries(self) -> Mapping[str, bytes]:
        """Wrapped canaries by kek_uri."""

    def add_canary(self, kek_uri: str, wrapped: bytes) -> None:
        """Leaves one that is there as it is."""

    def tenant(self, tenant: str) -> TenantRecord | None: ...

    def dek(self, dek_id: bytes) -> DekRecord | None: ...

    def active_dek(self, tenant: str, purpose: int) -> DekRecord | None: ...

    def next_version(self, tenant: str, purpose: int) -> int:
        """One more than the highest version there ever was."""

    def create_dek(self, record: DekRecord) -> DekRecord:
        """Registers the tenant if need be and stores the record as its active DEK, atomically, unless there is an active one already.

        Returns the active one: the record given, or the winner's. Raises: `key_destroyed` (a tombstoned tenant).
        """


@runtime_checkable
class KeyLifecycle(KeyStore, Protocol):
    """What a key store needs beyond loading keys, so that they can be rotated, rewrapped, listed and destroyed.

    Each call is one transaction, and changes nothing more when it is repeated. A change names what it expects to find: where something
    else is found, it is not made. No wrap is ever added to a destroyed DEK.
    """

    def page_tenants(self, after: str | None, limit: int) -> Sequence[tuple[str, TenantRecord | None]]:
        """Tenants in bytewise order, also those that only a DEK names. None: no row of its own, or a damaged one."""

    def page_deks(self, after: bytes | None, limit: int) -> Sequence[DekRecord | DamagedDek]:
        """DEKs in order of dek_id; `after` is the last one's of the page before."""

    def deks_of(self, tenants: Sequence[str]) -> Sequence[DekRecord | DamagedDek]:
        """All DEKs of these tenants, in order of tenant, purpose and version."""

    def replace_active(self, retired: bytes, successor: DekRecord) -> DekRecord:
        """Retires this DEK and stores its successor, if it is the active one of the successor's tenant and purpose.

        Returns the active one: the successor, or the winner's. Raises: `key_destroyed` (a tombstoned tenant), `key_not_found` (there is
        no active one).
        """

    def put_wraps(self, changes: Sequence[WrapChange]) -> int:
        """How many were made."""

    def drop_wraps(self, drops: Sequence[WrapDrop]) -> int:
        """How many were made: those where both wraps are as given."""

    def set_state(self, dek_id: bytes, expected: DekState, state: DekState) -> bool:
        """Whether it was in the expected state. Destroying removes its wraps."""

    def shred_tenant(self, tenant: str, at: int) -> Sequence[bytes]:
        """Sets the tombstone (one that is there stays) and destroys all DEKs of the tenant, whom it need not know. Returns their ids."""

    def readmit_tenant(self, tenant: str) -> bool:
        """Takes the tombstone away; destroyed DEKs stay destroyed. Whether there was one."""

    def require_keks(self, uris: Sequence[str]) -> None:
        """Sets `required_keks`, in a key store of the current schema version. No URI has a line feed in it."""

    def scrub(self) -> str:
        """Removes from the store's own files what deleted wraps left there. Returns where copies may still lie; empty: nowhere in them."""


@runtime_checkable
class LoopBound(Protocol):
    """A key store that may need an event loop for its I/O: a blocking call from that loop's thread would wait for itself."""

    def refuse_own_loop(self) -> None:
        """Raises `invalid_argument` in such a thread."""


def store_from(source: object) -> KeyStore:
    """A key store from what `Keyring.connect` takes. Raises: `invalid_argument`, `missing_dependency`."""
    if isinstance(source, KeyStore) and not isinstance(source, type):
        return source
    if any(kind.__module__.partition(".")[0] in ("psycopg", "psycopg_pool") for kind in type(source).__mro__):
        return _postgres(source)
    if isinstance(source, str):
        return store_from_url(source)
    raise InvalidArgumentError("invalid_argument", "store is a URL such as sqlite:///keys.db, a psycopg pool, or a KeyStore")


def store_from_url(url: str) -> KeyStore:
    """`memory:`, `sqlite:///relative.db`, `sqlite:////absolute/path.db` or `postgresql://…`. Raises: as `store_from`."""
    if url == "memory:":
        from .memory import MemoryStore

        return MemoryStore()
    if url.startswith(("postgres://", "postgresql://")):
        return _postgres(url)
    path = url.removeprefix("sqlite:///")
    if path == url:
        raise InvalidArgumentError(
            "invalid_argument",
            "a key store is memory:, sqlite:///relative.db, sqlite:////absolute/path.db, postgresql://…, a psycopg pool or a KeyStore",
        )
    if path == ":memory:":
        raise InvalidArgumentError("invalid_argument", "for keys that nothing keeps, the key store is memory:")
    if not path or any(character in path for character in "?#\0"):
        raise InvalidArgumentError("invalid_argument", "sqlite:/// is followed by the path of a file and takes no options")
    from .sqlite import SqliteStore

    return SqliteStore(path)


def _postgres(source: Any) -> KeyStore:
    from .postgres import PostgresStore

    return PostgresStore(source)


def now() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def _require(holds: bool) -> None:
    if not holds:
        raise StoreError(
            "store_invalid",
            "a row of the key store is not as sealpoint writes it: it was changed, or written by something else",
        )
