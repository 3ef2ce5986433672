"""exported-key.json: SPEC section 6.3."""

from dataclasses import replace

from sealpoint_ref import derive, envelope, exported, text

from .build import NOTE, File, Json, canonical, data_key, salt_for

TENANT = "acme"
PREFIX = "sealpoint-key:v1:"
MAIN = exported.Exported(data_key("main").secret, data_key("main").key_id, 1, TENANT)


def _check(key: exported.Exported, purpose: str = "client") -> bytes:
    return derive.key_check(key.dek, purpose, key.dek_id, key.version, key.tenant)


def build() -> File:
    """The file."""
    file = File("exported-key", "SPEC section 6.3: client DEKs as text.")

    def form(key: exported.Exported, purpose: str = "client") -> Json:
        return {
            "dek": key.dek.hex(),
            "dek_id": key.dek_id.hex(),
            "dek_purpose": purpose,
            "version": key.version,
            "tenant": key.tenant,
        }

    def positive(id_: str, key: exported.Exported, comment: str = "") -> None:
        value = exported.export(key.dek, "client", key.dek_id, key.version, key.tenant)
        data = exported.layout(key, _check(key))
        fields = {"op": "export-import", **form(key), "text": value, "bytes_hex": data.hex()}
        file.add(f"exported-key-{id_}", "ok", fields, comment=comment)

    def bad(id_: str, code: str, value: str, comment: str = "") -> None:
        file.add(f"exported-key-{id_}", code, {"op": "import", "text": value}, comment=comment)

    def bad_bytes(id_: str, code: str, data: bytes, comment: str = "") -> None:
        bad(id_, code, text.encode(envelope.KIND_KEY, data), comment)

    positive("main", MAIN)
    positive("other", replace(MAIN, dek=data_key("other").secret, dek_id=data_key("other").key_id))
    positive("version-2", replace(MAIN, version=2))
    positive("version-bytes", replace(MAIN, version=0x01020304))
    positive("version-max", replace(MAIN, version=2**32 - 1))
    positive("tenant-1", replace(MAIN, tenant="t"), "92 bytes: the shortest.")
    positive("tenant-2", replace(MAIN, tenant="tt"))
    positive("tenant-utf8", replace(MAIN, tenant="caf\u00e9 \U0001f512"))
    positive("tenant-nfd", replace(MAIN, tenant="cafe\u0301"), "Not normalised.")
    positive("tenant-nul", replace(MAIN, tenant="a\0b"))
    positive("tenant-1024", replace(MAIN, tenant="t" * 1024), "1,115 bytes: the longest.")
    positive("zero-dek", replace(MAIN, dek=bytes(32)))
    for purpose in ("data", "index", "audit"):
        fields = {"op": "export", **form(MAIN, purpose)}
        file.add(f"exported-key-export-{purpose}", "invalid_argument", fields, comment="No other DEK is exported.")

    good = exported.layout(MAIN, _check(MAIN))
    value = text.encode(envelope.KIND_KEY, good)
    body = value.removeprefix(PREFIX)
    for id_, unsealed in (
        ("empty", ""),
        ("prose", "approved"),
        ("no-prefix", body),
        ("upper-case-prefix", "SEALPOINT-KEY:v1:" + body),
        ("leading-space", " " + value),
        ("leading-newline", "\n" + value),
        ("hex", good.hex()),
    ):
        bad(id_, "plaintext_refused", unsealed)
    for id_, other in (
        ("data-prefix", "sealpoint:v1:"),
        ("wrap-prefix", "sealpoint-wrap:v1:"),
        ("wrap-prefix-v2", "sealpoint-wrap:v2:"),
        ("unknown-prefix", "sealpoint-keys:v1:"),
        ("no-colon", "sealpoint-key"),
    ):
        bad(id_, "malformed", other + body, "The prefix of another kind.")
    for id_, start in (
        ("v2", "sealpoint-key:v2:"),
        ("v11", "sealpoint-key:v11:"),
        ("v1-upper-case", "sealpoint-key:V1:"),
        ("no-version", "sealpoint-key:"),
    ):
        bad(id_, "unsupported_version", start + body)
    for id_, encoded in (
        ("no-body", ""),
        ("space-inside", body[:40] + " " + body[40:]),
        ("newline-inside", body[:76] + "\n" + body[76:]),
        ("trailing-newline", body + "\n"),
        ("standard-alphabet", "+" + body[1:]),
        ("non-ascii", body[:-1] + "\u00e9"),
        ("length-1-mod-4", body[: len(body) // 4 * 4] + "A"),
    ):
        bad(id_, "malformed", PREFIX + encoded)
    shortest = replace(MAIN, tenant="t")
    padded = text.encode(envelope.KIND_KEY, exported.layout(shortest, _check(shortest)))
    bad("padding", "malformed", padded + "=", "Padding, correct elsewhere.")
    bad("trailing-bit", "malformed", padded[:-1] + chr(ord(padded[-1]) + 1), "Nonzero trailing bits.")

    def put(at: int, *values: int) -> bytes:
        return good[:at] + bytes(values) + good[at + len(values) :]

    bad_bytes("magic-c2", "malformed", put(0, 0xC2), "Has the prefix.")
    bad_bytes("raw-dek", "malformed", MAIN.dek, "32 key bytes and nothing else.")
    for length in range(1, 5):
        bad_bytes(f"header-{length}", "malformed", good[:length], "Ends before the next field.")
    note = envelope.seal(data_key("main", "client"), canonical(NOTE), b"", b"x", 0, salt_for("exported-key-envelope"))
    bad_bytes("data-envelope", "malformed", note, "A data envelope behind the prefix.")
    bad_bytes("kind-wrap", "malformed", put(1, envelope.KIND_WRAP))
    bad_bytes("kind-before-version", "malformed", put(1, envelope.KIND_DATA, 2), "The kind comes first.")
    for number in (0x00, 0x02, 0xFF):
        bad_bytes(f"version-{number:02x}", "unsupported_version", put(2, number))
        bad_bytes(f"suite-{number:02x}", "unsupported_suite", put(3, number))
    bad_bytes("version-before-suite", "unsupported_version", put(2, 2, 2), "The version comes first.")
    bad_bytes("suite-before-purpose", "unsupported_suite", put(3, 2, 1), "The suite comes first.")
    bad_bytes("version-02-short", "unsupported_version", put(2, 2)[:60], "The version comes before the length.")
    for purpose in ("data", "index", "audit"):
        number = derive.DEK_PURPOSES[purpose]
        data = put(4, number)[:57] + _check(MAIN, purpose) + good[89:]
        bad_bytes(f"purpose-{purpose}", "malformed", data, "With the right key check for that purpose.")
    for number in (0x00, 0x05, 0xFF):
        bad_bytes(f"purpose-{number:02x}", "malformed", put(4, number))
    for length in (5, 21, 25, 57, 89, 90, 91, len(good) - 1):
        bad_bytes(f"length-{length}", "malformed", good[:length])
    bad_bytes("length-more", "malformed", good + b"\0")
    bad_bytes("twice", "malformed", good + good)
    bad_bytes("tenant-len-less", "malformed", put(89, 0, 3))
    bad_bytes("tenant-len-more", "malformed", put(89, 0, 5))
    bad_bytes("tenant-len-little-endian", "malformed", put(89, 4, 0))

    def tenant(name: bytes) -> bytes:
        """The main key for a tenant whose name no `Exported` holds, with the right key check."""
        info = b"sealpoint/v1/key-check\0" + bytes([1, 3]) + MAIN.dek_id + bytes([0, 0, 0, 1])
        check = derive.expand(MAIN.dek, info + len(name).to_bytes(2, "big") + name, 32)
        return good[:57] + check + len(name).to_bytes(2, "big") + name

    if tenant(TENANT.encode()) != good:
        raise AssertionError("SPEC section 2, written down twice")
    right = "With the right key check."
    bad_bytes("tenant-empty", "malformed", tenant(b""), right)
    bad_bytes("tenant-1025", "malformed", tenant(b"t" * 1025), right)
    bad_bytes("tenant-65535", "malformed", tenant(b"t" * 65_535), right)
    for id_, name in (
        ("stray-continuation", b"a\x80"),
        ("overlong-nul", b"\xc0\x80"),
        ("surrogate", b"\xed\xa0\x80"),
        ("cut-off", b"acm\xc3"),
        ("latin-1", b"caf\xe9"),
    ):
        bad_bytes(f"tenant-{id_}", "malformed", tenant(name), right)
    zero = replace(MAIN, version=0)
    bad_bytes("version-0", "malformed", exported.layout(zero, _check(zero)), "A DEK's versions begin at 1.")

    failed = "authentication_failed"
    for name, at in (
        ("dek-id-first", 5),
        ("dek-id-last", 20),
        ("dek-version", 23),
        ("dek-first", 25),
        ("dek-last", 56),
        ("key-check-first", 57),
        ("key-check-middle", 73),
        ("key-check-last", 88),
        ("tenant-last", len(good) - 1),
    ):
        bad_bytes(f"{name}-flip", failed, put(at, good[at] ^ 1))
    bad_bytes("key-check-zero", failed, put(57, *bytes(32)))
    bad_bytes("tenant-other", failed, exported.layout(replace(MAIN, tenant="umbrella"), _check(MAIN)))
    bad_bytes("dek-other", failed, exported.layout(replace(MAIN, dek=data_key("other").secret), _check(MAIN)))
    bad_bytes("key-check-of-data", failed, exported.layout(MAIN, _check(MAIN, "data")), "It binds the purpose.")
    return file
