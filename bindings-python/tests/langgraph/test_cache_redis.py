"""SealedCache over a real Redis."""

from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.cache.redis import RedisCache
from redis_server import Redis, stored_bytes
from support import refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedCache, from_config, tenant_scope
from sealpoint.langgraph.cache import inner_namespace

NS, PREFIX = ("nodes", "x:*"), "sealpoint-cache-test:"
KEY = (NS, "k")


@pytest.fixture
def client(redis_server: Redis) -> Iterator[Any]:
    client = redis_server.client()
    yield client
    if keys := client.keys(f"{PREFIX}*"):
        client.delete(*keys)


@pytest.fixture
def cache(client: Any, keyring: Keyring) -> Any:
    return SealedCache(RedisCache(client, prefix=PREFIX), keyring, tenant=from_config("workspace_id"))


def row(tenant: str) -> str:
    return f"{PREFIX}{inner_namespace(tenant, NS)[0]}:k"


def test_tenants_keep_apart_and_nothing_is_readable(cache: Any, redis_server: Redis) -> None:
    for tenant in ("acme", "globex"):
        with tenant_scope(tenant):
            assert cache.get([KEY]) == {}
            cache.set({KEY: (f"CANARY {tenant}", 100), ((), "k"): (1, None)})
    for tenant in ("acme", "globex"):
        with tenant_scope(tenant):
            assert cache.get([((), "none"), KEY, ((), "k")]) == {KEY: f"CANARY {tenant}", ((), "k"): 1}
    stored = stored_bytes(redis_server.url)
    assert row("acme").encode() in stored
    assert not [word for word in (b"CANARY", b"acme", b"globex", b"nodes") if word in stored]
    with tenant_scope("acme"):
        cache.clear([NS])
        assert cache.get([KEY, ((), "k")]) == {((), "k"): 1}
    with tenant_scope("globex"):
        assert KEY in cache.get([KEY])


def test_an_edited_entry_raises(cache: Any, client: Any) -> None:
    for tenant in ("acme", "globex"):
        with tenant_scope(tenant):
            cache.set({KEY: (tenant, None)})
    good = client.get(row("acme"))
    with tenant_scope("acme"):
        for value, code in (
            (client.get(row("globex")), "authentication_failed"),
            (good[:-1] + bytes([good[-1] ^ 1]), "authentication_failed"),
            (good[:60], "malformed"),
            (b"msgpack:\xa1a", "plaintext_refused"),
            (b"bytes:", "plaintext_refused"),
        ):
            client.set(row("acme"), value)
            refused(lambda: cache.get([KEY]), code, "cached value")
        client.set(row("acme"), good)
        assert cache.get([KEY]) == {KEY: "acme"}
