"""envelope.json: SPEC sections 4 and 8."""

from typing import Any

from sealpoint_ref import envelope, padding
from sealpoint_ref.envelope import BODY_AT, CHUNK_LEN, HEADER_LEN, KIND_DATA, DataKey

from . import build as b
from . import jsonform as jf
from .build import CHANNEL, NOTE, File, Json, Pairs, canonical, data_key, derived, key_form, salt_for, text_pairs

ENCODINGS = {"plain": padding.PLAIN, "padded": padding.PADDED}
KEY = data_key("main")
SEALED_CHUNK = CHUNK_LEN + envelope.TAG_LEN
BASE_ID = "envelope-three-chunks"
BASE_INNER = 2 * CHUNK_LEN + 100


class Envelopes(File):
    """envelope.json while it grows."""

    def positive(
        self,
        id_: str,
        payload: bytes,
        *,
        content_type: str = "msgpack",
        encoding: str = "plain",
        pairs: Pairs = NOTE,
        key: DataKey = KEY,
        comment: str = "",
    ) -> bytes:
        """Adds a known answer and returns its bytes."""
        id_ = f"envelope-{id_}"
        salt = salt_for(id_)
        data = envelope.seal(key, canonical(pairs), content_type.encode(), payload, ENCODINGS[encoding], salt)
        fields: Json = {"op": "seal-open", "key": key_form(key), "context": pairs}
        fields |= {"encoding": encoding, "content_type": content_type, "payload": jf.write_payload(payload)}
        fields |= {"salt": salt.hex(), "envelope": jf.write_bytes(data)}
        self.add(id_, "ok", fields, comment=comment, flags=("large",) if len(data) > jf.INLINE_ENVELOPE else ())
        return data

    def negative(
        self,
        id_: str,
        code: str,
        step: int,
        data: bytes | Json,
        *,
        pairs: Pairs = NOTE,
        key: DataKey = KEY,
        comment: str = "",
        flags: tuple[str, ...] = (),
    ) -> None:
        """Adds an envelope that is refused at a step of SPEC section 8."""
        form = {"hex": data.hex()} if isinstance(data, bytes) else data
        fields: Json = {"op": "open", "key": key_form(key), "context": pairs, "envelope": form}
        self.add(f"envelope-{id_}", code, fields, comment=comment, flags=(f"step-{step}", *flags))


def build() -> File:
    """The file."""
    file = Envelopes("envelope", "Data envelopes: known answers and refusals.")
    good = file.positive("note", b"hello")
    _positives(file)
    _magic(file, good)
    _header(file, good)
    _length(file, good)
    _key(file, good)
    _commitment(file, good)
    _contexts(file, good)
    _chunks(file, good)
    _inner(file)
    _seal_refused(file)
    return file


def _positives(file: Envelopes) -> None:
    for size in (0, 1, 15, 16, 17):
        file.positive(f"payload-{size}", jf.pattern(size))
    for name, content_type in (
        ("empty", ""),
        ("1", "m"),
        ("255", "c" * 255),
        ("printable", " ~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}"),
        ("null", "null"),
    ):
        file.positive(f"content-type-{name}", b"hello", content_type=content_type)
    file.positive("smallest", b"", content_type="", comment="94 bytes.")
    file.positive("payload-looks-padded", b"hello\x80\0\0", comment="Encoding plain: nothing is stripped.")
    file.positive("payload-is-text-form", b"sealpoint:v1:AAAA")
    for purpose in ("index", "client", "audit"):
        file.positive(f"purpose-{purpose}", b"hello", key=data_key("main", purpose))
    file.positive("other-key", b"hello", key=data_key("other"))
    file.positive("langgraph-channel", b"\xa5hello", pairs=CHANNEL)
    file.positive("field", b'"4111"', pairs=text_pairs(tenant="acme", purpose="field", document="u-42", path="/card"))
    file.positive("value", b"hello", pairs=text_pairs(tenant="caf\u00e9", purpose="langgraph.value"))
    big: Pairs = [*b.text_pairs(tenant="acme", purpose="app.note"), ["blob", {"text": ""}]]
    missing = 65_536 - len(canonical(big))
    big = [*big[:2], ["blob", {"repeat": {"text": "x", "count": missing}}]]
    file.positive("context-65536", b"hello", pairs=big, comment="The largest context.")

    # Sizes of the inner plaintext: the content type `msgpack` takes eight bytes of it.
    for inner in (CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1):
        file.positive(f"inner-{inner}", jf.pattern(inner - 8))
    file.positive("inner-32768", jf.pattern(2 * CHUNK_LEN - 8), comment="Two full chunks and an empty one.")
    comment = "The base of the vectors that cut and reorder chunks."
    file.positive(BASE_ID.removeprefix("envelope-"), jf.pattern(BASE_INNER - 8), comment=comment)
    file.positive("payload-102400", jf.pattern(102_400))
    file.positive("payload-1048576", jf.pattern(1 << 20))
    comment = "258 chunks: the number of the last ones takes two bytes of the nonce."
    file.positive("inner-4210788", jf.pattern(257 * CHUNK_LEN + 92), comment=comment)

    # n counts the content type with its length byte (8), the payload and the 0x80.
    file.positive("padded-smallest", b"", content_type="", encoding="padded")
    file.positive("padded-true", b"\xc3", encoding="padded")
    file.positive("padded-payload-looks-padded", b"hello\x80\0\0", encoding="padded", comment="Only the last 0x80.")
    file.positive("padded-payload-zeros", bytes(8), encoding="padded")
    for n in (31, 32, 33, 255, 256, 257, 272, 273, 1000, 5000, 16_384, 16_385):
        file.positive(f"padded-n-{n}", jf.pattern(n - 9), encoding="padded")
    file.positive("padded-payload-102400", jf.pattern(102_400), encoding="padded")
    for purpose in ("index", "client", "audit"):
        file.positive(f"padded-purpose-{purpose}", b"hello", encoding="padded", key=data_key("main", purpose))


