"""wrap.json and stored-key.json: SPEC sections 6, 6.5 and 8."""

from sealpoint_ref import derive, envelope, wrap

from .build import KEK, KEK_ID, NOTE, OTHER_KEK, File, Json, canonical, data_key, salt_for

TENANT = "acme"
URI = "env:SEALPOINT_KEK"


def _position(purpose: str = "data", tenant: str = TENANT, dek_id: bytes | None = None) -> Json:
    return {"dek_id": (dek_id or data_key("main").key_id).hex(), "dek_purpose": purpose, "tenant": tenant}


def _context(position: Json) -> bytes:
    bound = wrap.open_only_context if "dek_use" in position else wrap.wrap_context
    return bound(bytes.fromhex(position["dek_id"]), position["dek_purpose"], position["tenant"])


def _open_only(position: Json) -> Json:
    return {**position, "dek_use": "open"}


def build() -> File:
    """wrap.json."""
    file = File("wrap", "DEKs and canaries wrapped under a local KEK.")
    secret = data_key("main").secret

    def positive(id_: str, position: Json, kek: bytes = KEK, dek: bytes = secret) -> bytes:
        salt = salt_for(id_)
        data = wrap.wrap(kek, _context(position), dek, salt)
        fields = {"op": "wrap-unwrap", "kek": kek.hex(), **position, "secret": dek.hex(), "salt": salt.hex()}
        file.add(id_, "ok", {**fields, "wrapped": data.hex()})
        return data

    good = positive("wrap-data", _position())
    for purpose in ("index", "client", "audit"):
        positive(f"wrap-{purpose}", _position(purpose))
    positive("wrap-other-kek", _position(), OTHER_KEK)
    positive("wrap-tenant-utf8", _position(tenant="caf\u00e9 \U0001f512"))
    positive("wrap-tenant-1024", _position(tenant="t" * 1024))
    positive("wrap-zero-dek", _position(), dek=bytes(32))
    for name, uri in (("env", URI), ("file", "file:/etc/sealpoint/kek")):
        id_ = f"wrap-canary-{name}"
        salt = salt_for(id_)
        data = wrap.wrap(KEK, wrap.canary_context(uri), derive.canary(uri), salt)
        fields = {"op": "canary-wrap-unwrap", "kek": KEK.hex(), "kek_uri": uri, "secret": derive.canary(uri).hex()}
        file.add(id_, "ok", {**fields, "salt": salt.hex(), "wrapped": data.hex()})

    def bad(
        id_: str,
        code: str,
        step: int,
        data: bytes,
        *,
        comment: str = "",
        position: Json | None = None,
        kek: bytes = KEK,
    ) -> None:
        fields = {"op": "unwrap", "kek": kek.hex(), **(position or _position()), "wrapped": data.hex()}
        file.add(f"wrap-{id_}", code, fields, comment=comment, flags=(f"step-{step}",))

    def flip(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]

    def put(at: int, value: int) -> bytes:
        return good[:at] + bytes([value]) + good[at + 1 :]

    bad("no-bytes", "plaintext_refused", 1, b"")
    bad("magic-c0", "plaintext_refused", 1, flip(0))
    bad("raw-dek", "plaintext_refused", 1, bytes(32), comment="32 key bytes in the clear.")
    bad("text-as-bytes", "malformed", 1, b"sealpoint-wrap:v1:AAAA", comment="A text form passed as bytes.")
    bad("text-data-as-bytes", "malformed", 1, b"sealpoint:v1:AAAA", comment="A text form passed as bytes.")
    for length in range(1, 5):
        bad(f"header-{length}", "malformed", length + 1, good[:length], comment="Ends before the next field.")
    bad("kind-data", "malformed", 2, put(1, envelope.KIND_DATA), comment="A data envelope is no wrapped key.")
    bad("kind-00", "malformed", 2, put(1, 0))
    sealed = envelope.seal(data_key("main"), canonical(NOTE), b"", bytes(31), 0x00, salt_for("wrap-data-envelope-125"))
    bad("data-envelope-125", "malformed", 2, sealed, comment="A data envelope of 125 bytes.")
    for value in (0x00, 0x02, 0xFF):
        bad(f"version-{value:02x}", "unsupported_version", 3, put(2, value))
        bad(f"suite-{value:02x}", "unsupported_suite", 4, put(3, value))
    for value in (0x01, 0x02, 0xFF):
        bad(f"encoding-{value:02x}", "unsupported_encoding", 5, put(4, value))
    for length in (5, 21, 77, 93, 109, 124):
        bad(f"length-{length}", "malformed", 6, good[:length])
    bad("length-126", "malformed", 6, good + b"\0")
    bad("length-141", "malformed", 6, good + bytes(16))
    for size in (0, 16, 31, 33, 64):
        data = wrap.wrap(KEK, _context(_position()), bytes(size), salt_for(f"wrap-authentic-{size}"))
        bad(f"authentic-{size}", "malformed", 6, data, comment="Wrapped by a holder of the KEK; not 32 key bytes.")
    for at in range(5, envelope.HEADER_LEN):
        bad(f"kek-id-byte-{at - 5}", "key_not_found", 7, flip(at))
    bad("kek-other", "key_not_found", 7, good, kek=OTHER_KEK)
    forged = wrap.wrap(OTHER_KEK, _context(_position()), secret, salt_for("wrap-kek-id-relabelled"))
    forged = forged[:5] + KEK_ID + forged[envelope.HEADER_LEN :]
    bad("kek-id-relabelled", "authentication_failed", 8, forged, comment="Made under another KEK, this one's id put in.")
    head = envelope.header(envelope.KIND_WRAP, 0, KEK_ID)
    as_body = envelope.seal_body(KEK, head, _context(_position()), salt_for("wrap-kek-as-input-key"), secret)
    bad("kek-as-input-key", "authentication_failed", 8, as_body, comment="The KEK itself in place of K_wrap.")
    for name, position in (
        ("tenant-other", _position(tenant="umbrella")),
        ("purpose-other", _position("index")),
        ("dek-id-other", _position(dek_id=data_key("other").key_id)),
    ):
        bad(name, "authentication_failed", 8, good, position=position)
    for name, at in (("first", 21), ("last", 44)):
        bad(f"salt-flip-{name}", "authentication_failed", 8, flip(at))
    for name, at in (("first", 45), ("middle", 61), ("last", 76)):
        bad(f"commitment-flip-{name}", "authentication_failed", 8, flip(at))
    for name, at in (("first", 77), ("last", 108)):
        bad(f"ciphertext-flip-{name}", "authentication_failed", 9, flip(at))
    for name, at in (("first", 109), ("last", 124)):
        bad(f"tag-flip-{name}", "authentication_failed", 9, flip(at))
    other = next(v for v in file.vectors if v["id"] == "wrap-index")
    spliced = good[: envelope.BODY_AT] + bytes.fromhex(other["wrapped"])[envelope.BODY_AT :]
    bad("chunk-of-another", "authentication_failed", 9, spliced)

    canary = bytes.fromhex(next(v for v in file.vectors if v["id"] == "wrap-canary-env")["wrapped"])
    bad("canary-as-dek", "authentication_failed", 8, canary, comment="A canary is bound to its own context.")
    for id_, code, step, uri, kek, data in (
        ("wrap-canary-kek-other", "key_not_found", 7, URI, OTHER_KEK, canary),
        ("wrap-canary-uri-other", "authentication_failed", 8, "env:OTHER", KEK, canary),
        ("wrap-dek-as-canary", "authentication_failed", 8, URI, KEK, good),
    ):
        fields = {"op": "canary-unwrap", "kek": kek.hex(), "kek_uri": uri, "wrapped": data.hex()}
        file.add(id_, code, fields, flags=(f"step-{step}",))

    open_only = positive("wrap-open-only", _open_only(_position()))
    positive("wrap-open-only-client", _open_only(_position("client")))
    positive("wrap-open-only-tenant-utf8", _open_only(_position(tenant="caf\u00e9 \U0001f512")))
    failed = "authentication_failed"
    bad("open-only-shortened", failed, 8, open_only, comment="The addition to its wrap_alg was taken away.")
    bad("open-only-added", failed, 8, good, comment="An ordinary wrap got the addition.", position=_open_only(_position()))
    bad("open-only-tenant-other", failed, 8, open_only, position=_open_only(_position(tenant="umbrella")))
    bad("open-only-purpose-other", failed, 8, open_only, position=_open_only(_position("client")))
    bad("open-only-kek-other", "key_not_found", 7, open_only, position=_open_only(_position()), kek=OTHER_KEK)
    bad("open-only-canary", failed, 8, canary, comment="A canary is never one.", position=_open_only(_position()))
    return file


