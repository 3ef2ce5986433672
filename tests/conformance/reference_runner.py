"""The conformance runner of `tests/reference`, which is on pyca/cryptography alone. Protocol: README.md."""

import base64
import hashlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "reference"))

from stdio import serve

from sealpoint_ref import context, derive, envelope, exported, manifest, padding, text, wrap
from sealpoint_ref.errors import SealpointError
from vector_cases import jsonform as jf
from vector_cases.check import Checker, Mismatch

Json = dict[str, Any]


def key(cases: Json, case: Json) -> envelope.DataKey:
    """A case's DEK."""
    form = cases["keys"][case["key"]]
    return envelope.DataKey(bytes.fromhex(form["dek"]), bytes.fromhex(form["dek_id"]), form["purpose"])


def wrapped_in(case: Json) -> bytes:
    """Of a wrapped DEK or a canary."""
    if "kek_uri" in case:
        return wrap.canary_context(case["kek_uri"])
    bound = wrap.open_only_context if "dek_use" in case else wrap.wrap_context
    return bound(bytes.fromhex(case["dek_id"]), case["dek_purpose"], case["tenant"])


def channels(case: Json) -> dict[str, bytes | None]:
    """Of a manifest."""
    return {name: None if c16 is None else bytes.fromhex(c16) for name, c16 in case["channels"]}


def seal(cases: Json, case: Json) -> str:
    """One case, sealed: bytes as base64, or the text form."""
    salt, kek = secrets.token_bytes(envelope.SALT_LEN), bytes.fromhex(cases["kek"])
    match case["op"]:
        case "envelope":
            canonical = context.canonical(jf.read_pairs(case["context"]))
            encoding = padding.PADDED if case["pad"] else padding.PLAIN
            made = envelope.seal(
                key(cases, case), canonical, case["content_type"].encode(), jf.read_payload(case["payload"]), encoding, salt
            )
            if case["form"] == "text":
                return text.encode(envelope.KIND_DATA, made)
        case "wrap":
            made = wrap.wrap(kek, wrapped_in(case), bytes.fromhex(case["secret"]), salt)
        case "canary":
            made = wrap.wrap(kek, wrapped_in(case), derive.canary(case["kek_uri"]), salt)
        case "key":
            form = cases["keys"][case["key"]]
            return exported.export(
                bytes.fromhex(form["dek"]), form["purpose"], bytes.fromhex(form["dek_id"]), form["version"], form["tenant"]
            )
        case "manifest":
            read = [jf.read_tree(case[name]) for name in ("checkpoint", "metadata")]
            commitments = {name: c16 or bytes(manifest.COMMITMENT_LEN) for name, c16 in channels(case).items()}
            record = manifest.build_record(*read, case["exact"], case["parent"], commitments)
            made = manifest.join_payload(record, bytes.fromhex(case["rest"]))
        case op:
            raise ValueError(f"no such op: {op}")
    return base64.b64encode(made).decode()


def open_(cases: Json, job: Json) -> Json:
    """What opening gives, or the code."""
    try:
        if job["op"] == "key":
            return import_key(job)
        sealed = text.decode(envelope.KIND_DATA, job["sealed"]) if job.get("form") == "text" else base64.b64decode(job["sealed"])
        match job["op"]:
            case "envelope":
                content_type, payload = envelope.open_(key(cases, job), context.canonical(jf.read_pairs(job["context"])), sealed)
                return {"content_type": content_type.decode(), "len": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
            case "wrap" | "canary":
                return {"hex": wrap.unwrap(bytes.fromhex(cases["kek"]), wrapped_in(job), sealed).hex()}
            case "manifest":
                record, rest = manifest.split_payload(sealed)
                checkpoint, metadata = (jf.read_tree(job[name]) for name in ("checkpoint", "metadata"))
                manifest.verify(record, checkpoint["id"], checkpoint, metadata, job["parent"], channels(job))
                return {"hex": rest.hex(), "parent": job["parent"]}
            case op:
                raise ValueError(f"no such op: {op}")
    except SealpointError as error:
        return {"code": error.code}


def import_key(job: Json) -> Json:
    """What it says of itself, and what it opens."""
    found = exported.import_(job["sealed"])
    opens = envelope.DataKey(found.dek, found.dek_id, exported.PURPOSE)
    _, payload = envelope.open_(opens, context.canonical(jf.read_pairs(job["context"])), base64.b64decode(job["envelope"]))
    check = derive.key_check(found.dek, exported.PURPOSE, found.dek_id, found.version, found.tenant)
    held = {"dek_id": found.dek_id.hex(), "tenant": found.tenant, "version": found.version, "key_check": check.hex()}
    return {**held, "sha256": hashlib.sha256(payload).hexdigest()}


def vectors(_built: Json) -> Json:
    """Its own known answers, and what bindings sealed afresh for them."""
    files = {path.name: json.loads(path.read_text()) for path in sorted((TESTS / "vectors").glob("*.json"))}
    checker, outcomes, failures = Checker(files), {}, []
    for name, content in files.items():
        for vector in content["vectors"]:
            try:
                checker.run(name, vector)
                outcomes[vector["id"]] = vector["expect"]
            except Mismatch as difference:
                failures.append(str(difference))
    return {"outcomes": outcomes, "unreachable": {}, "failures": failures, "fresh": []}


if __name__ == "__main__":
    serve(vectors, seal, open_)
