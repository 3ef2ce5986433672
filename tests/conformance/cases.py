"""What every runner seals and every other one opens, and the copies of it that all must refuse.

Everything here is deterministic but the salts, which the sealers draw. Forms are those of `tests/vectors/README.md`.
"""

import base64
import hashlib
import struct
from collections.abc import Iterator
from typing import Any

from sealpoint_ref import derive
from vector_cases import jsonform as jf

Json = dict[str, Any]

CHUNK = 16_384
TENANT = "acme"


def named(what: str, length: int = 32) -> bytes:
    """Bytes for a name. Public: use them for nothing else."""
    return hashlib.sha256(b"sealpoint conformance/" + what.encode()).digest()[:length]


def key(name: str, purpose: str, tenant: str = TENANT, version: int = 1) -> Json:
    """A DEK with its record."""
    dek, dek_id = named(f"dek/{name}"), named(f"dek_id/{name}", 16)
    check = derive.key_check(dek, purpose, dek_id, version, tenant)
    form = {"dek": dek.hex(), "dek_id": dek_id.hex(), "key_check": check.hex()}
    return {**form, "purpose": purpose, "tenant": tenant, "version": version}


KEYS = {
    "data": key("data", "data"),
    "client": key("client", "client", version=7),
    "unicode": key("unicode", "client", "Ærø-株式会社-🔑", 0xFFFF_FFFF),
}
KEK = named("kek")


def text(value: str) -> Json:
    """A string in a context."""
    return {"text": value}


def integer(value: int) -> Json:
    """An integer in a context."""
    return {"int": str(value)}


def real(value: float) -> Json:
    """A binary64 in a context."""
    return {"float": struct.pack(">d", value).hex()}


def context(*pairs: tuple[str, Json], tenant: str = TENANT, purpose: str = "app.note") -> list[list[Any]]:
    """Pairs in no particular order: the others, then tenant and purpose."""
    return [*([name, value] for name, value in pairs), ["tenant", text(tenant)], ["purpose", text(purpose)]]


CONTEXTS = {
    "bare": context(),
    "strings": context(
        ("empty", text("")), ("nul", text("a\0b")), ("astral", text("🔐𝔘")), ("decomposed", text("e\u0301")), ("bom", text("\ufeff"))
    ),
    "integers": context(*((f"n{at}", integer(n)) for at, n in enumerate((0, -1, 2**53, 2**53 + 1, -(2**63), 2**63, 2**64 - 1)))),
    "floats": context(*((f"x{at}", real(x)) for at, x in enumerate((1.5, 3.0, -0.0, 0.1, 1e300, 5e-324, 2.0**53, 2.0**53 + 2)))),
    "lists": context(("none", {"list": []}), ("two", {"list": ["hello", "abc"]}), ("odd", {"list": ["", "1:a,", "株", "🔐"]})),
    "version-text": context(("version", text("00000003.0.25")), purpose="langgraph.channel"),
    "version-integer": context(("version", integer(3)), purpose="langgraph.channel"),
    "version-float": context(("version", real(3.25)), purpose="langgraph.channel"),
    "names": context(("dek.id", text("x")), ("a-b_c.0", text("y")), ("z" * 64, text("z"))),
    "most-pairs": context(*((f"k{at:02}", text(str(at))) for at in range(30))),
    "long": context(("long", {"repeat": {"text": "é", "count": 30_000}})),
    "unicode-tenant": context(("note", text("n-1")), tenant="Ærø-株式会社-🔑"),
}
CONTENT_TYPES = {"none": "", "msgpack": "msgpack", "edges": " ~", "longest": "c" * 255}


def payload(data: bytes | int) -> Json:
    """Bytes, or so many of the pattern; with the digest that an opener must report."""
    if isinstance(data, int):
        return {"len": data, "pattern": "31i+7 mod 251", "sha256": hashlib.sha256(jf.pattern(data)).hexdigest()}
    return {"hex": data.hex(), "sha256": hashlib.sha256(data).hexdigest()}


def envelope(name: str, data: bytes | int, where: str = "bare", **changes: Any) -> Json:
    """A case of a data envelope."""
    case = {"id": f"envelope/{name}", "op": "envelope", "key": "data", "context": CONTEXTS[where], "content_type": "msgpack"}
    return {**case, "payload": payload(data), "pad": False, "form": "bytes", **changes}


