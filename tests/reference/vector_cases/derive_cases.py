"""derive.json and padding.json: SPEC sections 2, 4, 4.1 and 6.2."""

from sealpoint_ref import derive, envelope, padding, store

from .build import CHANNEL, KEK, KEK_ID, NOTE, OTHER_KEK, File, Json, canonical, data_key, derived


def build() -> File:
    """The file."""
    file = File("derive", "Derived keys and digests: known answers only.")

    def add(id_: str, op: str, output: bytes, fields: Json, comment: str = "") -> None:
        vector = file.add(f"derive-{id_}", "ok", {"op": op, **fields}, comment=comment)
        vector["output"] = output.hex()

    key = derived("expand", "key", 32)
    for name, info, length in (
        ("empty-info", b"", 32),
        ("one-byte-out", b"info", 1),
        ("one-block", b"info", 64),
        ("into-second-block", b"info", 65),
        ("stream-length", b"info", 76),
        ("longest", b"info", 128),
        ("long-info", bytes(range(256)), 76),
    ):
        fields = {"key": key.hex(), "info": info.hex(), "length": length}
        add(f"expand-{name}", "expand", derive.expand(key, info, length), fields)
    for purpose in derive.DEK_PURPOSES:
        dek = data_key("main", purpose)
        fields = {"dek": dek.secret.hex(), "dek_id": dek.key_id.hex(), "purpose": purpose}
        add(f"body-key-{purpose}", "body-key", dek.body_key(), fields)
    dek = data_key("main")
    for name, purpose, version, tenant in (
        ("data", "data", 1, "acme"),
        ("index", "index", 1, "acme"),
        ("client", "client", 1, "acme"),
        ("audit", "audit", 1, "acme"),
        ("version-2", "data", 2, "acme"),
        ("version-largest", "data", 2**32 - 1, "acme"),
        ("tenant-other", "data", 1, "umbrella"),
        ("tenant-utf8", "data", 1, "caf\u00e9 \U0001f512"),
        ("tenant-1024", "data", 1, "t" * 1024),
    ):
        inputs = {"dek": dek.secret.hex(), "dek_id": dek.key_id.hex(), "purpose": purpose}
        inputs |= {"version": version, "tenant": tenant}  # type: ignore[dict-item]
        output = derive.key_check(dek.secret, purpose, dek.key_id, version, tenant)
        add(f"key-check-{name}", "key-check", output, inputs)
    for name, kek in (("local", KEK), ("other", OTHER_KEK), ("zero", bytes(32))):
        add(f"kek-id-{name}", "kek-id", derive.kek_id(kek), {"kek": kek.hex()})
        add(f"wrap-key-{name}", "wrap-key", derive.wrap_key(kek), {"kek": kek.hex()})
    for name, uri in (
        ("env", "env:SEALPOINT_KEK"),
        ("file", "file:/etc/sealpoint/kek"),
        ("aws", "aws-kms://arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
    ):
        add(f"canary-{name}", "canary", derive.canary(uri), {"kek_uri": uri})
    for name, head, data in (
        ("data", envelope.header(envelope.KIND_DATA, 0, dek.key_id), canonical(NOTE)),
        ("padded", envelope.header(envelope.KIND_DATA, 1, dek.key_id), canonical(NOTE)),
        ("channel", envelope.header(envelope.KIND_DATA, 0, dek.key_id), canonical(CHANNEL)),
        ("wrapped-key", envelope.header(envelope.KIND_WRAP, 0, KEK_ID), canonical(NOTE)),
    ):
        fields = {"header": head.hex(), "canonical": data.hex()}
        add(f"context-hash-{name}", "context-hash", derive.context_hash(head, data), fields)
    salt, ctx = derived("salt", "stream-keys", 24), derived("ctx", "stream-keys", 32)
    output = b"".join(derive.stream_keys(key, salt, ctx))
    fields = {"input_key": key.hex(), "salt": salt.hex(), "ctx": ctx.hex()}
    add("stream-keys", "stream-keys", output, fields, "K, base_nonce and commitment, one after another.")
    for name, tenant, ns in (
        ("typical", "acme", ["__pregel_ns_writes", "app.node", "node"]),
        ("tenant-other", "umbrella", ["__pregel_ns_writes", "app.node", "node"]),
        ("empty", "acme", []),
        ("joined", "acme", ["a,b"]),
        ("split", "acme", ["a", "b"]),
        ("tenant-as-label", "acme,1:a", []),
        ("utf8", "caf\u00e9", ["\U0001f512"]),
    ):
        add(f"cache-namespace-{name}", "cache-namespace", store.cache_namespace(tenant, ns), {"tenant": tenant, "ns": ns})
    return file


def build_padding() -> File:
    """padding.json."""
    file = File("padding", "SPEC section 4.1: bucket(n).")
    sizes = [2, 31, 32, 33, 63, 64, 65, 224, 225, 255, 256, 257, 271, 272, 273, 511, 512, 513, 1000, 1023, 1024, 1025]
    sizes += [4095, 4096, 4097, 5000, 16_383, 16_384, 16_385, 32_768, 65_535, 65_536, 65_537, 100_000, 2**20 - 1]
    sizes += [2**20, 2**20 + 1, 2**24 + 1, 2**30, 2**30 + 1]
    for n in sizes:
        file.add(f"padding-{n}", "ok", {"op": "bucket", "n": n})["bucket"] = padding.bucket(n)
    return file
