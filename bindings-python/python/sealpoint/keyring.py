"""The keyring: opened DEKs, loaded from a key store through the configured KEKs. Loading is the only I/O."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final

from . import _fork
from ._flight import Loaded, SingleFlight
from ._health import AffectedTenant, Health, KekHealth, affected_tenants, assess
from ._keks import KekConfig, Keks
from ._loader import Loader
from ._native import Context, DekCache, envelope_dek_id
from ._purposes import DATA, DekPurpose, checked_tenant, purpose_number
from ._refresh import Refresher
from .errors import InvalidArgumentError, KeyNotFoundError, MalformedError, SealpointError, StoreError
from .kms import scheme_of
from .lifecycle.verbs import Lifecycle
from .stores import NOT_SET_UP, POINTER_TTL_S, KeyStore, LoopBound, StoreSettings, store_from

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool
    from typing_extensions import Buffer

__all__ = ["AffectedTenant", "Health", "KekHealth", "Keyring"]

DEFAULT_CACHE_TTL_S = 3600
MAX_CACHE_TTL_S = 30 * 86_400
CACHE_CAPACITY = 10_000


@final
class Keyring(Lifecycle):
    """Seals and opens for any number of tenants; made by `connect` or `aconnect`. Safe to share between threads and tasks.

    Seal and open are pure as long as the DEK is held (`cache_ttl`, and for the active DEK at most 60 seconds before the key store is
    read again); otherwise they load it first. An outage never turns into plaintext: what cannot be loaded fails with `kms_unavailable`,
    `kms_throttled`, `kms_denied` or `store_unavailable`. Each method with an `a` before its name is the async twin and never blocks the
    event loop. After a fork the child starts with an empty cache.

    A DEK that is in use for sealing is unwrapped again in the background before its TTL ends. An outage then leaves it to the rest of its
    TTL; any other answer (`kms_denied`, `key_disabled`, …) takes it from the cache at once.

    dek_purpose: `data`, or `client` for what an exported key (`export_data_key`) may open. Such a key may have sealed it as well, so
    nothing that was sealed under the one opens under the other: `authentication_failed`. Another value is `invalid_argument`.
    """

    def __init__(self, store: KeyStore, keks: Keks, cache_ttl: float, create_tenants: bool, *, owns_store: bool) -> None:
        """Use `connect`."""
        self._store = store
        self._owns_store = owns_store
        self._keks = keks
        self._cache_ttl = cache_ttl
        self._create_tenants = create_tenants
        self._closed = False
        self._after_fork()
        _fork.watch(self)

    @classmethod
    def connect(
        cls,
        store: str | ConnectionPool[Any] | KeyStore,
        *,
        kek: KekConfig,
        cache_ttl: float = DEFAULT_CACHE_TTL_S,
        create_tenants: bool = True,
    ) -> Self:
        """Connects to a key store and proves every KEK against its canary; no DEK is opened.

        store: `memory:` (set up at once), `sqlite:///relative.db`, `sqlite:////absolute/path.db`, `postgresql://user@host/database` (with
        libpq's options, such as `?options=-csearch_path=keys`), a `psycopg_pool.ConnectionPool`, or a `KeyStore`. One without any sealpoint
        tables is accepted; until `setup()` nothing can be sealed or opened with it.
        kek: `env:NAME`, `file:PATH`, a `KeyManagementProvider`, or a list of these: every new DEK is wrapped by each, and opened
        by the first that answers. In a list also the public half of a recovery key, or `recovery:PATH`: it wraps only.
        cache_ttl: seconds that an opened DEK is held, at most what the key store's settings allow.
        create_tenants: whether sealing for a tenant that the key store does not know registers it.

        Raises: `invalid_argument`, `missing_dependency`, `authentication_failed` (another KEK than the one that the key store was set up
        with), `key_not_found` (the key store knows none of these URIs), `store_invalid`, `store_unavailable`, `kms_*`.
        """
        owns_store = not isinstance(store, KeyStore)
        keyring = cls(store_from(store), Keks(kek), _ttl(cache_ttl), _flag(create_tenants), owns_store=owns_store)
        try:
            settings = keyring._store.settings()
            if settings is not None:
                keyring._check(settings)
            elif store == "memory:":
                keyring.setup()
        except BaseException:
            keyring.close()
            raise
        return keyring

    @classmethod
    async def aconnect(
        cls,
        store: str | ConnectionPool[Any] | AsyncConnectionPool[Any] | KeyStore,
        *,
        kek: KekConfig,
        cache_ttl: float = DEFAULT_CACHE_TTL_S,
        create_tenants: bool = True,
    ) -> Self:
        """See `connect`. store: also a `psycopg_pool.AsyncConnectionPool` that was opened in this event loop; then only the async methods
        work in the loop's thread, the others raise `invalid_argument` there when they need the key store."""
        made = store if isinstance(store, str) else store_from(store)  # here, in the thread of the loop that a pool belongs to
        return await asyncio.to_thread(cls.connect, made, kek=kek, cache_ttl=cache_ttl, create_tenants=create_tenants)

    def setup(self) -> None:
        """Creates or migrates the key store's tables and gives each KEK its canary. Changes nothing when called again.

        The largest `cache_ttl` that the fleet may use is fixed here: this keyring's, or an hour if that is more.
        """
        self._require_open()
        self._store.setup(math.ceil(max(self._cache_ttl, DEFAULT_CACHE_TTL_S)))
        present = self._store.canaries()
        self._require_known(present)
        for provider in self._keks.with_canary:
            if provider.uri not in present:
                self._store.add_canary(provider.uri, self._keks.make_canary(provider))
        settings = self._store.settings()
        if settings is None:
            raise StoreError("store_invalid", NOT_SET_UP)
        self._check(settings)

    async def asetup(self) -> None:
        """See `setup`."""
        await asyncio.to_thread(self.setup)

    def load(self, tenant: str, *, create: bool = True, dek_purpose: DekPurpose = "data") -> None:
        """Makes the tenant's active DEK usable, so that sealing needs no I/O; creates it if need be and allowed.

        Raises: `key_not_found`, `key_destroyed`, `key_disabled`, `authentication_failed`, `store_*`, `kms_*`, `invalid_argument` (closed).
        """
        self._load_active(tenant, purpose_number(dek_purpose), create)

    async def aload(self, tenant: str, *, create: bool = True, dek_purpose: DekPurpose = "data") -> None:
        """See `load`."""
        await self._aload_active(tenant, purpose_number(dek_purpose), create)

    def seal(
        self, payload: Buffer, context: Context, *, content_type: str = "", pad: bool = False, dek_purpose: DekPurpose = "data"
    ) -> bytes:
        """An envelope (SPEC section 4) under the active DEK of the context's tenant; `pad` hides the payload's length.

        Raises: as `load`, and `limit_exceeded`.
        """
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        while True:
            sealed = self._cache.seal(payload, context, content_type, pad, False, purpose)
            if sealed is not None:
                return sealed  # type: ignore[return-value]  # bytes: text was not asked for
            key = self._load_active(context.tenant, purpose)
            if key is not None:
                return key.seal(payload, context, content_type=content_type, pad=pad)

    async def aseal(
        self, payload: Buffer, context: Context, *, content_type: str = "", pad: bool = False, dek_purpose: DekPurpose = "data"
    ) -> bytes:
        """See `seal`."""
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        while True:
            sealed = self._cache.seal(payload, context, content_type, pad, False, purpose)
            if sealed is not None:
                return sealed  # type: ignore[return-value]  # bytes: text was not asked for
            key = await self._aload_active(context.tenant, purpose)
            if key is not None:
                return key.seal(payload, context, content_type=content_type, pad=pad)

    def seal_text(
        self, text: str | Buffer, context: Context, *, content_type: str = "", pad: bool = True, dek_purpose: DekPurpose = "data"
    ) -> str:
        """As `seal`, in text form (SPEC section 5). A string is sealed as its UTF-8 bytes."""
        payload = _utf8(text)
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        while True:
            sealed = self._cache.seal(payload, context, content_type, pad, True, purpose)
            if sealed is not None:
                return sealed  # type: ignore[return-value]  # str: text was asked for
            key = self._load_active(context.tenant, purpose)
            if key is not None:
                return key.seal_text(payload, context, content_type=content_type, pad=pad)

    async def aseal_text(
        self, text: str | Buffer, context: Context, *, content_type: str = "", pad: bool = True, dek_purpose: DekPurpose = "data"
    ) -> str:
        """See `seal_text`."""
        payload = _utf8(text)
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        while True:
            sealed = self._cache.seal(payload, context, content_type, pad, True, purpose)
            if sealed is not None:
                return sealed  # type: ignore[return-value]  # str: text was asked for
            key = await self._aload_active(context.tenant, purpose)
            if key is not None:
                return key.seal_text(payload, context, content_type=content_type, pad=pad)

    # Not keyword-only below: the interpreter calls a method that has keyword-only arguments measurably slower.

    def open_typed(self, sealed: Buffer | str, context: Context, dek_purpose: DekPurpose = "data") -> tuple[str, bytes]:
        """(content type, payload) of an envelope in either form, at the context that it was sealed with.

        Never creates a key. Raises: the errors of SPEC section 8, `key_disabled`, `key_destroyed`, `store_*`, `kms_*`.
        """
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        while True:
            opened = self._cache.open(sealed, context, purpose)
            if opened is not None:
                return opened
            key = self._load_dek(envelope_dek_id(sealed), context.tenant, purpose)
            if key is not None:
                return key.open_typed(sealed, context)

    async def aopen_typed(self, sealed: Buffer | str, context: Context, dek_purpose: DekPurpose = "data") -> tuple[str, bytes]:
        """See `open_typed`."""
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        while True:
            opened = self._cache.open(sealed, context, purpose)
            if opened is not None:
                return opened
            key = await self._aload_dek(envelope_dek_id(sealed), context.tenant, purpose)
            if key is not None:
                return key.open_typed(sealed, context)

    def open(self, sealed: Buffer | str, context: Context, dek_purpose: DekPurpose = "data") -> bytes:
        """The payload; otherwise as `open_typed`."""
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        opened = self._cache.open(sealed, context, purpose)
        return (self.open_typed(sealed, context, dek_purpose=dek_purpose) if opened is None else opened)[1]

    async def aopen(self, sealed: Buffer | str, context: Context, dek_purpose: DekPurpose = "data") -> bytes:
        """See `open`."""
        purpose = DATA if dek_purpose == "data" else purpose_number(dek_purpose)
        opened = self._cache.open(sealed, context, purpose)
        return (await self.aopen_typed(sealed, context, dek_purpose=dek_purpose) if opened is None else opened)[1]

    def open_text(self, sealed: Buffer | str, context: Context, dek_purpose: DekPurpose = "data") -> str:
        """The payload as the string that it was sealed from; otherwise as `open_typed`. Raises also: `malformed` (it is no UTF-8)."""
        return _text(self.open(sealed, context, dek_purpose=dek_purpose))

    async def aopen_text(self, sealed: Buffer | str, context: Context, dek_purpose: DekPurpose = "data") -> str:
        """See `open_text`."""
        return _text(await self.aopen(sealed, context, dek_purpose=dek_purpose))

    def export_data_key(self, tenant: str, *, reason: str) -> str:
        """The tenant's active client DEK as text (`sealpoint-key:v1:`, SPEC section 6.3): what `DataKey.from_exported` takes elsewhere.

        The text **is** the key, in the clear: hand it to the tenant's own session only, over TLS, and let it get into no log, URL or
        database. Whoever has it opens and makes what is sealed with `dek_purpose="client"` for this tenant, for as long as that DEK
        exists. The DEK is created if need be, as `seal` would, and is unwrapped through the KEKs at each call.

        reason: in words, why the key leaves and for whom. Nothing keeps it yet; a later release writes it into an audit log.

        Raises: as `load`, and `invalid_argument` (no reason).
        """
        _require_reason(reason)
        self._require_blocking()
        return self._loader.export(checked_tenant(tenant))

    async def aexport_data_key(self, tenant: str, *, reason: str) -> str:
        """See `export_data_key`."""
        _require_reason(reason)
        self._require_open()
        return await asyncio.to_thread(self._loader.export, checked_tenant(tenant))

    def health(self) -> Health:
        """Reads the key store and unwraps each canary, now. Raises: `invalid_argument` (closed), nothing else."""
        self._require_open()
        try:
            if self._store.settings() is None:
                raise StoreError("store_invalid", NOT_SET_UP)
            canaries = self._store.canaries()
        except SealpointError as error:
            return Health("failed", error.code, ())
        keks = []
        for provider in self._keks.with_canary:
            code = None if provider.uri in canaries else "key_not_found"
            try:
                if code is None:
                    self._keks.check_canary(provider, canaries[provider.uri])
            except SealpointError as error:
                code = error.code
            keks.append((scheme_of(provider.uri), code))
        return assess(keks, self._refresher.holdings())

    async def ahealth(self) -> Health:
        """See `health`."""
        return await asyncio.to_thread(self.health)

    def affected(self) -> tuple[AffectedTenant, ...]:
        """Tenants with a DEK here whose last refresh failed, and until when it serves. For operators: it names tenants. No I/O.

        A tenant that this process has not used is not in it, nor one whose DEK has expired.
        """
        self._require_open()
        return affected_tenants(self._refresher.holdings())

    def close(self) -> None:
        """Wipes the opened DEKs. A pool, `KeyStore` or provider that was passed in stays its owner's."""
        self._closed = True
        self._loader.close()
        self._flights.close()
        close = getattr(self._store, "close", None)
        if self._owns_store and close is not None:
            close()

    async def aclose(self) -> None:
        """See `close`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        schemes = ", ".join(scheme_of(provider.uri) for provider in self._keks.providers)
        return f"<Keyring {type(self._store).__name__} kek={schemes}{' closed' if self._closed else ''}>"

    def _load_active(self, tenant: str, purpose: int, create: bool = True) -> Loaded:
        self._require_blocking()
        key = ("active", checked_tenant(tenant), purpose, create)
        return self._flights.run(key, lambda: self._loader.active(tenant, purpose, create))

    async def _aload_active(self, tenant: str, purpose: int, create: bool = True) -> Loaded:
        self._require_open()
        key = ("active", checked_tenant(tenant), purpose, create)
        return await self._flights.arun(key, lambda: self._loader.active(tenant, purpose, create))

    def _load_dek(self, dek_id: bytes, tenant: str, purpose: int) -> Loaded:
        """One DEK for opening. Tenant and purpose are part of the flight's key: nobody is handed what only another caller may open."""
        self._require_blocking()
        return self._flights.run((dek_id, tenant, purpose), lambda: self._loader.dek(dek_id, tenant, purpose))

    async def _aload_dek(self, dek_id: bytes, tenant: str, purpose: int) -> Loaded:
        """See `_load_dek`."""
        self._require_open()
        return await self._flights.arun((dek_id, tenant, purpose), lambda: self._loader.dek(dek_id, tenant, purpose))

    def _check(self, settings: StoreSettings) -> None:
        if self._cache_ttl > settings.max_ttl:
            raise InvalidArgumentError(
                "invalid_argument",
                f"cache_ttl is more than the {settings.max_ttl} seconds that this key store allows: lower it",
            )
        canaries = self._store.canaries()
        self._require_known(canaries)
        for provider in self._keks.with_canary:
            if provider.uri in canaries:
                self._keks.check_canary(provider, canaries[provider.uri])

    def _require_known(self, canaries: Mapping[str, bytes]) -> None:
        """A key store and a configuration that share no KEK do not belong together."""
        known = self._keks.recovers or any(provider.uri in canaries for provider in self._keks.with_canary)
        if canaries and not known:
            raise KeyNotFoundError(
                "key_not_found",
                "this key store was set up with other KEKs than those of kek=: name one of them; "
                "to add a KEK, name it beside one and run setup()",
            )

    def _require_open(self) -> None:
        if self._closed:
            raise InvalidArgumentError("invalid_argument", "this keyring is closed: connect another one")

    def _require_blocking(self) -> None:
        """Before a flight is boarded: an async call's may be under way, and it would wait for the thread that waits for it."""
        self._require_open()
        if isinstance(self._store, LoopBound):
            self._store.refuse_own_loop()

    def _after_fork(self) -> None:
        """Also how it starts."""
        self._flights = SingleFlight()
        self._cache = DekCache(ttl=self._cache_ttl, pointer_ttl=min(POINTER_TTL_S, self._cache_ttl), capacity=CACHE_CAPACITY)
        self._refresher = Refresher(self._cache_ttl, CACHE_CAPACITY, self._cache.contains)
        self._loader = Loader(self._store, self._keks, self._cache, self._flights, self._refresher, self._create_tenants)


def _ttl(cache_ttl: object) -> float:
    if isinstance(cache_ttl, bool) or not isinstance(cache_ttl, (int, float)) or not 0 < cache_ttl <= MAX_CACHE_TTL_S:
        raise InvalidArgumentError("invalid_argument", f"cache_ttl is a number of seconds: more than 0 and at most {MAX_CACHE_TTL_S}")
    return cache_ttl


def _flag(create_tenants: object) -> bool:
    if not isinstance(create_tenants, bool):
        raise InvalidArgumentError("invalid_argument", "create_tenants is True or False")
    return create_tenants


def _require_reason(reason: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidArgumentError("invalid_argument", "reason= says in words why the key leaves, and for whom")
    _utf8(reason)


def _utf8(text: str | Buffer) -> Buffer:
    if not isinstance(text, str):
        return text
    if any("\ud800" <= character <= "\udfff" for character in text):  # checked, since the exception that encoding raises holds the text
        raise InvalidArgumentError("invalid_argument", "the text has lone surrogates: it is no Unicode text")
    return text.encode()


def _text(payload: bytes) -> str:
    """The exception that decoding raises holds the plaintext: it goes nowhere."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        pass
    raise MalformedError("malformed", "the payload is no UTF-8 text: open it with open()")
