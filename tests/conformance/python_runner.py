"""The conformance runner of the Python package: what `sealpoint` and `sealpoint._native` make of cases and vectors. Protocol: README.md."""

import base64
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "reference"))

from stdio import serve

from sealpoint import Context, DataKey, Keyring, SecretKey, is_sealed
from sealpoint import _native as native
from sealpoint.errors import SealpointError
from sealpoint.langgraph.cache import inner_namespace
from sealpoint.langgraph.items import ItemSealer
from sealpoint.langgraph.steps import run
from sealpoint_ref import cbor, derive
from vector_cases import jsonform as jf

Json = dict[str, Any]
PURPOSES = derive.DEK_PURPOSES
VECTORS = ROOT / "tests" / "vectors"
NO_HAZMAT = "not reachable without hazmat"
LARGEST_SEALED = 1 << 24


class Unreachable(Exception):
    """Nothing that the package offers does what the vector is about."""


def check(what: str, got: object, want: object) -> None:
    """Refuses a difference."""
    if got != want:
        raise AssertionError(f"{what}: got {str(got)[:120]}, want {str(want)[:120]}")


def text_of(utf8: bytes) -> str:
    """A string that may hold lone surrogates."""
    try:
        return utf8.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Unreachable("no str of Python holds it") from None


def context(pairs: list[Any]) -> Context:
    """A context. A name that is there twice cannot be a keyword twice: it extends."""
    once: dict[str, Any] = {}
    again: list[tuple[str, Any]] = []
    for name, form in pairs:
        value = jf.read_value(form)
        if isinstance(value, bytes):
            value = text_of(value)
        if name in once:
            again.append((name, value))
        else:
            once[name] = value
    made = Context(**once)
    for name, value in again:
        made = made.extend(**{name: value})
    return made


def data_key(form: Json, tenant: str, version: int = 1) -> DataKey:
    """A DEK, after its key check was compared."""
    dek, dek_id, purpose = bytes.fromhex(form["dek"]), bytes.fromhex(form["dek_id"]), form["purpose"]
    found = bytes.fromhex(form["key_check"]) if "key_check" in form else derive.key_check(dek, purpose, dek_id, version, tenant)
    record = {"dek_id": dek_id, "tenant": tenant, "dek_purpose": PURPOSES[purpose], "version": version, "suite": 1}
    return DataKey.from_secret(SecretKey.from_bytes(dek), key_check=found, **record)


def exported(form: Json, purpose: str) -> str:
    """A DEK as text."""
    record = {"dek_id": bytes.fromhex(form["dek_id"]), "tenant": form["tenant"], "version": form["version"], "suite": 1}
    return native.export_key(SecretKey.from_bytes(bytes.fromhex(form["dek"])), dek_purpose=PURPOSES[purpose], **record)


def wrap_context(form: Json) -> Context:
    """Of a wrapped DEK or a canary."""
    if "kek_uri" in form:
        return native.canary_context(form["kek_uri"])
    context = native.wrap_context(
        tenant=form["tenant"], dek_id=bytes.fromhex(form["dek_id"]), dek_purpose=PURPOSES[form["dek_purpose"]], suite=1
    )
    return native.open_only_context(context) if "dek_use" in form else context


def with_commitment(commitment: str | None) -> bytes | None:
    """An envelope with these first bytes of its commitment; a manifest asks for no more."""
    return None if commitment is None else bytes.fromhex("c153010100") + bytes(16 + 24) + bytes.fromhex(commitment) + bytes(16 + 17)


def tree(form: Any) -> Any:
    """A value of a manifest. What the reference has types of its own for becomes what Python has."""

    def plain(value: Any) -> Any:
        match value:
            case cbor.Pairs():
                made = {key: plain(item) for key, item in value}
                if len(made) < len(value):
                    raise Unreachable("no dict of Python holds a key twice")
                return made
            case cbor.RawText():
                return text_of(value)
            case dict():
                return {key: plain(item) for key, item in value.items()}
            case list():
                return [plain(item) for item in value]
        return value

    return plain(jf.read_tree(form))


def fields(checkpoint: Json, metadata: Json) -> tuple[Any, ...]:
    """What a manifest covers."""
    read = tree(checkpoint)
    names = ("v", "id", "ts", "channel_versions", "versions_seen", "updated_channels")
    clear = {name: value for name, value in tree(metadata).items() if name in native.CLEAR_METADATA}
    return (*(read.get(name) for name in names), clear)


