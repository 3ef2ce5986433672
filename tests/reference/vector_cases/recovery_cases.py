"""recovery.json: SPEC section 6.4."""

import json
from pathlib import Path

from sealpoint_ref import envelope, recovery, text, wrap

from .build import NOTE, File, Json, canonical, data_key, derived, salt_for

RECORDED = Path(__file__).resolve().parent.parent / "recorded.json"
TENANT = "acme"
SECRET, OTHER = derived("recovery", "main", 32), derived("recovery", "other", 32)


def recorded(id_: str, secret: bytes, context: bytes, dek: bytes) -> bytes:
    """The wrap of a vector: made when the vector is new, and kept, since HPKE makes another one each time."""
    kept: dict[str, str] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if id_ not in kept:
        kept[id_] = recovery.wrap(secret, context, dek).hex()
        RECORDED.write_text(json.dumps(kept, indent=1) + "\n")
    return bytes.fromhex(kept[id_])


def _position(purpose: str = "data", tenant: str = TENANT) -> Json:
    return {"dek_id": data_key("main").key_id.hex(), "dek_purpose": purpose, "tenant": tenant}


def _context(position: Json) -> bytes:
    return wrap.wrap_context(bytes.fromhex(position["dek_id"]), position["dek_purpose"], position["tenant"])


def build() -> File:
    """The file."""
    file = File("recovery", "SPEC section 6.4: recovery keys, and DEKs wrapped for them.")
    dek = data_key("main").secret

    for name, secret in (("main", SECRET), ("other", OTHER), ("zero", bytes(32)), ("ones", b"\xff" * 32)):
        texts = {"secret_text": recovery.secret_text(secret), "public_text": recovery.public_text(secret)}
        identity = recovery.recovery_id(recovery.public_bytes(secret)).hex()
        file.add(f"recovery-pair-{name}", "ok", {"op": "pair", "secret": secret.hex(), **texts, "recovery_id": identity})

    def positive(id_: str, position: Json, secret: bytes = SECRET, key: bytes = dek) -> bytes:
        wrapped = recorded(id_, secret, _context(position), key)
        file.add(
            id_, "ok", {"op": "unwrap", "secret_text": recovery.secret_text(secret), **position, "wrapped": wrapped.hex(), "dek": key.hex()}
        )
        return wrapped

    good = positive("recovery-unwrap-data", _position())
    for purpose in ("index", "client", "audit"):
        positive(f"recovery-unwrap-{purpose}", _position(purpose))
    positive("recovery-unwrap-other-key", _position(), OTHER)
    positive("recovery-unwrap-tenant-utf8", _position(tenant="caf\u00e9 \U0001f512"))
    positive("recovery-unwrap-tenant-1024", _position(tenant="t" * 1024))
    positive("recovery-unwrap-zero-dek", _position(), key=bytes(32))

    def bad(id_: str, code: str, data: bytes, comment: str = "", position: Json | None = None, secret: bytes = SECRET) -> None:
        fields = {"op": "unwrap", "secret_text": recovery.secret_text(secret), **(position or _position()), "wrapped": data.hex()}
        file.add(f"recovery-unwrap-{id_}", code, fields, comment=comment)

    def put(data: bytes, at: int, *values: int) -> bytes:
        return data[:at] + bytes(values) + data[at + len(values) :]

    bad("empty", "plaintext_refused", b"")
    bad("magic-c2", "plaintext_refused", put(good, 0, 0xC2))
    bad("raw-dek", "plaintext_refused", dek)
    for length in range(1, 5):
        bad(f"header-{length}", "malformed", good[:length], "Ends before the next field.")
    for kind, name in ((0x50, "public"), (0x51, "secret"), (0x53, "data"), (0x57, "wrap"), (0x00, "00")):
        bad(f"kind-{name}", "malformed", put(good, 1, kind))
    note = envelope.seal(data_key("main"), canonical(NOTE), b"", b"x", 0, salt_for("recovery-envelope"))
    bad("data-envelope", "malformed", note)
    for number in (0x00, 0x02, 0xFF):
        bad(f"version-{number:02x}", "unsupported_version", put(good, 2, number))
        bad(f"suite-{number:02x}", "unsupported_suite", put(good, 3, number))
    for number in (0x01, 0xFF):
        bad(f"encoding-{number:02x}", "unsupported_encoding", put(good, 4, number))
    bad("version-before-suite", "unsupported_version", put(good, 2, 2, 2), "The version comes first.")
    bad("encoding-before-length", "unsupported_encoding", put(good, 4, 1)[:-1], "The encoding comes before the length.")
    for length in (5, 20, 21, 1140, 1141, 1173, len(good) - 1):
        bad(f"length-{length}", "malformed", good[:length])
    bad("length-more", "malformed", good + b"\0")
    bad("length-before-id", "malformed", put(good, 5, good[5] ^ 1) + b"\0", "The length comes before the id.")
    bad("id-first", "key_not_found", put(good, 5, good[5] ^ 1))
    bad("id-last", "key_not_found", put(good, 20, good[20] ^ 1))
    bad("other-secret", "key_not_found", good, secret=OTHER)
    failed = "authentication_failed"
    forged = recovery.header(envelope.KIND_RECOVERY_WRAP, recovery.public_bytes(OTHER)) + good[21:]
    bad("other-secret-with-its-id", failed, forged, "Another key's id in front of it.", secret=OTHER)
    for name, at in (
        ("enc-first", 21),
        ("enc-mlkem-last", 1108),
        ("enc-x25519-first", 1109),
        ("ciphertext-first", 1141),
        ("tag-last", len(good) - 1),
    ):
        bad(f"{name}-flip", failed, put(good, at, good[at] ^ 1))
    bad("tenant", failed, good, position=_position(tenant="umbrella"))
    bad("purpose", failed, good, position=_position("client"))
    bad("dek-id", failed, good, position={**_position(), "dek_id": data_key("other").key_id.hex()})

    for op, value in (("import-secret", recovery.secret_text(SECRET)), ("import-public", recovery.public_text(SECRET))):
        _texts(file, op, value)
    low = text.decode(envelope.KIND_RECOVERY_SECRET, recovery.secret_text(SECRET))
    for name, at in (("id", 5), ("secret-first", 21), ("secret-last", 52)):
        value = text.encode(envelope.KIND_RECOVERY_SECRET, put(low, at, low[at] ^ 1))
        file.add(f"recovery-import-secret-{name}-flip", failed, {"op": "import-secret", "text": value})
    high = text.decode(envelope.KIND_RECOVERY_PUBLIC, recovery.public_text(SECRET))
    for name, at in (("id", 5), ("mlkem-first", 21), ("x25519-last", 1236)):
        value = text.encode(envelope.KIND_RECOVERY_PUBLIC, put(high, at, high[at] ^ 1))
        file.add(f"recovery-import-public-{name}-flip", failed, {"op": "import-public", "text": value})
    public = b"\xff" * 1216
    value = text.encode(envelope.KIND_RECOVERY_PUBLIC, recovery.header(envelope.KIND_RECOVERY_PUBLIC, public) + public)
    comment = "Coefficients beyond the modulus, with the right id."
    file.add("recovery-import-public-no-key", "malformed", {"op": "import-public", "text": value}, comment=comment)
    return file