def sizes(largest: bool) -> Iterator[Json]:
    """Around the ends of chunks and buckets, padded and not."""
    prefix = 1 + len("msgpack")
    lengths = {str(n): n for n in (0, 1, 15, CHUNK, CHUNK + 1)}
    lengths |= {f"chunk{delta:+}": CHUNK - prefix + delta for delta in (-2, -1, 0, 1)}
    lengths |= {f"two-chunks{delta:+}": 2 * CHUNK - prefix + delta for delta in (-1, 0)}
    lengths |= {f"bucket{delta:+}": 256 - prefix + delta for delta in (-2, -1, 0)}
    if largest:
        lengths |= {"100000": 100_000, "1 MiB": 1 << 20}
    for name, length in lengths.items():
        yield envelope(f"size-{name}", length)
        yield envelope(f"size-{name}-padded", length, pad=True)


def cases(largest: bool) -> Json:
    """The whole list; without `largest`, nothing over 70 KB."""
    found = [*sizes(largest)]
    found += [
        envelope(f"context-{name}", b"at " + name.encode(), name, pad=name == "lists") for name in CONTEXTS if name != "unicode-tenant"
    ]
    found += [envelope(f"content-type-{name}", b"typed", content_type=ct) for name, ct in CONTENT_TYPES.items()]
    found += [envelope(f"content-type-{name}-padded", b"typed", content_type=ct, pad=True) for name, ct in CONTENT_TYPES.items()]
    found += [envelope(f"text-{n}" + "-padded" * pad, n, pad=pad, form="text") for n in (0, 1, 2, 3, 1000) for pad in (False, True)]
    found += [
        envelope("client-key", b"client", key="client"),
        envelope("unicode-tenant", b"tenant", "unicode-tenant", key="unicode"),
        envelope("unicode-payload", "na\u00efve 🔐".encode(), form="text"),
        envelope("looks-sealed", bytes.fromhex("c153010100") + bytes(90)),
        envelope("all-bytes", bytes(range(256))),
        envelope("zeros-padded", bytes(100), pad=True),
        envelope("marker-padded", b"\x80" * 40, pad=True),
    ]
    # Long enough for the asynchronous path to hand them to WebCrypto, with what only short ones had until here.
    found += [
        envelope("bulk-no-content-type", 3 * CHUNK, content_type=""),
        envelope("bulk-longest-content-type", 3 * CHUNK, content_type="c" * 255),
        envelope("bulk-client-padded", 70_000, key="client", pad=True),
        envelope("bulk-text", 70_000, form="text"),
        envelope("bulk-version", 70_000, "version-float"),
    ]
    for purpose in derive.DEK_PURPOSES:
        wrapped = {"dek_id": named(f"wrapped/{purpose}", 16).hex(), "dek_purpose": purpose, "tenant": TENANT}
        found.append({"id": f"wrap/{purpose}", "op": "wrap", **wrapped, "secret": named(f"secret/{purpose}").hex()})
    found.append({"id": "wrap/canary", "op": "canary", "kek_uri": "env:SEALPOINT_KEK"})
    for name, whose, where in (("client", "client", "bare"), ("unicode", "unicode", "unicode-tenant")):
        opens = {"client": "envelope/client-key", "unicode": "envelope/unicode-tenant"}[name]
        found.append({"id": f"key/{name}", "op": "key", "key": whose, "opens": opens, "context": CONTEXTS[where]})
    found += manifests()
    assert len({case["id"] for case in found}) == len(found)
    return {"format": "sealpoint-conformance/1", "keys": KEYS, "kek": KEK.hex(), "cases": found}


def manifests() -> list[Json]:
    """Payloads of metadata envelopes: deterministic, so that all must make the same bytes."""
    checkpoint = {
        "v": 4,
        "id": "1f0c1d6e-0000-6000-8000-000000000003",
        "ts": "2026-01-02T03:04:05.678901+00:00",
        "channel_versions": {"messages": "00000003.0.25", "株": {"int": "3"}, "z": {"float": "400a000000000000"}},
        "versions_seen": {"__input__": {}, "agent": {"messages": "00000002.0.125"}},
        "updated_channels": ["aa", "messages"],
    }
    metadata = {"source": "loop", "step": 1, "parents": {}, "run_id": "r-1", "private": "is sealed beside it"}
    channels = [["messages", named("commitment/messages", 16).hex()], ["株", named("commitment/k", 16).hex()], ["z", None]]
    typical = {"checkpoint": checkpoint, "metadata": metadata, "parent": "p-1", "exact": True, "channels": channels, "rest": "81a475736572"}
    old = {
        **typical,
        "checkpoint": {**checkpoint, "v": 3, "updated_channels": None},
        "parent": None,
        "exact": False,
        "channels": channels[:1],
    }
    shapes = {"typical": typical, "old": old, "empty": {**typical, "channels": [], "rest": ""}}
    return [{"id": f"manifest/{name}", "op": "manifest", **shape} for name, shape in shapes.items()]


# Copies that everybody must refuse: (what was done, the changes to the case or `sealed`, the code).

Refusal = tuple[str, Json, str]
FAILED = "authentication_failed"


