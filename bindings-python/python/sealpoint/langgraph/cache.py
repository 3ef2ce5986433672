"""SealedCache: any LangGraph cache, with the cached values sealed."""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic

from langgraph.cache.base import BaseCache, FullKey, Namespace, ValueT
from langgraph.checkpoint.serde.base import SerializerProtocol

from sealpoint import Context, Keyring, is_sealed
from sealpoint.errors import InvalidArgumentError, KeyUnusableError, PlaintextRefusedError, SealpointError, TenantRequiredError
from sealpoint.langgraph.borrowed import borrowed
from sealpoint.langgraph.sealer import where
from sealpoint.langgraph.steps import Open, Seal, Steps, arun, run
from sealpoint.tenants import TenantSource, check_source, resolve_tenant

_PAD_BELOW = 1024
_log = logging.getLogger(__name__)


class SealedCache(BaseCache[ValueT], Generic[ValueT]):
    """Wraps a cache of node results: each value is sealed, bound to its tenant, namespace and key, before the inner cache sees it.

    Args:
        inner: any `BaseCache`: in memory, SQLite, Redis, or another. Its serializer still decides how values are serialized.
        keyring: holds the tenants' keys.
        tenant: whose data it is. LangGraph calls a cache without the run's config, so `from_config` finds the tenant only in
            `tenant_scope`: invoke the graph within it, or use `fixed` or a function. A read without a tenant is refused
            (`tenant_required`).

    Tenants never share an entry: the tenant is part of the namespace that the inner cache sees, so what another tenant has cached is a
    miss. `clear` with namespaces clears the tenant's; `clear()` clears the whole inner cache, everybody's.

    An entry that was changed, moved or is not sealed raises, as it would anywhere else: clear the cache to go on. One whose key was
    destroyed or disabled is a miss, since the node can run again. An older value of an entry can be put back unnoticed, and its expiry
    be changed.

    LangGraph's sync runs lose the caller's context for the last of several nodes that finish in parallel, and for tasks of the functional
    API: such a result has no tenant and is not cached, which is logged. Async runs, `fixed` and functions that do not depend on the
    context don't lose it.

    **What keys give away.** They stay readable, and LangGraph makes them of an unkeyed hash of the node's input (XXH3, not a cryptographic
    one): whoever reads the cache sees which runs had equal inputs, and finds an input that can be guessed by hashing the guesses.
    """

    def __init__(self, inner: BaseCache[ValueT], keyring: Keyring, *, tenant: TenantSource) -> None:
        if not isinstance(inner, BaseCache):
            raise InvalidArgumentError("invalid_argument", "inner must be a cache (a BaseCache)")
        if isinstance(inner, SealedCache):
            raise InvalidArgumentError("invalid_argument", "inner is a SealedCache already")
        if not isinstance(keyring, Keyring):
            raise InvalidArgumentError("invalid_argument", "keyring must be a Keyring: make one with Keyring.connect(…)")
        super().__init__(serde=inner.serde)
        self._inner, self._keyring, self._source = inner, keyring, check_source(tenant)
        self._storage: BaseCache[Any] = borrowed(inner, serde=_Envelopes())

    @property
    def inner(self) -> BaseCache[ValueT]:
        """The wrapped cache."""
        return self._inner

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        tenant = self._tenant()
        inward = _inward(tenant, keys)
        return run(self._open(tenant, inward, self._storage.get(list(inward))), self._keyring)

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        tenant = self._tenant()
        inward = _inward(tenant, keys)
        return await arun(self._open(tenant, inward, await self._storage.aget(list(inward))), self._keyring)

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        if (tenant := self._tenant_of_set()) is not None:
            self._storage.set(run(self._seal(tenant, pairs), self._keyring))

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        if (tenant := self._tenant_of_set()) is not None:
            await self._storage.aset(await arun(self._seal(tenant, pairs), self._keyring))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        self._storage.clear(self._cleared(namespaces))

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        await self._storage.aclear(self._cleared(namespaces))

    def _tenant(self) -> str:
        try:
            return resolve_tenant(self._source, None)
        except TenantRequiredError as error:
            raise TenantRequiredError("tenant_required", f"LangGraph calls a cache without the run's config: {error}") from None

    def _tenant_of_set(self) -> str | None:
        """None where the context was lost. LangGraph reads before it writes: a tenant that was never given was refused by then."""
        try:
            return self._tenant()
        except TenantRequiredError:
            _log.warning("a node's result was not cached: LangGraph did not carry tenant_scope to the thread that stores it")
            return None

    def _cleared(self, namespaces: Sequence[Namespace] | None) -> list[Namespace] | None:
        if namespaces is None:
            return None
        tenant = self._tenant()
        return [inner_namespace(tenant, namespace) for namespace in namespaces]

    def _seal(self, tenant: str, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> Steps[dict[FullKey, tuple[bytes, int | None]]]:
        sealed: dict[FullKey, tuple[bytes, int | None]] = {}
        for (namespace, key), (value, ttl) in pairs.items():
            kind, payload = self.serde.dumps_typed(value)
            args = (payload, _position(tenant, namespace, key), kind, len(payload) <= _PAD_BELOW, False)
            envelope: Any = self._keyring._cache.seal(*args)
            if envelope is None:
                envelope = yield Seal(*args)
            sealed[inner_namespace(tenant, namespace), key] = (envelope, ttl)
        return sealed

    def _open(self, tenant: str, inward: Mapping[FullKey, FullKey], found: Mapping[FullKey, Any]) -> Steps[dict[FullKey, ValueT]]:
        opened: dict[FullKey, ValueT] = {}
        for inner_key, envelope in found.items():
            namespace, key = inward[inner_key]
            if not isinstance(envelope, bytes) or not is_sealed(envelope):
                raise PlaintextRefusedError(
                    "plaintext_refused", "a cached value is not sealed: it was stored without SealedCache, or was replaced"
                )
            context = _position(tenant, namespace, key)
            try:
                payload = self._keyring._cache.open(envelope, context)
                if payload is None:
                    payload = yield Open(envelope, context)
            except KeyUnusableError:
                continue
            except SealpointError as error:
                raise where(error, "a cached value") from None
            opened[namespace, key] = self.serde.loads_typed(payload)
        return opened


class _Envelopes(SerializerProtocol):
    """What the inner cache reads and writes: no row is deserialized before it is authenticated, and none raises, which some caches
    would take for a miss."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return "bytes", obj

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return data[1] if data[0] == "bytes" else None


def _inward(tenant: str, keys: Iterable[FullKey]) -> dict[FullKey, FullKey]:
    """What the inner cache calls each key."""
    return {(inner_namespace(tenant, namespace), key): (namespace, key) for namespace, key in keys}


def inner_namespace(tenant: str, namespace: Namespace) -> Namespace:
    """SPEC section 7.4."""
    labels = Context(tenant=tenant, purpose="langgraph.cache", ns=[tenant, *namespace]).pairs()["ns"]
    return (hashlib.sha256(b"sealpoint/v1/cache-namespace\0" + labels.encode()).hexdigest(),)


def _position(tenant: str, namespace: Namespace, key: str) -> Context:
    return Context(tenant=tenant, purpose="langgraph.cache", ns=list(namespace), key=key)
