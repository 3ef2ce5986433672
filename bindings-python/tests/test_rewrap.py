"""Every DEK under another KEK; the old one's wraps go later, by a step of their own."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import pytest
from support import (
    CONTEXT,
    KEK_TEXT,
    OTHER_CONTEXT,
    OTHER_KEK_TEXT,
    OTHER_TENANT,
    PLAINTEXT,
    TENANT,
    FakeKms,
    lift_constraints,
    query,
    ready,
    refused,
)

from sealpoint import Keyring, SecretKey, WrappedKey
from sealpoint._native import LocalKek, wrap_context
from sealpoint.lifecycle import _jobs
from sealpoint.stores import DekRecord
from sealpoint.stores.memory import MemoryStore

OLD, NEW = "fake:one", "fake:two"
WAIT_US = (3600 + _jobs.SKEW_S) * 1_000_000


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
def new() -> FakeKms:
    return FakeKms(NEW, OTHER_KEK_TEXT)


@pytest.fixture
def sealed(keyring: Keyring) -> list[bytes]:
    """Under three DEKs of two tenants, all of the old KEK."""
    first = [keyring.seal(PLAINTEXT, CONTEXT), keyring.seal(PLAINTEXT, OTHER_CONTEXT)]
    keyring.rotate(TENANT)
    return [*first, keyring.seal(PLAINTEXT, CONTEXT)]


@pytest.fixture
def both(url: str, keyring: Keyring, kms: FakeKms, sealed: list[bytes], new: FakeKms) -> Keyring:
    kms.calls.clear()
    return Keyring.connect(url, kek=[kms, new])


def wraps(url: str) -> list[tuple[str, int]]:
    return [(uri, count) for uri, count in query(url, "SELECT kek_uri, count(*) FROM sealpoint_wraps GROUP BY kek_uri ORDER BY kek_uri")]


def age(url: str, microseconds: int = WAIT_US) -> None:
    query(url, "UPDATE sealpoint_wraps SET verified_at = verified_at - ?", microseconds)


def opens(url: str, kek: FakeKms, sealed: list[bytes]) -> bool:
    with Keyring.connect(url, kek=kek) as keyring:
        contexts = [CONTEXT, OTHER_CONTEXT, CONTEXT]
        return all(keyring.open(one, context) == PLAINTEXT for one, context in zip(sealed, contexts, strict=True))


def test_every_key_gets_a_verified_wrap(url: str, both: Keyring, kms: FakeKms, new: FakeKms, sealed: list[bytes]) -> None:
    before = query(url, "SELECT * FROM sealpoint_deks ORDER BY dek_id")
    old = query(url, "SELECT * FROM sealpoint_wraps ORDER BY dek_id")
    report = both.rewrap(OLD, NEW)
    assert (report.deks, report.wrapped, report.verified, report.passes) == (3, 3, 3, 2)
    assert (report.complete, report.failed, report.kek_version, report.dry_run) == (True, 0, "v1", False)
    assert wraps(url) == [(OLD, 3), (NEW, 3)]
    assert query(url, "SELECT * FROM sealpoint_deks ORDER BY dek_id") == before
    assert query(url, "SELECT * FROM sealpoint_wraps WHERE kek_uri = ? ORDER BY dek_id", OLD) == old
    assert kms.calls == {"unwrap": 1 + 3}  # the canary, and each key once
    assert opens(url, new, sealed)
    assert opens(url, kms, sealed)


def test_what_is_done_is_not_done_again(url: str, both: Keyring, new: FakeKms) -> None:
    both.rewrap(OLD, NEW)
    rows = query(url, "SELECT * FROM sealpoint_wraps ORDER BY dek_id, kek_uri")
    new.calls.clear()
    again = both.rewrap(OLD, NEW)
    assert (again.wrapped, again.verified, again.complete) == (0, 3, True)
    assert new.calls["wrap"] == 1  # which tells the version
    assert query(url, "SELECT * FROM sealpoint_wraps ORDER BY dek_id, kek_uri") == rows


def test_dry_run(url: str, both: Keyring, new: FakeKms) -> None:
    report = both.rewrap(OLD, NEW, dry_run=True)
    assert (report.dry_run, report.wrapped, report.complete) == (True, 3, False)
    assert wraps(url) == [(OLD, 3)]
    assert query(url, "SELECT kek_uri FROM sealpoint_canaries") == [(OLD,)]


def test_the_canary_comes_first(url: str, both: Keyring, new: FakeKms, kms: FakeKms) -> None:
    kms.before = lambda _: kms.fail("kms_unavailable") if wraps(url) == [(OLD, 3)] else None
    refused(lambda: both.rewrap(OLD, NEW), "kms_unavailable")
    assert sorted(query(url, "SELECT kek_uri FROM sealpoint_canaries")) == [(OLD,), (NEW,)]
    refused(lambda: Keyring.connect(url, kek=FakeKms(NEW, KEK_TEXT)), "authentication_failed", "fake")


def test_a_canary_of_another_kek_of_that_name(url: str, both: Keyring, kms: FakeKms) -> None:
    other = FakeKms(NEW, KEK_TEXT)
    with Keyring.connect(url, kek=[kms, other]) as keyring:
        both.rewrap(OLD, NEW)
        refused(lambda: keyring.rewrap(OLD, NEW), "authentication_failed", "set up with")


def test_the_current_version_of_the_same_kek(url: str, keyring: Keyring, kms: FakeKms, sealed: list[bytes]) -> None:
    wrap = kms.wrap
    kms.wrap = lambda secret, context: WrappedKey(wrap(secret, context).wrapped, "fake", "v2")  # type: ignore[method-assign]
    query(url, "UPDATE sealpoint_wraps SET kek_version = 'v2' WHERE dek_id = (SELECT min(dek_id::text)::bytea FROM sealpoint_deks)") if (
        "postgres" in url
    ) else query(url, "UPDATE sealpoint_wraps SET kek_version = 'v2' WHERE dek_id = (SELECT min(dek_id) FROM sealpoint_deks)")
    report = keyring.rewrap(OLD, OLD)
    assert (report.wrapped, report.verified, report.kek_version, report.complete) == (2, 3, "v2", True)
    assert query(url, "SELECT DISTINCT kek_version FROM sealpoint_wraps") == [("v2",)]
    assert wraps(url) == [(OLD, 3)]
    assert opens(url, kms, sealed)


def test_a_kek_that_tells_no_version(keyring: Keyring, kms: FakeKms, sealed: list[bytes]) -> None:
    wrap = kms.wrap
    kms.wrap = lambda secret, context: WrappedKey(wrap(secret, context).wrapped, "fake", "")  # type: ignore[method-assign]
    refused(lambda: keyring.rewrap(OLD, OLD), "invalid_argument", "versions")


def test_keks_that_cannot_serve(both: Keyring, url: str, kms: FakeKms) -> None:
    refused(lambda: both.rewrap("fake:three", NEW), "invalid_argument", "kek=")
    refused(lambda: both.rewrap(OLD, "fake:three"), "invalid_argument", "kek=")
    minted = FakeKms("rsa:one", authenticates=False)
    with Keyring.connect(url, kek=[kms, minted]) as keyring:
        refused(lambda: keyring.rewrap("rsa:one", OLD), "invalid_argument", "anyone")
        assert keyring.rewrap(OLD, "rsa:one").complete  # as a further way to open


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_throttled", "kms_denied"])
def test_an_outage_ends_it_and_it_goes_on(code: str, url: str, both: Keyring, kms: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jobs, "PAGE", 1)
    kms.before = lambda _: kms.fail(code) if kms.calls["unwrap"] == 3 else None
    refused(lambda: both.rewrap(OLD, NEW), code)
    assert wraps(url) == [(OLD, 3), (NEW, 1)]
    kms.before = lambda _: None
    kms.fail(None)
    assert (both.rewrap(OLD, NEW).wrapped, wraps(url)) == (2, [(OLD, 3), (NEW, 3)])


def test_a_wrap_that_opens_to_another_key_is_never_stored(url: str, both: Keyring, new: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(secret: SecretKey, context: Any) -> WrappedKey:
        wrong = SecretKey.generate() if context.purpose == "wrap" else secret
        return WrappedKey(new._kek.wrap(wrong, context), "fake", "v1")

    monkeypatch.setattr(new, "wrap", lie)
    report = both.rewrap(OLD, NEW)
    assert (report.wrapped, report.failed, report.complete) == (0, 3, False)
    assert {failure.code for failure in report.failures} == {"authentication_failed"}
    assert wraps(url) == [(OLD, 3)]


def test_keys_that_others_make_meanwhile(url: str, both: Keyring, kms: FakeKms, new: FakeKms) -> None:
    """Another process still has the old KEK alone, and makes a key in each of the first passes, before or after the pass has come by."""
    made = iter(["late-1", "late-2", "late-3", "late-4"])
    with Keyring.connect(url, kek=FakeKms(OLD)) as other:
        new.before = lambda call: [other.load(name) for name in [next(made, None)] if name] if call == "unwrap" else None
        report = both.rewrap(OLD, NEW)
    assert (report.complete, report.wrapped, report.deks, report.verified) == (True, 7, 7, 7)
    assert wraps(url) == [(OLD, 7), (NEW, 7)]


def test_writers_that_never_end_are_reported(url: str, both: Keyring, new: FakeKms) -> None:
    with Keyring.connect(url, kek=FakeKms(OLD)) as other:
        new.before = lambda call: other.load(f"late-{new.calls['wrap']}") if call == "wrap" else None
        report = both.rewrap(OLD, NEW)
    assert (report.complete, report.passes) == (False, 10)


def test_two_at_once(url: str, both: Keyring, kms: FakeKms, new: FakeKms) -> None:
    with Keyring.connect(url, kek=[kms, new]) as other:
        turn = threading.Barrier(2)
        new.before = lambda call: turn.wait(30) if call == "wrap" and new.calls["wrap"] in (3, 4) else None
        reports: list[Any] = []
        threads = [threading.Thread(target=lambda k=k: reports.append(k.rewrap(OLD, NEW))) for k in (both, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert [report.complete for report in reports] == [True, True]
    assert sum(report.wrapped for report in reports) == 3
    assert wraps(url) == [(OLD, 3), (NEW, 3)]


def test_a_tenant_shredded_meanwhile_gets_no_wrap_back(url: str, both: Keyring, kms: FakeKms, new: FakeKms) -> None:
    """The wraps are made, but not stored yet, when the DEKs are destroyed."""
    with Keyring.connect(url, kek=kms) as other:
        new.before = lambda call: other.shred(TENANT, confirm=TENANT) if call == "wrap" and new.calls["wrap"] == 4 else None
        report = both.rewrap(OLD, NEW)
    assert (report.complete, report.deks) == (True, 1)
    assert wraps(url) == [(OLD, 1), (NEW, 1)]


# rows are not trusted


PLANTED = {
    "another tenant's wrap": (
        "UPDATE sealpoint_wraps SET wrapped = (SELECT wrapped FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id "
        "WHERE d.tenant = 'globex-secret-tenant') WHERE dek_id = ?",
        "authentication_failed",
    ),
    "unknown kek_uri": ("UPDATE sealpoint_wraps SET kek_uri = 'fake:unknown' WHERE dek_id = ?", "key_not_found"),
    "NULL key check": ("UPDATE sealpoint_deks SET key_check = NULL WHERE dek_id = ?", "store_invalid"),
    "wrong version": ("UPDATE sealpoint_deks SET version = 9 WHERE dek_id = ?", "authentication_failed"),
    "wrong purpose": ("UPDATE sealpoint_deks SET purpose = 3 WHERE dek_id = ?", "authentication_failed"),
    "destroyed, with wraps": ("UPDATE sealpoint_deks SET state = 'destroyed' WHERE dek_id = ?", "store_invalid"),
}


@pytest.mark.parametrize(("change", "code"), PLANTED.values(), ids=list(PLANTED))
def test_a_planted_row_is_reported_and_left_alone(change: str, code: str, url: str, both: Keyring) -> None:
    lift_constraints(url)
    ((dek_id,),) = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ? AND version = 1", TENANT)
    query(url, change, dek_id)
    of_it = "SELECT * FROM sealpoint_deks d LEFT JOIN sealpoint_wraps w ON w.dek_id = d.dek_id WHERE d.dek_id = ?"
    rows = query(url, of_it, dek_id)
    report = both.rewrap(OLD, NEW)
    assert (report.wrapped, report.failed, report.complete) == (2, 1, False)
    ((failure),) = report.failures
    assert (failure.dek_id, failure.code) == (dek_id.hex(), code)
    assert query(url, of_it, dek_id) == rows


@pytest.mark.parametrize("version", ["v1", "v0"])
def test_a_planted_wrap_under_the_new_kek_is_found_and_not_replaced(version: str, url: str, both: Keyring) -> None:
    ((dek_id,),) = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ?", OTHER_TENANT)
    context = wrap_context(tenant=OTHER_TENANT, dek_id=dek_id, dek_purpose=1, suite=1)
    planted = LocalKek.parse(OTHER_KEK_TEXT).wrap(SecretKey.generate(), context)
    query(url, "INSERT INTO sealpoint_wraps VALUES (?, ?, ?, 'fake', ?, 1, 1)", dek_id, NEW, version, planted)
    report = both.rewrap(OLD, NEW)
    assert (report.complete, report.failed, report.failures[0].code) == (False, 1, "authentication_failed")
    assert query(url, "SELECT wrapped FROM sealpoint_wraps WHERE dek_id = ? AND kek_uri = ?", dek_id, NEW) == [(planted,)]


# dropping the old wraps


def test_old_wraps_go_after_their_time(url: str, both: Keyring, new: FakeKms, sealed: list[bytes]) -> None:
    both.rewrap(OLD, NEW)
    with Keyring.connect(url, kek=new) as keyring:
        refused(lambda: keyring.drop_wraps(OLD), "invalid_argument", "not before", "nothing was dropped")
        age(url, WAIT_US - 60_000_000)
        refused(lambda: keyring.drop_wraps(OLD), "invalid_argument", "not before")
        age(url, 60_000_000)
        assert keyring.drop_wraps(OLD, dry_run=True).dropped == 3
        assert wraps(url) == [(OLD, 3), (NEW, 3)]
        report = keyring.drop_wraps(OLD)
        assert (report.dropped, report.failed) == (3, 0)
    assert wraps(url) == [(NEW, 3)]
    assert opens(url, new, sealed)


def test_a_kek_that_is_configured_keeps_its_wraps(both: Keyring, url: str) -> None:
    both.rewrap(OLD, NEW)
    age(url)
    refused(lambda: both.drop_wraps(OLD), "invalid_argument", "kek=")
    assert wraps(url) == [(OLD, 3), (NEW, 3)]


@pytest.mark.parametrize("missing", ["DELETE FROM sealpoint_wraps", "UPDATE sealpoint_wraps SET verified_at = NULL"])
def test_one_key_without_a_verified_wrap_holds_up_all(missing: str, both: Keyring, url: str, new: FakeKms) -> None:
    both.rewrap(OLD, NEW)
    age(url)
    ((dek_id,),) = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ?", OTHER_TENANT)
    query(url, f"{missing} WHERE dek_id = ? AND kek_uri = ?", dek_id, NEW)
    count = len(query(url, "SELECT * FROM sealpoint_wraps"))
    with Keyring.connect(url, kek=new) as keyring:
        refused(lambda: keyring.drop_wraps(OLD), "invalid_argument", "1 keys", "rewrap")
    assert len(query(url, "SELECT * FROM sealpoint_wraps")) == count


def test_a_wrap_that_anyone_can_make_is_not_enough(both: Keyring, url: str, kms: FakeKms, new: FakeKms) -> None:
    minted = FakeKms("rsa:one", authenticates=False)
    with Keyring.connect(url, kek=[kms, minted]) as keyring:
        keyring.rewrap(OLD, "rsa:one")
    age(url)
    with Keyring.connect(url, kek=[new, minted]) if both.rewrap(OLD, NEW).complete else both as keyring:
        query(url, "DELETE FROM sealpoint_wraps WHERE kek_uri = ?", NEW)
        refused(lambda: keyring.drop_wraps(OLD), "invalid_argument", "3 keys")


def test_a_wrap_that_only_says_it_was_verified(both: Keyring, url: str, new: FakeKms) -> None:
    """Each is opened once more before the old one goes."""
    both.rewrap(OLD, NEW)
    age(url)
    ((dek_id,),) = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ?", OTHER_TENANT)
    query(url, "UPDATE sealpoint_wraps SET wrapped = ? WHERE dek_id = ? AND kek_uri = ?", bytes(125), dek_id, NEW)
    with Keyring.connect(url, kek=new) as keyring:
        report = keyring.drop_wraps(OLD)
    assert (report.dropped, report.failed, report.failures[0].dek_id) == (2, 1, dek_id.hex())
    assert query(url, "SELECT kek_uri FROM sealpoint_wraps WHERE dek_id = ? ORDER BY kek_uri", dek_id) == [(OLD,), (NEW,)]


def test_a_wrap_that_changes_while_it_is_dropped(both: Keyring, url: str, new: FakeKms) -> None:
    both.rewrap(OLD, NEW)
    age(url)
    with Keyring.connect(url, kek=new) as keyring:
        new.before = lambda _: query(url, "UPDATE sealpoint_wraps SET wrapped = ? WHERE kek_uri = ?", bytes(125), NEW)
        assert keyring.drop_wraps(OLD).dropped == 0
    assert wraps(url) == [(OLD, 3), (NEW, 3)]


# any store, any size


async def test_async_twins(url: str, both: Keyring, new: FakeKms) -> None:
    assert (await both.arewrap(OLD, NEW)).complete
    age(url)
    async with await Keyring.aconnect(url, kek=new) as keyring:
        assert (await keyring.adrop_wraps(OLD)).dropped == 3


def test_in_memory(kms: FakeKms, new: FakeKms) -> None:
    store = MemoryStore()
    with ready(store, [kms]) as keyring:  # type: ignore[arg-type]
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    with ready(store, [kms, new]) as keyring:  # type: ignore[arg-type]
        assert keyring.rewrap(OLD, NEW).complete
    with ready(store, [new]) as keyring:  # type: ignore[arg-type]
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        refused(lambda: keyring.drop_wraps(OLD), "invalid_argument", "not before")


class Many(MemoryStore):
    """A fake: any number of keys, of which only the page that is asked for exists. Both KEKs wrap them, so there is nothing to store."""

    keyring: Keyring
    size: int

    def page_deks(self, after: bytes | None, limit: int) -> list[DekRecord]:
        self.at = 0 if after is None else self.at
        page = [self.keyring._loader.make(TENANT, 1, number + 1)[0] for number in range(self.at, min(self.at + limit, self.size))]
        self.at += len(page)
        return page


def test_memory_is_bounded(kms: FakeKms, new: FakeKms) -> None:
    """What a job holds is one page, however many keys there are."""
    peaks = []
    for size in (1_000, 4_000):
        store = Many()
        with ready(store, [kms, new]) as keyring:  # type: ignore[arg-type]
            store.keyring, store.size = keyring, size
            tracemalloc.start()
            report = keyring.rewrap(OLD, NEW)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert (report.deks, report.verified) == (size, size)
    assert peaks[1] < 1.2 * peaks[0]
