"""The serializer of what holds envelopes.

A saver deserializes a row before anybody can authenticate it. LangGraph's default serializer rebuilds whatever class the row names, so
whoever writes the database could run code with a crafted row, sealed values or not. What the wrapper stores needs none of that: plain
containers, envelopes, and delta snapshots. So the inner saver reads and writes with this serializer, and only the payload of an
authenticated envelope meets the application's own.
"""

import copy
import json
from typing import Any

import ormsgpack
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import EXT_DELTA_SNAPSHOT, JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from sealpoint.errors import AuthenticationError, InternalError, InvalidArgumentError, MalformedError, PlaintextRefusedError
from sealpoint.langgraph.layouts import Layout

_PACK = ormsgpack.OPT_NON_STR_KEYS | ormsgpack.OPT_REPLACE_SURROGATES
_UNPACK = ormsgpack.OPT_NON_STR_KEYS


class ContainerSerializer(SerializerProtocol):
    """Plain values, bytes and delta snapshots, in the same bytes as LangGraph's own serializer; never a class that the data names."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if isinstance(obj, bytes):
            return "bytes", obj
        if obj is None:
            return "null", b""
        return "msgpack", ormsgpack.packb(obj, default=_pack_other, option=_PACK)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, payload = data
        try:
            if kind == "msgpack":
                return ormsgpack.unpackb(payload, ext_hook=_unpack_other, option=_UNPACK)
            if kind == "bytes":
                return payload
            if kind == "json":
                return json.loads(payload)
        except ValueError:
            raise MalformedError("malformed", f"a stored {kind} value does not parse: the row is damaged") from None
        if kind == "null":
            return None
        raise PlaintextRefusedError(
            "plaintext_refused", "a row has a type that SealedSaver never writes: it was stored without it, or was replaced"
        )


class JsonContainerSerializer(ContainerSerializer):
    """The same for savers whose rows are JSON. They look into what they get back for objects to rebuild; this one rebuilds none."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        if isinstance(obj, bytes) or obj is None:
            return super().dumps_typed(obj)
        return "json", json.dumps(_mark_snapshots(obj), allow_nan=False, separators=(",", ":")).encode()


def unmark_snapshot(value: Any) -> Any:
    """A delta snapshot from its form in JSON, anything else as it is."""
    if isinstance(value, dict) and value.keys() == {_SNAPSHOT, "value"} and value[_SNAPSHOT] is True:
        return _DeltaSnapshot(value["value"])
    return value


class LegacySerializer(SerializerProtocol):
    """Reads what was stored before sealing, too, with the application's own serializer: for a tenant that migrates, and for nobody else.

    `encrypted` opens what LangGraph's `EncryptedSerializer` wrote.
    """

    def __init__(self, plain: SerializerProtocol, encrypted: SerializerProtocol | None) -> None:
        self._plain, self._encrypted = plain, encrypted

    def dumps_typed(self, _obj: Any) -> tuple[str, bytes]:
        raise InternalError("internal", "what is written goes through the sealed storage")

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, payload = data
        if kind == "bytes":
            return payload  # an envelope, or bytes that are not sealed
        encrypted = "+" in kind
        serde = self._encrypted if encrypted else self._plain
        if serde is None:
            raise PlaintextRefusedError(
                "plaintext_refused", "a stored value is encrypted by something else: pass legacy_serde=EncryptedSerializer(…) with its key"
            )
        try:
            return serde.loads_typed(data)
        except Exception:  # noqa: BLE001, S110  # its message may hold the value
            pass
        if encrypted:
            raise AuthenticationError("authentication_failed", "a stored value does not open with legacy_serde: another key, or damaged")
        raise MalformedError("malformed", "a stored value that is not sealed cannot be read: the row is damaged")


def legacy_storage_for(
    inner: BaseCheckpointSaver[Any], layout: Layout, legacy_serde: SerializerProtocol | None
) -> BaseCheckpointSaver[Any]:
    """A shallow copy of the saver that also reads what was stored before sealing.

    Raises: `invalid_argument` (`legacy_serde` for a saver that cannot be copied so, or could not have used it).
    """
    own = inner.serde
    if layout.json_values and legacy_serde is None:
        return inner  # it looks into its serializer for more than the protocol
    encrypted = legacy_serde if legacy_serde is not None else own if isinstance(own, EncryptedSerializer) else None
    try:
        storage = copy.copy(inner)
        storage.serde = LegacySerializer(own, encrypted)
    except (AttributeError, TypeError):
        if legacy_serde is None:
            return inner
        raise InvalidArgumentError("invalid_argument", "legacy_serde cannot be used: this saver's serializer cannot be replaced") from None
    return storage


def storage_for(inner: BaseCheckpointSaver[Any], layout: Layout) -> BaseCheckpointSaver[Any]:
    """A shallow copy of the saver, made as LangGraph's own `with_allowlist` does, that reads and writes containers only.

    A saver that cannot be copied so, or whose serializer is the user's own, is used as it is.
    """
    serde = inner.serde
    container: SerializerProtocol = JsonContainerSerializer() if layout.json_values else ContainerSerializer()
    if type(serde) is EncryptedSerializer and isinstance(serde.serde, JsonPlusSerializer):
        container = EncryptedSerializer(serde.cipher, container)
    elif not isinstance(serde, JsonPlusSerializer):
        return inner
    try:
        storage = copy.copy(inner)
        storage.serde = container
    except (AttributeError, TypeError):
        return inner
    return storage


_SNAPSHOT = "__delta_snapshot__"
"""The mark that `langgraph-checkpoint-redis` puts on a snapshot too."""


def _mark_snapshots(obj: Any) -> Any:
    if isinstance(obj, _DeltaSnapshot):
        return {_SNAPSHOT: True, "value": obj.value}
    return {key: _mark_snapshots(value) for key, value in obj.items()} if isinstance(obj, dict) else obj


class _Foreign:
    """Stands for an object that was not built. It is no envelope, so the opener refuses it."""


def _pack_other(obj: Any) -> ormsgpack.Ext:
    if isinstance(obj, _DeltaSnapshot):
        return ormsgpack.Ext(EXT_DELTA_SNAPSHOT, ormsgpack.packb(obj.value, option=_PACK))
    raise TypeError(f"{type(obj).__name__} is neither plain data nor an envelope")


def _unpack_other(code: int, data: bytes) -> Any:
    if code == EXT_DELTA_SNAPSHOT:
        return _DeltaSnapshot(ormsgpack.unpackb(data, ext_hook=_unpack_other, option=_UNPACK))
    return _Foreign()
