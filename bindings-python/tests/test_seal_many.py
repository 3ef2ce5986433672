"""Sealing many values at once gives what sealing them one by one gives, and nothing if one of them cannot be sealed."""

import pytest

from sealpoint import SealpointError
from sealpoint._native import Context, DataKey, DekCache

BASE = Context(tenant="acme", purpose="app.note", thread="t-1")


@pytest.fixture
def cache() -> DekCache:
    cache = DekCache(ttl=60, pointer_ttl=60, capacity=10)
    cache.insert(DataKey.generate(tenant="acme")[0], active=True)
    return cache


def test_in_order_each_at_its_own_context(cache: DekCache) -> None:
    items = [(("channel", f"c{n}", "version", n), b"payload %d" % n, "bytes", n % 2 == 0, n % 3 == 0) for n in range(7)]
    sealed = cache.seal_many(BASE, items)
    assert sealed is not None
    for n, envelope in enumerate(sealed):
        assert isinstance(envelope, str if n % 3 == 0 else bytes)
        assert cache.open(envelope, BASE.extend(channel=f"c{n}", version=n)) == ("bytes", b"payload %d" % n)
        with pytest.raises(SealpointError) as caught:
            cache.open(envelope, BASE.extend(channel=f"c{n + 1}", version=n))
        assert caught.value.code == "authentication_failed"


def test_every_envelope_has_its_own_salt(cache: DekCache) -> None:
    sealed = cache.seal_many(BASE, [((), b"same", "", False, False)] * 50)
    assert sealed is not None
    assert len({envelope[21:45] for envelope in sealed}) == 50


def test_nothing_to_seal(cache: DekCache) -> None:
    assert cache.seal_many(BASE, []) == []


def test_a_key_that_is_not_held() -> None:
    empty = DekCache(ttl=60, pointer_ttl=60, capacity=10)
    assert empty.seal_many(BASE, [((), b"x", "", False, False)]) is None


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        (("thread", "again"), "invalid_context"),
        (("KEY", "x"), "invalid_context"),
        (("k", "\ud800"), "invalid_context"),
        (("k", None), "invalid_context"),
    ],
)
def test_one_bad_context_refuses_all(cache: DekCache, pairs: tuple[object, ...], code: str) -> None:
    with pytest.raises(SealpointError) as caught:
        cache.seal_many(BASE, [((), b"x", "", False, False), (pairs, b"y", "", False, False)])
    assert caught.value.code == code


def test_a_key_without_a_value_is_refused(cache: DekCache) -> None:
    with pytest.raises(SealpointError) as caught:
        cache.seal_many(BASE, [(("channel", "c", "version"), b"x", "", False, False)])
    assert caught.value.code == "invalid_context"


def test_a_bad_payload_is_refused(cache: DekCache) -> None:
    with pytest.raises(SealpointError) as caught:
        cache.seal_many(BASE, [((), object(), "", False, False)])  # type: ignore[list-item]
    assert caught.value.code == "invalid_argument"
