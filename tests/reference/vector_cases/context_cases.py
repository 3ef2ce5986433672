"""context.json: SPEC section 3."""

import struct
from typing import Any

from sealpoint_ref import context

from . import jsonform as jf
from .build import CHANNEL, NOTE, File, Json, Pairs, canonical, text_pairs

BASE = text_pairs(tenant="acme", purpose="app.note")


def build() -> File:
    """The file."""
    file = File("context", "Canonical contexts: from pairs, and parsed from bytes.")
    _shapes(file)
    _typed(file)
    _refused_pairs(file)
    _parse_ok(file)
    _parse_refused(file)
    return file


def _ok(file: File, id_: str, pairs: Pairs, comment: str = "", flags: tuple[str, ...] = ()) -> None:
    data = canonical(pairs)
    vector = file.add(f"context-{id_}", "ok", {"op": "canonical", "pairs": pairs}, comment=comment, flags=flags)
    if len(data) <= 2500:
        vector["canonical_hex"] = data.hex()
    else:
        vector["canonical_summary"] = jf.summary(data)


def _bad(file: File, id_: str, pairs: Pairs, code: str = "invalid_context", comment: str = "") -> None:
    file.add(f"context-{id_}", code, {"op": "canonical", "pairs": pairs}, comment=comment)


def _version(form: Json) -> Pairs:
    return [*BASE, ["version", form]]


def _shapes(file: File) -> None:
    _ok(file, "two-pairs", BASE)
    _ok(file, "note", NOTE)
    _ok(file, "langgraph-channel", CHANNEL)
    store = text_pairs(tenant="acme", key="prefs")
    namespace = ["ns", {"list": ["users", "u-1"]}]
    _ok(file, "langgraph-store", [*store, namespace, ["purpose", {"text": "langgraph.store"}]])
    field = text_pairs(purpose="langgraph.store.field", path="/a~1b")
    _ok(file, "langgraph-store-field", [*store, namespace, *field])
    _ok(file, "langgraph-cache", [*store, namespace, ["purpose", {"text": "langgraph.cache"}]])
    _ok(file, "sorted-on-encode", list(reversed(CHANNEL)), "The order of the pairs does not matter.")
    order = [[key, {"text": key}] for key in ("a_b", "ab", "a.b", "a0", "a-b", "a", "aa")]
    _ok(file, "bytewise-order", [*BASE, *order], "'-' < '.' < digits < '_' < letters; a prefix sorts first.")
    _ok(file, "empty-value", [*BASE, ["ns", {"text": ""}]])
    _ok(file, "nul-value", [*BASE, ["ns", {"text": "a\0b"}]])
    _ok(file, "nul-tenant", text_pairs(tenant="a\0b", purpose="app.note"), "Only the length of a tenant is limited.")
    _ok(file, "nfc", [*BASE, ["name", {"text": "caf\u00e9"}]], "Not normalised: differs from context-nfd.")
    _ok(file, "nfd", [*BASE, ["name", {"text": "cafe\u0301"}]], "Not normalised: differs from context-nfc.")
    _ok(file, "astral", [*BASE, ["name", {"text": "\U0001f512\uff5e"}]], "Four and three bytes of UTF-8.")
    _ok(file, "bom-kept", [*BASE, ["name", {"text": "\ufeffx"}]], "A byte order mark is a character like others.")
    _ok(file, "noncharacter", [*BASE, ["name", {"text": "\uffff\U0010ffff"}]], "Well-formed UTF-8 all the same.")
    _ok(file, "key-64", [*BASE, ["k" * 64, {"text": "x"}]])
    _ok(file, "key-1", [*BASE, ["-", {"text": "x"}]])
    _ok(file, "key-alphabet", [*BASE, ["abcdefghijklmnopqrstuvwxyz0123456789_.-", {"text": "x"}]])
    thirty = [[f"k{number:02}", {"text": ""}] for number in range(30)]
    _ok(file, "pairs-32", [*BASE, *thirty])
    _ok(file, "tenant-1", text_pairs(tenant="a", purpose="app.note"))
    _ok(file, "tenant-1024", [["tenant", {"repeat": {"text": "t", "count": 1024}}], *BASE[1:]])
    two_bytes = {"repeat": {"text": "\u00e9", "count": 512}}
    _ok(file, "tenant-1024-bytes-512-characters", [["tenant", two_bytes], *BASE[1:]], "Bytes count, not characters.")
    _ok(file, "size-65536", _sized(65_536), "The limit is inclusive.", ("large",))
    _ok(file, "size-65535", _sized(65_535), flags=("large",))


