"""With every other KEK lost the recovery key brings the DEKs back: they open, seal nothing, and never become what seals again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import CONTEXT, KEK_TEXT, OTHER_CONTEXT, OTHER_KEK_TEXT, OTHER_TENANT, PLAINTEXT, TENANT, FakeKms, query, ready, refused

from sealpoint import Context, DataKey, Keyring, SecretKey, WrappedKey
from sealpoint._native import RecoveryKey, wrap_context
from sealpoint.doctor import doctor
from sealpoint.kms import ProviderCapabilities
from sealpoint.kms.recovery import OfflineRecoveryProvider, RecoveryProvider
from sealpoint.lifecycle import _jobs
from sealpoint.lifecycle.rotate import replace_active
from sealpoint.stores import DekRecord
from sealpoint.stores.memory import MemoryStore

NEW, OPEN_ONLY = "fake:two", "fake+open-only"
KEY = RecoveryKey.generate()
URI = f"recovery:{KEY.public.recovery_id.hex()}"
WAIT_US = (3600 + _jobs.SKEW_S) * 1_000_000


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
def new() -> FakeKms:
    return FakeKms(NEW, OTHER_KEK_TEXT)


@pytest.fixture
def sealed(url: str) -> list[tuple[bytes, Context, str]]:
    """Under four DEKs: two of a tenant, one of them retired, one of another tenant, and a client one. The KEK is lost afterwards."""
    with ready(url, [FakeKms(), RecoveryProvider(KEY.public.to_text())]) as keyring:
        made = [(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT, "data"), (keyring.seal(PLAINTEXT, OTHER_CONTEXT), OTHER_CONTEXT, "data")]
        keyring.rotate(TENANT)
        made.append((keyring.seal(PLAINTEXT, CONTEXT), CONTEXT, "data"))
        return [*made, (keyring.seal(PLAINTEXT, CONTEXT, dek_purpose="client"), CONTEXT, "client")]


@pytest.fixture
def keyring(url: str, sealed: object, new: FakeKms) -> Iterator[Keyring]:
    """What recovers: a new KEK, and the secret half."""
    with Keyring.connect(url, kek=[new, OfflineRecoveryProvider(KEY.to_text())]) as keyring:
        new.calls.clear()
        yield keyring


@pytest.fixture
def recovered(url: str, keyring: Keyring, new: FakeKms) -> Iterator[Keyring]:
    """Afterwards, without the secret half."""
    assert keyring.recover().complete
    with Keyring.connect(url, kek=new) as after:
        new.calls.clear()
        yield after


def all_open(keyring: Keyring, sealed: list[tuple[bytes, Context, str]]) -> bool:
    return all(keyring.open(one, context, dek_purpose=purpose) == PLAINTEXT for one, context, purpose in sealed)  # type: ignore[arg-type]


def rows(url: str) -> list[tuple[object, ...]]:
    """Everything that a job could change."""
    deks = query(url, "SELECT dek_id, state, retired_at, rotated_by FROM sealpoint_deks ORDER BY dek_id")
    return [*deks, *query(url, "SELECT * FROM sealpoint_wraps ORDER BY dek_id, kek_uri"), *query(url, "SELECT * FROM sealpoint_canaries")]


def first_dek(url: str) -> bytes:
    ((dek_id,),) = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ? AND purpose = 1 AND version = 1", TENANT)
    return bytes(dek_id)


def test_everything_opens_again_and_sealing_goes_on(
    url: str, keyring: Keyring, new: FakeKms, sealed: list[tuple[bytes, Context, str]]
) -> None:
    seen: list[int] = []
    report = keyring.recover(progress=seen.append)
    assert (report.deks, report.recovered, report.activated, report.verified, report.passes) == (7, 4, 3, 7, 2)
    assert (report.complete, report.failed, report.failures, report.keks) == (True, 0, (), (NEW,))
    # The first pass may already meet some of the keys that it made.
    assert (seen[0], seen[-1], seen) == (4, 7, sorted(seen))
    states = query(url, "SELECT tenant, purpose, version, state FROM sealpoint_deks ORDER BY tenant, purpose, version")
    assert states == [
        (TENANT, 1, 1, "retired"),
        (TENANT, 1, 2, "retired"),
        (TENANT, 1, 3, "active"),
        (TENANT, 3, 1, "retired"),
        (TENANT, 3, 2, "active"),
        (OTHER_TENANT, 1, 1, "retired"),
        (OTHER_TENANT, 1, 2, "active"),
    ]
    under_new = "SELECT wrap_alg, count(*) FROM sealpoint_wraps WHERE kek_uri = ? AND verified_at > 0 GROUP BY wrap_alg ORDER BY wrap_alg"
    assert query(url, under_new, NEW) == [("fake", 3), (OPEN_ONLY, 4)]
    assert query(url, "SELECT count(*) FROM sealpoint_wraps WHERE kek_uri = 'fake:one'") == [(4,)], "nothing is removed"
    with Keyring.connect(url, kek=new) as after:
        assert all_open(after, sealed)
        for purpose in ("data", "client"):
            made = after.seal(PLAINTEXT, CONTEXT, dek_purpose=purpose)  # type: ignore[arg-type]
            assert after.open(made, CONTEXT, dek_purpose=purpose) == PLAINTEXT  # type: ignore[arg-type]
        assert after.export_data_key(TENANT, reason="test")


def test_what_came_back_is_held_and_opened_once(recovered: Keyring, new: FakeKms, sealed: list[tuple[bytes, Context, str]]) -> None:
    for _ in range(3):
        assert all_open(recovered, sealed)
    assert new.calls == {"unwrap": 4}


def test_also_before_it_is_recovered(keyring: Keyring, sealed: list[tuple[bytes, Context, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert all_open(keyring, sealed)
    monkeypatch.setattr(OfflineRecoveryProvider, "unwrap", None)
    assert all_open(keyring, sealed)
    refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "key_not_found", "sealpoint recover")


@pytest.mark.parametrize("held", [False, True])
def test_a_recovered_key_that_is_set_active_again_seals_nothing(
    held: bool, url: str, recovered: Keyring, new: FakeKms, sealed: list[tuple[bytes, Context, str]]
) -> None:
    dek_id = first_dek(url)
    query(url, "UPDATE sealpoint_deks SET state = 'retired', retired_at = 1 WHERE tenant = ? AND purpose = 1", TENANT)
    query(url, "UPDATE sealpoint_deks SET state = 'active' WHERE dek_id = ?", dek_id)
    if held:
        assert all_open(recovered, sealed)
    new.calls.clear()
    refused(lambda: recovered.seal(PLAINTEXT, CONTEXT), "key_not_found", "sealpoint rotate")
    refused(lambda: recovered.load(TENANT), "key_not_found")
    assert new.calls == ({} if held else {"unwrap": 1})
    assert all_open(recovered, sealed)
    (status,) = recovered.status(TENANT)
    assert any("active" in problem and dek_id.hex() in problem for problem in status.problems)
    assert [dek.opens_only for dek in status.purposes[0].deks] == [True, True, False]


def test_doctor_tells_them_apart(url: str, recovered: Keyring, new: FakeKms) -> None:
    def counts() -> dict[str, tuple[str, int]]:
        checks = {check.name: check for check in doctor(url, new).checks}
        return {name: (checks[name].verdict, checks[name].count) for name in ("keys minted", "keys sealing")}

    assert counts() == {"keys minted": ("warning", 4), "keys sealing": ("ok", 0)}
    query(url, "DELETE FROM sealpoint_deks WHERE tenant = ? AND state = 'active'", OTHER_TENANT)
    query(url, "UPDATE sealpoint_deks SET state = 'active' WHERE tenant = ?", OTHER_TENANT)
    assert counts() == {"keys minted": ("warning", 3), "keys sealing": ("problem", 1)}


def test_a_recovered_client_key_is_not_exported(url: str, recovered: Keyring) -> None:
    query(url, "UPDATE sealpoint_deks SET state = 'retired' WHERE purpose = 3")
    query(url, "UPDATE sealpoint_deks SET state = 'active' WHERE purpose = 3 AND version = 1")
    refused(lambda: recovered.export_data_key(TENANT, reason="test"), "key_not_found")


@pytest.mark.parametrize("change", ["wrap_alg = 'fake'", "wrap_alg = 'fake+OPEN-ONLY'", "wrap_alg = '+open-only+'"])
def test_the_name_alone_makes_no_ordinary_wrap_of_it(
    change: str, url: str, recovered: Keyring, sealed: list[tuple[bytes, Context, str]]
) -> None:
    query(url, f"UPDATE sealpoint_wraps SET {change} WHERE wrap_alg = ?", OPEN_ONLY)
    refused(lambda: all_open(recovered, sealed), "authentication_failed")


def test_an_ordinary_wrap_that_is_called_open_only_does_not_open(url: str, recovered: Keyring) -> None:
    query(url, "UPDATE sealpoint_wraps SET wrap_alg = ? WHERE wrap_alg = 'fake'", OPEN_ONLY)
    sealed = DataKey.generate(tenant=TENANT)[0].seal(PLAINTEXT, CONTEXT)
    ((active,),) = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ? AND purpose = 1 AND state = 'active'", TENANT)
    refused(lambda: recovered.open(sealed[:5] + bytes(active) + sealed[21:], CONTEXT), "authentication_failed")
    refused(lambda: recovered.seal(PLAINTEXT, CONTEXT), "authentication_failed")


def plant(url: str) -> tuple[DataKey, bytes]:
    """What a writer of the database can do: an active DEK that he chose, with a wrap for the recovery key and a fitting key check."""
    query(url, "UPDATE sealpoint_deks SET state = 'retired', retired_at = 1 WHERE tenant = ? AND purpose = 1", TENANT)
    key, secret = DataKey.generate(tenant=TENANT, version=3)
    wrap = KEY.public.wrap(secret, wrap_context(tenant=TENANT, dek_id=key.dek_id, dek_purpose=1, suite=1))
    query(
        url,
        "INSERT INTO sealpoint_deks (dek_id, tenant, purpose, suite, version, state, key_check, created_at) "
        "VALUES (?, ?, 1, 1, 3, 'active', ?, 1)",
        key.dek_id,
        TENANT,
        key.key_check,
    )
    query(url, "INSERT INTO sealpoint_wraps VALUES (?, ?, '', 'sealpoint-recovery-v1', ?, 1, NULL)", key.dek_id, URI, wrap)
    return key, key.seal(PLAINTEXT, CONTEXT)


def test_a_planted_key_comes_back_and_seals_nothing(url: str, keyring: Keyring, new: FakeKms) -> None:
    planted, forged = plant(url)
    report = keyring.recover()
    assert (report.recovered, report.activated, report.complete) == (5, 3, True)
    with Keyring.connect(url, kek=new) as after:
        assert after.open(forged, CONTEXT) == PLAINTEXT, "nobody can tell it from the others: SPEC section 6.4"
        assert after.seal(PLAINTEXT, CONTEXT)[5:21] != planted.dek_id


def test_a_key_that_was_held_open_only_is_not_what_seals_once_its_row_is_genuine(url: str, sealed: object, new: FakeKms) -> None:
    """The writer swaps key check and recovery wrap of a genuine DEK, has it opened, and puts the genuine row back."""
    primary = FakeKms()
    dek_id = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ? AND state = 'active'", OTHER_TENANT)[0][0]
    genuine = query(url, "SELECT key_check FROM sealpoint_deks WHERE dek_id = ?", dek_id)[0][0]
    secret = SecretKey.generate()
    chosen = DataKey.from_secret(
        secret, dek_id=bytes(dek_id), tenant=OTHER_TENANT, dek_purpose=1, version=1, suite=1, key_check=check_of(secret, bytes(dek_id))
    )
    wrap = KEY.public.wrap(secret, wrap_context(tenant=OTHER_TENANT, dek_id=bytes(dek_id), dek_purpose=1, suite=1))
    with Keyring.connect(url, kek=[primary, OfflineRecoveryProvider(KEY.to_text())]) as keyring:
        query(url, "UPDATE sealpoint_deks SET key_check = ? WHERE dek_id = ?", chosen.key_check, dek_id)
        query(url, "UPDATE sealpoint_wraps SET wrapped = ? WHERE dek_id = ? AND kek_uri = ?", wrap, dek_id, URI)
        primary.fail("kms_unavailable")
        assert keyring.open(chosen.seal(PLAINTEXT, OTHER_CONTEXT), OTHER_CONTEXT) == PLAINTEXT
        query(url, "UPDATE sealpoint_deks SET key_check = ? WHERE dek_id = ?", genuine, dek_id)
        primary.fail(None)
        made = keyring.seal(PLAINTEXT, OTHER_CONTEXT)
        assert made[5:21] == bytes(dek_id)
        refused(lambda: chosen.open(made, OTHER_CONTEXT), "authentication_failed")


def check_of(secret: SecretKey, dek_id: bytes) -> bytes:
    """The key check that fits this key, as anybody who knows it can compute it (SPEC section 2)."""
    import hmac

    key = bytes(secret.expose())
    info = (
        b"sealpoint/v1/key-check\0\x01\x01" + dek_id + (1).to_bytes(4, "big") + len(OTHER_TENANT).to_bytes(2, "big") + OTHER_TENANT.encode()
    )
    return hmac.digest(key, info + b"\x01", "sha512")[:32]


def test_dry_run(url: str, keyring: Keyring, new: FakeKms) -> None:
    before = rows(url)
    report = keyring.recover(dry_run=True)
    assert (report.dry_run, report.deks, report.recovered, report.activated, report.passes, report.complete) == (True, 4, 4, 3, 1, False)
    assert rows(url) == before
    assert new.calls == {}


def test_what_is_done_is_not_done_again(url: str, keyring: Keyring) -> None:
    keyring.recover()
    before = rows(url)
    report = keyring.recover()
    assert (report.deks, report.recovered, report.activated, report.verified, report.complete) == (7, 0, 0, 7, True)
    assert rows(url) == before


def test_two_new_keks_and_one_that_comes_later(url: str, keyring: Keyring, new: FakeKms, sealed: list[tuple[bytes, Context, str]]) -> None:
    keyring.recover()
    third = FakeKms("fake:three", KEK_TEXT)
    with Keyring.connect(url, kek=[new, third, OfflineRecoveryProvider(KEY.to_text())]) as both:
        report = both.recover()
        assert (report.recovered, report.activated, report.verified, report.complete) == (0, 0, 11, True)
    with Keyring.connect(url, kek=third) as after:
        assert all_open(after, sealed)
        refused(lambda: after.seal(PLAINTEXT, CONTEXT), "key_not_found")  # the new active ones: `rewrap`


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE sealpoint_deks SET key_check = ? WHERE dek_id = ?", "authentication_failed"),
        ("DELETE FROM sealpoint_wraps WHERE length(wrapped) > length(?) AND kek_uri LIKE 'recovery:%' AND dek_id = ?", "key_not_found"),
        ("UPDATE sealpoint_tenants SET shredded_at = length(?) WHERE tenant <> ''", "key_destroyed"),
    ],
)
def test_what_does_not_come_back_is_named_and_left_alone(change: str, code: str, url: str, keyring: Keyring) -> None:
    dek_id = first_dek(url)
    if url.startswith("postgresql://"):
        change = change.replace("%", "%%")
    query(url, change, bytes(32), *([dek_id] if change.count("?") == 2 else []))
    before = query(url, "SELECT * FROM sealpoint_wraps WHERE dek_id = ? ORDER BY kek_uri", dek_id)
    report = keyring.recover()
    assert not report.complete
    assert (dek_id.hex(), code) in [(failure.dek_id, failure.code) for failure in report.failures]
    assert query(url, "SELECT * FROM sealpoint_wraps WHERE dek_id = ? ORDER BY kek_uri", dek_id) == before
    if code != "key_destroyed":
        assert (report.failed, report.recovered) == (1, 3)


def test_an_active_key_that_is_not_its_tenants_newest_is_named(url: str, keyring: Keyring) -> None:
    query(url, "UPDATE sealpoint_deks SET state = 'retired' WHERE tenant = ? AND purpose = 1", TENANT)
    query(url, "UPDATE sealpoint_deks SET state = 'active' WHERE dek_id = ?", first_dek(url))
    report = keyring.recover()
    assert (report.recovered, report.activated, report.complete) == (4, 2, False)
    assert [(failure.dek_id, failure.code) for failure in report.failures] == [(first_dek(url).hex(), "store_invalid")]


@pytest.mark.parametrize("capabilities", [(True, False), (False, True)])
def test_a_kek_that_cannot_hold_to_it_is_refused(capabilities: tuple[bool, bool], url: str, keyring: Keyring, new: FakeKms) -> None:
    weak = FakeKms("fake:weak", KEK_TEXT)
    weak.capabilities = ProviderCapabilities(binds_context=capabilities[0], authenticates=capabilities[1])
    before = rows(url)
    with Keyring.connect(url, kek=[new, weak, OfflineRecoveryProvider(KEY.to_text())]) as both:
        refused(both.recover, "invalid_argument", "fake KEK", "bind the context")
    assert rows(url) == before
    keyring.recover()
    with Keyring.connect(url, kek=[new, weak]) as both:  # nor does a rewrap put it there, unless nothing seals that comes from there anyway
        report = both.rewrap(NEW, "fake:weak")
        assert (report.wrapped, report.failed) == ((3, 4) if weak.capabilities.authenticates else (7, 0))
        assert {failure.code for failure in report.failures} <= {"invalid_argument"}


def test_without_the_secret_half(url: str, sealed: object) -> None:
    with Keyring.connect(url, kek=[FakeKms(), KEY.public.to_text()]) as keyring:
        refused(keyring.recover, "invalid_argument", "OfflineRecoveryProvider")


def test_an_outage_ends_it_and_it_goes_on(
    url: str, keyring: Keyring, new: FakeKms, sealed: list[tuple[bytes, Context, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jobs, "PAGE", 1)

    def failing(call: str) -> None:
        new.fail("kms_unavailable" if new.calls["wrap"] >= 4 else None)

    new.before = failing
    refused(keyring.recover, "kms_unavailable")
    new.before, new.answer = lambda _: None, None
    assert query(url, "SELECT count(*) > 0 FROM sealpoint_wraps WHERE kek_uri = ?", NEW) == [(True if url.startswith("postgresql") else 1,)]
    assert keyring.recover().complete
    assert all_open(keyring, sealed)


def test_rewrap_keeps_it_open_only(url: str, recovered: Keyring, new: FakeKms, sealed: list[tuple[bytes, Context, str]]) -> None:
    third = FakeKms("fake:three", KEK_TEXT)
    with Keyring.connect(url, kek=[new, third]) as both:
        report = both.rewrap(NEW, "fake:three")
        assert (report.wrapped, report.verified, report.complete) == (7, 7, True)
    assert query(
        url, "SELECT wrap_alg, count(*) FROM sealpoint_wraps WHERE kek_uri = 'fake:three' GROUP BY wrap_alg ORDER BY wrap_alg"
    ) == [
        ("fake", 3),
        (OPEN_ONLY, 4),
    ]
    query(url, "UPDATE sealpoint_wraps SET verified_at = verified_at - ?", WAIT_US)
    with Keyring.connect(url, kek=third) as after:
        assert after.drop_wraps(NEW).dropped == 7
        assert after.drop_wraps("fake:one").dropped == 4, "the lost KEK's wraps go too"
        assert all_open(after, sealed)
        assert after.open(after.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def test_an_open_only_wrap_is_not_enough_for_an_active_key(url: str, recovered: Keyring) -> None:
    query(url, "UPDATE sealpoint_deks SET state = 'retired' WHERE purpose = 3")
    query(url, "UPDATE sealpoint_deks SET state = 'active' WHERE purpose = 3 AND version = 1")
    query(url, "UPDATE sealpoint_wraps SET verified_at = verified_at - ?", WAIT_US)
    refused(lambda: recovered.drop_wraps("fake:one"), "invalid_argument", "1 keys")


def test_when_the_lost_kek_is_found_again_what_it_wraps_seals(url: str, recovered: Keyring, new: FakeKms) -> None:
    """Its wraps authenticate; they are preferred where a key that only opens would be passed on."""
    third = FakeKms("fake:three", KEK_TEXT)
    with Keyring.connect(url, kek=[new, FakeKms(), third]) as all_three:
        assert all_three.rewrap(NEW, "fake:three").wrapped == 7
    assert query(url, "SELECT DISTINCT wrap_alg FROM sealpoint_wraps WHERE kek_uri = 'fake:three'") == [("fake",)]


def test_rotate_heals_what_a_killed_recovery_left(url: str, keyring: Keyring, new: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> tuple[DekRecord, bool]:
        raise KeyboardInterrupt

    monkeypatch.setattr("sealpoint.lifecycle.recover.replace_active", killed)
    with pytest.raises(KeyboardInterrupt):
        keyring.recover()
    monkeypatch.setattr("sealpoint.lifecycle.recover.replace_active", replace_active)
    with Keyring.connect(url, kek=new) as after:
        refused(lambda: after.seal(PLAINTEXT, CONTEXT), "key_not_found", "sealpoint rotate")
        assert after.rotate(TENANT).rotated
        assert after.open(after.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT
    assert keyring.recover().activated == 2


def test_a_provider_whose_own_names_end_so_is_found_out(url: str, keyring: Keyring, new: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeKms, "wrap", lambda self, secret, context: WrappedKey(self._kek.wrap(secret, context), "odd+open-only", "v1"))
    refused(lambda: keyring.load("a new tenant"), "authentication_failed")


async def test_async_twin(keyring: Keyring) -> None:
    assert (await keyring.arecover(dry_run=True)).recovered == 4
    assert (await keyring.arecover()).complete


def test_in_memory(new: FakeKms) -> None:
    store = MemoryStore()
    with ready(store, [FakeKms(), KEY.public.to_text()]) as keyring:  # type: ignore[arg-type]
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    with Keyring.connect(store, kek=[new, OfflineRecoveryProvider(KEY.to_text())]) as keyring:
        assert keyring.recover().complete
    with Keyring.connect(store, kek=new) as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        assert keyring.seal(PLAINTEXT, CONTEXT)[5:21] != sealed[5:21]
