"""Somebody who writes the database and has an exported key of the tenant: what it sealed passes for no state of a graph."""

from typing import Any

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from support import refused
from test_attacks import NEW, checkpoint, config

from sealpoint import Context, DataKey, Keyring
from sealpoint.langgraph import SealedCache, SealedSaver, SealedSerializer, fixed, from_config

KIND, PAYLOAD = JsonPlusSerializer().dumps_typed("admin")


@pytest.fixture
def client(keyring: Keyring) -> DataKey:
    """What a browser was given."""
    return DataKey.from_exported(keyring.export_data_key("acme", reason="a test"))


@pytest.mark.parametrize("held", [True, False])
def test_a_channel_of_a_saver(held: bool, keyring: Keyring, client: DataKey) -> None:
    inner = InMemorySaver()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    values = checkpoint(NEW, "guest", "2")
    saver.put(config("acme", "t1"), values, {"source": "loop", "step": 1, "parents": {}}, values["channel_versions"])
    place = ("t1", "", "role", "2")
    kind, _ = inner.blobs[place]
    at = Context(tenant="acme", purpose="langgraph.channel", thread="t1", ns="", channel="role", version="2")

    def read() -> Any:
        found = saver.get_tuple(config("acme", "t1"))
        assert found is not None
        return found.checkpoint["channel_values"]["role"]

    assert read() == "guest"
    inner.blobs[place] = (kind, client.seal(PAYLOAD, at, content_type=KIND, pad=True))
    keyring.load("acme", dek_purpose="client") if held else keyring._cache.clear()
    refused(read, "authentication_failed", "role")
    inner.blobs[place] = (kind, keyring.seal(PAYLOAD, at, content_type=KIND, pad=True))
    assert read() == "admin", "well forged: it was the key that was refused"


def test_a_serializer(keyring: Keyring, client: DataKey) -> None:
    serializer = SealedSerializer(keyring, tenant=fixed("acme"))
    kind, sealed = serializer.dumps_typed("guest")
    assert serializer.loads_typed((kind, sealed)) == "guest"
    at = Context(tenant="acme", purpose="langgraph.value")
    refused(lambda: serializer.loads_typed((kind, client.seal(PAYLOAD, at, content_type=KIND))), "authentication_failed")
    assert serializer.loads_typed((kind, keyring.seal(PAYLOAD, at, content_type=KIND))) == "admin"


def test_a_cache(keyring: Keyring, client: DataKey) -> None:
    inner: InMemoryCache[Any] = InMemoryCache()
    cache: SealedCache[Any] = SealedCache(inner, keyring, tenant=fixed("acme"))
    cache.set({(("node",), "k"): ("guest", None)})
    ((namespace, rows),) = inner._cache.items()
    kind, _, expiry = rows["k"]
    at = Context(tenant="acme", purpose="langgraph.cache", ns=["node"], key="k")
    inner._cache[namespace]["k"] = (kind, client.seal(PAYLOAD, at, content_type=KIND), expiry)
    refused(lambda: cache.get([(("node",), "k")]), "authentication_failed")
    inner._cache[namespace]["k"] = (kind, keyring.seal(PAYLOAD, at, content_type=KIND), expiry)
    assert cache.get([(("node",), "k")]) == {(("node",), "k"): "admin"}
