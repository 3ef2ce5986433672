"""tests/vectors/store.json and the cache namespaces of derive.json, through the package."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sealpoint import DataKey, Keyring, SecretKey
from sealpoint.errors import SealpointError
from sealpoint.langgraph.cache import inner_namespace
from sealpoint.langgraph.items import ItemSealer
from sealpoint.langgraph.steps import run

TESTS = Path(__file__).resolve().parents[3] / "tests"
sys.path.insert(0, str(TESTS / "reference"))

from sealpoint_ref import derive, store, text  # noqa: E402
from sealpoint_ref.envelope import KIND_DATA  # noqa: E402
from sealpoint_ref.envelope import DataKey as ReferenceKey  # noqa: E402


def vectors(name: str) -> list[Any]:
    found: list[Any] = json.loads((TESTS / "vectors" / name).read_text())["vectors"]
    return found


def hold(keyring: Keyring, vector: Any) -> None:
    """The vector's DEK is the tenant's active one."""
    dek, dek_id = bytes.fromhex(vector["key"]["dek"]), bytes.fromhex(vector["key"]["dek_id"])
    check = derive.key_check(dek, "data", dek_id, 1, vector["tenant"])
    secret = SecretKey.from_bytes(dek)
    key = DataKey.from_secret(secret, dek_id=dek_id, tenant=vector["tenant"], dek_purpose=1, version=1, suite=1, key_check=check)
    keyring._cache.insert(key, active=True)


@pytest.mark.parametrize("vector", vectors("store.json"), ids=lambda vector: vector["id"])
def test_item(keyring: Keyring, vector: Any) -> None:
    hold(keyring, vector)
    sealer = ItemSealer(keyring, vector.get("clear", ()), vector.get("apart", ()))
    place = (vector["tenant"], tuple(vector["ns"]), vector["item"])
    if vector["op"] == "open":
        with pytest.raises(SealpointError) as caught:
            run(sealer.open(*place, vector["stored"]), keyring)
        assert caught.value.code == vector["expect"]
        return
    assert run(sealer.open(*place, vector["stored"]), keyring) == vector["value"]
    sealed = run(sealer.seal(*place, vector["value"]), keyring)
    assert sealed.keys() == vector["stored"].keys()
    assert {name: len(str(value)) for name, value in sealed.items()} == {name: len(str(value)) for name, value in vector["stored"].items()}
    key = ReferenceKey(bytes.fromhex(vector["key"]["dek"]), bytes.fromhex(vector["key"]["dek_id"]), "data")
    assert store.open_(key, store.Position(*place), sealed) == vector["value"]
    assert all(text.decode(KIND_DATA, sealed[name])[4] == 1 for name in ("sealpoint", *vector["apart"]))  # padded


@pytest.mark.parametrize(
    "vector", [vector for vector in vectors("derive.json") if vector["op"] == "cache-namespace"], ids=lambda vector: vector["id"]
)
def test_cache_namespace(vector: Any) -> None:
    assert inner_namespace(vector["tenant"], tuple(vector["ns"])) == (vector["output"],)
