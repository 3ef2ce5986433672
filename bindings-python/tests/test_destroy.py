"""The end of one DEK: its waiting time, the scan, and another process that goes on sealing meanwhile."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import CONTEXT, PLAINTEXT, TENANT, FakeKms, query, ready, refused

from sealpoint import Keyring
from sealpoint._native import envelope_dek_id
from sealpoint.lifecycle import _jobs

WAIT_S = 3600 + _jobs.SKEW_S
KEK = "env:SEALPOINT_KEK"


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
def old(keyring: Keyring) -> tuple[str, bytes]:
    """A retired DEK, and what it sealed."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    return keyring.rotate(TENANT).retired, sealed


def age(url: str, seconds: float) -> None:
    query(url, "UPDATE sealpoint_deks SET retired_at = retired_at - ?", round(seconds * 1_000_000))


def state(url: str, dek_id: str) -> Any:
    ((found,),) = query(url, "SELECT state FROM sealpoint_deks WHERE dek_id = ?", bytes.fromhex(dek_id))
    return found


def ago(seconds: float = 0) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def test_step_by_step(url: str, keyring: Keyring, kms: FakeKms, old: tuple[str, bytes]) -> None:
    dek_id, sealed = old
    newer = keyring.seal(PLAINTEXT, CONTEXT)
    refused(lambda: keyring.schedule_destroy(dek_id), "invalid_argument", "not before")
    age(url, WAIT_S - 60)
    refused(lambda: keyring.schedule_destroy(dek_id), "invalid_argument", "not before")
    age(url, 61)
    refused(lambda: keyring.destroy(dek_id, scanned_at=ago(), confirm=dek_id), "invalid_argument", "schedule_destroy")
    keyring.schedule_destroy(dek_id)
    assert state(url, dek_id) == "pending_destroy"
    refused(lambda: keyring.open(sealed, CONTEXT), "key_disabled")
    keyring.cancel_destroy(dek_id)
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    keyring.schedule_destroy(dek_id)
    refused(lambda: keyring.destroy(dek_id, scanned_at=ago(), confirm=TENANT), "confirmation_required", "dek_id")
    refused(lambda: keyring.destroy(dek_id, scanned_at=ago(120), confirm=dek_id), "confirmation_required", "scan all data again")
    assert state(url, dek_id) == "pending_destroy"
    keyring.destroy(dek_id, scanned_at=ago(), confirm=dek_id)
    assert state(url, dek_id) == "destroyed"
    assert query(url, "SELECT count(*) FROM sealpoint_wraps") == [(1,)]
    assert query(url, "SELECT count(*) FROM sealpoint_deks WHERE destroyed_at > retired_at") == [(1,)]
    with ready(url, kms) as fresh:
        for one in (keyring, fresh):
            refused(lambda one=one: one.open(sealed, CONTEXT), "key_destroyed")  # type: ignore[misc]
            assert one.open(newer, CONTEXT) == PLAINTEXT
    for call in (lambda: keyring.schedule_destroy(dek_id), lambda: keyring.cancel_destroy(dek_id)):
        refused(call, "key_destroyed")


SEALER = """
import sys
from sealpoint import Context, Keyring
context = Context(tenant=sys.argv[2], purpose="field", document="u-42", path="/card")
with Keyring.connect(sys.argv[1], kek="env:SEALPOINT_KEK") as keyring:
    for line in sys.stdin:
        keyring._cache._advance(float(line))
        print(keyring.seal(b"the plaintext nobody may see", context).hex(), flush=True)
"""


