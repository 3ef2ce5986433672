"""Loading keys: what the cache holds and for how long, one unwrap at a time, and several KEKs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from support import (
    CONTEXT,
    KEK,
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
)

from sealpoint import InternalError, Keyring, is_sealed
from sealpoint._flight import _POOL_THREADS
from sealpoint._native import envelope_dek_id


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


# the cache


def test_a_held_key_needs_no_io(keyring: Keyring, kms: FakeKms, url: str) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    kms.fail("kms_unavailable")
    lose(url)
    assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == keyring.open(sealed, CONTEXT) == PLAINTEXT


def test_the_pointer_is_refreshed_from_the_store_without_the_kms(keyring: Keyring, kms: FakeKms, url: str) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    kms.fail("kms_unavailable")
    keyring._cache._advance(61)
    assert envelope_dek_id(keyring.seal(PLAINTEXT, CONTEXT)) == envelope_dek_id(sealed)
    keyring._cache._advance(61)
    lose(url)
    refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "store_invalid")
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT


def test_a_rotation_is_seen_after_the_pointers_ttl(url: str, keyring: Keyring) -> None:
    old = keyring.seal(PLAINTEXT, CONTEXT)
    query(url, "UPDATE sealpoint_deks SET state = 'retired'")
    assert envelope_dek_id(keyring.seal(PLAINTEXT, CONTEXT)) == envelope_dek_id(old)
    keyring._cache._advance(61)
    new = keyring.seal(PLAINTEXT, CONTEXT)
    assert envelope_dek_id(new) != envelope_dek_id(old)
    keyring._cache.clear()
    assert [keyring.open(sealed, CONTEXT) for sealed in (old, new)] == [PLAINTEXT] * 2


def test_a_short_ttl_bounds_the_pointer_too(url: str, kms: FakeKms) -> None:
    with ready(url, kms, cache_ttl=5) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache._advance(6)
        kms.calls.clear()
        keyring.seal(PLAINTEXT, CONTEXT)
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        assert kms.calls == {"unwrap": 1}


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_throttled", "kms_denied"])
def test_an_outage_after_the_ttl_fails_and_ends(code: str, keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache._advance(3601)
    kms.fail(code)
    for call in (
        lambda: keyring.open(sealed, CONTEXT),
        lambda: keyring.seal(PLAINTEXT, CONTEXT),
        lambda: keyring.load(TENANT),
    ):
        assert refused(call, code).retryable == (code != "kms_denied")
    kms.fail(None)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT


def test_one_unwrap_however_many_threads(keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    kms.calls.clear()
    results = in_threads(16, lambda n: keyring.open(sealed, CONTEXT) if n % 2 else keyring.seal(PLAINTEXT, CONTEXT))
    assert results[1::2] == [PLAINTEXT] * 8
    assert all(is_sealed(result) for result in results[::2])
    assert kms.calls == {"unwrap": 1}


def test_waiters_get_the_result_of_the_one_in_flight(keyring: Keyring, kms: FakeKms) -> None:
    """Everybody arrives while the first unwrap is held up, and it is the only one."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    kms.calls.clear()
    entered, proceed = kms.hold_up()
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(keyring.open(sealed, CONTEXT))) for _ in range(8)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    proceed.set()
    for thread in threads:
        thread.join(30)
    assert results == [PLAINTEXT] * 8
    assert kms.calls == {"unwrap": 1}


