"""A new DEK becomes active, the old one opens only."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import CONTEXT, OTHER_CONTEXT, OTHER_TENANT, PLAINTEXT, TENANT, FakeKms, in_threads, query, ready, refused

from sealpoint import Context, Keyring, is_sealed
from sealpoint._native import envelope_dek_id
from sealpoint.lifecycle import _jobs
from sealpoint.stores.memory import MemoryStore

EARLIER = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


def states(url: str, tenant: str = TENANT, purpose: int = 1) -> list[tuple[int, str]]:
    return [
        (version, state)
        for version, state in query(
            url, "SELECT version, state FROM sealpoint_deks WHERE tenant = ? AND purpose = ? ORDER BY version", tenant, purpose
        )
    ]


def test_a_new_key_seals_and_the_old_one_opens(url: str, keyring: Keyring) -> None:
    old = keyring.seal(PLAINTEXT, CONTEXT)
    done = keyring.rotate(TENANT)
    new = keyring.seal(PLAINTEXT, CONTEXT)
    assert (done.rotated, done.version, done.tenant, done.dek_purpose) == (True, 2, TENANT, "data")
    assert (done.retired, done.dek_id) == (envelope_dek_id(old).hex(), envelope_dek_id(new).hex())
    assert states(url) == [(1, "retired"), (2, "active")]
    for cache in (keyring._cache.clear, lambda: None):
        cache()
        assert keyring.open(old, CONTEXT) == keyring.open(new, CONTEXT) == PLAINTEXT
    ((retired_at, rotated_by),) = query(url, "SELECT retired_at, rotated_by FROM sealpoint_deks WHERE version = 1")
    assert abs(retired_at / 1e6 - datetime.now(UTC).timestamp()) < 60
    assert rotated_by == done.dek_id


def test_the_new_key_is_wrapped_by_every_kek_and_verified(url: str) -> None:
    keks = [FakeKms("fake:one"), FakeKms("fake:two")]
    with ready(url, keks) as keyring:
        keyring.load(TENANT)
        for kek in keks:
            kek.calls.clear()
        keyring.rotate(TENANT)
        assert [dict(kek.calls) for kek in keks] == [{"wrap": 1, "unwrap": 2}, {"wrap": 1, "unwrap": 1}]  # the old one is opened once
    assert query(url, "SELECT count(*) FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE version = 2") == [(2,)]


def test_another_process_seals_under_the_old_key_until_it_reads_the_store(url: str, keyring: Keyring, kms: FakeKms) -> None:
    with ready(url, kms) as other:
        old = other.seal(PLAINTEXT, CONTEXT)
        keyring.rotate(TENANT)
        assert envelope_dek_id(other.seal(PLAINTEXT, CONTEXT)) == envelope_dek_id(old)
        other._cache._advance(60)
        assert envelope_dek_id(other.seal(PLAINTEXT, CONTEXT)) != envelope_dek_id(old)


def test_purposes_and_tenants_keep_theirs(url: str, keyring: Keyring) -> None:
    keyring.load(TENANT)
    keyring.load(TENANT, dek_purpose="client")
    keyring.load(OTHER_TENANT)
    keyring.rotate(TENANT, dek_purpose="client")
    assert states(url, purpose=3) == [(1, "retired"), (2, "active")]
    assert states(url) == states(url, OTHER_TENANT) == [(1, "active")]


def test_an_index_survives_a_rotation_of_data(url: str, keyring: Keyring) -> None:
    keyring.load(TENANT)
    record, _ = keyring._loader.make(TENANT, 2, 1)
    keyring._store.create_dek(record)
    keyring.rotate(TENANT)
    assert states(url, purpose=2) == [(1, "active")]
    refused(lambda: keyring.rotate(TENANT, dek_purpose="index"), "invalid_argument", "data")  # type: ignore[arg-type]


def test_dry_run(url: str, keyring: Keyring, kms: FakeKms) -> None:
    keyring.load(TENANT)
    kms.calls.clear()
    done = keyring.rotate(TENANT, dry_run=True)
    assert (done.rotated, done.version) == (False, 1)
    assert keyring.rotate_all(dry_run=True).rotated == 1
    assert states(url) == [(1, "active")]
    assert kms.calls["wrap"] == 0


def test_nothing_to_rotate(keyring: Keyring) -> None:
    refused(lambda: keyring.rotate("nobody"), "key_not_found", "load(tenant)")
    keyring.load(TENANT)
    keyring.shred(TENANT, confirm=TENANT)
    refused(lambda: keyring.rotate(TENANT), "key_destroyed")
    assert keyring.rotate_all().rotated == 0


def test_bad_arguments(keyring: Keyring) -> None:
    bad: list[Any] = [
        lambda: keyring.rotate(7),  # type: ignore[arg-type]
        lambda: keyring.rotate(TENANT, dry_run=1),  # type: ignore[arg-type]
        lambda: keyring.rotate(TENANT, dek_purpose="audit"),  # type: ignore[arg-type]
        lambda: keyring.rotate_all(made_before=datetime(2027, 1, 1)),
        lambda: keyring.rotate_all(made_before="2027-01-01"),  # type: ignore[arg-type]
    ]
    for call in bad:
        refused(call, "invalid_argument")
    refused(lambda: keyring.rotate(""), "tenant_required")
    keyring.close()
    refused(lambda: keyring.rotate(TENANT), "invalid_argument", "closed")


def test_an_outage_rotates_nothing(url: str, keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    for code in ("kms_unavailable", "kms_denied"):
        kms.fail(code)
        refused(lambda: keyring.rotate(TENANT), code)
        refused(keyring.rotate_all, code)
    kms.fail(None)
    assert states(url) == [(1, "active")]
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT


def test_a_wrap_that_opens_to_another_key_is_never_stored(
    url: str, keyring: Keyring, kms: FakeKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring.load(TENANT)
    from sealpoint import SecretKey, WrappedKey

    monkeypatch.setattr(kms, "wrap", lambda _, context: WrappedKey(kms._kek.wrap(SecretKey.generate(), context), "fake", "v1"))
    refused(lambda: keyring.rotate(TENANT), "authentication_failed", "unwraps to another key")
    assert states(url) == [(1, "active")]


# races


def test_of_two_rotations_one_wins(url: str, keyring: Keyring, kms: FakeKms) -> None:
    """Both have read the old active DEK before one of them stores its own."""
    others = [ready(url, kms) for _ in range(2)]
    for other in others:
        other.load(TENANT)
    both = threading.Barrier(2)
    kms.before = lambda call: both.wait(30) if call == "wrap" else None
    first, second = in_threads(2, lambda number: others[number].rotate(TENANT))
    kms.before = lambda _: None
    assert sorted((first.rotated, second.rotated)) == [False, True]
    assert first.dek_id == second.dek_id
    assert states(url) == [(1, "retired"), (2, "active")]
    for other in others:
        assert envelope_dek_id(other.seal(PLAINTEXT, CONTEXT)).hex() == first.dek_id
        other.close()


def test_sealing_opening_and_rotating_at_once(url: str, kms: FakeKms) -> None:
    keyrings = [ready(url, kms) for _ in range(3)]
    over = threading.Event()
    sealed: list[bytes] = []

    def work(number: int) -> None:
        keyring = keyrings[number % 3]
        if number < 2:
            for _ in range(6):
                keyring.rotate(TENANT)
            return
        while not over.is_set():
            sealed.append(keyring.seal(PLAINTEXT, CONTEXT))
            assert keyring.open(sealed[-1], CONTEXT) == PLAINTEXT
            keyring._cache._advance(61)

    keyrings[0].load(TENANT)
    rotating = threading.Thread(target=lambda: results.extend(in_threads(2, work)) or over.set())
    results: list[Any] = []
    rotating.start()
    assert in_threads(4, lambda number: work(number + 2)) == [None] * 4
    rotating.join(30)
    assert results == [None, None]
    ids = [state for _, state in states(url)]
    assert ids.count("active") == 1
    assert ids[-1] == "active"
    assert len(ids) > 6
    assert len({envelope_dek_id(one) for one in sealed}) > 1
    with ready(url, kms) as fresh:
        assert {fresh.open(one, CONTEXT) for one in sealed} == {PLAINTEXT}
    for keyring in keyrings:
        keyring.close()


def test_a_tenant_shredded_meanwhile_gets_no_new_key(url: str, keyring: Keyring, kms: FakeKms) -> None:
    keyring.load(TENANT)
    with ready(url, kms) as other:
        kms.before = lambda call: other.shred(TENANT, confirm=TENANT) if call == "wrap" else None
        refused(lambda: keyring.rotate(TENANT), "key_destroyed")
    assert states(url) == [(1, "destroyed")]


# all tenants


def test_all_and_due(url: str, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jobs, "PAGE", 2)
    names = [f"tenant-{number}" for number in range(5)]
    for name in names:
        keyring.load(name)
    query(url, "UPDATE sealpoint_deks SET created_at = created_at - ? WHERE tenant IN ('tenant-1', 'tenant-4')", 2 * 86_400_000_000)
    seen: list[int] = []
    report = keyring.rotate_all(made_before=EARLIER, progress=seen.append)
    assert (report.tenants, report.rotated, report.failed, report.made_before) == (5, 2, 0, EARLIER)
    assert seen == [2, 4, 5]
    assert keyring.rotate_all(made_before=EARLIER).rotated == 0  # what was rotated is due no more
    start = datetime.now(UTC)
    assert keyring.rotate_all(made_before=start).rotated == 5
    assert keyring.rotate_all(made_before=start).rotated == 0
    assert [len(states(url, name)) for name in names] == [2, 3, 2, 2, 3]


# rows are not trusted


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE sealpoint_wraps SET wrapped = (SELECT wrapped FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id "
         "WHERE d.tenant = 'globex-secret-tenant')", "authentication_failed"),
        ("UPDATE sealpoint_wraps SET kek_uri = 'fake:unknown' WHERE dek_id = (SELECT dek_id FROM sealpoint_deks "
         "WHERE tenant = 'acme-secret-tenant')", "key_not_found"),
        ("UPDATE sealpoint_deks SET version = 7 WHERE tenant = 'acme-secret-tenant'", "authentication_failed"),
    ],
    ids=["another tenant's wrap", "unknown kek_uri", "wrong version"],
)  # fmt: skip
def test_a_planted_active_row_is_reported_and_left_alone(change: str, code: str, url: str, keyring: Keyring) -> None:
    keyring.load(TENANT)
    keyring.load(OTHER_TENANT)
    query(url, change)
    rows = query(url, "SELECT * FROM sealpoint_deks WHERE tenant = ?", TENANT)
    refused(lambda: keyring.rotate(TENANT), code)
    report = keyring.rotate_all()
    assert (report.rotated, [(failure.tenant, failure.code) for failure in report.failures]) == (1, [(TENANT, code)])
    assert query(url, "SELECT * FROM sealpoint_deks WHERE tenant = ?", TENANT) == rows


def test_a_state_set_back(url: str, keyring: Keyring) -> None:
    keyring.load(TENANT)
    keyring.rotate(TENANT)
    query(url, "UPDATE sealpoint_deks SET state = 'retired' WHERE version = 2")
    query(url, "UPDATE sealpoint_deks SET state = 'active' WHERE version = 1")
    refused(lambda: keyring.rotate(TENANT), "store_invalid", "set back", "status")
    report = keyring.rotate_all()
    assert (report.rotated, report.failed, report.failures[0].code) == (0, 1, "store_invalid")
    assert states(url) == [(1, "active"), (2, "retired")]


# any store


async def test_async_twins(url: str, kms: FakeKms) -> None:
    async with await Keyring.aconnect(url, kek=kms) as keyring:
        await keyring.asetup()
        await keyring.aload(TENANT)
        assert (await keyring.arotate(TENANT)).version == 2
        assert (await keyring.arotate_all()).rotated == 1


def test_in_memory(kms: FakeKms) -> None:
    with Keyring.connect("memory:", kek=kms) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring.seal(PLAINTEXT, OTHER_CONTEXT)
        assert keyring.rotate(TENANT).version == 2
        assert keyring.rotate_all().rotated == 2
        keyring._cache.clear()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT


class OnlyLoading:
    """A user's key store from before there was `KeyLifecycle`."""

    def __init__(self) -> None:
        inner = MemoryStore()
        for name in ("setup", "settings", "canaries", "add_canary", "tenant", "dek", "active_dek", "next_version", "create_dek"):
            setattr(self, name, getattr(inner, name))


def test_a_store_that_can_only_load(kms: FakeKms) -> None:
    with ready(OnlyLoading(), kms) as keyring:  # type: ignore[arg-type]
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache.clear()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        verbs: list[Any] = [
            lambda: keyring.rotate(TENANT),
            keyring.rotate_all,
            lambda: keyring.rewrap("fake:one", "fake:one"),
            lambda: keyring.drop_wraps("fake:two"),
            lambda: keyring.schedule_destroy("00" * 16),
            lambda: keyring.shred(TENANT, confirm=TENANT),
            keyring.tombstones,
            lambda: keyring.readmit(TENANT),
            keyring.status,
        ]
        for verb in verbs:
            refused(verb, "invalid_argument", "OnlyLoading", "KeyLifecycle")
        assert is_sealed(keyring.seal(PLAINTEXT, Context(tenant=TENANT, purpose="field")))