def test_another_process_that_still_seals_under_the_old_key(url: str) -> None:
    """It does so for as long as its pointer lasts. Destroying is refused for all of that time and longer, so the scan, which may only
    begin afterwards, sees everything that it sealed."""
    with (
        ready(url, KEK) as keyring,
        subprocess.Popen([sys.executable, "-c", SEALER, url, TENANT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sealer,
    ):
        assert sealer.stdin is not None
        assert sealer.stdout is not None

        def seal(after: float) -> bytes:
            """By the other process, whose clock goes on by so many seconds first."""
            sealer.stdin.write(f"{after}\n")  # type: ignore[union-attr]
            sealer.stdin.flush()  # type: ignore[union-attr]
            return bytes.fromhex(sealer.stdout.readline())  # type: ignore[union-attr]

        seal(0)
        dek_id = keyring.rotate(TENANT).retired
        late = seal(30)
        assert envelope_dek_id(late).hex() == dek_id  # sealed after it was retired
        scanned_at = ago()
        for waited in (0, 30, 60, 3600):
            age(url, waited)
            refused(lambda: keyring.schedule_destroy(dek_id), "invalid_argument", "others may still use the key")
            assert keyring.open(late, CONTEXT) == PLAINTEXT
        last = seal(30)
        assert envelope_dek_id(last).hex() != dek_id  # its pointer has expired
        age(url, WAIT_S)
        keyring.schedule_destroy(dek_id)
        query(url, "UPDATE sealpoint_deks SET retired_at = ?", round((ago(WAIT_S).timestamp() - 0.001) * 1_000_000))
        refused(lambda: keyring.destroy(dek_id, scanned_at=scanned_at, confirm=dek_id), "confirmation_required", "scan all data again")
        keyring.cancel_destroy(dek_id)  # that scan would find `late`: it is sealed again first
        moved = keyring.seal(keyring.open(late, CONTEXT), CONTEXT)
        keyring.schedule_destroy(dek_id)
        keyring.destroy(dek_id, scanned_at=ago(), confirm=dek_id)
        assert {keyring.open(one, CONTEXT) for one in (last, moved)} == {PLAINTEXT}
        refused(lambda: keyring.open(late, CONTEXT), "key_destroyed")
        sealer.stdin.close()


def test_an_active_key_is_never_destroyed(keyring: Keyring, old: tuple[str, bytes]) -> None:
    active = envelope_dek_id(keyring.seal(PLAINTEXT, CONTEXT)).hex()
    refused(lambda: keyring.schedule_destroy(active), "invalid_argument", "rotate")
    refused(lambda: keyring.cancel_destroy(active), "invalid_argument")
    refused(lambda: keyring.destroy(active, scanned_at=ago(), confirm=active), "invalid_argument")
    assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def test_bad_arguments(url: str, keyring: Keyring, old: tuple[str, bytes]) -> None:
    dek_id, _ = old
    for bad in ("", "xyz", "00" * 15, 7, None, b"\0" * 16):
        refused(lambda bad=bad: keyring.schedule_destroy(bad), "invalid_argument", "32 hex digits")  # type: ignore[misc]
    refused(lambda: keyring.schedule_destroy("00" * 16), "key_not_found")
    age(url, WAIT_S + 1)
    keyring.schedule_destroy(dek_id)
    for when in (datetime.now(), ago(-3600), None, "now"):
        refused(lambda when=when: keyring.destroy(dek_id, scanned_at=when, confirm=dek_id), "invalid_argument", "scanned_at")  # type: ignore[misc]
    assert state(url, dek_id) == "pending_destroy"


def test_planted_states(url: str, keyring: Keyring, old: tuple[str, bytes]) -> None:
    dek_id, _ = old
    query(url, "UPDATE sealpoint_deks SET retired_at = NULL")
    refused(lambda: keyring.schedule_destroy(dek_id), "store_invalid", "set back")
    assert state(url, dek_id) == "retired"


def test_a_state_that_changes_at_the_same_moment(
    url: str, keyring: Keyring, old: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    dek_id, _ = old
    age(url, WAIT_S + 1)
    change = keyring._store.set_state  # type: ignore[attr-defined]

    def late(*arguments: Any) -> Any:
        query(url, "UPDATE sealpoint_deks SET state = 'destroyed' WHERE dek_id = ?", bytes.fromhex(dek_id))
        return change(*arguments)

    monkeypatch.setattr(keyring._store, "set_state", late)
    refused(lambda: keyring.schedule_destroy(dek_id), "store_unavailable", "another process")
    assert state(url, dek_id) == "destroyed"


async def test_async_twins_in_memory(kms: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await Keyring.aconnect("memory:", kek=kms) as keyring:
        sealed = await keyring.aseal(PLAINTEXT, CONTEXT)
        dek_id = (await keyring.arotate(TENANT)).retired
        monkeypatch.setattr(_jobs, "SKEW_S", -3600)
        await keyring.aschedule_destroy(dek_id)
        await keyring.acancel_destroy(dek_id)
        await keyring.aschedule_destroy(dek_id)
        assert await keyring.adestroy(dek_id, scanned_at=datetime.now(UTC), confirm=dek_id) == ""
        keyring._cache.clear()
        refused(lambda: keyring.open(sealed, CONTEXT), "key_destroyed")
