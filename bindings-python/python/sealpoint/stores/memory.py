"""A key store that nothing keeps: tests and scripts. A forked child has a copy that goes its own way."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .. import _fork
from ..errors import KeyNotFoundError, KeyUnusableError, StoreError
from . import (
    NO_ACTIVE_DEK,
    NOT_SET_UP,
    SCHEMA_VERSION,
    DekRecord,
    DekState,
    StoreSettings,
    TenantRecord,
    WrapChange,
    WrapDrop,
    WrapRecord,
    now,
)

__all__ = ["MemoryStore"]


class MemoryStore:
    """`memory:`. Needs no setup() before use: connecting does it."""

    def __init__(self) -> None:
        self._settings: StoreSettings | None = None
        self._canaries: dict[str, bytes] = {}
        self._tenants: dict[str, TenantRecord] = {}
        self._deks: dict[bytes, DekRecord] = {}
        self._after_fork()
        _fork.watch(self)

    def setup(self, max_ttl: int) -> None:
        """See `KeyStore`."""
        with self._lock:
            self._settings = self._settings or StoreSettings(SCHEMA_VERSION, max_ttl)

    def settings(self) -> StoreSettings | None:
        """See `KeyStore`."""
        return self._settings

    def require_keks(self, uris: Sequence[str]) -> None:
        """See `KeyLifecycle`."""
        settings = self._require_setup()
        with self._lock:
            self._settings = replace(settings, required_keks=tuple(uris))

    def canaries(self) -> Mapping[str, bytes]:
        """See `KeyStore`."""
        self._require_setup()
        with self._lock:
            return dict(self._canaries)

    def add_canary(self, kek_uri: str, wrapped: bytes) -> None:
        """See `KeyStore`."""
        self._require_setup()
        with self._lock:
            self._canaries.setdefault(kek_uri, wrapped)

    def tenant(self, tenant: str) -> TenantRecord | None:
        """See `KeyStore`."""
        self._require_setup()
        with self._lock:
            return self._tenants.get(tenant)

    def dek(self, dek_id: bytes) -> DekRecord | None:
        """See `KeyStore`."""
        self._require_setup()
        with self._lock:
            found = self._deks.get(dek_id)
            return found and self._with_tombstone(found)

    def active_dek(self, tenant: str, purpose: int) -> DekRecord | None:
        """See `KeyStore`."""
        self._require_setup()
        with self._lock:
            return self._active(tenant, purpose)

    def next_version(self, tenant: str, purpose: int) -> int:
        """See `KeyStore`."""
        self._require_setup()
        with self._lock:
            return 1 + max((r.version for r in self._deks.values() if (r.tenant, r.purpose) == (tenant, purpose)), default=0)

    def create_dek(self, record: DekRecord) -> DekRecord:
        """See `KeyStore`."""
        self._require_setup()
        with self._lock:
            self._admit(record.tenant)
            return self._active(record.tenant, record.purpose) or self._deks.setdefault(record.dek_id, record)

    def page_tenants(self, after: str | None, limit: int) -> Sequence[tuple[str, TenantRecord | None]]:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            names = self._tenants.keys() | {record.tenant for record in self._deks.values()}
            page = sorted((name for name in names if after is None or name.encode() > after.encode()), key=str.encode)[:limit]
            return [(name, self._tenants.get(name)) for name in page]

    def page_deks(self, after: bytes | None, limit: int) -> Sequence[DekRecord]:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            page = sorted(dek_id for dek_id in self._deks if after is None or dek_id > after)[:limit]
            return [self._with_tombstone(self._deks[dek_id]) for dek_id in page]

    def deks_of(self, tenants: Sequence[str]) -> Sequence[DekRecord]:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            found = [self._with_tombstone(record) for record in self._deks.values() if record.tenant in tenants]
        return sorted(found, key=lambda r: (r.tenant.encode(), r.purpose, r.version))

    def replace_active(self, retired: bytes, successor: DekRecord) -> DekRecord:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            self._admit(successor.tenant)
            active = self._active(successor.tenant, successor.purpose)
            if active is None:
                raise KeyNotFoundError("key_not_found", NO_ACTIVE_DEK)
            if active.dek_id != retired:
                return active
            self._deks[retired] = replace(self._deks[retired], state="retired", retired_at=now(), rotated_by=successor.dek_id.hex())
            self._deks[successor.dek_id] = successor
            return successor

    def put_wraps(self, changes: Sequence[WrapChange]) -> int:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            return sum(self._put_wrap(change) for change in changes)

    def drop_wraps(self, drops: Sequence[WrapDrop]) -> int:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            return sum(self._drop_wrap(drop) for drop in drops)

    def set_state(self, dek_id: bytes, expected: DekState, state: DekState) -> bool:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            found = self._deks.get(dek_id)
            if found is None or found.state != expected:
                return False
            self._deks[dek_id] = _destroyed(found, now()) if state == "destroyed" else replace(found, state=state)
            return True

    def shred_tenant(self, tenant: str, at: int) -> Sequence[bytes]:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            known = self._tenants.get(tenant) or TenantRecord(created_at=at)
            self._tenants[tenant] = known if known.shredded_at is not None else replace(known, shredded_at=at)
            theirs = [record for record in self._deks.values() if record.tenant == tenant]
            self._deks.update({record.dek_id: _destroyed(record, at) for record in theirs if record.state != "destroyed"})
            return [record.dek_id for record in theirs]

    def readmit_tenant(self, tenant: str) -> bool:
        """See `KeyLifecycle`."""
        self._require_setup()
        with self._lock:
            known = self._tenants.get(tenant)
            if known is None or known.shredded_at is None:
                return False
            self._tenants[tenant] = replace(known, shredded_at=None)
            return True

    def scrub(self) -> str:
        """See `KeyLifecycle`."""
        return ""

    def _admit(self, tenant: str) -> None:
        if self._tenants.setdefault(tenant, TenantRecord(created_at=now())).shredded_at is not None:
            raise KeyUnusableError("key_destroyed", "this tenant was shredded")

    def _put_wrap(self, change: WrapChange) -> bool:
        found = self._deks.get(change.dek_id)
        if found is None or found.state == "destroyed":
            return False
        old = next((wrap.wrapped for wrap in found.wraps if wrap.kek_uri == change.wrap.kek_uri), None)
        if old != change.replaces:
            return False
        self._deks[change.dek_id] = replace(found, wraps=(*_without(found, change.wrap.kek_uri), change.wrap))
        return True

    def _drop_wrap(self, drop: WrapDrop) -> bool:
        found = self._deks.get(drop.dek_id)
        there = {(wrap.kek_uri, wrap.wrapped) for wrap in found.wraps} if found else set()
        if found is None or not {(wrap.kek_uri, wrap.wrapped) for wrap in (drop.dropped, drop.kept)} <= there:
            return False
        self._deks[drop.dek_id] = replace(found, wraps=_without(found, drop.dropped.kek_uri))
        return True

    def _active(self, tenant: str, purpose: int) -> DekRecord | None:
        found = (r for r in self._deks.values() if (r.tenant, r.purpose, r.state) == (tenant, purpose, "active"))
        return next(map(self._with_tombstone, found), None)

    def _with_tombstone(self, record: DekRecord) -> DekRecord:
        tenant = self._tenants.get(record.tenant)
        return replace(record, shredded_at=tenant.shredded_at) if tenant else record

    def _require_setup(self) -> StoreSettings:
        if self._settings is None:
            raise StoreError("store_invalid", NOT_SET_UP)
        return self._settings

    def _after_fork(self) -> None:
        self._lock = threading.Lock()


def _without(record: DekRecord, kek_uri: str) -> tuple[WrapRecord, ...]:
    return tuple(wrap for wrap in record.wraps if wrap.kek_uri != kek_uri)


def _destroyed(record: DekRecord, at: int) -> DekRecord:
    return replace(record, state="destroyed", destroyed_at=at, wraps=())
