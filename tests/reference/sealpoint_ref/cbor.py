"""SPEC section 7.2: deterministic CBOR (RFC 8949 section 4.2.1), encoder and strict decoder."""

import math
import struct
from typing import Any

from .errors import SealpointError

MAX_CBOR_DEPTH = 16
FLOATS = ((25, ">e"), (26, ">f"), (27, ">d"))


class Pairs(list[tuple[Any, Any]]):
    """A map as a list of pairs, so that bad keys and duplicates can be written down."""


class RawText(bytes):
    """Text as bytes, so that ill-formed UTF-8 can be written down."""


def encode(value: Any, depth: int = 0) -> bytes:
    """The deterministic CBOR of a value; `invalid_argument` for one outside the SPEC."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, float):
        return _encode_float(value)
    if isinstance(value, int):
        if not -(2**64) <= value < 2**64:
            raise SealpointError("invalid_argument", "integer out of range")
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, str | RawText):
        try:
            raw = value.encode() if isinstance(value, str) else bytes(value)
            raw.decode()
        except UnicodeError as error:
            raise SealpointError("invalid_argument", "not well-formed UTF-8") from error
        return _head(3, len(raw)) + raw
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if depth >= MAX_CBOR_DEPTH:
        raise SealpointError("limit_exceeded", "nested too deeply")
    if isinstance(value, dict):
        value = Pairs(value.items())
    if isinstance(value, Pairs):
        if not all(isinstance(key, str | RawText) for key, _ in value):
            raise SealpointError("invalid_argument", "a map key that is not text")
        items = sorted((encode(key), encode(item, depth + 1)) for key, item in value)
        if len({key for key, _ in items}) != len(items):
            raise SealpointError("invalid_argument", "duplicate map key")
        return _head(5, len(items)) + b"".join(key + item for key, item in items)
    if isinstance(value, list | tuple):
        return _head(4, len(value)) + b"".join(encode(item, depth + 1) for item in value)
    raise SealpointError("invalid_argument", f"no encoding for {type(value).__name__}")


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + argument.to_bytes(size, "big")
    raise SealpointError("invalid_argument", "length out of range")


def _encode_float(value: float) -> bytes:
    if not math.isfinite(value):
        raise SealpointError("invalid_argument", "NaN or infinity")
    if value.is_integer() and abs(value) <= 2**53:
        return encode(int(value))
    for info, form in FLOATS:
        try:
            raw = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, raw)[0] == value:
            return bytes([7 << 5 | info]) + raw
    raise AssertionError("binary64 holds every float")


def decode(data: bytes) -> Any:
    """The value of deterministic CBOR; `malformed` for anything that `encode` does not write."""
    value, at = _item(data, 0, 0)
    if at != len(data):
        raise SealpointError("malformed", "trailing bytes")
    return value


def _take(data: bytes, at: int, length: int) -> bytes:
    piece = data[at : at + length]
    if len(piece) != length:
        raise SealpointError("malformed", "truncated")
    return piece


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    start = at
    first = _take(data, at, 1)[0]
    major, info = first >> 5, first & 31
    at += 1
    if major == 7:
        return _simple(data, at, info)
    if info > 27:
        raise SealpointError("malformed", "indefinite length or reserved head")
    argument = info
    if info >= 24:
        size = 1 << info - 24
        argument = int.from_bytes(_take(data, at, size), "big")
        at += size
    if _head(major, argument) != data[start:at]:
        raise SealpointError("malformed", "head is not the shortest")
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major in (2, 3):
        raw = _take(data, at, argument)
        try:
            return (raw.decode() if major == 3 else raw), at + argument
        except UnicodeError as error:
            raise SealpointError("malformed", "not well-formed UTF-8") from error
    if major == 6:
        raise SealpointError("malformed", "tag")
    if depth >= MAX_CBOR_DEPTH:
        raise SealpointError("limit_exceeded", "nested too deeply")
    if major == 4:
        items = []
        for _ in range(argument):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    found: dict[str, Any] = {}
    previous = b""
    for _ in range(argument):
        key_at = at
        key, at = _item(data, at, depth + 1)
        if not isinstance(key, str):
            raise SealpointError("malformed", "a map key that is not text")
        if data[key_at:at] <= previous:
            raise SealpointError("malformed", "map keys not strictly increasing")
        previous = data[key_at:at]
        found[key], at = _item(data, at, depth + 1)
    return found, at


def _simple(data: bytes, at: int, info: int) -> tuple[Any, int]:
    if info in (20, 21, 22):
        return {20: False, 21: True, 22: None}[info], at
    for known, form in FLOATS:
        if info == known:
            raw = _take(data, at, struct.calcsize(form))
            value = float(struct.unpack(form, raw)[0])
            if not math.isfinite(value) or _encode_float(value) != data[at - 1 : at + len(raw)]:
                raise SealpointError("malformed", "not the one encoding of this float")
            return value, at + len(raw)
    raise SealpointError("malformed", "undefined or another simple value")
