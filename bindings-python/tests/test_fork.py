"""After a fork the child starts afresh, and the parent goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from support import CONTEXT, OTHER_CONTEXT, PLAINTEXT, FakeKms, ready

from sealpoint import Context, Keyring, is_sealed

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work()` was true in a forked child; one that hangs is ended by its alarm."""
    import signal

    child = os.fork()
    if child == 0:
        passed = False
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            passed = work()
        finally:
            os._exit(0 if passed else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_child_starts_with_an_empty_cache(keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    kms.calls.clear()

    def child() -> bool:
        empty = len(keyring._cache) == 0
        opened = keyring.open(sealed, CONTEXT) == keyring.open(keyring.seal(PLAINTEXT, OTHER_CONTEXT), OTHER_CONTEXT)
        return empty and opened and kms.calls == {"wrap": 1, "unwrap": 2}

    assert in_child(child)
    assert len(keyring._cache) == 1
    assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT
    assert kms.calls == {}


def test_parent_and_child_use_one_database(keyring: Keyring) -> None:
    keyring.load("parent")
    assert in_child(lambda: is_sealed(keyring.seal(PLAINTEXT, Context(tenant="child", purpose="field"))))
    keyring._cache.clear()
    keyring.load("child", create=False)


def test_a_load_under_way_in_the_parent_does_not_hang_the_child(keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    entered, proceed = kms.hold_up()
    loading = threading.Thread(target=keyring.open, args=(sealed, CONTEXT))
    loading.start()
    assert entered.wait(30)
    try:
        assert in_child(lambda: keyring.open(sealed, CONTEXT) == PLAINTEXT)
    finally:
        proceed.set()
        loading.join(30)


@pytest.mark.parametrize("store", ["keyring", "memory"])
def test_locks_that_are_held_at_the_fork_are_free_in_the_child(store: str, keyring: Keyring) -> None:
    used = keyring if store == "keyring" else ready("memory:")
    sealed = used.seal(PLAINTEXT, CONTEXT)
    with used._flights._lock:
        if store == "keyring":
            assert in_child(lambda: used.open(sealed, CONTEXT) == PLAINTEXT)
        else:
            with used._store._lock:  # type: ignore[attr-defined]
                assert in_child(lambda: used.open(sealed, CONTEXT) == PLAINTEXT)


def test_a_closed_keyring_stays_closed(keyring: Keyring) -> None:
    keyring.close()

    def child() -> bool:
        try:
            keyring.load("tenant")
        except Exception as error:
            return "closed" in str(error)
        return False

    assert in_child(child)