def test_async_waiters_leave_the_loop_free(keyring: Keyring, kms: FakeKms) -> None:
    """100 tasks wait for one unwrap, one of them is cancelled, and the loop still runs; only then the unwrap goes on."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    kms.calls.clear()
    _, proceed = kms.hold_up()

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(keyring.aopen(sealed, CONTEXT)) for _ in range(100)]
        while not kms.calls:
            await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks[1:])
        proceed.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [PLAINTEXT] * 99
    assert kms.calls == {"unwrap": 1}


def test_many_async_waiters_for_one_key_do_not_hold_up_another(keyring: Keyring, kms: FakeKms) -> None:
    sealed, other = keyring.seal(PLAINTEXT, CONTEXT), keyring.seal(PLAINTEXT, OTHER_CONTEXT)
    keyring._cache._advance(61)
    keyring._cache.evict(envelope_dek_id(sealed))
    _, proceed = kms.hold_up()

    async def main() -> None:
        waiting = [asyncio.create_task(keyring.aopen(sealed, CONTEXT)) for _ in range(100)]
        again = await asyncio.wait_for(keyring.aseal(PLAINTEXT, OTHER_CONTEXT), 20)
        assert envelope_dek_id(again) == envelope_dek_id(other)
        assert not any(task.done() for task in waiting)
        proceed.set()
        assert set(await asyncio.gather(*waiting)) == {PLAINTEXT}

    asyncio.run(main())


def test_a_cancelled_waiter_takes_nothing_from_the_others_even_before_the_load_starts(keyring: Keyring, kms: FakeKms) -> None:
    """All threads of the pool are held up, so the load that two wait for has not started."""
    _, proceed = kms.hold_up()

    async def main() -> None:
        busy = [asyncio.create_task(keyring.aload(f"tenant {number}")) for number in range(_POOL_THREADS)]
        while kms.calls["wrap"] < _POOL_THREADS:
            await asyncio.sleep(0)
        first, second = (asyncio.create_task(keyring.aseal(PLAINTEXT, CONTEXT)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        proceed.set()
        await asyncio.gather(*busy)
        assert is_sealed(await second)
        assert first.cancelled()

    asyncio.run(main())


def test_threads_of_the_default_pool_cannot_starve_the_load_they_wait_for(keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    _, proceed = kms.hold_up()

    async def main() -> list[bytes]:
        blocking = [asyncio.create_task(asyncio.to_thread(keyring.open, sealed, CONTEXT)) for _ in range(40)]
        waiting = [
            asyncio.create_task(keyring.aseal(PLAINTEXT, OTHER_CONTEXT)),
            asyncio.create_task(keyring.aopen(sealed, CONTEXT)),
        ]
        while not kms.calls["wrap"]:
            await asyncio.sleep(0)
        proceed.set()
        return [*await asyncio.gather(*blocking), (await asyncio.gather(*waiting))[1]]

    assert set(asyncio.run(main())) == {PLAINTEXT}


def test_all_waiters_get_the_error(keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    kms.fail("kms_unavailable")
    for error in in_threads(8, lambda _: keyring.open(sealed, CONTEXT)):
        assert_error(error, "kms_unavailable")
    kms.fail(None)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT


# several KEKs


def test_the_first_kek_that_is_configured_opens(pair: tuple[Keyring, FakeKms, FakeKms, bytes], url: str) -> None:
    keyring, first, second, sealed = pair
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert (first.calls, second.calls) == ({"unwrap": 1}, {})
    with Keyring.connect(url, kek=[second, first]) as reversed_order:
        first.calls.clear()
        second.calls.clear()
        assert reversed_order.open(sealed, CONTEXT) == PLAINTEXT
        assert (first.calls, second.calls) == ({}, {"unwrap": 1})


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_throttled", "kms_denied"])
def test_the_next_kek_takes_over(code: str, pair: tuple[Keyring, FakeKms, FakeKms, bytes]) -> None:
    keyring, first, second, sealed = pair
    first.fail(code)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert (first.calls, second.calls) == ({"unwrap": 1}, {"unwrap": 1})


def test_an_unreachable_provider_that_raises_what_its_client_raised(
    pair: tuple[Keyring, FakeKms, FakeKms, bytes],
) -> None:
    keyring, first, second, sealed = pair
    first.answer = TimeoutError("no answer")
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    second.answer = ConnectionResetError("gone")
    keyring._cache.clear()
    refused(lambda: keyring.open(sealed, CONTEXT), "kms_unavailable", "TimeoutError")


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (("kms_denied", "kms_throttled"), "kms_throttled"),
        (("kms_throttled", "kms_denied"), "kms_throttled"),
        (("kms_denied",) * 2, "kms_denied"),
    ],
)
def test_when_no_kek_answers_a_retry_is_told_if_it_can_help(
    answers: tuple[str, str], code: str, pair: tuple[Keyring, FakeKms, FakeKms, bytes]
) -> None:
    keyring, first, second, sealed = pair
    first.fail(answers[0])
    second.fail(answers[1])
    refused(lambda: keyring.open(sealed, CONTEXT), code)


@pytest.mark.parametrize("code", ["key_not_found", "key_disabled", "key_destroyed"])
def test_the_loss_of_one_kek_loses_nothing(code: str, pair: tuple[Keyring, FakeKms, FakeKms, bytes]) -> None:
    keyring, first, second, sealed = pair
    first.fail(code)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    second.fail("kms_unavailable")
    keyring._cache.clear()
    refused(lambda: keyring.open(sealed, CONTEXT), "kms_unavailable")
    second.fail("authentication_failed")
    refused(lambda: keyring.open(sealed, CONTEXT), "authentication_failed")


def test_a_wrap_that_was_changed_does_not_lead_on(pair: tuple[Keyring, FakeKms, FakeKms, bytes]) -> None:
    keyring, first, second, sealed = pair
    first.fail("authentication_failed")
    refused(lambda: keyring.open(sealed, CONTEXT), "authentication_failed")
    assert second.calls == {}


def test_either_kek_is_enough(pair: tuple[Keyring, FakeKms, FakeKms, bytes], url: str) -> None:
    *_, second, sealed = pair
    with Keyring.connect(url, kek=second) as recovery:
        assert recovery.open(sealed, CONTEXT) == PLAINTEXT


def test_a_row_never_makes_a_provider(url: str, keyring: Keyring) -> None:
    """The row names a KEK that this process could very well read, and the right one at that."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    query(url, "UPDATE sealpoint_wraps SET kek_uri = ?", KEK)
    refused(lambda: keyring.open(sealed, CONTEXT), "key_not_found", "kek=")


def test_what_anyone_could_have_minted_opens_but_is_never_sealed_under(url: str) -> None:
    first, recovery = FakeKms("fake:one"), FakeKms("fake:two", OTHER_KEK_TEXT, authenticates=False)
    with ready(url, [first, recovery]) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache.clear()
        first.fail("kms_unavailable")
        recovery.calls.clear()
        for _ in range(2):
            assert keyring.open(sealed, CONTEXT) == PLAINTEXT
            refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "kms_unavailable")
        assert recovery.calls == {"unwrap": 1}, "it is held, for opening only"
        first.fail(None)
        assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


@pytest.mark.parametrize("result", [None, b"x", "text"])
def test_a_provider_that_returns_something_else(result: object, keyring: Keyring, kms: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    monkeypatch.setattr(kms, "unwrap", lambda _, __: result)
    monkeypatch.setattr(kms, "wrap", lambda _, __: result)
    refused(lambda: keyring.open(sealed, CONTEXT), "internal", "fake", "SecretKey")
    refused(lambda: keyring.seal(PLAINTEXT, OTHER_CONTEXT), "internal", "fake", "WrappedKey")


def test_a_provider_with_a_defect(keyring: Keyring, kms: FakeKms) -> None:
    kms.answer = ZeroDivisionError("defect")
    with pytest.raises(InternalError) as caught:
        keyring.seal(PLAINTEXT, CONTEXT)
    assert_error(caught.value, "internal", "fake", "ZeroDivisionError")
    assert caught.value.__cause__ is kms.answer
