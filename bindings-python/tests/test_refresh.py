"""A DEK in use is unwrapped again before it expires, off the hot path; an outage leaves it its time, a refusal takes it at once."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from support import CONTEXT, OTHER_CONTEXT, OTHER_TENANT, PLAINTEXT, TENANT, FakeKms, ready, refused
from test_fork import in_child

from sealpoint import AffectedTenant, Context, Keyring, KeyStore, is_sealed
from sealpoint._native import envelope_dek_id
from sealpoint._refresh import _MAX_WAITING, Refresher
from sealpoint.stores import DekRecord

DUE = 2800
"""Seconds after which a DEK of an hour is due in any case, and not expired."""


def pass_time(keyring: Keyring, seconds: float) -> None:
    keyring._cache._advance(seconds)
    keyring._refresher._advance(seconds)


def settle(keyring: Keyring) -> None:
    """Until no refresh runs any more."""
    end = time.monotonic() + 30
    while keyring._refresher._running:
        assert time.monotonic() < end
        time.sleep(0.001)


def touch(keyring: Keyring) -> None:
    """A seal that reads the pointer, and what it starts."""
    assert is_sealed(keyring.seal(PLAINTEXT, CONTEXT))
    settle(keyring)


def test_a_refresh_begins_a_new_ttl(keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    kms.calls.clear()
    pass_time(keyring, DUE)
    touch(keyring)
    assert kms.calls == {"unwrap": 1}
    pass_time(keyring, 1700)  # the first TTL has ended
    touch(keyring)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert kms.calls == {"unwrap": 1}


def test_nothing_is_refreshed_before_half_its_time_or_without_use(keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    keyring.seal(PLAINTEXT, OTHER_CONTEXT)
    kms.calls.clear()
    pass_time(keyring, 1790)
    touch(keyring)
    assert kms.calls == {}
    pass_time(keyring, DUE - 1790)
    touch(keyring)
    assert kms.calls == {"unwrap": 1}


def test_seals_and_opens_do_not_wait_for_a_refresh(keyring: Keyring, kms: FakeKms) -> None:
    """One is under way for as long as it likes, and it is the only one."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    kms.calls.clear()
    pass_time(keyring, DUE)
    entered, proceed = kms.hold_up()
    keyring.seal(PLAINTEXT, CONTEXT)
    assert entered.wait(30)
    for _ in range(5):
        pass_time(keyring, 61)
        keyring.seal(PLAINTEXT, CONTEXT)
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert kms.calls == {"unwrap": 1}
    proceed.set()
    settle(keyring)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert kms.calls == {"unwrap": 1}