def channels(form: Any) -> list[tuple[str, bytes | None]]:
    """Of a case (list) or a vector (object)."""
    pairs = form.items() if isinstance(form, dict) else form
    return [(name, with_commitment(commitment)) for name, commitment in pairs]


# Cases


def seal(cases: Json, case: Json) -> str:
    """One case, sealed: bytes as base64, or the text form."""
    kek = native.LocalKek.parse(bytes.fromhex(cases["kek"]))
    match case["op"]:
        case "envelope":
            form = cases["keys"][case["key"]]
            key = data_key(form, form["tenant"], form["version"])
            method: Any = key.seal if case["form"] == "bytes" else key.seal_text
            made = method(jf.read_payload(case["payload"]), context(case["context"]), content_type=case["content_type"], pad=case["pad"])
        case "wrap":
            made = kek.wrap(SecretKey.from_bytes(bytes.fromhex(case["secret"])), wrap_context(case))
        case "canary":
            made = kek.wrap(native.canary_secret(case["kek_uri"]), wrap_context(case))
        case "key":
            made = exported(cases["keys"][case["key"]], cases["keys"][case["key"]]["purpose"])
        case "manifest":
            made = native.manifest_payload(
                fields(case["checkpoint"], case["metadata"]),
                parent=case["parent"],
                exact=case["exact"],
                channels=channels(case["channels"]),
                metadata=bytes.fromhex(case["rest"]),
            )
        case op:
            raise ValueError(f"no such op: {op}")
    if not isinstance(made, str):
        return base64.b64encode(made).decode()
    return str(made)


