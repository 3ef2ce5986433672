"""cbor.json: the deterministic CBOR of SPEC section 7.2."""

from typing import Any

from sealpoint_ref import cbor

from . import jsonform as jf
from .build import File


def build() -> File:
    """The file."""
    file = File("cbor", "Deterministic CBOR: encoded from values, and decoded strictly.")
    for name, form, comment in ENCODE:
        data = cbor.encode(jf.read_tree(form))
        fields = {"op": "encode", "value": form}
        file.add(f"cbor-encode-{name}", "ok", fields, comment=comment, flags=_flags(name))["cbor_hex"] = data.hex()
    for name, form, code in ENCODE_REFUSED:
        file.add(f"cbor-encode-{name}", code, {"op": "encode", "value": form}, flags=_flags(name))
    for name, form in DECODE:
        data = cbor.encode(jf.read_tree(form))
        fields = {"op": "decode", "cbor_hex": data.hex()}
        file.add(f"cbor-decode-{name}", "ok", fields, flags=_flags(name))["value"] = form
    for name, raw, comment in DECODE_REFUSED:
        file.add(f"cbor-decode-{name}", "malformed", {"op": "decode", "cbor_hex": raw}, comment=comment)
    for name, raw in (
        ("depth-17", "81" * 17 + "00"),
        ("depth-18", "81" * 18 + "00"),
        ("depth-18-maps", "a16161" * 18 + "00"),
    ):
        file.add(f"cbor-decode-{name}", "limit_exceeded", {"op": "decode", "cbor_hex": raw}, flags=_flags(name))
    return file


def _flags(name: str) -> tuple[str, ...]:
    return ("decided",) if name in ("depth-16", "depth-17") else ()  # depth counts arrays and maps, not the scalar


def _int(value: int) -> dict[str, str]:
    return {"int": str(value)}


ENCODE: list[tuple[str, Any, str]] = [
    *((f"int-{value}", value, "") for value in (0, 1, 10, 23, 24, 100, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32)),
    ("int-minus-1", -1, ""),
    ("int-minus-24", -24, ""),
    ("int-minus-25", -25, ""),
    ("int-minus-256", -256, ""),
    ("int-minus-257", -257, ""),
    ("int-two-pow-53-plus-1", _int(2**53 + 1), ""),
    ("int-two-pow-63", _int(2**63), ""),
    ("int-largest", _int(2**64 - 1), ""),
    ("int-smallest", _int(-(2**64)), ""),
    ("int-minus-two-pow-63", _int(-(2**63)), ""),
    ("true", True, ""),
    ("false", False, ""),
    ("null", None, ""),
    ("float-integral", jf.float_form(3.0), "An integer."),
    ("float-minus-integral", jf.float_form(-3.0), "An integer."),
    ("float-zero", jf.float_form(0.0), "An integer."),
    ("float-minus-zero", jf.float_form(-0.0), "Zero, an integer."),
    ("float-two-pow-53", jf.float_form(2.0**53), "The largest magnitude that is an integer."),
    ("float-two-pow-53-plus-2", jf.float_form(2.0**53 + 2), "A float."),
    ("float-two-pow-60", jf.float_form(2.0**60), "A float; binary32 keeps it."),
    ("float-1e300", jf.float_form(1e300), ""),
    ("float-half", jf.float_form(0.5), "binary16."),
    ("float-minus-half", jf.float_form(-0.5), "binary16."),
    ("float-half-smallest-subnormal", jf.float_form(2.0**-24), "binary16."),
    ("float-half-smallest-normal", jf.float_form(2.0**-14), "binary16."),
    ("float-half-most-digits", jf.float_form(1.0009765625), "binary16."),
    ("float-half-largest-fraction", jf.float_form(1023.5), "binary16."),
    ("float-half-one-digit-too-many", jf.float_form(1.00048828125), "binary32."),
    ("float-below-half-range", jf.float_form(2.0**-25), "binary32."),
    ("float-single-largest", jf.float_form(3.4028234663852886e38), "binary32."),
    ("float-single-smallest-subnormal", jf.float_form(2.0**-149), "binary32."),
    ("float-below-single-range", jf.float_form(2.0**-150), "binary64."),
    ("float-above-single-range", jf.float_form(2.0**128), "binary64."),
    ("float-tenth", jf.float_form(0.1), "binary64."),
    ("float-smallest-subnormal", jf.float_form(5e-324), "binary64."),
    ("float-largest", jf.float_form(1.7976931348623157e308), "binary64."),
    ("text-empty", "", ""),
    ("text-ascii", "messages", ""),
    ("text-multi-byte", "caf\u00e9 \U0001f512", "The head counts bytes."),
    ("text-24", "a" * 24, ""),
    ("text-256", "a" * 256, ""),
    ("bytes-empty", {"bytes_hex": ""}, ""),
    ("bytes-16", {"bytes_hex": bytes(range(16)).hex()}, ""),
    ("array-empty", [], ""),
    ("array", [1, [2, 3], "x", None, True], ""),
    ("array-24", list(range(24)), ""),
    ("map-empty", {}, ""),
    ("map-by-length-first", {"aa": 1, "b": 2}, "The length is in the head, so `b` sorts before `aa`."),
    ("map-utf8-order", {"\U0001f512": 1, "\uff5eab": 2, "\uff5e": 3}, "UTF-8 order, not UTF-16."),
    ("map-utf8-same-length", {"\U0001f512": 1, "\uff5ea": 2}, "UTF-8 order, not UTF-16."),
    ("map-case", {"b": 1, "B": 2, "a": 3, "_": 4}, ""),
    ("map-digits", {"10": 1, "9": 2, "1": 3}, "Text, never a number."),
    ("map-empty-key", {"a": 1, "": 2}, ""),
    ("map-proto", {"map": [["__proto__", 1], ["constructor", 2], ["toString", 3]]}, "Keys like others."),
    ("map-insertion-order", {"map": [["c", 1], ["a", 2], ["b", 3]]}, ""),
    ("map-key-lengths-23-24", {"a" * 24: 1, "b" * 23: 2}, "Heads 0x77 and 0x78."),
    ("depth-16", {"nested": 16}, "16 arrays, one in the other."),
]