def b64(data: bytes) -> str:
    """How bytes travel."""
    return base64.b64encode(data).decode()


def flipped(data: bytes, at: int, bit: int = 1) -> bytes:
    """One bit changed."""
    out = bytearray(data)
    out[at] ^= bit
    return bytes(out)


def put(data: bytes, at: int, value: int) -> bytes:
    """One byte replaced."""
    return data[:at] + bytes([value]) + data[at + 1 :]


def changed_bytes(data: bytes, kind: int) -> Iterator[tuple[str, bytes, str]]:
    """SPEC section 8 on the bytes of an envelope or a wrapped key."""
    yield "empty", b"", "plaintext_refused"
    yield "magic", flipped(data, 0), "plaintext_refused"
    yield "other-kind", put(data, 1, {0x53: 0x57, 0x57: 0x53}[kind]), "malformed"
    yield "no-kind", put(data, 1, 0), "malformed"
    yield "version-0", put(data, 2, 0), "unsupported_version"
    yield "version-2", put(data, 2, 2), "unsupported_version"
    yield "suite-2", put(data, 3, 2), "unsupported_suite"
    yield "encoding-2", put(data, 4, 2), "unsupported_encoding"
    yield "key-id", flipped(data, 5, 0x80), "key_not_found"
    for name, at in {"salt": 21, "salt-end": 44, "commitment": 45, "commitment-end": 76, "body": 77, "tag-end": len(data) - 1}.items():
        yield name, flipped(data, at, 0x80), FAILED
    for length in (1, 2, 3, 4, 5, 20, 21, 45, 76, 77, 92):
        yield f"first-{length}", data[:length], "malformed"


def changed_envelope(data: bytes) -> Iterator[tuple[str, bytes, str]]:
    """What only a data envelope can suffer."""
    chunk = CHUNK + 16
    yield from changed_bytes(data, 0x53)
    yield "other-encoding", flipped(data, 4), FAILED
    for name, other in {"cut": data[:-1], "longer": data + b"\0"}.items():
        yield name, other, FAILED if (len(other) - 77) % chunk >= 16 else "malformed"
    if len(data) > 77 + chunk + 16:
        yield "chunk-boundary", data[: 77 + chunk], "malformed"
        yield "last-chunk-emptied", data[: 77 + chunk + 16], FAILED
        yield "first-chunk-gone", data[:77] + data[77 + chunk :], FAILED
        yield "first-chunk-twice", data[: 77 + chunk] + data[77:], FAILED
        yield "second-chunk", flipped(data, 77 + chunk), FAILED


def changed_text(sealed: str) -> Iterator[tuple[str, str, str]]:
    """SPEC sections 5 and 8, step 1."""
    kind, _, body = sealed.split(":")
    yield "empty-text", "", "plaintext_refused"
    yield "prefix-case", "S" + sealed[1:], "plaintext_refused"
    yield "bare-base64", body, "plaintext_refused"
    yield "other-kind-text", "sealpoint-wrap:v1:" + body, "malformed"
    yield "version-2-text", f"{kind}:v2:{body}", "unsupported_version"
    for name, end in {"padding": "=", "newline": "\n", "space": " ", "nul": "\0", "foreign": "+", "beyond-ascii": "é"}.items():
        yield name, sealed + end, "malformed"
    yield "space-first", " " + sealed, "plaintext_refused"
    yield "no-body", f"{kind}:v1:", "malformed"
    yield "cut-text", sealed[: len(sealed) - (len(body) - 1) % 4], "malformed"
    if len(body) % 4:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        yield "trailing-bits", sealed[:-1] + alphabet[alphabet.index(sealed[-1]) ^ 1], "malformed"


def changed_key(sealed: str) -> Iterator[tuple[str, str, str]]:
    """SPEC section 6.3."""
    yield from changed_text(sealed)
    prefix, body = sealed[:17], sealed[17:]
    data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    changes = {
        "kind": (put(data, 1, 0x53), "malformed"),
        "version-2": (put(data, 2, 2), "unsupported_version"),
        "suite-2": (put(data, 3, 2), "unsupported_suite"),
        "purpose-data": (put(data, 4, 1), "malformed"),
        "version-0": (data[:21] + bytes(4) + data[25:], "malformed"),
        "cut": (data[:-1], "malformed"),
        "longer": (data + b"a", "malformed"),
        "no-tenant": (put(put(data[:91], 89, 0), 90, 0), "malformed"),
        "tenant-ill-formed": (put(data, len(data) - 1, 0xFF), "malformed"),
        **{f"first-{length}": (data[:length], "malformed") for length in (1, 2, 3, 4, 5, 21, 25, 57, 89, 90)},
        **{
            name: (flipped(data, at), FAILED)
            for name, at in {"dek-id": 5, "dek-version": 24, "dek": 25, "key-check": 57, "tenant": 91}.items()
        },
    }
    for name, (other, code) in changes.items():
        yield name, prefix + base64.urlsafe_b64encode(other).rstrip(b"=").decode(), code


