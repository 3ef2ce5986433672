"""SPEC sections 7.3 and 7.4: items of a store, and where a cache keeps a tenant's entries."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import cbor, context, envelope, manifest, padding, text
from .errors import SealpointError

CONTENT_TYPE = b"json"
SEALED_KEY = "sealpoint"
PREFIXES = ("sealpoint:", "sealpoint-")


@dataclass(frozen=True)
class Position:
    """SPEC section 7.3: where an item is."""

    tenant: str
    ns: Sequence[str]
    key: str

    def item(self) -> bytes:
        """SPEC section 3.2: the context of `langgraph.store`."""
        return context.canonical(self._pairs("langgraph.store"))

    def field(self, name: str) -> bytes:
        """SPEC section 3.2: the context of `langgraph.store.field`."""
        path = "/" + name.replace("~", "~0").replace("/", "~1")
        return context.canonical([*self._pairs("langgraph.store.field"), ("path", path)])

    def _pairs(self, purpose: str) -> list[tuple[str, context.Value]]:
        return [("tenant", self.tenant), ("purpose", purpose), ("ns", self.ns), ("key", self.key)]


def seal_text(key: envelope.DataKey, canonical: bytes, payload: bytes, salt: bytes, content_type: bytes = CONTENT_TYPE) -> str:
    """SPEC section 7.3: a padded envelope in text form."""
    return text.encode(envelope.KIND_DATA, envelope.seal(key, canonical, content_type, payload, padding.PADDED, salt))


def digest(clear: Mapping[str, Any]) -> bytes:
    """SPEC section 7.3: `digest` over `[clear fields]`."""
    return manifest.digest(cbor.encode([dict(clear)]))


def payload(clear: Mapping[str, Any], apart: Mapping[str, str], rest: bytes) -> bytes:
    """SPEC section 7.3: what is sealed under `sealpoint`."""
    listed = sorted(((name, _commitment(sealed)) for name, sealed in apart.items()), key=_by_name)
    record = cbor.encode([1, True, digest(clear), None, [list(entry) for entry in listed]])
    return manifest.join_payload(record, rest)


def open_(key: envelope.DataKey, at: Position, stored: Mapping[str, Any]) -> dict[str, Any]:
    """SPEC section 7.3, steps 1 to 5."""
    sealed = stored.get(SEALED_KEY)
    if not isinstance(sealed, str):
        raise SealpointError("plaintext_refused", "no envelope")
    record_bytes, rest_bytes = manifest.split_payload(_open_text(key, at.item(), sealed))
    record = manifest.parse_record(record_bytes)
    others = {name: value for name, value in stored.items() if name != SEALED_KEY}
    apart = {name: value for name, value in others.items() if isinstance(value, str) and value.startswith(PREFIXES)}
    clear = {name: value for name, value in others.items() if name not in apart}
    listed = sorted(((name, _commitment(value)) for name, value in apart.items()), key=_by_name)
    if record.digest != digest(clear):
        raise SealpointError("authentication_failed", "clear fields")
    if record.channels != listed:
        raise SealpointError("authentication_failed", "fields that are sealed by themselves")
    rest = _json(rest_bytes)
    if not isinstance(rest, dict) or rest.keys() & others.keys():
        raise SealpointError("malformed", "rest")
    fields = {name: _json(_open_text(key, at.field(name), value)) for name, value in apart.items()}
    return {**clear, **fields, **rest}


def cache_namespace(tenant: str, ns: Sequence[str]) -> bytes:
    """SPEC section 7.4: the digest that is the label's hex."""
    return hashlib.sha256(b"sealpoint/v1/cache-namespace\0" + context.encode_value("ns", [tenant, *ns])).digest()


def _open_text(key: envelope.DataKey, canonical: bytes, sealed: str) -> bytes:
    content_type, opened = envelope.open_(key, canonical, text.decode(envelope.KIND_DATA, sealed))
    if content_type != CONTENT_TYPE:
        raise SealpointError("malformed", "content type")
    return opened


def _commitment(sealed: str) -> bytes:
    data = text.decode(envelope.KIND_DATA, sealed)
    envelope.check_form(data)
    return data[45:61]


def _no_json(name: str) -> None:
    raise ValueError(name)


def _by_name(entry: tuple[str, bytes]) -> bytes:
    return entry[0].encode()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode(), parse_constant=_no_json)
    except ValueError as error:
        raise SealpointError("malformed", "not JSON") from error
