"""From rows of the key store to opened DEKs in the cache. A row is never trusted (SPEC section 6.1)."""

from __future__ import annotations

from collections.abc import Iterable

from ._flight import Loaded, SingleFlight
from ._keks import Keks
from ._native import Context, DataKey, DekCache, SecretKey, export_key, wrap_context
from ._purposes import CLIENT
from ._refresh import Refresher
from .errors import AuthenticationError, InvalidArgumentError, KeyNotFoundError, KeyUnusableError, SealpointError
from .kms import scheme_of
from .stores import DekRecord, KeyStore, WrapRecord, now


class Loader:
    """All I/O for keys. The flights make it one load per tenant and purpose, and one unwrap per DEK, at a time."""

    def __init__(
        self, store: KeyStore, keks: Keks, cache: DekCache, flights: SingleFlight, refresher: Refresher, create_tenants: bool
    ) -> None:
        self._store = store
        self._keks = keks
        self._cache = cache
        self._flights = flights
        self._refresher = refresher
        self._create_tenants = create_tenants
        self._closed = False
        self._destroyed: set[bytes] = set()

    def active(self, tenant: str, purpose: int, create: bool) -> Loaded:
        """Points the cache at the tenant's active DEK: a read of the store, and an unwrap if the DEK is not held. May create it."""
        record = self._store.active_dek(tenant, purpose)
        if record is None:
            record, key = self._create(tenant, purpose, create)
            if key is not None:
                self._hold(key, active=True)
                return key
        return self._activate(record, tenant, purpose)

    def dek(self, dek_id: bytes, tenant: str, purpose: int) -> Loaded:
        """Loads one DEK for opening."""
        if self._cache.contains(dek_id):
            return None
        record = self._store.dek(dek_id)
        if record is None:
            raise KeyNotFoundError(
                "key_not_found",
                "the key store does not hold the key that this envelope names: is it the right key store?",
            )
        self.check(record, tenant, purpose)
        return self._open(record)

    def export(self, tenant: str) -> str:
        """The tenant's active client DEK as text (SPEC section 6.3), through the KEKs each time, whatever the cache holds. May create it.

        Others seal under it, so it takes a wrap that authenticates.
        """
        record = self._store.active_dek(tenant, CLIENT)
        if record is None:
            record, _ = self._create(tenant, CLIENT, create=True)
        self.check(record, tenant, CLIENT)
        secret, key, _ = self._unwrap(record, authenticated=True)
        return export_key(
            secret,
            dek_id=key.dek_id,
            tenant=key.tenant,
            dek_purpose=key.dek_purpose,
            version=key.version,
            suite=key.suite,
        )

    def make(self, tenant: str, purpose: int, version: int) -> tuple[DekRecord, DataKey]:
        """A new DEK, wrapped by each KEK and verified, not stored yet.

        Raises: `invalid_argument` (the key store requires a wrap under a KEK that this configuration lacks), `store_*`, and as `Keks.wrap`.
        """
        self.require_keks()
        key, secret = DataKey.generate(tenant=tenant, dek_purpose=purpose, version=version)
        context = wrap_context(tenant=tenant, dek_id=key.dek_id, dek_purpose=purpose, suite=key.suite)
        wraps = self._keks.wrap(secret, context)
        return DekRecord(key.dek_id, tenant, purpose, key.suite, version, "active", key.key_check, now(), wraps), key

    def require_keks(self) -> None:
        """Whoever makes DEKs has each KEK that the key store's settings require. Raises: `invalid_argument`, `store_*`."""
        settings = self._store.settings()
        lacking = set(settings.required_keks if settings else ()) - {provider.uri for provider in self._keks.providers}
        if lacking:
            schemes = ", ".join(sorted({scheme_of(uri) for uri in lacking}))
            raise InvalidArgumentError(
                "invalid_argument",
                f"this key store requires that every new key is also wrapped by a KEK which kek= does not name ({schemes}): name it beside "
                "the others; `sealpoint policy` shows what is required, and changes it",
            )

    def succeed(self, retired: bytes, active: DekRecord, key: DataKey | None) -> None:
        """After a rotation: what holds the retired DEK goes on with the active one, at once. key: the active one, if it was made here."""
        if not self._cache.contains(retired):
            return
        if key is None:
            self.active(active.tenant, active.purpose, create=False)
        else:
            self._hold(key, active=True)

    def evict(self, dek_id: bytes) -> None:
        """The next use of this DEK reads its row again."""
        self._cache.evict(dek_id)

    def forget(self, dek_ids: Iterable[bytes]) -> None:
        """Destroyed DEKs leave the cache, also those that a load which is under way still puts there."""
        for dek_id in dek_ids:
            self._destroyed.add(dek_id)
            self._cache.evict(dek_id)

    def close(self) -> None:
        """Nothing stays in the cache, not even what a load that is under way still puts there."""
        self._closed = True
        self._refresher.close()
        self._cache.clear()

    def _activate(self, record: DekRecord, tenant: str, purpose: int) -> Loaded:
        self.check(record, tenant, purpose)
        if self._cache.set_active(tenant, purpose, record.dek_id):
            self._refresher.start_if_due(record, self._refresh)
            return None
        opened = self._flights.run((record.dek_id, tenant, purpose), lambda: self._open(record))
        if self._cache.set_active(tenant, purpose, record.dek_id):
            return opened
        _, key, _ = self._unwrap(record, authenticated=True)
        self._hold(key, active=True)
        return key

    def _create(self, tenant: str, purpose: int, create: bool) -> tuple[DekRecord, DataKey | None]:
        """A new DEK, wrapped and verified outside any transaction. Who loses the race discards its own: the winner's record, and no key."""
        known = self._store.tenant(tenant)
        if known is not None and known.shredded_at is not None:
            self._cache.evict_tenant(tenant)
            raise KeyUnusableError("key_destroyed", "this tenant was shredded")
        if not create:
            raise KeyNotFoundError("key_not_found", "this tenant has no active key, and this call creates none")
        if known is None and not self._create_tenants:
            raise KeyNotFoundError(
                "key_not_found",
                "the key store does not know this tenant, and create_tenants is off: register it with load(tenant) on a keyring "
                "that is connected with create_tenants=True",
            )
        mine, key = self.make(tenant, purpose, self._store.next_version(tenant, purpose))
        winner = self._store.create_dek(mine)
        return winner, (key if winner.dek_id == mine.dek_id else None)

    def check(self, record: DekRecord, tenant: str, purpose: int) -> None:
        """Before any KEK is used: whose key it is and what it is for, then whether it may be used."""
        if (record.tenant, record.purpose) != (tenant, purpose):
            raise AuthenticationError("authentication_failed", "the key belongs to another tenant or purpose than the context")
        if record.state == "destroyed" or record.shredded_at is not None:
            self._cache.evict(record.dek_id)
            raise KeyUnusableError("key_destroyed", "the key was destroyed; what it sealed is gone")
        if record.state == "pending_destroy":
            self._cache.evict(record.dek_id)
            raise KeyUnusableError("key_disabled", "the key is about to be destroyed and may not be used")

    def _open(self, record: DekRecord) -> Loaded:
        if self._cache.contains(record.dek_id):
            return None
        _, key, authentic = self._unwrap(record)
        self._hold(key, open_only=not authentic)
        return key

    def _unwrap(self, record: DekRecord, *, authenticated: bool = False) -> tuple[SecretKey, DataKey, bool]:
        return unwrapped(self._keks, record, record.wraps, context_of(record), authenticated=authenticated)

    def _refresh(self, record: DekRecord) -> Loaded:
        """Unwraps a DEK that is held; in its flight, so that whoever comes meanwhile waits for this unwrap and does none."""
        return self._flights.run((record.dek_id, record.tenant, record.purpose), lambda: self._unwrap_again(record))

    def _unwrap_again(self, record: DekRecord) -> Loaded:
        """Success begins a new TTL. An outage leaves the DEK to the rest of its own; any other answer takes it away at once."""
        try:
            _, key, _ = self._unwrap(record, authenticated=True)
        except SealpointError as error:
            serves_on = error.code in ("kms_unavailable", "kms_throttled")
            self._refresher.failed(record.dek_id, error.code, held=serves_on)
            if serves_on:
                return None
            self._cache.evict(record.dek_id)
            raise
        self._cache.evict(record.dek_id)  # what is held keeps its deadline
        self._hold(key)
        return key

    def _hold(self, key: DataKey, *, active: bool = False, open_only: bool = False) -> None:
        new = not self._cache.contains(key.dek_id)
        self._cache.insert(key, active=active, open_only=open_only)
        if new:
            self._refresher.loaded(key.dek_id, key.tenant)
        if self._closed:
            self._cache.clear()
        if key.dek_id in self._destroyed:
            self._cache.evict(key.dek_id)


def context_of(record: DekRecord) -> Context:
    """What the record's wraps are bound to (SPEC section 6)."""
    return wrap_context(tenant=record.tenant, dek_id=record.dek_id, dek_purpose=record.purpose, suite=record.suite)


def unwrapped(
    keks: Keks, record: DekRecord, wraps: Iterable[WrapRecord], context: Context, *, authenticated: bool
) -> tuple[SecretKey, DataKey, bool]:
    """The key, bare and opened, proved to be the record's (`key_check`), and whether its wrap authenticates."""
    secret, authentic = keks.unwrap(wraps, context, authenticated=authenticated)
    key = DataKey.from_secret(
        secret,
        dek_id=record.dek_id,
        tenant=record.tenant,
        dek_purpose=record.purpose,
        version=record.version,
        suite=record.suite,
        key_check=record.key_check,
    )
    return secret, key, authentic