def _magic(file: Envelopes, good: bytes) -> None:
    for name, data in (
        ("no-bytes", b""),
        ("messagepack", b"\x81\xa1a\x01"),
        ("json", b'{"a":1}'),
        ("zeros", bytes(94)),
        ("magic-c0", b"\xc0" + good[1:]),
        ("magic-c2", b"\xc2" + good[1:]),
        ("magic-flip", b"\x41" + good[1:]),
        ("shifted", b"\0" + good),
        ("magic-missing", good[1:]),
        ("text-almost", b"sealpoint"),
        ("text-upper-case", b"SEALPOINT:v1:AAAA"),
        ("text-after-space", b" sealpoint:v1:AAAA"),
    ):
        file.negative(name, "plaintext_refused", 1, data)
    for name, data in (
        ("text-as-bytes", b"sealpoint:v1:AAAA"),
        ("text-wrap-as-bytes", b"sealpoint-wrap:v1:AAAA"),
        ("text-key-as-bytes", b"sealpoint-key:v1:AAAA"),
        ("text-prefix-only", b"sealpoint:"),
        ("text-unknown-kind-as-bytes", b"sealpoint-other:v1:AAAA"),
        ("text-v2-as-bytes", b"sealpoint:v2:AAAA"),
    ):
        file.negative(name, "malformed", 1, data, comment="A text form passed as bytes.")


