"""A key store that nothing keeps: tests and scripts. A forked child has a copy that goes its own way."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from .. import _fork
from ..errors import KeyUnusableError, StoreError
from . import NOT_SET_UP, SCHEMA_VERSION, DekRecord, StoreSettings, TenantRecord, now

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
            return self._with_tombstone(self._deks.get(dek_id))

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
            tenant = self._tenants.setdefault(record.tenant, TenantRecord(created_at=now()))
            if tenant.shredded_at is not None:
                raise KeyUnusableError("key_destroyed", "this tenant was shredded")
            return self._active(record.tenant, record.purpose) or self._deks.setdefault(record.dek_id, record)

    def _active(self, tenant: str, purpose: int) -> DekRecord | None:
        found = (r for r in self._deks.values() if (r.tenant, r.purpose, r.state) == (tenant, purpose, "active"))
        return self._with_tombstone(next(found, None))

    def _with_tombstone(self, record: DekRecord | None) -> DekRecord | None:
        tenant = record and self._tenants.get(record.tenant)
        return replace(record, shredded_at=tenant.shredded_at) if record and tenant else record

    def _require_setup(self) -> None:
        if self._settings is None:
            raise StoreError("store_invalid", NOT_SET_UP)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