ENCODE_REFUSED: list[tuple[str, Any, str]] = [
    ("int-above", _int(2**64), "invalid_argument"),
    ("int-below", _int(-(2**64) - 1), "invalid_argument"),
    ("float-nan", {"float": "7ff8000000000000"}, "invalid_argument"),
    ("float-infinity", {"float": "7ff0000000000000"}, "invalid_argument"),
    ("float-minus-infinity", {"float": "fff0000000000000"}, "invalid_argument"),
    ("map-int-key", {"map": [[1, "x"]]}, "invalid_argument"),
    ("map-bytes-key", {"map": [[{"bytes_hex": "61"}, "x"]]}, "invalid_argument"),
    ("map-null-key", {"map": [[None, "x"]]}, "invalid_argument"),
    ("map-duplicate-key", {"map": [["a", 1], ["a", 2]]}, "invalid_argument"),
    ("text-surrogate", {"utf8_hex": "eda080"}, "invalid_argument"),
    ("nan-inside", ["x", {"a": {"float": "7ff8000000000000"}}], "invalid_argument"),
    ("depth-17", {"nested": 17}, "limit_exceeded"),
    ("depth-18", {"nested": 18}, "limit_exceeded"),
]

DECODE: list[tuple[str, Any]] = [
    ("record-like", [1, False, {"bytes_hex": "00" * 32}, None, [["a", {"bytes_hex": "00" * 16}]]]),
    ("int-largest", _int(2**64 - 1)),
    ("int-smallest", _int(-(2**64))),
    ("map", {"b": 2, "aa": 1}),
    ("float", jf.float_form(0.5)),
    ("float-two-pow-60", jf.float_form(2.0**60)),
    ("text-multi-byte", "caf\u00e9"),
    ("depth-16", {"nested": 16}),
]

DECODE_REFUSED = [
    ("no-bytes", "", ""),
    ("trailing-byte", "0000", ""),
    ("trailing-item", "810100", ""),
    ("int-24-as-1-byte-of-23", "1817", "The shortest head is 17."),
    ("int-0-as-1-byte", "1800", ""),
    ("int-255-as-2-bytes", "1900ff", ""),
    ("int-65535-as-4-bytes", "1a0000ffff", ""),
    ("int-as-8-bytes", "1b00000000ffffffff", ""),
    ("minus-1-as-1-byte", "3800", ""),
    ("text-length-as-1-byte", "780161", ""),
    ("text-length-as-2-bytes", "79000161", ""),
    ("bytes-length-as-1-byte", "580100", ""),
    ("array-length-as-1-byte", "980100", ""),
    ("map-length-as-1-byte", "b801616100", ""),
    ("array-indefinite", "9f01ff", ""),
    ("map-indefinite", "bf616101ff", ""),
    ("text-indefinite", "7f6161ff", ""),
    ("bytes-indefinite", "5f4100ff", ""),
    ("break", "ff", ""),
    ("reserved-28", "1c", ""),
    ("reserved-29", "1d", ""),
    ("reserved-30", "1e", ""),
    ("reserved-31", "1f", ""),
    ("tag-0", "c06161", ""),
    ("tag-bignum", "c249010000000000000000", ""),
    ("tag-self-described", "d9d9f700", ""),
    ("undefined", "f7", ""),
    ("simple-0", "e0", ""),
    ("simple-19", "f3", ""),
    ("simple-32", "f820", ""),
    ("simple-false-as-2-bytes", "f814", ""),
    ("nan", "f97e00", ""),
    ("nan-64", "fb7ff8000000000000", ""),
    ("infinity", "f97c00", ""),
    ("minus-infinity", "f9fc00", ""),
    ("float-integral", "f94200", "3.0 is the integer 3."),
    ("float-zero", "f90000", ""),
    ("float-minus-zero", "f98000", ""),
    ("float-two-pow-53", "fa5a000000", "2^53 is an integer."),
    ("float-32-of-16", "fa3f000000", "0.5 fits binary16."),
    ("float-64-of-16", "fb3fe0000000000000", "0.5 fits binary16."),
    ("float-64-of-32", "fb3ff0020000000000", "Fits binary32."),
    ("float-cut", "f938", ""),
    ("map-unsorted", "a2616200616100", ""),
    ("map-unsorted-by-length", "a262616100616200", "`b` sorts before `aa`."),
    ("map-duplicate", "a2616100616101", ""),
    ("map-int-key", "a10000", ""),
    ("map-bytes-key", "a1416100", ""),
    ("map-null-key", "a1f600", ""),
    ("map-no-value", "a16161", ""),
    ("text-surrogate", "63eda080", ""),
    ("text-overlong", "62c080", ""),
    ("text-byte-ff", "61ff", ""),
    ("text-cut-character", "61c3", ""),
    ("text-cut", "6261", ""),
    ("bytes-cut", "4200", ""),
    ("array-cut", "8201", ""),
    ("head-cut", "19ff", ""),
    ("text-huge", "7bffffffffffffffff61", "The length alone must not allocate."),
    ("bytes-huge", "5b7fffffffffffffff00", "The length alone must not allocate."),
    ("array-huge", "9bffffffffffffffff00", "The length alone must not allocate."),
    ("map-huge", "bbffffffffffffffff616100", "The length alone must not allocate."),
]
