"""The committed vectors: frozen, well-formed, one verdict each, and agreed on by the reference and by others."""

import hashlib
import hmac
import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS / "reference"))

import generate
from sealpoint_ref import cbor, context, derive, envelope, errors, padding
from vector_cases import check
from vector_cases import jsonform as jf

VECTORS = TESTS / "vectors"
Json = dict[str, Any]
FILES: dict[str, Json] = {path.name: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))}
ALL = [(name, vector) for name, content in FILES.items() for vector in content["vectors"]]
SCHEMAS: dict[str, Json] = {p.name: json.loads(p.read_text()) for p in sorted((VECTORS / "schema").glob("*.json"))}
CHECKER = check.Checker(FILES)
GUARDED = ("envelope.json", "text.json", "wrap.json", "exported-key.json", "manifest.json", "store.json")


def ids(pairs: list[tuple[str, Json]]) -> list[str]:
    """Names for parametrized tests."""
    return [vector["id"] for _, vector in pairs]


# Frozen


def test_no_vector_changed_or_vanished() -> None:
    frozen = generate.parse_frozen((VECTORS / generate.FROZEN).read_text())
    now = generate.frozen_lines(FILES)
    assert {name for name in frozen if now.get(name) != frozen[name]} == set()


def test_every_vector_is_frozen() -> None:
    frozen = (VECTORS / generate.FROZEN).read_text()
    assert len(frozen.splitlines()) == len(generate.parse_frozen(frozen)) == len(ALL)
    assert generate.parse_frozen(frozen).keys() == generate.frozen_lines(FILES).keys()