def _sized(size: int) -> Pairs:
    pairs: Pairs = [*BASE, ["blob", {"text": ""}]]
    missing = size - len(canonical(pairs))
    return [*BASE, ["blob", {"repeat": {"text": "x", "count": missing}}]]


def _typed(file: File) -> None:
    for name, digits in (
        ("zero", 0),
        ("three", 3),
        ("minus-one", -1),
        ("two-pow-53", 2**53),
        ("two-pow-53-plus-1", 2**53 + 1),
        ("two-pow-63", 2**63),
        ("minus-two-pow-63", -(2**63)),
        ("max", 2**64 - 1),
    ):
        _ok(file, f"version-int-{name}", _version({"int": str(digits)}))
    for name, number, comment in (
        ("three", 3.0, "Integral: the same as the integer."),
        ("minus-three", -3.0, ""),
        ("zero", 0.0, ""),
        ("minus-zero", -0.0, "Zero is i:0, whatever its sign."),
        ("one-and-a-half", 1.5, ""),
        ("minus-one-and-a-half", -1.5, ""),
        ("tenth", 0.1, ""),
        ("two-pow-53", 2.0**53, "The largest magnitude that is an integer."),
        ("minus-two-pow-53", -(2.0**53), ""),
        ("two-pow-53-plus-2", 2.0**53 + 2, "Integral, but beyond 2^53: a float."),
        ("two-pow-63", 2.0**63, "Integral, but beyond 2^53: a float."),
        ("largest", 1.7976931348623157e308, ""),
        ("smallest-subnormal", 5e-324, ""),
        ("below-one", 0.9999999999999999, ""),
    ):
        _ok(file, f"version-float-{name}", _version(jf.float_form(number)), comment)
    _ok(file, "version-string", _version({"text": "3"}), "A string stays a string: s:3.")
    _ok(file, "version-string-empty", _version({"text": ""}), "What a channel without a version is sealed with.")
    _ok(file, "version-string-langgraph", _version({"text": "00000000000000000000000000000003.0.4597"}))
    _ok(file, "version-string-lookalike", _version({"text": "i:3"}), "Not the integer 3.")
    _ok(file, "string-elsewhere", [*BASE, ["step", {"text": "3"}]], "Only under the key version is a string typed.")
    _ok(file, "int-elsewhere", [*BASE, ["step", {"int": "-1"}]])
    _ok(file, "float-elsewhere", [*BASE, ["score", jf.float_form(0.5)]])
    for name, items in (
        ("two", ["hello", "abc"]),
        ("empty", []),
        ("one-empty-item", [""]),
        ("lookalike", ["5:hello,3:abc,"]),
        ("multi-byte", ["caf\u00e9", "\U0001f512"]),
        ("ten-bytes", ["0123456789"]),
    ):
        _ok(file, f"list-{name}", [*BASE, ["namespace", {"list": items}]])
    pointer = text_pairs(tenant="acme", purpose="field", document="u-42", path="/cards/0/a~1b~0c")
    _ok(file, "field-pointer", pointer, "RFC 6901; the pointer is taken as it is.")