def build_stored() -> File:
    """stored-key.json."""
    file = File("stored-key", "SPEC section 6.1: stored DEKs, for the caller's tenant and purpose.")
    dek = data_key("stored")

    def add(
        id_: str,
        code: str,
        comment: str = "",
        *,
        of: tuple[str, str, int] = (TENANT, "data", 1),
        asked: tuple[str, str] = (TENANT, "data"),
        check: bytes | None = b"",
        wrapped_for: tuple[str, str] | None = None,
        later: Json | None = None,
        secret: bytes = dek.secret,
        kek: bytes = KEK,
    ) -> None:
        """A record `of` tenant, purpose and version; `later` changes it after all else was made."""
        id_ = f"stored-key-{id_}"
        if check == b"":
            check = derive.key_check(dek.secret, of[1], dek.key_id, of[2], of[0])
        tenant, purpose = wrapped_for or of[:2]
        wrapped = wrap.wrap(KEK, wrap.wrap_context(dek.key_id, purpose, tenant), secret, salt_for(id_))
        record: Json = {"tenant": of[0], "purpose": of[1], "dek_id": dek.key_id.hex(), "version": of[2]}
        record |= {"key_check": None if check is None else check.hex(), **(later or {})}
        fields: Json = {"op": "open-stored", "kek": kek.hex(), "caller": {"tenant": asked[0], "purpose": asked[1]}}
        vector = file.add(id_, code, {**fields, "record": record, "wrapped": wrapped.hex()}, comment=comment)
        if code == "ok":
            vector["dek"] = dek.secret.hex()

    for purpose in derive.DEK_PURPOSES:
        add(purpose, "ok", of=(TENANT, purpose, 1), asked=(TENANT, purpose))
    add("version-2", "ok", of=(TENANT, "data", 2))
    failed = "authentication_failed"
    add("tenant-of-another", failed, "The wrap is good for the record's tenant.", of=("umbrella", "data", 1))
    add("purpose-of-another", failed, "The wrap is good for the record's purpose.", of=(TENANT, "client", 1))
    comment = "The record says the caller's tenant, the wrap another."
    add("tenant-relabelled", failed, comment, wrapped_for=("umbrella", "data"))
    comment = "The record says the caller's purpose, the wrap another."
    add("purpose-relabelled", failed, comment, wrapped_for=(TENANT, "client"))
    other_id = data_key("other").key_id.hex()
    add("dek-id-relabelled", failed, "The wrap is for another dek_id.", later={"dek_id": other_id})
    add("version-changed", failed, "The key check binds the version.", later={"version": 2})
    good = derive.key_check(dek.secret, "data", dek.key_id, 1, TENANT)
    add("key-check-flip", failed, check=bytes([good[0] ^ 1]) + good[1:])
    add("key-check-flip-last", failed, check=good[:-1] + bytes([good[-1] ^ 1]))
    add("key-check-zero", failed, check=bytes(32))
    comment = "A good wrap of another key: only the key check tells."
    add("dek-replaced", failed, comment, secret=data_key("other").secret)
    other = derive.key_check(data_key("other").secret, "data", dek.key_id, 1, TENANT)
    add("key-check-other", failed, "The key check of another key.", check=other)
    add("key-check-absent", "store_invalid", check=None)
    add("kek-other", "key_not_found", kek=OTHER_KEK)
    return file