def open_(cases: Json, job: Json) -> Json:
    """What opening gives, or the code."""
    sealed = job["sealed"] if job["op"] == "key" or job.get("form") == "text" else base64.b64decode(job["sealed"])
    try:
        match job["op"]:
            case "envelope":
                form = cases["keys"][job["key"]]
                key = data_key(form, form["tenant"], form["version"])
                content_type, payload = key.open_typed(sealed, context(job["context"]))
                return {"content_type": content_type, "len": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
            case "wrap" | "canary":
                kek = native.LocalKek.parse(bytes.fromhex(cases["kek"]))
                return {"hex": kek.unwrap(sealed, wrap_context(job)).expose().hex()}
            case "key":
                key = DataKey.from_exported(job["sealed"])
                payload = key.open(base64.b64decode(job["envelope"]), context(job["context"]))
                held = {"dek_id": key.dek_id.hex(), "tenant": key.tenant, "version": key.version, "key_check": key.key_check.hex()}
                return {**held, "sha256": hashlib.sha256(payload).hexdigest()}
            case "manifest":
                given = {"parent": job["parent"], "channels": channels(job["channels"])}
                metadata, parent = native.manifest_open(sealed, fields(job["checkpoint"], job["metadata"]), **given)
                return {"hex": metadata.hex(), "parent": parent}
            case op:
                raise ValueError(f"no such op: {op}")
    except SealpointError as error:
        return {"code": error.code}


# Vectors


class Vectors:
    """All of `tests/vectors`. `built` has the envelopes that the files only summarize."""

    def __init__(self, built: Json) -> None:
        self.files = {path.stem: json.loads(path.read_text())["vectors"] for path in sorted(VECTORS.glob("*.json"))}
        self.by_id = {vector["id"]: vector for vectors in self.files.values() for vector in vectors}
        self.built = built
        self.fresh: list[Json] = []

    def run(self) -> Json:
        """What became of each vector; raises if not all were there."""
        outcomes: dict[str, str] = {}
        unreachable: dict[str, list[str]] = {}
        failures: list[str] = []
        ran = 0
        for file, vectors in self.files.items():
            op: Callable[[Json], None] = getattr(self, "run_" + file.replace("-", "_"))  # an unknown file has none
            for vector in vectors:
                ran += 1
                try:
                    op(vector)
                    outcomes[vector["id"]] = "ok"
                except SealpointError as error:
                    outcomes[vector["id"]] = error.code
                except Unreachable as reason:
                    unreachable.setdefault(str(reason), []).append(vector["id"])
                    continue
                except AssertionError as difference:
                    failures.append(f"{vector['id']}: {difference}")
                    continue
                if outcomes[vector["id"]] != vector["expect"]:
                    failures.append(f"{vector['id']}: got {outcomes[vector['id']]}, want {vector['expect']}")
        frozen = len((VECTORS / "FROZEN.sha256").read_text().splitlines())
        check("vectors that ran, against the lines of FROZEN.sha256", ran, frozen)
        return {"outcomes": outcomes, "unreachable": unreachable, "failures": failures, "fresh": self.fresh}

    def run_context(self, vector: Json) -> None:
        """context.json."""
        match vector["op"]:
            case "canonical":
                canonical = context(vector["pairs"]).canonical
                if vector["expect"] == "ok":
                    want = vector.get("canonical_hex") or vector["canonical_summary"]
                    check("canonical", canonical.hex() if isinstance(want, str) else jf.summary(canonical), want)
            case "parse":
                raise Unreachable("contexts are not read from canonical bytes")
            case op:
                raise ValueError(f"no such op: {op}")

    def run_derive(self, vector: Json) -> None:
        """derive.json."""
        match vector["op"]:
            case "key-check":
                key = data_key({**vector, "key_check": vector["output"]}, vector["tenant"], vector["version"])
                got = key.key_check.hex()
            case "kek-id":
                if not vector["kek"].strip("0"):
                    raise Unreachable("a KEK of zeros is refused")
                got = native.LocalKek.parse(bytes.fromhex(vector["kek"])).kek_id.hex()
            case "canary":
                got = native.canary_secret(vector["kek_uri"]).expose().hex()
            case "cache-namespace":
                (got,) = inner_namespace(vector["tenant"], tuple(vector["ns"]))
            case "expand" | "body-key" | "wrap-key" | "context-hash" | "stream-keys":
                raise Unreachable(NO_HAZMAT)
            case op:
                raise ValueError(f"no such op: {op}")
        check("output", got, vector["output"])

    def run_padding(self, vector: Json) -> None:
        """padding.json, by the length of what is sealed: the content type's length and the 0x80 count."""
        check("op", vector["op"], "bucket")
        if vector["n"] > LARGEST_SEALED:
            raise Unreachable("too long to be sealed here")
        key, _ = DataKey.generate(tenant="acme")
        body = len(key.seal(bytes(vector["n"] - 2), Context(tenant="acme", purpose="app.note"), pad=True)) - 77
        check("bucket", body - 16 * (body // 16_400 + 1), vector["bucket"])

    def run_envelope(self, vector: Json) -> None:
        """envelope.json."""
        place = context(vector["context"])
        key = data_key(vector["key"], place.tenant)

        def sealed() -> bytes:
            arguments = {"content_type": vector["content_type"], "pad": vector["encoding"] == "padded"}
            return key.seal(jf.read_payload(vector["payload"]), place, **arguments)

        match vector["op"]:
            case "seal":
                sealed()
            case "open":
                key.open(self.envelope_bytes(vector), place)
            case "seal-open":
                given = self.envelope_bytes(vector)
                content_type, payload = key.open_typed(given, place)
                check("opened", (content_type, payload), (vector["content_type"], jf.read_payload(vector["payload"])))
                made = sealed()
                check("what is not random", (made[:21], len(made)), (given[:21], len(given)))
                self.fresh.append({"vector": vector["id"], "sealed": base64.b64encode(made).decode()})
            case op:
                raise ValueError(f"no such op: {op}")

    def envelope_bytes(self, vector: Json) -> bytes:
        """README, envelopes."""
        form = vector["envelope"]
        return bytes.fromhex(form["hex"]) if "hex" in form else base64.b64decode(self.built["envelopes"][vector["id"]])

    def run_text(self, vector: Json) -> None:
        """text.json."""
        check("op", vector["op"], "open")
        known, kind, sealed = self.by_id[vector["with"]], vector["kind"], vector["text"]
        check("is_sealed", is_sealed(sealed), sealed.startswith(("sealpoint:", "sealpoint-")))
        if kind == "wrapped-key":
            native.LocalKek.parse(bytes.fromhex(known["kek"])).unwrap(sealed, wrap_context(known))
            return
        check("kind", kind, "data")
        place = context(known["context"])
        key = data_key(known["key"], place.tenant)
        payload = key.open(sealed, place)
        check("the payload of the same bytes", payload, key.open(bytes.fromhex(vector["bytes_hex"]), place))

    def run_wrap(self, vector: Json) -> None:
        """wrap.json."""
        check("op", vector["op"] in ("wrap-unwrap", "canary-wrap-unwrap", "unwrap", "canary-unwrap"), True)
        kek, place = native.LocalKek.parse(bytes.fromhex(vector["kek"])), wrap_context(vector)
        opened = kek.unwrap(bytes.fromhex(vector["wrapped"]), place)
        if vector["expect"] == "ok":
            check("secret", opened.expose().hex(), vector["secret"])
            made = kek.wrap(opened, place)
            check("what is not random", (made[:21].hex(), len(made)), (vector["wrapped"][:42], 125))
            self.fresh.append({"vector": vector["id"], "sealed": base64.b64encode(made).decode()})

    def run_stored_key(self, vector: Json) -> None:
        """stored-key.json. Comparing whose key it is, and an absent key check, are the key store's, not the native module's."""
        check("op", vector["op"], "open-stored")
        record = vector["record"]
        if any(record[name] != vector["caller"][name] for name in ("tenant", "purpose")) or record["key_check"] is None:
            raise Unreachable("refused by the key store, before a key is touched")
        wrapped = {"tenant": record["tenant"], "dek_id": record["dek_id"], "dek_purpose": record["purpose"]}
        kek = native.LocalKek.parse(bytes.fromhex(vector["kek"]))
        opened = kek.unwrap(bytes.fromhex(vector["wrapped"]), wrap_context(wrapped)).expose()
        key = data_key({**record, "dek": opened.hex()}, record["tenant"], record["version"])
        check("dek", (opened.hex(), key.version), (vector["dek"], record["version"]))

    def run_exported_key(self, vector: Json) -> None:
        """exported-key.json."""
        match vector["op"]:
            case "export":
                exported(vector, vector["dek_purpose"])
            case "export-import":
                check("text", exported(vector, vector["dek_purpose"]), vector["text"])
                key = DataKey.from_exported(vector["text"])
                got = (key.dek_id.hex(), key.tenant, key.version, PURPOSES[vector["dek_purpose"]])
                check("key", got, (vector["dek_id"], vector["tenant"], vector["version"], key.dek_purpose))
            case "import":
                DataKey.from_exported(vector["text"])
            case op:
                raise ValueError(f"no such op: {op}")

    def run_recovery(self, vector: Json) -> None:
        """recovery.json."""
        match vector["op"]:
            case "pair":
                key = native.RecoveryKey.from_text(vector["secret_text"])
                public = native.RecoveryPublicKey.from_text(vector["public_text"])
                got = (key.to_text(), public.to_text(), key.public.to_text(), public.recovery_id.hex())
                check("pair", got, (vector["secret_text"], vector["public_text"], vector["public_text"], vector["recovery_id"]))
            case "unwrap":
                key = native.RecoveryKey.from_text(vector["secret_text"])
                opened = key.unwrap(bytes.fromhex(vector["wrapped"]), wrap_context(vector)).expose()
                check("dek", opened.hex(), vector["dek"])
            case "import-secret":
                native.RecoveryKey.from_text(vector["text"])
            case "import-public":
                native.RecoveryPublicKey.from_text(vector["text"])
            case op:
                raise ValueError(f"no such op: {op}")

    def run_cbor(self, vector: Json) -> None:
        """cbor.json, by way of a manifest: the digest of what was encoded, and records that hold what must not be decoded."""
        match vector["op"]:
            case "encode":
                check("digest", *self.digests(tree(vector["value"]), vector.get("cbor_hex", "")))
            case "decode" if vector["expect"] == "ok":
                check("digest", *self.digests(tree(vector["value"]), vector["cbor_hex"]))
            case "decode":
                self.decode_refused(vector)
            case op:
                raise ValueError(f"no such op: {op}")

    @staticmethod
    def digests(value: Any, cbor_hex: str) -> tuple[str, str]:
        """Of `[value]` as the package writes it, and as it should be."""
        try:
            payload = native.manifest_payload((value,), parent=None, exact=True, channels=[], metadata=b"")
        except SealpointError as error:
            if error.code == "limit_exceeded" and cbor_hex:
                raise Unreachable("one level too deep for a manifest") from None
            raise
        return payload[9:41].hex(), manifest_digest(b"\x81" + bytes.fromhex(cbor_hex))

    def decode_refused(self, vector: Json) -> None:
        """Only manifest records are read: the bad item is refused as a record and in each place of one."""
        item, digest = bytes.fromhex(vector["cbor_hex"]), bytes.fromhex("5820" + manifest_digest(b"\x80"))
        good = [b"\x01", b"\xf5", digest, b"\xf6", b"\x80"]
        read_record(b"\x85" + b"".join(good))
        for slot in range(5):
            parts = [*good[:slot], item, *good[slot + 1 :]]
            try:
                read_record(b"\x85" + b"".join(parts))
            except SealpointError as error:
                # A cut-off head as the record's version takes the next byte along and is then a version that nobody knows.
                check(f"in place {slot}", error.code in ("malformed", "unsupported_version"[: 19 * (slot == 0)]), True)
            else:
                raise AssertionError(f"accepted in place {slot}")
        if vector["expect"] == "limit_exceeded":
            raise Unreachable("a record nests three levels only: refused as malformed")
        read_record(item)

    def run_manifest(self, vector: Json) -> None:
        """manifest.json."""
        match vector["op"]:
            case "build":
                covered = fields(vector["checkpoint"], vector["metadata"])
                given = {"parent": vector["parent"], "exact": vector["exact"], "channels": channels(vector["channels"])}
                payload = native.manifest_payload(covered, metadata=b"rest", **given)
                if vector["expect"] == "ok":
                    check("payload", payload.hex(), framed(vector["record_hex"]) + b"rest".hex())
            case "split":
                try:
                    native.manifest_open(bytes.fromhex(vector["payload_hex"]), (), parent=None, channels=[])
                except SealpointError as error:
                    # Split and verified in one call: what a record does not bind differs here, and is refused after the split.
                    if (vector["expect"], error.code) != ("ok", "authentication_failed"):
                        raise
                    check("payload", vector["payload_hex"], framed(vector["record_hex"]) + vector["metadata_hex"])
            case "verify":
                covered = fields(vector["checkpoint"], vector["metadata"])
                payload = bytes.fromhex(framed(vector["record_hex"])) + b"rest"
                opened, _ = native.manifest_open(payload, covered, parent=vector["parent"], channels=channels(vector["channels"]))
                check("metadata", opened, b"rest")
                if vector["row_id"] != vector["checkpoint"]["id"]:
                    raise Unreachable("step 1 is the saver's")
            case op:
                raise ValueError(f"no such op: {op}")

    def run_store(self, vector: Json) -> None:
        """store.json, by what SealedStore is made of."""
        keyring = Keyring.connect("memory:", kek=KEK_PROVIDER)
        key = data_key(vector["key"], vector["tenant"])
        keyring._cache.insert(key, active=True)
        sealer = ItemSealer(keyring, vector.get("clear", ()), vector.get("apart", ()))
        place = (vector["tenant"], tuple(vector["ns"]), vector["item"])
        opened = run(sealer.open(*place, vector["stored"]), keyring)
        match vector["op"]:
            case "seal-open":
                check("value", opened, vector["value"])
                sealed = run(sealer.seal(*place, vector["value"]), keyring)
                check("lengths", [len(str(sealed[name])) for name in vector["stored"]], [len(str(x)) for x in vector["stored"].values()])
                check("value", run(sealer.open(*place, sealed), keyring), vector["value"])
            case "open":
                pass
            case op:
                raise ValueError(f"no such op: {op}")


KEK_PROVIDER = "env:SEALPOINT_CONFORMANCE_KEK"


def framed(record_hex: str) -> str:
    """A record and its length before it."""
    return f"{len(record_hex) // 2:08x}{record_hex}"


def manifest_digest(data: bytes) -> str:
    """SPEC section 7.2."""
    return hashlib.sha256(b"sealpoint/v1/manifest\0" + data).hexdigest()


def read_record(record: bytes) -> None:
    """As the record of an empty checkpoint."""
    native.manifest_open(bytes.fromhex(framed(record.hex())), (), parent=None, channels=[])


if __name__ == "__main__":
    os.environ["SEALPOINT_CONFORMANCE_KEK"] = base64.b64encode(bytes(range(32))).decode()
    serve(lambda built: Vectors(built).run(), seal, open_)