def test_whoever_comes_after_expiry_waits_for_the_refresh_that_is_under_way(keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    kms.calls.clear()
    pass_time(keyring, DUE)
    entered, proceed = kms.hold_up()
    keyring.seal(PLAINTEXT, CONTEXT)
    assert entered.wait(30)
    assert (envelope_dek_id(sealed), TENANT, 1) in keyring._flights._running
    pass_time(keyring, 3600)
    opened: list[bytes] = []
    waiting = threading.Thread(target=lambda: opened.append(keyring.open(sealed, CONTEXT)))
    waiting.start()
    proceed.set()
    waiting.join(30)
    assert (opened, kms.calls) == ([PLAINTEXT], {"unwrap": 1})


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_throttled"])
def test_an_outage_leaves_a_key_the_rest_of_its_time_and_no_more(code: str, keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    began = datetime.now(UTC)
    pass_time(keyring, DUE)
    kms.fail(code)
    for _ in range(3):
        kms.calls.clear()
        touch(keyring)
        assert kms.calls == {"unwrap": 1}
        pass_time(keyring, 61)
    (affected,) = keyring.affected()
    assert (affected.tenant, affected.code) == (TENANT, code)
    assert affected.until is not None
    assert abs(affected.until - began - timedelta(seconds=3600)) < timedelta(seconds=60)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    pass_time(keyring, 3601 - DUE - 3 * 61)
    for call in (lambda: keyring.open(sealed, CONTEXT), lambda: keyring.seal(PLAINTEXT, CONTEXT)):
        assert refused(call, code).retryable
    assert (len(keyring._cache), keyring.affected()) == (0, ())


def test_after_an_outage_the_next_refresh_mends_it(keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    pass_time(keyring, DUE)
    kms.fail("kms_unavailable")
    touch(keyring)
    assert keyring.affected()
    kms.fail(None)
    pass_time(keyring, 61)
    touch(keyring)
    assert keyring.affected() == ()
    kms.fail("kms_unavailable")
    pass_time(keyring, 1700)  # the first TTL has ended, the second one is not due
    touch(keyring)
    assert keyring.affected() == ()


@pytest.mark.parametrize("code", ["kms_denied", "key_disabled", "key_destroyed", "key_not_found", "authentication_failed", "internal"])
def test_a_refusal_takes_the_key_at_once(code: str, keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring.seal(PLAINTEXT, OTHER_CONTEXT)
    pass_time(keyring, DUE)
    kms.fail(code)
    touch(keyring)
    assert len(keyring._cache) == 1  # the other tenant's
    for call in (lambda: keyring.open(sealed, CONTEXT), lambda: keyring.seal(PLAINTEXT, CONTEXT)):
        refused(call, code)
    assert keyring.affected() == (AffectedTenant(TENANT, code, None),)
    kms.fail(None)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert keyring.affected() == ()


def test_another_answer_than_the_key_takes_the_key(keyring: Keyring, kms: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    from sealpoint import SecretKey

    keyring.seal(PLAINTEXT, CONTEXT)
    pass_time(keyring, DUE)
    monkeypatch.setattr(kms, "unwrap", lambda _, __: SecretKey.generate())
    touch(keyring)
    assert (len(keyring._cache), keyring.affected()[0].code) == (0, "authentication_failed")


def test_with_two_keks_one_that_is_down_is_no_outage(pair: tuple[Keyring, FakeKms, FakeKms, bytes]) -> None:
    keyring, first, _, _ = pair
    keyring.seal(PLAINTEXT, CONTEXT)
    pass_time(keyring, DUE)
    first.fail("kms_unavailable")
    touch(keyring)
    assert keyring.affected() == ()


def test_refreshes_that_hang_hold_up_nobody_and_are_bounded(keyring: Keyring, kms: FakeKms) -> None:
    contexts = [Context(tenant=f"tenant {number}", purpose="field") for number in range(_MAX_WAITING + 6)]
    for context in contexts:
        keyring.seal(PLAINTEXT, context)
    pass_time(keyring, DUE)
    _, proceed = kms.hold_up()
    try:
        for context in contexts:
            keyring.seal(PLAINTEXT, context)
        assert len(keyring._refresher._running) == _MAX_WAITING
    finally:
        proceed.set()
    settle(keyring)


def test_closing_during_a_refresh_leaves_nothing_behind(keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    pass_time(keyring, DUE)
    entered, proceed = kms.hold_up()
    keyring.seal(PLAINTEXT, CONTEXT)
    assert entered.wait(30)
    keyring.close()
    proceed.set()
    settle(keyring)
    assert (len(keyring._cache), keyring._refresher.holdings()) == (0, ())
    refused(keyring.affected, "invalid_argument", "closed")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_without(keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    pass_time(keyring, DUE)
    kms.fail("kms_unavailable")
    touch(keyring)
    with keyring._refresher._lock:
        assert in_child(lambda: keyring.affected() == ())
    assert keyring.affected()


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_either_clock_makes_it_due(clock: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slept has a monotonic clock that stood still."""
    with ready(url) as keyring:
        keyring.load(TENANT)
        record = _record(keyring._store)
        refresher = Refresher(3600, 10, lambda _: True)
        refresher.loaded(record.dek_id, TENANT)
        started = threading.Event()
        refresher.start_if_due(record, lambda _: started.set())
        assert not refresher._running
        now = getattr(time, clock)
        monkeypatch.setattr(time, clock, lambda: now() + DUE)
        refresher.start_if_due(record, lambda _: started.set())
        monkeypatch.undo()
        assert started.wait(30)
        refresher.close()


def _record(store: KeyStore) -> DekRecord:
    record = store.active_dek(TENANT, 1)
    assert record is not None
    return record


def test_what_is_remembered_is_bounded() -> None:
    refresher = Refresher(3600, 3, lambda _: True)
    for number in range(5):
        refresher.loaded(bytes([number]), TENANT)
    assert len(refresher.holdings()) == 3


def test_names_of_tenants_stay_out_of_reprs() -> None:
    assert OTHER_TENANT not in repr(AffectedTenant(OTHER_TENANT, "kms_denied", None))