def _set(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def _flip(data: bytes, at: int, mask: int = 0x01) -> bytes:
    return _set(data, at, data[at] ^ mask)


def _header(file: Envelopes, good: bytes) -> None:
    for length in range(1, 5):
        file.negative(f"header-{length}", "malformed", length + 1, good[:length], comment="Ends before the next field.")
    for value in (0x57, 0x00, 0x52, 0x73, 0xFF):
        file.negative(f"kind-{value:02x}", "malformed", 2, _set(good, 1, value))
    for value in (0x00, 0x02, 0x81, 0xFF):
        file.negative(f"version-{value:02x}", "unsupported_version", 3, _set(good, 2, value))
        file.negative(f"suite-{value:02x}", "unsupported_suite", 4, _set(good, 3, value))
        if value:
            file.negative(f"encoding-{value:02x}", "unsupported_encoding", 5, _set(good, 4, value))
    comment = "Nothing after the field that decides."
    file.negative("version-02-short", "unsupported_version", 3, b"\xc1\x53\x02", comment=comment)
    file.negative("suite-02-short", "unsupported_suite", 4, b"\xc1\x53\x01\x02", comment=comment)
    file.negative("encoding-02-short", "unsupported_encoding", 5, b"\xc1\x53\x01\x01\x02", comment=comment)
    sealed = envelope.seal_body(
        KEY.body_key(),
        envelope.header(KIND_DATA, 0x02, KEY.key_id),
        canonical(NOTE),
        salt_for("envelope-encoding-02-authentic"),
        padding.build_inner(b"msgpack", b"hello", padding.PADDED),
    )
    comment = "Sealed by a holder of the key: still refused."
    file.negative("encoding-02-authentic", "unsupported_encoding", 5, sealed, comment=comment)


def _length(file: Envelopes, good: bytes) -> None:
    for length in (5, 20, 21, 44, 45, 76, 77, 92):
        file.negative(f"length-{length}", "malformed", 6, good[:length])
    base = BODY_AT
    for name, end in (
        ("one-full-chunk", base + SEALED_CHUNK),
        ("two-full-chunks", base + 2 * SEALED_CHUNK),
        ("full-chunk-and-1", base + SEALED_CHUNK + 1),
        ("full-chunk-and-15", base + SEALED_CHUNK + 15),
    ):
        comment = "No valid chunking: the last chunk would have no tag, or no last chunk is there."
        file.negative(f"length-{name}", "malformed", 6, _pieces(file, [[0, end]]), comment=comment)


def _pieces(file: File, pieces: list[list[int]]) -> Json:
    """README, envelopes: ranges of the base envelope, one after another."""
    vector = next(vector for vector in file.vectors if vector["id"] == BASE_ID)
    base = bytes.fromhex(vector["envelope"]["hex"])
    data = b"".join(base[start:end] for start, end in pieces)
    return {"base": BASE_ID, "pieces": pieces, **jf.summary(data)}


def _key(file: Envelopes, good: bytes) -> None:
    for at in range(5, HEADER_LEN):
        file.negative(f"dek-id-byte-{at - 5}", "key_not_found", 7, _flip(good, at))
    other = data_key("other")
    file.negative("dek-id-other", "key_not_found", 7, good, key=other)
    same_id = DataKey(KEY.secret, other.key_id, "data")
    file.negative("dek-id-other-same-dek", "key_not_found", 7, good, key=same_id, comment="The id decides, not the key.")


def _commitment(file: Envelopes, good: bytes) -> None:
    wrong = DataKey(derived("dek", "other", 32), KEY.key_id, "data")
    file.negative("dek-wrong", "authentication_failed", 8, good, key=wrong, comment="Another key under the same id.")
    for purpose in ("index", "client", "audit"):
        key = DataKey(KEY.secret, KEY.key_id, purpose)
        comment = "The DEK's purpose is part of the derivation."
        file.negative(f"dek-purpose-{purpose}", "authentication_failed", 8, good, key=key, comment=comment)
    comment = "The header is bound."
    file.negative("encoding-00-to-01", "authentication_failed", 8, _set(good, 4, 0x01), comment=comment)
    padded = next(v for v in file.vectors if v["id"] == "envelope-padded-true")
    data = bytes.fromhex(padded["envelope"]["hex"])
    file.negative("encoding-01-to-00", "authentication_failed", 8, _set(data, 4, 0x00), comment=comment)
    relabelled = good[:5] + data_key("other").key_id + good[HEADER_LEN:]
    key = DataKey(KEY.secret, data_key("other").key_id, "data")
    comment = "The dek_id was replaced and the same key is found under it."
    file.negative("dek-id-relabelled", "authentication_failed", 8, relabelled, key=key, comment=comment)
    for name, at in (("first", 21), ("middle", 33), ("last", 44)):
        file.negative(f"salt-flip-{name}", "authentication_failed", 8, _flip(good, at))
    for name, at, mask in (("first", 45, 0x80), ("middle", 61, 0x01), ("sixteenth", 60, 0x10), ("last", 76, 0x01)):
        file.negative(f"commitment-flip-{name}", "authentication_failed", 8, _flip(good, at, mask))
    file.negative("commitment-zero", "authentication_failed", 8, good[:45] + bytes(32) + good[77:])
    file.negative("salt-zero", "authentication_failed", 8, good[:21] + bytes(24) + good[45:])


def _contexts(file: Envelopes, good: bytes) -> None:
    def swapped(key: str, value: Any) -> Pairs:
        return [[name, value if name == key else form] for name, form in NOTE]

    cases: list[tuple[str, Pairs]] = [
        ("tenant-other", swapped("tenant", {"text": "umbrella"})),
        ("tenant-case", swapped("tenant", {"text": "Acme"})),
        ("tenant-trailing-space", swapped("tenant", {"text": "acme "})),
        ("tenant-trailing-nul", swapped("tenant", {"text": "acme\0"})),
        ("purpose-other", swapped("purpose", {"text": "app.memo"})),
        ("value-other", swapped("note", {"text": "n-2"})),
        ("value-empty", swapped("note", {"text": ""})),
        ("pair-missing", NOTE[:2]),
        ("pair-extra", [*NOTE, ["part", {"text": "1"}]]),
        ("pair-extra-empty", [*NOTE, ["part", {"text": ""}]]),
        ("pair-renamed", [*NOTE[:2], ["notes", {"text": "n-1"}]]),
        ("values-swapped", text_pairs(tenant="n-1", purpose="app.note", note="acme")),
        ("values-shifted", text_pairs(tenant="acme", purpose="app.noten", note="-1")),
    ]
    for name, pairs in cases:
        file.negative(f"context-{name}", "authentication_failed", 8, good, pairs=pairs)
    channel = next(v for v in file.vectors if v["id"] == "envelope-langgraph-channel")
    data = bytes.fromhex(channel["envelope"]["hex"])
    for name, position in (
        ("version-next", {"int": "4"}),
        ("version-string", {"text": "3"}),
        ("version-float", jf.float_form(3.5)),
    ):
        pairs = [*CHANNEL[:-1], ["version", position]]
        file.negative(f"context-{name}", "authentication_failed", 8, data, pairs=pairs)
    pairs = [["thread", {"text": "t-2"}] if pair[0] == "thread" else pair for pair in CHANNEL]
    file.negative("context-thread-other", "authentication_failed", 8, data, pairs=pairs)


def _chunks(file: Envelopes, good: bytes) -> None:
    for name, at in (("first", BODY_AT), ("content-type", BODY_AT + 3), ("payload", BODY_AT + 9)):
        file.negative(f"ciphertext-flip-{name}", "authentication_failed", 9, _flip(good, at))
    for name, at in (("first", len(good) - 16), ("middle", len(good) - 9), ("last", len(good) - 1)):
        file.negative(f"tag-flip-{name}", "authentication_failed", 9, _flip(good, at))
    file.negative("cut-1", "authentication_failed", 9, good[:-1])
    file.negative("cut-to-93", "authentication_failed", 9, good[:93], comment="The shortest valid chunking.")
    file.negative("append-1", "authentication_failed", 9, good + b"\0")
    file.negative("append-16", "authentication_failed", 9, good + bytes(16))
    file.negative("tag-zero", "authentication_failed", 9, good[:-16] + bytes(16))
    other = next(v for v in file.vectors if v["id"] == "envelope-payload-16")
    spliced = good[:BODY_AT] + bytes.fromhex(other["envelope"]["hex"])[BODY_AT:]
    file.negative("chunk-of-another", "authentication_failed", 9, spliced, comment="Same key and context, other salt.")

    head, first, second = [0, BODY_AT], [BODY_AT, BODY_AT + SEALED_CHUNK], [BODY_AT + SEALED_CHUNK, 0]
    second[1] = second[0] + SEALED_CHUNK
    last = [second[1], second[1] + 100 + 16]
    for name, pieces in (
        ("swapped", [head, second, first, last]),
        ("first-dropped", [head, second, last]),
        ("second-dropped", [head, first, last]),
        ("both-dropped", [head, last]),
        ("first-duplicated", [head, first, first, second, last]),
        ("second-duplicated", [head, first, second, second, last]),
        ("second-repeats-first", [head, first, first, last]),
        ("last-duplicated", [head, first, second, last, last]),
        ("last-cut-by-one", [head, first, second, [last[0], last[1] - 1]]),
        ("last-cut-to-tag", [head, first, second, [last[1] - 16, last[1]]]),
        ("last-cut-to-16", [head, first, second, [last[0], last[0] + 16]]),
        ("last-is-part-of-second", [head, first, [second[0], second[0] + 116]]),
        ("second-cut-by-one", [head, first, [second[0], second[1] - 1], last]),
    ):
        file.negative(f"chunks-{name}", "authentication_failed", 9, _pieces(file, pieces), flags=("large",))
    exact = next(v for v in file.vectors if v["id"] == "envelope-inner-16384")
    data = bytes.fromhex(exact["envelope"]["hex"])
    file.negative("empty-last-chunk-flip", "authentication_failed", 9, _flip(data, len(data) - 1))
    file.negative("empty-last-chunk-zero", "authentication_failed", 9, data[:-16] + bytes(16))
    file.negative("empty-last-chunk-missing", "malformed", 6, data[:-16], comment="A full chunk is never the last.")


def _inner(file: Envelopes) -> None:
    def bad(name: str, inner: bytes, encoding: int, comment: str = "") -> None:
        id_ = f"inner-{name}"
        head = envelope.header(KIND_DATA, encoding, KEY.key_id)
        data = envelope.seal_body(KEY.body_key(), head, canonical(NOTE), salt_for(f"envelope-{id_}"), inner)
        file.negative(id_, "malformed", 10, data, comment=comment)

    plain, padded = padding.PLAIN, padding.PADDED
    bad("empty", b"", plain, "93 bytes: a valid chunking, but not even the content type's length.")
    bad("content-type-overruns-by-1", b"\x03ab", plain)
    bad("content-type-overruns", b"\xff" + b"a" * 254, plain)
    bad("content-type-alone", b"\x01", plain)
    for byte in (0x00, 0x0A, 0x1F, 0x7F, 0x80, 0xFF):
        bad(f"content-type-{byte:02x}", b"\x03a" + bytes([byte]) + b"bhello", plain)
    bad("content-type-utf8", b"\x05caf\xc3\xa9hello", plain)
    bad("content-type-first-byte", b"\x03\x1fabhello", plain)
    bad("content-type-last-byte", b"\x03ab\x7fhello", plain)

    ok = padding.build_inner(b"msgpack", b"hello", padded)  # n = 14, 32 bytes
    start = ok.rstrip(b"\0")
    bad("padded-empty", b"", padded)
    bad("padded-all-zero", bytes(32), padded)
    bad("padded-no-80", ok.replace(b"\x80", b"\0"), padded, "The last byte that is not zero belongs to the payload.")
    bad("padded-81", ok.replace(b"\x80", b"\x81"), padded)
    bad("padded-01", ok.replace(b"\x80", b"\x01"), padded)
    bad("padded-08", ok.replace(b"\x80", b"\x08"), padded)
    bad("padded-pkcs7", ok[:13] + bytes([19]) * 19, padded, "PKCS#7 in place of ISO/IEC 7816-4.")
    bad("padded-zero-filled", start[:-1] + bytes(19), padded, "Zero padding without a marker.")
    bad("padded-nonzero-after-80", ok[:-1] + b"\x01", padded)
    bad("padded-not-padded", start, padded, "Ends with the 0x80: no bucket.")
    bad("padded-one-short", ok[:-1], padded)
    bad("padded-one-long", ok + b"\0", padded)
    bad("padded-next-bucket", ok + bytes(32), padded, "64 bytes where n = 14.")
    bad("padded-two-buckets-long", ok + bytes(224), padded, "256 bytes where n = 14.")
    bad("padded-80-only", b"\x80" + bytes(31), padded, "No byte is left for the content type's length.")
    bad("padded-80-in-content-type", b"\x05ab\x80" + bytes(28), padded, "The content type runs into the padding.")
    bad("padded-content-type-is-padding", b"\x02ab".ljust(31, b"c") + b"c", padded, "No 0x80 at all.")
    bad("padded-content-type-1f", b"\x03a\x1fbhello\x80".ljust(32, b"\0"), padded)
    exact = padding.build_inner(b"msgpack", jf.pattern(248), padded)  # n = 257, 272 bytes
    bad("padded-above-256-multiple-of-32", exact + bytes(16), padded, "288 bytes where Padm\u00e9 says 272.")
    bad("padded-above-256-multiple-of-8", exact[:-8], padded, "264 bytes where Padm\u00e9 says 272.")
    at_256 = padding.build_inner(b"msgpack", jf.pattern(247), padded)  # n = 256
    bad("padded-256-as-272", at_256 + bytes(16), padded)
    large = padding.build_inner(b"msgpack", jf.pattern(1000 - 9), padded)  # n = 1000, 1024 bytes
    bad("padded-1000-as-1000", large.rstrip(b"\0"), padded)
    bad("padded-1000-as-1056", large + bytes(32), padded)


def _seal_refused(file: Envelopes) -> None:
    id_ = "envelope-seal-content-type-256"
    fields: Json = {"op": "seal", "key": key_form(KEY), "context": NOTE, "encoding": "plain"}
    fields |= {"content_type": "c" * 256, "payload": {"hex": "00"}, "salt": salt_for(id_).hex()}
    file.add(id_, "limit_exceeded", fields, comment="SPEC section 1.")