def _refused_pairs(file: File) -> None:
    name: dict[str, Any] = {"text": "x"}
    for id_, key in (
        ("key-empty", ""),
        ("key-65", "k" * 65),
        ("key-upper-case", "Note"),
        ("key-space", "a b"),
        ("key-slash", "a/b"),
        ("key-colon", "a:b"),
        ("key-non-ascii", "caf\u00e9"),
        ("key-fullwidth-digit", "k\uff11"),
        ("key-nul", "a\0"),
        ("key-newline-at-end", "a\n"),
    ):
        _bad(file, id_, [*BASE, [key, name]])
    _bad(file, "duplicate-key", [*NOTE, ["note", {"text": "n-2"}]])
    _bad(file, "duplicate-key-same-value", [*NOTE, ["note", {"text": "n-1"}]])
    _bad(file, "duplicate-tenant", [*NOTE, ["tenant", {"text": "other"}]])
    _bad(file, "pairs-33", [*BASE, *([f"k{number:02}", {"text": ""}] for number in range(31))])
    _bad(file, "size-65537", _sized(65_537))
    _bad(file, "value-65536", [*BASE, ["blob", {"repeat": {"text": "x", "count": 65_536}}]], comment="Exceeds u16be.")
    _bad(file, "tenant-int", [["tenant", {"int": "3"}], *NOTE[1:]], comment="A tenant is a string.")
    _bad(file, "purpose-list", [NOTE[0], ["purpose", {"list": ["a"]}], NOTE[2]], comment="A purpose is a string.")
    _bad(file, "version-list", _version({"list": ["a"]}), comment="A version is a string or a number.")
    _bad(file, "tenant-missing", NOTE[1:], "tenant_required")
    _bad(file, "tenant-empty", [["tenant", {"text": ""}], *NOTE[1:]], "tenant_required")
    _bad(file, "tenant-1025", [["tenant", {"repeat": {"text": "t", "count": 1025}}], *NOTE[1:]])
    long_ = {"repeat": {"text": "\u00e9", "count": 513}}
    _bad(file, "tenant-1026-bytes-513-characters", [["tenant", long_], *NOTE[1:]], comment="Bytes count.")
    _bad(file, "purpose-missing", [NOTE[0], NOTE[2]])
    _bad(file, "purpose-empty", [NOTE[0], ["purpose", {"text": ""}], NOTE[2]])
    _bad(file, "tenant-only", NOTE[:1], comment="One pair, and no purpose.")
    for id_, raw in ILL_FORMED:
        _bad(file, f"utf8-{id_}", [*BASE, ["name", {"utf8_hex": raw}]])
    _bad(file, "utf8-tenant-surrogate", [["tenant", {"utf8_hex": "eda080"}], *NOTE[1:]])
    _bad(file, "utf8-version-surrogate", _version({"utf8_hex": "eda080"}))
    for id_, number in (("below-range", -(2**63) - 1), ("above-range", 2**64)):
        _bad(file, f"version-int-{id_}", _version({"int": str(number)}))
    for id_, bits in (
        ("nan", 0x7FF8 << 48),
        ("nan-payload", 0x7FF8 << 48 | 1),
        ("infinity", 0x7FF0 << 48),
        ("minus-infinity", 0xFFF0 << 48),
    ):
        _bad(file, f"version-float-{id_}", _version({"float": struct.pack(">Q", bits).hex()}))


ILL_FORMED = (
    ("high-surrogate", "eda080"),
    ("low-surrogate", "edb080"),
    ("surrogate-pair", "eda080edb080"),
    ("overlong-nul", "c080"),
    ("overlong-slash", "e080af"),
    ("truncated", "78e282"),
    ("stray-continuation", "80"),
    ("beyond-10ffff", "f4908080"),
    ("byte-ff", "ff"),
)


def _raw(*pairs: tuple[bytes, bytes], count: int | None = None) -> bytes:
    out = (len(pairs) if count is None else count).to_bytes(2, "big")
    for key, value in pairs:
        out += len(key).to_bytes(2, "big") + key + len(value).to_bytes(2, "big") + value
    return out


TENANT, PURPOSE, OTHER = (b"tenant", b"acme"), (b"purpose", b"app.note"), (b"note", b"n-1")


