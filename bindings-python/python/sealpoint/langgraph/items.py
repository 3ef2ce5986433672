"""What an item of a store looks like sealed (SPEC section 7.3): no I/O, and the only place that seals or opens one."""

import copy
import json
import math
from collections.abc import Collection, Mapping
from typing import Any, cast

from sealpoint import Keyring
from sealpoint._native import Context, is_sealed, manifest_open, manifest_payload
from sealpoint.errors import AuthenticationError, InvalidArgumentError, MalformedError, PlaintextRefusedError, SealpointError
from sealpoint.langgraph.metadata import SEALED_KEY
from sealpoint.langgraph.sealer import where
from sealpoint.langgraph.steps import Item, Open, Seal, SealMany, Steps
from sealpoint.migration import Window

_TYPE = "json"
_EXACT = 2**53
"""Up to here databases and every language give a number back as it was."""


class ItemSealer:
    """`apart` is the fields that are sealed by themselves; None: all that are not clear."""

    def __init__(self, keyring: Keyring, clear: Collection[str], apart: Collection[str] | None) -> None:
        self.keyring, self._clear, self._apart = keyring, clear, apart

    def seal(self, tenant: str, namespace: tuple[str, ...], key: str, value: Mapping[str, Any]) -> Steps[dict[str, Any]]:
        """The value that the inner store gets. Raises: `invalid_argument` (JSON cannot hold it, or a clear field cannot be clear)."""
        if not isinstance(value, Mapping):
            raise InvalidArgumentError("invalid_argument", "the value of an item is a dict")
        clear: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        apart: dict[str, bytes] = {}
        for name, field in value.items():
            if name in self._clear:
                clear[name] = _readable(field)
            elif name != SEALED_KEY and isinstance(name, str) and (self._apart is None or name in self._apart):
                apart[name] = dumped(field)
            else:
                rest[name] = field
        remaining = dumped(rest)
        fields = (yield from self._seal_apart(_position("langgraph.store.field", tenant, namespace, key), apart)) if apart else {}
        try:
            payload = manifest_payload((clear,), parent=None, exact=True, channels=list(fields.items()), metadata=remaining)
        except SealpointError as error:
            raise where(error, "the clear fields of an item") from None
        at = _position("langgraph.store", tenant, namespace, key)
        text = self.keyring._cache.seal(payload, at, _TYPE, True, True)
        if text is None:
            text = yield Seal(payload, at, _TYPE, True, True)
        return {**clear, **fields, SEALED_KEY: text}

    def open(
        self, tenant: str, namespace: tuple[str, ...], key: str, stored: object, window: Window | None = None
    ) -> Steps[dict[str, Any]]:
        """The value of an item that was found at this namespace and key. An open `window` lets an unsealed one through.

        Raises: SPEC sections 7.3 and 8.
        """
        sealed = stored.get(SEALED_KEY) if isinstance(stored, dict) else None
        if not isinstance(sealed, str) or not is_sealed(sealed):
            return self._unsealed(stored, window)
        try:
            return (yield from self._open(tenant, namespace, key, cast(dict[str, Any], stored), sealed))
        except SealpointError as error:
            raise where(error, "an item of the store") from None

    def _unsealed(self, stored: object, window: Window | None) -> dict[str, Any]:
        """Every item that is not sealed ends here, and nowhere else."""
        if window is None or not isinstance(stored, dict):
            raise PlaintextRefusedError(
                "plaintext_refused",
                "an item of the store is not sealed: it was stored without SealedStore (migrate it: mode='migrating'), or was replaced",
            )
        if SEALED_KEY in stored or any(isinstance(field, str) and is_sealed(field) for field in stored.values()):
            raise AuthenticationError(
                "authentication_failed",
                "an item of the store has a field that begins like an envelope, but no manifest: that was removed, or it is old data that "
                "begins so, which never passes as plaintext",
            )
        window.let("items")
        return copy.deepcopy(stored)

    def _seal_apart(self, at: Context, apart: Mapping[str, bytes]) -> Steps[dict[str, str]]:
        items: list[Item] = [(("path", _pointer(name)), payload, _TYPE, True, True) for name, payload in apart.items()]
        envelopes: list[Any] | None = self.keyring._cache.seal_many(at, items)
        if envelopes is None:
            envelopes = yield SealMany(at, items)
        return dict(zip(apart, envelopes, strict=True))

    def _open(self, tenant: str, namespace: tuple[str, ...], key: str, stored: dict[str, Any], sealed: str) -> Steps[dict[str, Any]]:
        payload = yield from self._payload(sealed, _position("langgraph.store", tenant, namespace, key))
        clear: dict[str, Any] = {}
        apart: dict[str, str] = {}
        for name, field in stored.items():
            if isinstance(field, str) and is_sealed(field):
                if name != SEALED_KEY:
                    apart[name] = field
            else:
                clear[name] = field
        try:
            remaining, _ = manifest_open(payload, (clear,), parent=None, channels=list(apart.items()))
        except AuthenticationError:
            raise AuthenticationError(
                "authentication_failed", "a clear field was changed, or a field was dropped, added or put back from another version"
            ) from None
        rest = loaded(remaining)
        if not isinstance(rest, dict) or not rest.keys().isdisjoint(stored.keys() - {SEALED_KEY}):
            raise MalformedError("malformed", "the sealed fields are not those of an item")
        value = copy.deepcopy(clear)  # a store in memory gives its own object: the caller's changes must not reach it
        if apart:
            at = _position("langgraph.store.field", tenant, namespace, key)
            for name, envelope in apart.items():
                value[name] = loaded((yield from self._payload(envelope, at.extend(path=_pointer(name)))))
        return {**value, **rest}

    def _payload(self, sealed: str, at: Context) -> Steps[bytes]:
        opened = self.keyring._cache.open(sealed, at)
        if opened is None:
            opened = yield Open(sealed, at)
        kind, payload = opened
        if kind != _TYPE:
            raise MalformedError("malformed", "what was sealed here is not JSON")
        return payload


