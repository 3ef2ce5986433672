"""The language-neutral forms of tests/vectors/README.md, read and written."""

import hashlib
import struct
from typing import Any

from sealpoint_ref import cbor
from sealpoint_ref.context import Value

INLINE_PAYLOAD = 64
INLINE_ENVELOPE = 40_000
Json = dict[str, Any]


def pattern(length: int) -> bytes:
    """README, payloads: byte i is (31 i + 7) mod 251."""
    period = bytes((31 * i + 7) % 251 for i in range(251))
    return (period * (length // 251 + 1))[:length]


def summary(data: bytes) -> Json:
    """README, envelopes: length and SHA-256 in place of long bytes."""
    return {"len": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def write_payload(data: bytes) -> Json:
    """README, payloads: hex for a short one, else the pattern."""
    if len(data) <= INLINE_PAYLOAD:
        return {"hex": data.hex()}
    if data != pattern(len(data)):
        raise ValueError("a long payload must be the pattern")
    return {**summary(data), "pattern": "31i+7 mod 251"}


def read_payload(form: Json) -> bytes:
    """README, payloads."""
    data = bytes.fromhex(form["hex"]) if "hex" in form else pattern(form["len"])
    if "sha256" in form and hashlib.sha256(data).hexdigest() != form["sha256"]:
        raise ValueError("the pattern's digest differs")
    return data


def write_bytes(data: bytes, limit: int = INLINE_ENVELOPE) -> Json:
    """README, envelopes: hex, or length and SHA-256."""
    return {"hex": data.hex()} if len(data) <= limit else summary(data)


def read_float(bits: str) -> float:
    """README, numbers: 16 hex digits of the IEEE 754 binary64 bits."""
    return float(struct.unpack(">d", bytes.fromhex(bits))[0])


def float_form(value: float) -> Json:
    """README, numbers."""
    return {"float": struct.pack(">d", value).hex()}


def read_value(form: Json) -> Value:
    """README, contexts: one value."""
    match form:
        case {"text": str(text)}:
            return text
        case {"utf8_hex": str(raw)}:
            return bytes.fromhex(raw)
        case {"repeat": {"text": str(text), "count": int(count)}}:
            return text * count
        case {"int": str(digits)}:
            return int(digits)
        case {"float": str(bits)}:
            return read_float(bits)
        case {"list": list(items)}:
            return [str(item) for item in items]
    raise ValueError(f"no such value form: {form}")


def read_pairs(pairs: list[Any]) -> list[tuple[str, Value]]:
    """README, contexts."""
    return [(key, read_value(form)) for key, form in pairs]


def read_tree(form: Any) -> Any:
    """README, manifest values: plain JSON but for the one-member objects named there."""
    match form:
        case {"float": str(bits), **rest} if not rest:
            return read_float(bits)
        case {"int": str(digits), **rest} if not rest:
            return int(digits)
        case {"bytes_hex": str(raw), **rest} if not rest:
            return bytes.fromhex(raw)
        case {"utf8_hex": str(raw), **rest} if not rest:
            return cbor.RawText(bytes.fromhex(raw))
        case {"repeat": {"text": str(text), "count": int(count)}, **rest} if not rest:
            return text * count
        case {"nested": int(levels), **rest} if not rest:
            value: Any = 0
            for _ in range(levels):
                value = [value]
            return value
        case {"map": list(pairs), **rest} if not rest:
            return cbor.Pairs((read_tree(key), read_tree(item)) for key, item in pairs)
        case dict():
            return {key: read_tree(item) for key, item in form.items()}
        case list():
            return [read_tree(item) for item in form]
    return form