def _parse_ok(file: File) -> None:
    for id_, data in (
        ("note", _raw(OTHER, PURPOSE, TENANT)),
        ("two-pairs", _raw(PURPOSE, TENANT)),
        ("empty-value", _raw((b"ns", b""), PURPOSE, TENANT)),
        ("nul-value", _raw((b"ns", b"\0"), PURPOSE, TENANT)),
        ("pairs-32", _raw(*((f"k{n:02}".encode(), b"") for n in range(30)), PURPOSE, TENANT)),
        ("typed-version", _raw(PURPOSE, TENANT, (b"version", b"i:3"))),
    ):
        vector = file.add(f"context-parse-{id_}", "ok", {"op": "parse", "canonical_hex": data.hex()})
        vector["pairs_hex"] = [[key.decode(), value.hex()] for key, value in context.parse_canonical(data)]


def _parse_refused(file: File) -> None:
    good = _raw(OTHER, PURPOSE, TENANT)
    cases: list[tuple[str, bytes, str, str]] = [
        ("no-bytes", b"", "invalid_context", ""),
        ("one-byte", good[:1], "invalid_context", ""),
        ("unsorted", _raw(PURPOSE, OTHER, TENANT), "invalid_context", ""),
        ("reversed", _raw(TENANT, PURPOSE, OTHER), "invalid_context", ""),
        ("duplicate", _raw(OTHER, OTHER, PURPOSE, TENANT), "invalid_context", ""),
        ("prefix-after", _raw((b"noted", b""), OTHER, PURPOSE, TENANT), "invalid_context", "A prefix sorts first."),
        ("count-too-high", _raw(OTHER, PURPOSE, TENANT, count=4), "invalid_context", ""),
        ("count-too-low", _raw(PURPOSE, TENANT, (b"version", b"i:3"), count=2), "invalid_context", ""),
        ("count-little-endian", b"\x03\x00" + good[2:], "invalid_context", ""),
        ("trailing-zero", good + b"\0", "invalid_context", ""),
        ("trailing-pair", good + b"\0\1z\0\0", "invalid_context", ""),
        ("cut-in-value", good[:-1], "invalid_context", ""),
        ("cut-in-value-length", good[:-5], "invalid_context", ""),
        ("cut-in-key", good[:5], "invalid_context", ""),
        ("cut-after-count", good[:2], "invalid_context", ""),
        ("value-length-overruns", good[:-6] + b"\xff\xff" + good[-4:], "invalid_context", ""),
        ("key-empty", _raw((b"", b"x"), PURPOSE, TENANT), "invalid_context", ""),
        ("key-65", _raw((b"k" * 65, b"x"), PURPOSE, TENANT), "invalid_context", ""),
        ("key-upper-case", _raw((b"Note", b"x"), PURPOSE, TENANT), "invalid_context", ""),
        ("key-non-ascii", _raw(PURPOSE, TENANT, (b"\xc3\xa9", b"x")), "invalid_context", ""),
        ("pairs-33", _raw(*((b"k%02d" % n, b"") for n in range(31)), PURPOSE, TENANT), "invalid_context", ""),
        ("tenant-missing", _raw(OTHER, PURPOSE), "tenant_required", ""),
        ("tenant-empty", _raw(OTHER, PURPOSE, (b"tenant", b"")), "tenant_required", ""),
        ("tenant-1025", _raw(OTHER, PURPOSE, (b"tenant", b"t" * 1025)), "invalid_context", ""),
        ("purpose-missing", _raw(OTHER, TENANT), "invalid_context", ""),
        ("purpose-empty", _raw(OTHER, (b"purpose", b""), TENANT), "invalid_context", ""),
        ("tenant-only", _raw(TENANT), "invalid_context", "One pair, and no purpose."),
    ]
    cases += [(f"utf8-{id_}", _raw((b"note", bytes.fromhex(raw)), PURPOSE, TENANT), "invalid_context", "") for id_, raw in ILL_FORMED]
    for id_, data, code, comment in cases:
        file.add(f"context-parse-{id_}", code, {"op": "parse", "canonical_hex": data.hex()}, comment=comment)
