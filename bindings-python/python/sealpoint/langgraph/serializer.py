"""SealedSerializer: for those who can only pass a serializer."""

from collections.abc import Iterable
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from sealpoint import Keyring
from sealpoint._native import Context
from sealpoint.errors import InvalidArgumentError, PlaintextRefusedError
from sealpoint.tenants import FromConfig, TenantSource, check_source, resolve_tenant

_TYPE = "sealpoint"
_PAD_BELOW = 1024


class SealedSerializer(JsonPlusSerializer):
    """A LangGraph serializer whose output is sealed for one tenant. Prefer `SealedSaver`.

    A serializer sees neither the row nor the config, so this leaves open what `SealedSaver` closes:

    - Values are bound to the tenant, not to their place: whoever writes the database can move them between threads, checkpoints and
      channels of one tenant, or put an older value back, and they open.
    - What a saver never serializes stays readable: metadata (with the user's `configurable` scalars in it) on SQLite and Postgres, and on
      Postgres every channel that is a string, a number or a boolean.

    Args:
        keyring: holds the tenants' keys. On a miss it loads them and blocks: `await keyring.aload(tenant)` first where that matters.
        tenant: `fixed("acme")`, or a function, which is called with None. `from_config` cannot work here and is refused.
        inner: serializes before sealing; LangGraph's default if None.

    It is a `JsonPlusSerializer` so that LangGraph's strict msgpack mode, which rebuilds serializers, keeps it sealed.
    """

    def __init__(self, keyring: Keyring, *, tenant: TenantSource, inner: SerializerProtocol | None = None) -> None:
        super().__init__()
        self._source = check_source(tenant)
        if isinstance(self._source, FromConfig):
            raise InvalidArgumentError("invalid_argument", "a serializer sees no config: use fixed(…), a function, or SealedSaver")
        self._keyring, self._serde = keyring, JsonPlusSerializer() if inner is None else inner

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        kind, payload = self._serde.dumps_typed(obj)
        return _TYPE, self._keyring.seal(payload, self._context(), content_type=kind, pad=len(payload) <= _PAD_BELOW)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, sealed = data
        if kind != _TYPE:
            raise PlaintextRefusedError(
                "plaintext_refused", "a stored value is not sealed: it was written without SealedSerializer, or was replaced"
            )
        return self._serde.loads_typed(self._keyring.open_typed(sealed, self._context()))

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> "SealedSerializer":
        serde = self._serde
        allowed: SerializerProtocol = serde
        if isinstance(serde, JsonPlusSerializer):
            allowed = serde.with_msgpack_allowlist(extra_allowlist)
        elif type(serde) is EncryptedSerializer and isinstance(serde.serde, JsonPlusSerializer):
            allowed = EncryptedSerializer(serde.cipher, serde.serde.with_msgpack_allowlist(extra_allowlist))
        if allowed is serde:
            return self
        return type(self)(self._keyring, tenant=self._source, inner=allowed)

    def _context(self) -> Context:
        return Context(tenant=resolve_tenant(self._source, None), purpose="langgraph.value")