def dumped(value: object) -> bytes:
    """Compact JSON of what JSON holds without loss; a tuple is a list. Raises: `invalid_argument`."""
    try:
        refuse_foreign(value)
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        pass  # their messages hold the value
    raise InvalidArgumentError(
        "invalid_argument", "a value of an item is no JSON: it holds lone surrogates, too many digits, or is nested too deeply or in itself"
    )


def loaded(payload: bytes) -> Any:
    """The value of authenticated JSON. Raises: `malformed`."""
    try:
        return json.loads(payload.decode(), parse_constant=_no_json)
    except (ValueError, RecursionError):
        pass
    raise MalformedError("malformed", "what was sealed here is not JSON")


def _no_json(name: str) -> None:
    """NaN and Infinity, which Python's parser takes."""
    raise ValueError(name)


def refuse_foreign(value: object) -> None:
    """Databases differ in what they make of what JSON lacks: some turn NaN into null, some a key 1 into "1". Here it is refused."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise InvalidArgumentError(
                    "invalid_argument", f"a value of an item has a key that is a {type(name).__name__}: JSON has string keys only"
                )
            refuse_foreign(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            refuse_foreign(item)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgumentError("invalid_argument", "a value of an item holds NaN or an infinity: JSON has finite numbers only")
    elif value is not None and not isinstance(value, (str, int)):
        raise InvalidArgumentError(
            "invalid_argument",
            f"a value of an item holds a {type(value).__name__}, which JSON cannot: give it strings, numbers, booleans, None, lists, dicts",
        )


def _readable(field: object) -> Any:
    """A copy of a clear field as any database gives it back."""
    plain = json.loads(dumped(field))
    if isinstance(plain, str) and is_sealed(plain):
        raise InvalidArgumentError("invalid_argument", "a clear field starts like an envelope: take it out of clear_fields")
    if _has_large_number(plain):
        raise InvalidArgumentError(
            "invalid_argument", "a clear field holds a number beyond 2^53, which databases give back changed: take it out of clear_fields"
        )
    return plain


def _has_large_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_large_number, value.values()))
    if isinstance(value, list):
        return any(map(_has_large_number, value))
    return isinstance(value, (int, float)) and abs(value) > _EXACT


def _position(purpose: str, tenant: str, namespace: tuple[str, ...], key: str) -> Context:
    """SPEC section 3.2; that of a field is to be extended with its path."""
    return Context(tenant=tenant, purpose=purpose, ns=list(namespace), key=key)


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
