"""JSON and MessagePack as plain data. Nothing in them names a class, and nothing in them is lost.

A map becomes `Pairs`, not a dictionary: of two entries with one key a dictionary keeps the last, and the first would go unseen.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

__all__ = ["DELTA_SNAPSHOT", "Ext", "Pairs", "from_json", "from_msgpack"]

DELTA_SNAPSHOT = 7
"""LangGraph's extension code for the snapshot of a delta channel; its data is MessagePack again."""

_MAX_DEPTH = 200


class Pairs(list[tuple[Any, Any]]):
    """The entries of a map, in their order."""


class Ext(NamedTuple):
    """An extension type: an object that LangGraph would build, left unbuilt."""

    code: int
    data: bytes


def from_json(text: str | bytes) -> Any:
    """Raises: `ValueError`."""
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def from_msgpack(data: bytes) -> Any:
    """One value and nothing behind it. Raises: `ValueError`."""
    try:
        value, end = _read(data, 0, 0)
    except (struct.error, IndexError):
        raise ValueError("cut off") from None
    if end != len(data):
        raise ValueError("bytes behind the value")
    return value


_FIXED = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_SINGLE = {0xC0: None, 0xC2: False, 0xC3: True}
_BINARY = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
_TEXT = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_ARRAY = {0xDC: ">H", 0xDD: ">I"}
_MAP = {0xDE: ">H", 0xDF: ">I"}
_EXT = {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends."""
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head >= 0xE0:
        return head - 0x100, at
    if head < 0x90:
        return _map(data, at, head & 0x0F, depth)
    if head < 0xA0:
        return _array(data, at, head & 0x0F, depth)
    if head < 0xC0:
        return _text(data, at, head & 0x1F)
    if head in _SINGLE:
        return _SINGLE[head], at
    if code := _FIXED.get(head):
        return struct.unpack_from(code, data, at)[0], at + struct.calcsize(code)
    if 0xD4 <= head <= 0xD8:
        return _ext(data, at, 1 << (head - 0xD4))
    for codes, read in ((_BINARY, _take), (_TEXT, _text), (_EXT, _ext)):
        if code := codes.get(head):
            return read(data, at + struct.calcsize(code), struct.unpack_from(code, data, at)[0])
    for codes, read_many in ((_ARRAY, _array), (_MAP, _map)):
        if code := codes.get(head):
            return read_many(data, at + struct.calcsize(code), struct.unpack_from(code, data, at)[0], depth)
    raise ValueError("a byte that MessagePack never uses")


def _take(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise ValueError("cut off")
    return data[at : at + length], at + length


def _text(data: bytes, at: int, length: int) -> tuple[str, int]:
    taken, end = _take(data, at, length)
    return taken.decode("utf-8", "surrogatepass"), end


def _ext(data: bytes, at: int, length: int) -> tuple[Ext, int]:
    code = struct.unpack_from(">b", data, at)[0]
    taken, end = _take(data, at + 1, length)
    return Ext(code, taken), end


def _array(data: bytes, at: int, length: int, depth: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(_deeper(data, at, length, depth)):
        item, at = _read(data, at, depth + 1)
        items.append(item)
    return items, at


def _map(data: bytes, at: int, length: int, depth: int) -> tuple[Pairs, int]:
    pairs = Pairs()
    for _ in range(_deeper(data, at, length, depth)):
        key, at = _read(data, at, depth + 1)
        value, at = _read(data, at, depth + 1)
        pairs.append((key, value))
    return pairs, at


def _deeper(data: bytes, at: int, length: int, depth: int) -> int:
    """The length, if what follows can be that long."""
    if depth >= _MAX_DEPTH or length > len(data) - at:
        raise ValueError("nested too deeply, or cut off")
    return length