def _texts(file: File, op: str, value: str) -> None:
    family, version, body = value.split(":")
    other = "sealpoint-recovery-secret" if op == "import-public" else "sealpoint-recovery-public"
    kind = envelope.KIND_RECOVERY_SECRET if op == "import-secret" else envelope.KIND_RECOVERY_PUBLIC
    data = text.decode(kind, value)
    for name, code, wrong in (
        ("empty", "plaintext_refused", ""),
        ("prose", "plaintext_refused", "swordfish"),
        ("no-prefix", "plaintext_refused", body),
        ("leading-space", "plaintext_refused", " " + value),
        ("other-half", "malformed", f"{other}:{version}:{body}"),
        ("data-prefix", "malformed", f"sealpoint:{version}:{body}"),
        ("key-prefix", "malformed", f"sealpoint-key:{version}:{body}"),
        ("v2", "unsupported_version", f"{family}:v2:{body}"),
        ("no-version", "unsupported_version", f"{family}:{body}"),
        ("no-body", "malformed", f"{family}:{version}:"),
        ("newline-inside", "malformed", f"{family}:{version}:{body[:40]}\n{body[40:]}"),
        ("trailing-newline", "malformed", value + "\n"),
        ("standard-alphabet", "malformed", f"{family}:{version}:+{body[1:]}"),
        ("magic-c2", "malformed", text.encode(kind, b"\xc2" + data[1:])),
        ("kind", "malformed", text.encode(kind, data[:1] + b"\x52" + data[2:])),
        ("version-02", "unsupported_version", text.encode(kind, data[:2] + b"\x02" + data[3:])),
        ("suite-02", "unsupported_suite", text.encode(kind, data[:3] + b"\x02" + data[4:])),
        ("encoding-01", "unsupported_encoding", text.encode(kind, data[:4] + b"\x01" + data[5:])),
        ("header-4", "malformed", text.encode(kind, data[:4])),
        ("length-less", "malformed", text.encode(kind, data[:-1])),
        ("length-more", "malformed", text.encode(kind, data + b"\0")),
    ):
        file.add(f"recovery-{op}-{name}", code, {"op": op, "text": wrong})
