"""SPEC section 3: canonical contexts and typed values."""

import itertools
import math
import re
import struct
from collections.abc import Iterable, Sequence

from .errors import SealpointError

MAX_CONTEXT_BYTES = 65_536
MIN_CONTEXT_PAIRS, MAX_CONTEXT_PAIRS = 2, 32
MAX_TENANT_LEN = 1_024
KEY = re.compile(rb"[a-z0-9_.-]{1,64}")

# Text as bytes stands for what a JSON string cannot carry: it must still be well-formed UTF-8.
Value = str | bytes | float | Sequence[str]


def _utf8(text: str | bytes) -> bytes:
    try:
        raw = text.encode() if isinstance(text, str) else text
        raw.decode()
    except UnicodeError as error:
        raise SealpointError("invalid_context", "not well-formed UTF-8") from error
    return raw


def encode_number(value: float) -> bytes:
    """SPEC section 3.1: `i:` and `f:`."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SealpointError("invalid_context", "NaN or infinity")
        if not (value.is_integer() and abs(value) <= 2**53):
            return b"f:" + struct.pack(">d", value).hex().encode()
        value = int(value)
    if not -(2**63) <= value < 2**64:
        raise SealpointError("invalid_context", "integer out of range")
    return b"i:%d" % value


def encode_value(key: str, value: Value) -> bytes:
    """SPEC section 3.1: a value as bytes."""
    if isinstance(value, bool):
        raise SealpointError("invalid_context", "no encoding for booleans")
    if key in ("tenant", "purpose") and not isinstance(value, str | bytes):
        raise SealpointError("invalid_context", "not a string")
    if key == "version" and not isinstance(value, str | bytes | int | float):
        raise SealpointError("invalid_context", "a list as version")
    if isinstance(value, int | float):
        return encode_number(value)
    if isinstance(value, str | bytes):
        return (b"s:" if key == "version" else b"") + _utf8(value)
    items = [_utf8(item) for item in value]
    return b"".join(b"%d:%b," % (len(item), item) for item in items)


def canonical(pairs: Iterable[tuple[str, Value]]) -> bytes:
    """SPEC section 3: the canonical bytes of pairs that come in any order."""
    encoded = sorted((_utf8(key), encode_value(key, value)) for key, value in pairs)
    if 2 + sum(4 + len(key) + len(value) for key, value in encoded) > MAX_CONTEXT_BYTES:
        raise SealpointError("invalid_context", "too long")
    _check(encoded)
    out = len(encoded).to_bytes(2, "big")
    for key, value in encoded:
        out += len(key).to_bytes(2, "big") + key + len(value).to_bytes(2, "big") + value
    return out


def parse_canonical(data: bytes) -> list[tuple[bytes, bytes]]:
    """SPEC section 3: the pairs of canonical bytes, refused unless every rule holds."""
    if len(data) > MAX_CONTEXT_BYTES:
        raise SealpointError("invalid_context", "too long")
    at = 0

    def take(length: int) -> bytes:
        nonlocal at
        piece = data[at : at + length]
        if len(piece) != length:
            raise SealpointError("invalid_context", "truncated")
        at += length
        return piece

    count = int.from_bytes(take(2), "big")
    pairs = []
    for _ in range(count):
        key = take(int.from_bytes(take(2), "big"))
        pairs.append((key, take(int.from_bytes(take(2), "big"))))
    if at != len(data):
        raise SealpointError("invalid_context", "trailing bytes")
    _check(pairs)
    return pairs


def _check(pairs: list[tuple[bytes, bytes]]) -> None:
    """SPEC section 3: the rules about keys, values, tenant, purpose and their number."""
    for key, value in pairs:
        if not KEY.fullmatch(key):
            raise SealpointError("invalid_context", "bad key")
        _utf8(value)
    keys = [key for key, _ in pairs]
    if any(a >= b for a, b in itertools.pairwise(keys)):
        raise SealpointError("invalid_context", "keys not strictly increasing")
    if len(pairs) > MAX_CONTEXT_PAIRS:
        raise SealpointError("invalid_context", "too many pairs")
    found = dict(pairs)
    if not found.get(b"tenant"):
        raise SealpointError("tenant_required")
    if len(found[b"tenant"]) > MAX_TENANT_LEN:
        raise SealpointError("invalid_context", "tenant too long")
    if not found.get(b"purpose"):
        raise SealpointError("invalid_context", "no purpose")
    if len(pairs) < MIN_CONTEXT_PAIRS:
        raise SealpointError("invalid_context", "too few pairs")
