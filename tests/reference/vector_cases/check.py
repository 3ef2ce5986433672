"""Runs one vector through the reference: what it returns must be what the vector says."""

import hashlib
from collections.abc import Callable
from typing import Any

from sealpoint_ref import cbor, context, derive, envelope, exported, manifest, padding, recovery, store, text, wrap
from sealpoint_ref.errors import SealpointError

from . import jsonform as jf

Json = dict[str, Any]
ENCODINGS = {"plain": padding.PLAIN, "padded": padding.PADDED}


class Mismatch(AssertionError):
    """The reference and a vector disagree."""


def same(what: str, got: object, want: object) -> None:
    """Refuses a difference."""
    if got != want:
        raise Mismatch(f"{what}: got {str(got)[:200]}, want {str(want)[:200]}")


class Checker:
    """All vectors by file and id, since some name another one."""

    def __init__(self, files: dict[str, Json]) -> None:
        self.by_id = {vector["id"]: vector for content in files.values() for vector in content["vectors"]}
        self._sealed: dict[str, bytes] = {}

    def run(self, file: str, vector: Json) -> None:
        """Runs a vector of `file`; raises `Mismatch` where the reference disagrees."""
        run: Callable[[Json], None] = getattr(self, "run_" + file.removesuffix(".json").replace("-", "_"))
        code = "ok"
        try:
            run(vector)
        except SealpointError as error:
            code = error.code
        same(f"{vector['id']}: outcome", code, vector["expect"])

    def envelope_bytes(self, vector: Json) -> bytes:
        """README, envelopes: the bytes of a data envelope, from hex, from pieces or by sealing."""
        form = vector["envelope"]
        if "hex" in form:
            return bytes.fromhex(form["hex"])
        if "pieces" in form:
            base = self.envelope_bytes(self.by_id[form["base"]])
            data = b"".join(base[start:end] for start, end in form["pieces"])
        else:
            if vector["id"] not in self._sealed:
                self._sealed[vector["id"]] = self.seal(vector)
            data = self._sealed[vector["id"]]
        same(f"{vector['id']}: bytes", jf.summary(data), {key: form[key] for key in ("len", "sha256")})
        return data

    @staticmethod
    def key(vector: Json) -> envelope.DataKey:
        """README, envelopes: the key."""
        key = vector["key"]
        return envelope.DataKey(bytes.fromhex(key["dek"]), bytes.fromhex(key["dek_id"]), key["purpose"])

    def seal(self, vector: Json) -> bytes:
        """Seals what a vector of envelope.json describes."""
        return envelope.seal(
            self.key(vector),
            context.canonical(jf.read_pairs(vector["context"])),
            vector["content_type"].encode(),
            jf.read_payload(vector["payload"]),
            ENCODINGS[vector["encoding"]],
            bytes.fromhex(vector["salt"]),
        )

    def run_context(self, vector: Json) -> None:
        """context.json."""
        if vector["op"] == "canonical":
            data = context.canonical(jf.read_pairs(vector["pairs"]))
            if "canonical_hex" in vector:
                same("canonical", data.hex(), vector["canonical_hex"])
            elif vector["expect"] == "ok":
                same("canonical", jf.summary(data), vector["canonical_summary"])
            context.parse_canonical(data)
        elif vector["op"] == "parse":
            pairs = context.parse_canonical(bytes.fromhex(vector["canonical_hex"]))
            if vector["expect"] == "ok":
                same("pairs", [[key.decode(), value.hex()] for key, value in pairs], vector["pairs_hex"])

    def run_derive(self, vector: Json) -> None:
        """derive.json."""
        hexes = {key: bytes.fromhex(value) for key, value in vector.items() if key in HEX_INPUTS}
        match vector["op"]:
            case "expand":
                got = derive.expand(hexes["key"], hexes["info"], vector["length"])
            case "body-key":
                got = derive.body_key(hexes["dek"], vector["purpose"], hexes["dek_id"])
            case "key-check":
                got = derive.key_check(hexes["dek"], vector["purpose"], hexes["dek_id"], vector["version"], vector["tenant"])
            case "kek-id":
                got = derive.kek_id(hexes["kek"])
            case "wrap-key":
                got = derive.wrap_key(hexes["kek"])
            case "canary":
                got = derive.canary(vector["kek_uri"])
            case "context-hash":
                got = derive.context_hash(hexes["header"], hexes["canonical"])
            case "cache-namespace":
                got = store.cache_namespace(vector["tenant"], vector["ns"])
            case "stream-keys":
                got = b"".join(derive.stream_keys(hexes["input_key"], hexes["salt"], hexes["ctx"]))
            case op:
                raise Mismatch(f"no such op: {op}")
        same("output", got.hex(), vector["output"])

    def run_store(self, vector: Json) -> None:
        """store.json."""
        key, at = self.key(vector), store.Position(vector["tenant"], vector["ns"], vector["item"])
        if vector["op"] == "seal-open":
            fields = {
                name: store.seal_text(key, at.field(name), payload.encode(), bytes.fromhex(vector["salts"][name]))
                for name, payload in vector["apart"].items()
            }
            whole = store.payload(vector["clear"], fields, vector["rest"].encode())
            sealed = store.seal_text(key, at.item(), whole, bytes.fromhex(vector["salt"]))
            same("stored", {**vector["clear"], **fields, "sealpoint": sealed}, vector["stored"])
        value = store.open_(key, at, vector["stored"])
        if vector["expect"] == "ok":
            same("value", value, vector["value"])

    def run_padding(self, vector: Json) -> None:
        """padding.json."""
        same("bucket", padding.bucket(vector["n"]), vector["bucket"])

    def run_envelope(self, vector: Json) -> None:
        """envelope.json."""
        if vector["op"] in ("seal-open", "seal"):
            sealed = self.seal(vector)
            if vector["op"] == "seal":
                return
            same("envelope", sealed, self.envelope_bytes(vector))
        canonical = context.canonical(jf.read_pairs(vector["context"]))
        content_type, payload = envelope.open_(self.key(vector), canonical, self.envelope_bytes(vector))
        if vector["expect"] == "ok":
            same("content type", content_type.decode(), vector["content_type"])
            same("payload", payload, jf.read_payload(vector["payload"]))

    def run_text(self, vector: Json) -> None:
        """text.json."""
        known = self.by_id[vector["with"]]
        kind = {"data": envelope.KIND_DATA, "wrapped-key": envelope.KIND_WRAP}[vector["kind"]]
        data = text.decode(kind, vector["text"])
        if kind == envelope.KIND_DATA:
            envelope.open_(self.key(known), context.canonical(jf.read_pairs(known["context"])), data)
        else:
            wrap.unwrap(bytes.fromhex(known["kek"]), self.wrap_context(known), data)
        if vector["expect"] == "ok":
            same("bytes", data.hex(), vector["bytes_hex"])
            same("text", text.encode(kind, data), vector["text"])

    @staticmethod
    def wrap_context(vector: Json) -> bytes:
        """README, wrapped keys: the context of a DEK, or of a canary."""
        if vector["op"].startswith("canary"):
            return wrap.canary_context(vector["kek_uri"])
        bound = wrap.open_only_context if "dek_use" in vector else wrap.wrap_context
        return bound(bytes.fromhex(vector["dek_id"]), vector["dek_purpose"], vector["tenant"])

    def run_wrap(self, vector: Json) -> None:
        """wrap.json."""
        kek, data = bytes.fromhex(vector["kek"]), bytes.fromhex(vector["wrapped"])
        canonical = self.wrap_context(vector)
        if vector["op"] in ("wrap-unwrap", "canary-wrap-unwrap"):
            secret = bytes.fromhex(vector["secret"])
            same("wrapped", wrap.wrap(kek, canonical, secret, bytes.fromhex(vector["salt"])), data)
        if vector["op"] == "canary-wrap-unwrap":
            same("canary", derive.canary(vector["kek_uri"]), bytes.fromhex(vector["secret"]))
        got = wrap.unwrap(kek, canonical, data)
        if vector["expect"] == "ok":
            same("secret", got.hex(), vector["secret"])

    def run_stored_key(self, vector: Json) -> None:
        """stored-key.json."""
        stored = vector["record"]
        check = stored["key_check"]
        record = wrap.Record(
            stored["tenant"],
            stored["purpose"],
            bytes.fromhex(stored["dek_id"]),
            stored["version"],
            None if check is None else bytes.fromhex(check),
        )
        dek = wrap.open_stored(
            bytes.fromhex(vector["kek"]),
            record,
            bytes.fromhex(vector["wrapped"]),
            vector["caller"]["tenant"],
            vector["caller"]["purpose"],
        )
        if vector["expect"] == "ok":
            same("dek", dek.hex(), vector["dek"])

    def run_exported_key(self, vector: Json) -> None:
        """exported-key.json."""
        if vector["op"] != "import":
            dek, dek_id = bytes.fromhex(vector["dek"]), bytes.fromhex(vector["dek_id"])
            value = exported.export(dek, vector["dek_purpose"], dek_id, vector["version"], vector["tenant"])
            same("text", value, vector["text"])
        key = exported.import_(vector["text"])
        if vector["expect"] == "ok":
            same("bytes", text.decode(envelope.KIND_KEY, vector["text"]).hex(), vector["bytes_hex"])
            want = (vector["dek"], vector["dek_id"], vector["version"], vector["tenant"])
            same("key", (key.dek.hex(), key.dek_id.hex(), key.version, key.tenant), want)

    def run_recovery(self, vector: Json) -> None:
        """recovery.json."""
        match vector["op"]:
            case "pair":
                secret = recovery.import_secret(vector["secret_text"])
                same("secret", secret.hex(), vector["secret"])
                same("texts", (recovery.secret_text(secret), recovery.public_text(secret)), (vector["secret_text"], vector["public_text"]))
                same("id", recovery.recovery_id(recovery.import_public(vector["public_text"])).hex(), vector["recovery_id"])
            case "unwrap":
                context = wrap.wrap_context(bytes.fromhex(vector["dek_id"]), vector["dek_purpose"], vector["tenant"])
                dek = recovery.unwrap(recovery.import_secret(vector["secret_text"]), context, bytes.fromhex(vector["wrapped"]))
                same("dek", dek.hex(), vector.get("dek"))
            case "import-secret":
                recovery.import_secret(vector["text"])
            case _:
                recovery.import_public(vector["text"])

    def run_cbor(self, vector: Json) -> None:
        """cbor.json."""
        if vector["op"] == "encode":
            data = cbor.encode(jf.read_tree(vector["value"]))
            if vector["expect"] == "ok":
                same("cbor", data.hex(), vector["cbor_hex"])
                cbor.decode(data)
        else:
            data = bytes.fromhex(vector["cbor_hex"])
            value = cbor.decode(data)
            if vector["expect"] == "ok":
                want = jf.read_tree(vector["value"])
                same("value", (cbor.encode(value), repr(value)), (data, repr(want)))

    def run_manifest(self, vector: Json) -> None:
        """manifest.json."""
        if vector["op"] == "split":
            record, metadata = manifest.split_payload(bytes.fromhex(vector["payload_hex"]))
            if vector["expect"] == "ok":
                same("record", record.hex(), vector["record_hex"])
                same("metadata", metadata.hex(), vector["metadata_hex"])
                same("payload", manifest.join_payload(record, metadata).hex(), vector["payload_hex"])
            return
        checkpoint, metadata_map = jf.read_tree(vector["checkpoint"]), jf.read_tree(vector["metadata"])
        channels = {name: None if c16 is None else bytes.fromhex(c16) for name, c16 in (vector.get("channels") or {}).items()}
        if vector["op"] == "build":
            commitments = {name: c16 or bytes(manifest.COMMITMENT_LEN) for name, c16 in channels.items()}
            record = manifest.build_record(checkpoint, metadata_map, vector["exact"], vector["parent"], commitments)
            if vector["expect"] == "ok":
                data = manifest.manifest_bytes(checkpoint, metadata_map)
                same("M", data.hex(), vector["manifest_hex"])
                digest = hashlib.sha256(b"sealpoint/v1/manifest\0" + data).hexdigest()
                same("digest", digest, vector["digest"])
                same("record", record.hex(), vector["record_hex"])
            return
        manifest.verify(bytes.fromhex(vector["record_hex"]), vector["row_id"], checkpoint, metadata_map, vector["parent"], channels)


HEX_INPUTS = ("key", "info", "dek", "dek_id", "kek", "header", "canonical", "input_key", "salt", "ctx")