def moved(case: Json) -> Iterator[tuple[str, Json, str]]:
    """The same bytes at another position."""
    pairs: list[list[Any]] = case["context"]
    others = [pair for pair in pairs if pair[0] != "purpose"]
    yield "another-purpose", {"context": [*others, ["purpose", text("app.other")]]}, FAILED
    yield "one-pair-more", {"context": [*pairs, ["more", text("")]]}, FAILED
    yield "another-tenant", {"context": [pair if pair[0] != "tenant" else ["tenant", text("umbrella")] for pair in pairs]}, FAILED
    yield "another-key", {"key": "client" if case["key"] == "data" else "data"}, "key_not_found"
    if len(pairs) > 2:
        yield "one-pair-less", {"context": pairs[1:]}, FAILED
    if case["context"] == CONTEXTS["version-integer"]:
        yield "version-as-text", {"context": context(("version", text("3")), purpose="langgraph.channel")}, FAILED


CHANGED = (
    "envelope/size-0",
    "envelope/size-15-padded",
    "envelope/context-version-integer",
    f"envelope/size-{CHUNK}",
    "envelope/size-two-chunks+0",
)
CHANGED_TEXTS = ("envelope/text-0", "envelope/text-1-padded", "envelope/text-1000")


def refusals(case: Json, sealed: str) -> Iterator[Refusal]:
    """What was made of one sealed case, and how it is refused."""
    if case["id"] in CHANGED:
        data = base64.b64decode(sealed)
        yield from ((name, {"sealed": b64(other)}, code) for name, other, code in changed_envelope(data))
        yield from moved(case)
        as_text = b"sealpoint:v1:" + base64.urlsafe_b64encode(data).rstrip(b"=")
        yield "text-as-bytes", {"sealed": b64(as_text)}, "malformed"
    elif case["id"] in CHANGED_TEXTS:
        yield from ((name, {"sealed": other}, code) for name, other, code in changed_text(sealed))
        yield from moved(case)
    elif case["id"] == "key/client":
        yield from ((name, {"sealed": other}, code) for name, other, code in changed_key(sealed))
    elif case["id"] == "wrap/data":
        data = base64.b64decode(sealed)
        yield from ((name, {"sealed": b64(other)}, code) for name, other, code in changed_bytes(data, 0x57))
        yield "encoding-1", {"sealed": b64(put(data, 4, 1))}, "unsupported_encoding"
        yield "cut", {"sealed": b64(data[:-1])}, "malformed"
        yield "longer", {"sealed": b64(data + b"\0")}, "malformed"
        yield "another-tenant", {"tenant": "umbrella"}, FAILED
        yield "another-purpose", {"dek_purpose": "client"}, FAILED
        yield "another-dek", {"dek_id": named("wrapped/other", 16).hex()}, FAILED
    elif case["id"] == "manifest/typical":
        data = base64.b64decode(sealed)
        yield "no-record", {"sealed": b64(data[:3])}, "malformed"
        yield "record-cut", {"sealed": b64(put(data, 3, data[3] - 1))}, "malformed"
        yield "record-version", {"sealed": b64(put(data, 5, 2))}, "unsupported_version"
        yield "step-changed", {"metadata": {**case["metadata"], "step": 2}}, FAILED
        yield "parent-changed", {"parent": "p-2"}, FAILED
        yield "channel-gone", {"channels": case["channels"][1:]}, FAILED
        yield "channel-more", {"channels": [*case["channels"], ["more", None]]}, FAILED
        yield "commitment-changed", {"channels": [["messages", named("other", 16).hex()], *case["channels"][1:]]}, FAILED


def expected(case: Json) -> Json:
    """What opening a case must give."""
    match case["op"]:
        case "envelope":
            length = case["payload"].get("len", len(case["payload"].get("hex", "")) // 2)
            return {"content_type": case["content_type"], "len": length, "sha256": case["payload"]["sha256"]}
        case "wrap":
            return {"hex": case["secret"]}
        case "key":
            held = {name: KEYS[case["key"]][name] for name in ("dek_id", "tenant", "version", "key_check")}
            return {**held, "sha256": hashlib.sha256({"client": b"client", "unicode": b"tenant"}[case["key"]]).hexdigest()}
        case "canary":
            return {"hex": derive.canary(case["kek_uri"]).hex()}
        case "manifest":
            return {"hex": case["rest"], "parent": case["parent"]}
        case op:
            raise ValueError(f"no such op: {op}")