def test_frozen_list_only_grew() -> None:
    command = ["git", "-C", str(VECTORS), "show", f"HEAD:./{generate.FROZEN}"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no git")
    if shown.returncode != 0:
        pytest.skip("the last commit has no such file, or there is no history")
    committed = set(shown.stdout.splitlines())
    assert committed - set((VECTORS / generate.FROZEN).read_text().splitlines()) == set()


def test_files_are_what_the_reference_makes() -> None:
    made = generate.make()
    assert made.keys() == {*FILES, generate.FROZEN}
    assert [name for name, data in made.items() if (VECTORS / name).read_bytes() != data] == []


# Well-formed


def test_every_file_keeps_to_its_schema() -> None:
    resources = [(name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    assert SCHEMAS.keys() == {name.replace(".json", ".schema.json") for name in FILES} | {"common.schema.json"}
    for name, content in FILES.items():
        schema = SCHEMAS[name.replace(".json", ".schema.json")]
        Draft202012Validator.check_schema(schema)
        faults = [fault.json_path for fault in Draft202012Validator(schema, registry=registry).iter_errors(content)]
        assert faults == [], name


def objects(schema: Any) -> Iterator[Json]:
    """Every part of a schema that describes an object by its properties."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_schemas_are_strict() -> None:
    found = [part for schema in SCHEMAS.values() for part in objects(schema)]
    assert found
    assert all(part["additionalProperties"] is False for part in found)


def test_ids_are_unique_slugs_named_after_their_file() -> None:
    counted = Counter(vector["id"] for _, vector in ALL)
    assert [id_ for id_, count in counted.items() if count > 1] == []
    assert [v["id"] for name, v in ALL if not v["id"].startswith(name.removesuffix(".json") + "-")] == []


def test_no_vector_is_there_twice() -> None:
    """Under another id, say."""
    inputs = Counter(json.dumps({k: v for k, v in vec.items() if k not in ("id", "comment", "flags")}) for _, vec in ALL)
    assert [text[:200] for text, count in inputs.items() if count > 1] == []


def test_error_codes_are_those_of_the_spec() -> None:
    section = (TESTS.parent / "docs" / "SPEC.md").read_text().split("## 9. Errors")[1].split("\n## ")[0]
    codes = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert tuple(codes) == errors.CODES
    assert SCHEMAS["common.schema.json"]["$defs"]["error"]["enum"] == codes


# One verdict each


def test_negative_vectors_are_negative() -> None:
    for name, vector in ALL:
        step = [flag for flag in vector["flags"] if flag.startswith("step-")]
        assert vector["expect"] == "ok" or vector["expect"] in errors.CODES
        if name in ("envelope.json", "text.json", "wrap.json") and vector["op"] != "seal":
            assert len(step) == (0 if vector["expect"] == "ok" else 1), vector["id"]


def test_negatives_outnumber_positives_two_to_one() -> None:
    verdicts = Counter(vector["expect"] == "ok" for name, vector in ALL if name in GUARDED)
    assert verdicts[False] >= 2 * verdicts[True]
    for name in GUARDED:
        verdicts = Counter(vector["expect"] == "ok" for vector in FILES[name]["vectors"])
        assert verdicts[False] > verdicts[True] > 0, name


def test_every_step_and_every_flag_is_used() -> None:
    used = {flag for _, vector in ALL for flag in vector["flags"]}
    assert used == set(SCHEMAS["common.schema.json"]["$defs"]["flags"]["items"]["enum"])


# Agreed on


@pytest.mark.parametrize(("name", "vector"), ALL, ids=ids(ALL))
def test_reference_agrees(name: str, vector: Json) -> None:
    CHECKER.run(name, vector)


@pytest.mark.parametrize("step", [8, 9])
def test_reference_refuses_at_the_step_that_is_named(step: int) -> None:
    """Commitment and chunks share a code: tell them apart by the reference's own notes."""
    word = {8: "commitment", 9: "chunk"}[step]
    for name in ("envelope.json", "text.json", "wrap.json"):
        run = getattr(CHECKER, "run_" + name.removesuffix(".json"))
        for vector in FILES[name]["vectors"]:
            if f"step-{step}" in vector["flags"]:
                with pytest.raises(errors.SealpointError, match=word):
                    run(vector)


SEALED = [(name, v) for name, v in ALL if name != "store.json" and v["op"] in ("seal-open", "wrap-unwrap", "canary-wrap-unwrap")]


@pytest.mark.parametrize(("name", "vector"), SEALED, ids=ids(SEALED))
def test_another_implementation_opens_the_body(name: str, vector: Json) -> None:
    """From offset 21 an envelope is plain Cobblestone-256 (SPEC section 4)."""
    if name == "envelope.json":
        data = CHECKER.envelope_bytes(vector)
        key = CHECKER.key(vector).body_key()
        canonical = context.canonical(jf.read_pairs(vector["context"]))
        encoding = check.ENCODINGS[vector["encoding"]]
        want = padding.build_inner(vector["content_type"].encode(), jf.read_payload(vector["payload"]), encoding)
    else:
        data = bytes.fromhex(vector["wrapped"])
        key = derive.wrap_key(bytes.fromhex(vector["kek"]))
        canonical, want = CHECKER.wrap_context(vector), bytes.fromhex(vector["secret"])
    opener = Cobblestone256Decryptor(key, derive.context_hash(data[: envelope.HEADER_LEN], canonical))
    assert opener.update(data[envelope.HEADER_LEN :]) + opener.finalize() == want


def test_another_cbor_agrees() -> None:
    """Canonical CBOR of cbor2, which keeps floats floats: so integral ones are left out."""

    def plain(value: Any) -> Any:
        match value:
            case cbor.Pairs():
                return {key: plain(item) for key, item in value}
            case dict():
                return {key: plain(item) for key, item in value.items()}
            case list():
                return [plain(item) for item in value]
            case float() if value.is_integer() and abs(value) <= 2**53:
                return int(value)
        return value

    compared = 0
    for vector in FILES["cbor.json"]["vectors"]:
        if vector["expect"] == "ok":
            value = plain(jf.read_tree(vector["value"]))
            assert cbor2.dumps(value, canonical=True).hex() == vector["cbor_hex"], vector["id"]
            assert cbor2.loads(bytes.fromhex(vector["cbor_hex"])) == value, vector["id"]
            compared += 1
    for vector in FILES["manifest.json"]["vectors"]:
        if vector["op"] == "build" and vector["expect"] == "ok":
            for field in ("manifest_hex", "record_hex"):
                data = bytes.fromhex(vector[field])
                assert cbor2.dumps(cbor2.loads(data), canonical=True) == data, vector["id"]
            compared += 1
    assert compared > 60


def test_expand_is_two_hmacs() -> None:
    """SPEC section 2 word for word, without an HKDF."""
    key = hashlib.sha256(b"key").digest()
    for length in (1, 32, 64, 65, 76, 128):
        t1 = hmac.digest(key, b"info" + b"\1", "sha512")
        t2 = hmac.digest(key, t1 + b"info" + b"\2", "sha512")
        assert derive.expand(key, b"info", length) == (t1 + t2)[:length]


def test_bucket_is_the_formula() -> None:
    """SPEC section 4.1 word for word, with logarithms."""
    for n in [*range(1, 5000), *range(2**20 - 5000, 2**20 + 5000, 7)]:
        e = int(math.log2(n))
        unit = 32 if n <= 256 else 2 ** (e - (int(math.log2(e)) + 1))
        assert padding.bucket(n) == math.ceil(n / unit) * unit
