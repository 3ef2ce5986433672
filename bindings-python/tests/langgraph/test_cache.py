"""SealedCache over LangGraph's caches: the same results, sealed, each tenant for itself, and refused when somebody edits the rows."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backends import stored_bytes
from langgraph.cache.base import BaseCache
from langgraph.cache.memory import InMemoryCache
from langgraph.cache.sqlite import SqliteCache
from support import FakeKms, query, ready, refused

from sealpoint import Keyring
from sealpoint.errors import SealpointError
from sealpoint.langgraph import SealedCache, fixed, from_config, tenant_scope

NS = ("__pregel_ns_writes", "app.node", "node")
KEY = (NS, "0123abcd")
VALUE = [["channel", {"text": "CANARY-value", "n": [1, 2.5, None, b"x", {1, 2}]}]]


@pytest.fixture(params=["memory", "sqlite"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> BaseCache[Any]:
    return InMemoryCache() if request.param == "memory" else SqliteCache(path=str(tmp_path / "cache.db"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def sealed(inner: BaseCache[Any], keyring: Keyring) -> Any:
    return SealedCache(inner, keyring, tenant=from_config("workspace_id"))


def test_a_value_comes_back_as_it_was(inner: BaseCache[Any], keyring: Keyring) -> None:
    cache = sealed(inner, keyring)
    other = (NS, "other")
    with tenant_scope("acme"):
        assert cache.get([KEY]) == {}
        cache.set({KEY: (VALUE, None), other: ("text", 100)})
        assert cache.get([KEY, (NS, "none"), other]) == {KEY: VALUE, other: "text"}
        cache.set({KEY: ("second", None)})
        assert cache.get([KEY]) == {KEY: "second"}
        assert cache.get([]) == {}
        for odd in ((), ("a,b",), ("a", "b"), ("a:b", "*"), ("é",)):
            cache.set({(odd, "k"): (repr(odd), None)})
        for odd in ((), ("a,b",), ("a", "b"), ("a:b", "*"), ("é",)):
            assert cache.get([(odd, "k")]) == {(odd, "k"): repr(odd)}


async def test_async(inner: BaseCache[Any], keyring: Keyring) -> None:
    cache = sealed(inner, keyring)
    with tenant_scope("acme"):
        await cache.aset({KEY: (VALUE, None)})
        assert await cache.aget([KEY, (NS, "none")]) == {KEY: VALUE}
        await cache.aclear([NS])
        assert await cache.aget([KEY]) == {}


def test_an_expired_entry_is_a_miss(inner: BaseCache[Any], keyring: Keyring) -> None:
    cache = sealed(inner, keyring)
    with tenant_scope("acme"):
        cache.set({KEY: (VALUE, -5)})
        assert cache.get([KEY]) == {}


def test_tenants_never_share_an_entry(inner: BaseCache[Any], keyring: Keyring) -> None:
    cache = sealed(inner, keyring)
    for tenant in ("acme", "globex"):
        with tenant_scope(tenant):
            assert cache.get([KEY]) == {}
            cache.set({KEY: (f"of {tenant}", None)})
    for tenant in ("acme", "globex"):
        with tenant_scope(tenant):
            assert cache.get([KEY]) == {KEY: f"of {tenant}"}
    with tenant_scope("acme"):
        cache.clear([NS])
        assert cache.get([KEY]) == {}
    with tenant_scope("globex"):
        assert cache.get([KEY]) == {KEY: "of globex"}
        cache.clear()
        assert cache.get([KEY]) == {}


def test_a_tenant_is_needed(inner: BaseCache[Any], keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    cache = sealed(inner, keyring)
    for call in (lambda: cache.get([KEY]), lambda: cache.clear([NS])):
        refused(call, "tenant_required", "without the run's config", "tenant_scope")
    with caplog.at_level(logging.WARNING):
        cache.set({KEY: (VALUE, None)})
    assert "not cached" in caplog.text
    assert "CANARY" not in caplog.text
    with tenant_scope("acme"):
        assert cache.get([KEY]) == {}


def test_the_file_holds_nothing_readable(path: Path, keyring: Keyring) -> None:
    bare = SqliteCache(path=str(path.with_name("bare.db")))
    bare.set({KEY: (VALUE, None)})
    assert b"CANARY" in stored_bytes(path.with_name("bare.db"))
    cache = SealedCache(SqliteCache(path=str(path)), keyring, tenant=fixed("acme-tenant"))
    cache.set({KEY: (VALUE, None)})
    stored = stored_bytes(path)
    assert not [word for word in (b"CANARY", b"acme-tenant", b"app.node", b"channel") if word in stored]
    assert KEY[1].encode() in stored


def rows(path: Path) -> list[Any]:
    found: list[Any] = query(path, "SELECT ns, key, encoding, val FROM cache ORDER BY key")
    return found


ATTACKS = {
    "flipped": ("UPDATE cache SET val = flipped(val) WHERE key = 'a'", "authentication_failed"),
    "truncated": ("UPDATE cache SET val = substr(val, 1, 60) WHERE key = 'a'", "malformed"),
    "another key's": ("UPDATE cache SET val = (SELECT val FROM cache WHERE key = 'b') WHERE key = 'a'", "authentication_failed"),
    "renamed": ("DELETE FROM cache WHERE key = 'a'; UPDATE cache SET key = 'a' WHERE key = 'b'", "authentication_failed"),
    "another tenant's": (
        "UPDATE cache SET val = (SELECT val FROM cache WHERE key = 'theirs') WHERE key = 'a'",
        "authentication_failed",
    ),
    "plaintext": ("UPDATE cache SET val = x'a178' WHERE key = 'a'", "plaintext_refused"),
    "empty": ("UPDATE cache SET val = x'' WHERE key = 'a'", "plaintext_refused"),
    "another type": ("UPDATE cache SET encoding = 'msgpack' WHERE key = 'a'", "plaintext_refused"),
    "a pickle": ("UPDATE cache SET encoding = 'pickle', val = x'8004' WHERE key = 'a'", "plaintext_refused"),
    "text": ("UPDATE cache SET val = 'sealpoint:v1:AAAA' WHERE key = 'a'", "plaintext_refused"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_edited_entry_raises(path: Path, keyring: Keyring, name: str) -> None:
    cache = sealed(SqliteCache(path=str(path)), keyring)
    with tenant_scope("globex"):
        cache.set({(NS, "theirs"): ("theirs", None)})
    with tenant_scope("acme"):
        cache.set({(NS, "a"): ("A", None), (NS, "b"): ("B", None)})
        sql, code = ATTACKS[name]
        with closing(sqlite3.connect(path)) as db:
            db.create_function("flipped", 1, lambda val: val[:-1] + bytes([val[-1] ^ 1]))
            before = rows(path)
            db.executescript(sql)
            assert rows(path) != before
        for call in (lambda: cache.get([(NS, "a")]), lambda: cache.get([(NS, "b"), (NS, "a")])):
            refused(call, code, "cached value")
        cache.clear([NS])
        assert cache.get([(NS, "a")]) == {}


def test_an_older_value_of_an_entry_opens(path: Path, keyring: Keyring) -> None:
    """The threat model says so: an entry carries no version."""
    cache = SealedCache(SqliteCache(path=str(path)), keyring, tenant=fixed("acme"))
    cache.set({KEY: ("old", None)})
    ((*_, old),) = rows(path)
    cache.set({KEY: ("new", None)})
    query(path, "UPDATE cache SET val = ?", old)
    assert cache.get([KEY]) == {KEY: "old"}


def test_a_destroyed_or_disabled_key_is_a_miss(inner: BaseCache[Any], url: str, kms: FakeKms, tmp_path: Path) -> None:
    for state in ("destroyed", "pending_destroy"):
        keys = tmp_path / f"{state}.db"
        with ready(f"sqlite:///{keys}", kms) as ring:
            cache = SealedCache(inner, ring, tenant=fixed("acme"))
            cache.set({KEY: (VALUE, None)})
            query(keys, "UPDATE sealpoint_deks SET state = ?", state)
            ring._cache.clear()
            assert cache.get([KEY]) == {}


def test_an_unknown_key_or_an_outage_is_no_miss(inner: BaseCache[Any], kms: FakeKms, tmp_path: Path) -> None:
    with ready(f"sqlite:///{tmp_path / 'one.db'}", kms) as ring, ready("memory:", kms) as other:
        SealedCache(inner, ring, tenant=fixed("acme")).set({KEY: (VALUE, None)})
        refused(lambda: SealedCache(inner, other, tenant=fixed("acme")).get([KEY]), "key_not_found")
        ring._cache.clear()
        kms.fail("kms_unavailable")
        refused(lambda: SealedCache(inner, ring, tenant=fixed("acme")).get([KEY]), "kms_unavailable")


async def test_a_cold_key_does_not_block_the_loop(inner: BaseCache[Any], kms: FakeKms) -> None:
    with ready("memory:", kms) as ring:
        cache = SealedCache(inner, ring, tenant=fixed("acme"))
        await cache.aset({KEY: (VALUE, None)})
        for call in (lambda: cache.aset({KEY: (VALUE, None)}), lambda: cache.aget([KEY])):
            ring._cache.clear()
            entered, proceed = kms.hold_up()
            task = asyncio.create_task(call())
            while not entered.is_set():  # the loop runs: the key is being unwrapped in another thread
                await asyncio.sleep(0)
            assert not task.done()
            proceed.set()
            await task


def test_the_inner_cache_is_left_as_it_was(path: Path, keyring: Keyring) -> None:
    inner = SqliteCache(path=str(path))
    serde = inner.serde
    cache = SealedCache(inner, keyring, tenant=fixed("acme"))
    assert inner.serde is serde
    assert cache.serde is serde
    del cache
    inner.set({KEY: ("bare", None)})  # its connection is still open
    assert inner.get([KEY]) == {KEY: "bare"}


def test_what_could_never_work_is_refused_at_once(keyring: Keyring) -> None:
    cache: Any = SealedCache
    inner: Any = InMemoryCache()
    for call in (
        lambda: cache(object(), keyring, tenant=fixed("a")),
        lambda: cache(cache(inner, keyring, tenant=fixed("a")), keyring, tenant=fixed("a")),
        lambda: cache(inner, object(), tenant=fixed("a")),
        lambda: cache(inner, keyring, tenant="a"),
    ):
        refused(call, "invalid_argument")
    with pytest.raises(SealpointError) as caught:
        SealedCache(inner, keyring, tenant=fixed("a")).set({(("plaintext \ud800",), "k"): (1, None)})
    assert caught.value.code == "invalid_context"
    assert "plaintext" not in repr((caught.value, caught.value.__context__))


class Fixed(InMemoryCache[Any]):
    """A cache that cannot be copied."""

    def __copy__(self) -> Any:
        raise TypeError("no")


def test_a_cache_that_cannot_be_copied_is_refused(keyring: Keyring) -> None:
    refused(lambda: SealedCache(Fixed(), keyring, tenant=fixed("a")), "invalid_argument", "copied")
