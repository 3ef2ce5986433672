"""The keyring: sealing and opening, creating one DEK and no second, connecting, health and closing."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
from support import (
    CONTEXT,
    KEK,
    KEK_TEXT,
    OTHER_CONTEXT,
    OTHER_KEK_TEXT,
    PLAINTEXT,
    TENANT,
    FakeKms,
    assert_error,
    in_threads,
    lose,
    query,
    ready,
    refused,
    seal_in_a_process,
    sqlite_url,
)

from sealpoint import Context, Keyring, SealpointError, SecretKey, WrappedKey, is_sealed
from sealpoint._native import DataKey, envelope_dek_id
from sealpoint.stores import store_from_url
from sealpoint.stores.memory import MemoryStore


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


# seal and open


def test_what_was_sealed_opens(keyring: Keyring) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT, content_type="msgpack")
    assert is_sealed(sealed)
    assert PLAINTEXT not in sealed
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert keyring.open_typed(sealed, CONTEXT) == ("msgpack", PLAINTEXT)
    text = keyring.seal_text("grün", CONTEXT)
    assert text.startswith("sealpoint:v1:")
    assert (keyring.open_text(text, CONTEXT), keyring.open(text, CONTEXT)) == ("grün", "grün".encode())
    assert len(keyring.seal(b"1", CONTEXT, pad=True)) == len(keyring.seal(b"1234", CONTEXT, pad=True))
    assert len(keyring.seal_text("1", CONTEXT)) == len(keyring.seal_text("1234", CONTEXT))


def test_the_first_seal_without_a_cache_seals_alike(url: str, kms: FakeKms) -> None:
    for payload in (b"", PLAINTEXT):
        with ready(url, kms) as keyring:
            keyring._cache._advance(7200)
            cold = keyring.seal(payload, CONTEXT, content_type="t", pad=True)
            warm = keyring.seal(payload, CONTEXT, content_type="t", pad=True)
            cold_text = keyring.seal_text(payload, CONTEXT, content_type="t")
            assert len(cold) == len(warm)
            assert keyring.open_typed(cold, CONTEXT) == keyring.open_typed(cold_text, CONTEXT) == ("t", payload)


def test_async_twins(url: str, kms: FakeKms) -> None:
    async def all_of_them() -> None:
        async with await Keyring.aconnect(url, kek=kms) as keyring:
            await keyring.asetup()
            await keyring.aload(TENANT)
            sealed = await keyring.aseal(PLAINTEXT, CONTEXT, content_type="t", pad=True)
            keyring._cache.clear()
            assert await keyring.aopen_typed(sealed, CONTEXT) == ("t", PLAINTEXT)
            assert await keyring.aopen(sealed, CONTEXT) == PLAINTEXT
            keyring._cache.clear()
            text = await keyring.aseal_text("text", CONTEXT)
            assert await keyring.aopen_text(text, CONTEXT) == "text"
            assert await keyring.aopen_text(await keyring.aseal_text("text", CONTEXT), CONTEXT) == "text"
            keyring._cache.clear()
            assert await keyring.aopen(await keyring.aseal(PLAINTEXT, OTHER_CONTEXT), OTHER_CONTEXT) == PLAINTEXT
            assert (await keyring.ahealth()).status == "ok"
            await keyring.aclose()
            with pytest.raises(SealpointError) as caught:
                await keyring.aseal(PLAINTEXT, CONTEXT)
            assert_error(caught.value, "invalid_argument", "closed")

    asyncio.run(all_of_them())


def test_another_context_does_not_open(keyring: Keyring) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring.seal(PLAINTEXT, OTHER_CONTEXT)
    elsewhere = Context(tenant=TENANT, purpose="field", document="u-43", path="/card")
    for context in (OTHER_CONTEXT, elsewhere):
        refused(lambda context=context: keyring.open(sealed, context), "authentication_failed")  # type: ignore[misc]


def test_text_errors_hold_no_text(keyring: Keyring) -> None:
    sealed = keyring.seal(b"\xff" + PLAINTEXT, CONTEXT)
    error = refused(lambda: keyring.open_text(sealed, CONTEXT), "malformed", "UTF-8")
    assert error.__context__ is None
    error = refused(lambda: keyring.seal_text("\ud800" + PLAINTEXT.decode(), CONTEXT), "invalid_argument", "surrogates")
    assert error.__context__ is None


def test_plaintext_is_refused_without_any_io(keyring: Keyring) -> None:
    for value in (b"", PLAINTEXT, "text"):
        refused(lambda value=value: keyring.open(value, CONTEXT), "plaintext_refused")  # type: ignore[misc]


# creating


def test_the_first_seal_creates_and_verifies_one_dek(url: str, keyring: Keyring, kms: FakeKms) -> None:
    first, second = keyring.seal(PLAINTEXT, CONTEXT), keyring.seal(PLAINTEXT, CONTEXT)
    assert envelope_dek_id(first) == envelope_dek_id(second)
    assert kms.calls == {"wrap": 1, "unwrap": 1}
    assert query(url, "SELECT tenant, purpose, suite, version, state FROM sealpoint_deks") == [(TENANT, 1, 1, 1, "active")]
    (wrap,) = query(url, "SELECT dek_id, kek_uri, kek_version, wrap_alg, verified_at - created_at FROM sealpoint_wraps")
    assert wrap == (envelope_dek_id(first), "fake:one", "v1", "fake", 0)


def test_an_open_never_creates(url: str, keyring: Keyring, tmp_path: Path) -> None:
    with ready(sqlite_url(tmp_path / "other.db")) as other:
        sealed = other.seal(PLAINTEXT, CONTEXT)
    refused(lambda: keyring.open(sealed, CONTEXT), "key_not_found")
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == query(url, "SELECT count(*) FROM sealpoint_tenants") == [(0,)]


def test_create_tenants_off(url: str, kms: FakeKms) -> None:
    with ready(url, kms, create_tenants=False) as strict, Keyring.connect(url, kek=kms) as provisioning:
        error = refused(lambda: strict.seal(PLAINTEXT, CONTEXT), "key_not_found", "create_tenants")
        assert not error.retryable
        refused(lambda: strict.load(TENANT), "key_not_found", "create_tenants")
        assert query(url, "SELECT count(*) FROM sealpoint_tenants") == [(0,)]
        provisioning.load(TENANT)
        assert strict.open(strict.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT
        query(url, "UPDATE sealpoint_deks SET state = 'retired'")
        strict._cache._advance(61)
        assert strict.open(strict.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT
    assert query(url, "SELECT version, state FROM sealpoint_deks ORDER BY version") == [(1, "retired"), (2, "active")]


def test_load_without_create(keyring: Keyring, kms: FakeKms) -> None:
    refused(lambda: keyring.load(TENANT, create=False), "key_not_found")
    keyring.load(TENANT)
    keyring.load(TENANT, create=False)
    assert kms.calls == {"wrap": 1, "unwrap": 1}


def test_threads_create_one_dek(url: str, keyring: Keyring, kms: FakeKms) -> None:
    sealed = in_threads(16, lambda _: keyring.seal(PLAINTEXT, CONTEXT))
    assert len({envelope_dek_id(envelope) for envelope in sealed}) == 1
    assert kms.calls == {"wrap": 1, "unwrap": 1}
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(1,)]


def test_the_loser_of_a_race_takes_the_winners_key(url: str) -> None:
    """Two keyrings that both saw no DEK: both are stopped in the key service, outside any transaction."""
    both = threading.Barrier(2)
    keyrings = []
    for _ in range(2):
        kms = FakeKms()
        keyrings.append(ready(url, kms))
        kms.before = lambda call: both.wait(30) if call == "wrap" else None
    sealed = in_threads(2, lambda number: keyrings[number].seal(PLAINTEXT, CONTEXT))
    assert len({envelope_dek_id(envelope) for envelope in sealed}) == 1
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == query(url, "SELECT count(*) FROM sealpoint_wraps") == [(1,)]
    for keyring in keyrings:
        assert [keyring.open(envelope, CONTEXT) for envelope in sealed] == [PLAINTEXT] * 2


def test_processes_create_one_dek(url: str) -> None:
    ready(url, FakeKms()).close()
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=seal_in_a_process, args=(url, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    sealed = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)
    assert len({envelope_dek_id(envelope) for envelope in sealed}) == 1
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(1,)]


def test_a_kek_that_unwraps_to_another_key_stores_nothing(
    url: str, keyring: Keyring, kms: FakeKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kms, "unwrap", lambda _, __: SecretKey.generate())
    refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "authentication_failed", "nothing was stored")
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(0,)]


def test_a_configuration_that_shares_no_kek_with_the_store_fails_at_connect(url: str, kms: FakeKms) -> None:
    early = Keyring.connect(url, kek=KEK)
    ready(url, kms).close()
    refused(lambda: Keyring.connect(url, kek=KEK), "key_not_found", "kek=", "setup()")
    refused(early.setup, "key_not_found", "kek=")
    assert query(url, "SELECT kek_uri FROM sealpoint_canaries") == [("fake:one",)]


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_throttled", "kms_denied"])
def test_nothing_is_created_without_every_kek(code: str, url: str) -> None:
    second = FakeKms("fake:two", OTHER_KEK_TEXT)
    with ready(url, [KEK, second]) as keyring:
        second.fail(code)
        refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), code)
        assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(0,)]


# connecting, setup, health, closing


def test_a_wrong_kek_fails_at_connect(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(url).close()
    monkeypatch.setenv("SEALPOINT_KEK", OTHER_KEK_TEXT)
    refused(lambda: Keyring.connect(url, kek=KEK), "authentication_failed", "env:SEALPOINT_KEK", "set up with")
    monkeypatch.setenv("SEALPOINT_KEK", KEK_TEXT)
    Keyring.connect(url, kek=KEK).close()


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_throttled", "kms_denied", "key_disabled"])
def test_an_unreachable_kek_fails_at_connect(code: str, url: str, kms: FakeKms) -> None:
    ready(url, kms).close()
    kms.fail(code)
    refused(lambda: Keyring.connect(url, kek=kms), code)


@pytest.mark.parametrize("canary", [b"", b"\xc1W\x01", bytes(125), "text"])
def test_a_damaged_canary(canary: object, url: str) -> None:
    ready(url).close()
    query(url, "UPDATE sealpoint_canaries SET wrapped = ?", canary)
    refused(lambda: Keyring.connect(url, kek=KEK), "store_invalid")


def test_a_canary_that_holds_something_else(url: str, kms: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(url, kms).close()
    monkeypatch.setattr(kms, "unwrap", lambda _, __: SecretKey.generate())
    refused(lambda: Keyring.connect(url, kek=kms), "authentication_failed")


def test_connecting_opens_no_dek(keyring: Keyring, url: str, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    kms.calls.clear()
    with Keyring.connect(url, kek=kms) as other:
        assert kms.calls == {"unwrap": 1}
        assert len(other._cache) == 0


def test_a_new_kek_gets_its_canary_at_setup_only(keyring: Keyring, url: str, kms: FakeKms) -> None:
    second = FakeKms("fake:two", OTHER_KEK_TEXT)
    with Keyring.connect(url, kek=[kms, second]) as both:
        assert query(url, "SELECT kek_uri FROM sealpoint_canaries") == [("fake:one",)]
        assert [kek.code for kek in both.health().keks] == [None, "key_not_found"]
        assert both.health().status == "degraded"
        both.setup()
        both.setup()
        assert both.health().status == "ok"
    assert second.calls["wrap"] == 1


def test_setup_by_two_with_different_keks_of_one_name(url: str) -> None:
    first, second = (Keyring.connect(url, kek=FakeKms("fake:one", text)) for text in (KEK_TEXT, OTHER_KEK_TEXT))
    first.setup()
    refused(second.setup, "authentication_failed", "fake:one")


def test_the_memory_store_needs_no_setup() -> None:
    with Keyring.connect("memory:", kek=KEK) as keyring:
        assert keyring.health().status == "ok"
        assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def test_a_store_of_ones_own_is_shared_and_not_closed() -> None:
    store = MemoryStore()
    with Keyring.connect(store, kek=KEK) as keyring:
        refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "store_invalid", "setup()")
        keyring.setup()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    with Keyring.connect(store, kek=KEK) as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT


def test_the_fleets_largest_ttl(url: str) -> None:
    ready(url, cache_ttl=7200).close()
    Keyring.connect(url, kek=KEK, cache_ttl=7200).close()
    refused(lambda: Keyring.connect(url, kek=KEK, cache_ttl=7201), "invalid_argument", "cache_ttl", "7200")


def test_the_fleets_largest_ttl_at_setup(url: str) -> None:
    late = Keyring.connect(url, kek=KEK, cache_ttl=7200)
    ready(url, cache_ttl=60).close()
    assert store_from_url(url).settings().max_ttl == 3600  # type: ignore[union-attr]
    refused(late.setup, "invalid_argument", "cache_ttl", "3600")


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "60", None, 10**9, 1e-9])
def test_no_ttl(ttl: Any) -> None:
    refused(lambda: Keyring.connect("memory:", kek=KEK, cache_ttl=ttl), "invalid_argument")


@pytest.mark.parametrize("flag", [None, 1, "yes"])
def test_no_flag(flag: Any) -> None:
    refused(lambda: Keyring.connect("memory:", kek=KEK, create_tenants=flag), "invalid_argument", "create_tenants")


def test_unknown_options() -> None:
    with pytest.raises(TypeError, match="ttl"):
        Keyring.connect("memory:", kek=KEK, ttl=60)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="kek"):
        Keyring.connect("memory:")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("tenant", "code"),
    [
        (None, "invalid_argument"),
        (b"acme", "invalid_argument"),
        ("", "tenant_required"),
        ("\ud800", "invalid_context"),
        ("x" * 1025, "invalid_context"),
    ],
)
def test_no_tenant(tenant: Any, code: str, keyring: Keyring, kms: FakeKms) -> None:
    refused(lambda: keyring.load(tenant), code)
    assert kms.calls == {}


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_denied"])
def test_health(code: str, pair: tuple[Keyring, FakeKms, FakeKms, bytes], url: str) -> None:
    keyring, first, second, _ = pair
    assert keyring.health().status == "ok"
    assert (first.calls, second.calls) == ({"unwrap": 1}, {"unwrap": 1})
    first.fail(code)
    health = keyring.health()
    keks = [(kek.scheme, kek.code) for kek in health.keks]
    assert (health.status, health.store, keks) == (
        "degraded",
        None,
        [("fake", code), ("fake", None)],
    )
    second.answer = ZeroDivisionError()
    assert [keyring.health().status, keyring.health().keks[1].code] == ["failed", "internal"]
    lose(url)
    assert (keyring.health().status, keyring.health().store, keyring.health().keks) == ("failed", "store_invalid", ())


def test_a_closed_keyring(keyring: Keyring) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring.close()
    keyring.close()
    assert len(keyring._cache) == 0
    assert "closed" in repr(keyring)
    for call in (
        lambda: keyring.seal(PLAINTEXT, CONTEXT),
        lambda: keyring.seal_text("x", CONTEXT),
        lambda: keyring.open(sealed, CONTEXT),
        lambda: keyring.load(TENANT),
        keyring.setup,
        keyring.health,
    ):
        refused(call, "invalid_argument", "closed")


def test_closing_during_a_load_leaves_nothing_behind(keyring: Keyring, kms: FakeKms) -> None:
    entered, proceed = kms.hold_up()
    loading = threading.Thread(target=keyring.load, args=(TENANT,))
    loading.start()
    assert entered.wait(30)
    keyring.close()
    proceed.set()
    loading.join(30)
    assert len(keyring._cache) == 0


def test_nothing_secret_is_shown(keyring: Keyring) -> None:
    keyring.load(TENANT)
    key, secret = DataKey.generate(tenant=TENANT)
    shown = " ".join(map(repr, (keyring, keyring._cache, keyring.health(), key, secret, WrappedKey(b"wrapped-bytes"), CONTEXT)))
    for hidden in (TENANT, KEK_TEXT, "wrapped-bytes", "u-42", secret.expose().hex()):
        assert hidden not in shown


def test_setup_by_many_at_once(url: str) -> None:
    keyrings = [Keyring.connect(url, kek=KEK) for _ in range(6)]
    assert in_threads(6, lambda number: keyrings[number].setup()) == [None] * 6
    assert query(url, "SELECT count(*) FROM sealpoint_canaries") == [(1,)]
    assert {keyring.health().status for keyring in keyrings} == {"ok"}
