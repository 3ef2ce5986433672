"""Which wraps a new DEK must have: a demand of the key store on whoever makes one, that touches nobody who opens."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support import CONTEXT, OTHER_CONTEXT, OTHER_KEK_TEXT, OTHER_TENANT, PLAINTEXT, TENANT, FakeKms, query, ready, refused

from sealpoint import Context, Keyring
from sealpoint._native import RecoveryKey
from sealpoint.cli import main
from sealpoint.kms.recovery import OfflineRecoveryProvider
from sealpoint.stores import StoreSettings, store_from_url
from sealpoint.stores.memory import MemoryStore

KEY = RecoveryKey.generate()
PUBLIC, URI = KEY.public.to_text(), f"recovery:{KEY.public.recovery_id.hex()}"


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
def full(url: str, kms: FakeKms) -> Iterator[Keyring]:
    """What the policy asks for; a tenant has a DEK from before it."""
    with ready(url, kms) as keyring:
        keyring.load(TENANT)
    with ready(url, [kms, PUBLIC]) as keyring:
        keyring.require_wraps([PUBLIC])
        yield keyring


@pytest.fixture
def poor(url: str, full: Keyring, kms: FakeKms) -> Iterator[Keyring]:
    """A process of the fleet that was configured without the recovery key."""
    with Keyring.connect(url, kek=kms) as keyring:
        kms.calls.clear()
        yield keyring


def test_no_key_is_made_without_it(url: str, full: Keyring, poor: Keyring, kms: FakeKms) -> None:
    assert full.required_wraps() == (URI,)
    for make in (
        lambda: poor.load(OTHER_TENANT),
        lambda: poor.seal(PLAINTEXT, OTHER_CONTEXT),
        lambda: poor.export_data_key(OTHER_TENANT, reason="test"),
        lambda: poor.load(TENANT, dek_purpose="client"),
    ):
        refused(make, "invalid_argument", "(recovery)", "sealpoint policy")
    assert kms.calls == {}
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(1,)]
    refused(lambda: poor.rotate(TENANT), "invalid_argument", "(recovery)")
    assert poor.rotate_all().failures[0].code == "invalid_argument"
    assert query(url, "SELECT state FROM sealpoint_deks") == [("active",)]
    assert full.rotate(TENANT).rotated


async def test_the_async_twins_too(full: Keyring, poor: Keyring) -> None:
    with pytest.raises(Exception, match="sealpoint policy") as caught:
        await poor.aseal(PLAINTEXT, OTHER_CONTEXT)
    assert getattr(caught.value, "code", None) == "invalid_argument"
    await full.arequire_wraps([])
    assert await full.arequired_wraps() == ()
    assert await poor.aseal(PLAINTEXT, OTHER_CONTEXT)


def test_who_opens_and_seals_under_what_is_there_is_not_touched(full: Keyring, poor: Keyring) -> None:
    sealed = full.seal(PLAINTEXT, OTHER_CONTEXT)
    assert poor.open(sealed, OTHER_CONTEXT) == PLAINTEXT
    assert poor.open(poor.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT
    assert poor.health().status == "ok"


def test_what_is_there_gets_it_by_rewrap_and_status_tells(full: Keyring, poor: Keyring) -> None:
    full.load(OTHER_TENANT)
    for keyring in (full, poor):
        found = {status.tenant: status.purposes[0] for status in keyring.status()}
        assert [found[tenant].deks[0].lacks for tenant in (TENANT, OTHER_TENANT)] == [(URI,), ()]
        assert [found[tenant].due for tenant in (TENANT, OTHER_TENANT)] == [("rewrap",), ()]
    full.rewrap("fake:one", URI)
    assert poor.status(TENANT)[0].purposes[0].deks[0].lacks == ()


def test_it_can_be_taken_back(full: Keyring, poor: Keyring) -> None:
    full.require_wraps(["fake:one"])
    assert full.required_wraps() == ("fake:one",)
    poor.load(OTHER_TENANT)
    full.require_wraps([URI, "fake:one", PUBLIC])
    assert full.required_wraps() == (URI, "fake:one")
    refused(lambda: poor.load("a third tenant"), "invalid_argument")
    full.require_wraps([])
    assert full.required_wraps() == ()
    poor.load("a third tenant")


def test_what_cannot_be_required(full: Keyring, poor: Keyring) -> None:
    refused(lambda: full.require_wraps(["fake:unknown"]), "invalid_argument", "no KEK of that URI")
    refused(lambda: poor.require_wraps([URI]), "invalid_argument", "no KEK of that URI")
    refused(lambda: full.require_wraps([7]), "invalid_argument", "URIs")  # type: ignore[list-item]
    assert full.required_wraps() == (URI,)


def test_a_recovery_makes_keys_that_have_it(url: str, full: Keyring) -> None:
    full.rewrap("fake:one", URI)
    new = FakeKms("fake:two", OTHER_KEK_TEXT)
    with Keyring.connect(url, kek=[new, OfflineRecoveryProvider(KEY.to_text())]) as keyring:
        assert keyring.recover().complete
        assert {dek.lacks for dek in keyring.status(TENANT)[0].purposes[0].deks} == {()}


def test_a_recovery_when_the_policy_asks_for_the_lost_kek(url: str, full: Keyring) -> None:
    full.rewrap("fake:one", URI)
    full.require_wraps(["fake:one", URI])
    new = FakeKms("fake:two", OTHER_KEK_TEXT)
    with Keyring.connect(url, kek=[new, OfflineRecoveryProvider(KEY.to_text())]) as keyring:
        for dry_run in (True, False):
            refused(lambda: keyring.recover(dry_run=dry_run), "invalid_argument", "(fake)", "sealpoint policy")  # noqa: B023
        assert query(url, "SELECT count(*) FROM sealpoint_wraps WHERE kek_uri = 'fake:two'") == [(0,)]
    with Keyring.connect(url, kek=[new, PUBLIC]) as keyring:  # the new KEK has its canary: this key store is known to it
        keyring.require_wraps(["fake:two", URI])
    with Keyring.connect(url, kek=[new, OfflineRecoveryProvider(KEY.to_text())]) as keyring:
        assert keyring.recover().complete


@pytest.mark.parametrize("planted", ["fake:nowhere", "fake:one\nfake:nowhere", "\n"])
def test_who_writes_the_key_store_can_only_ask_for_more(planted: str, url: str, full: Keyring) -> None:
    query(url, "UPDATE sealpoint_settings SET required_keks = ?", planted)
    refused(lambda: full.load(OTHER_TENANT), "store_invalid" if planted == "\n" else "invalid_argument")
    query(url, "UPDATE sealpoint_settings SET required_keks = ''")
    full.load(OTHER_TENANT)
    wraps = "SELECT w.kek_uri FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE d.tenant = ? ORDER BY w.kek_uri"
    assert query(url, wraps, OTHER_TENANT) == [("fake:one",), (URI,)]


def to_version_1(url: str) -> None:
    query(url, "ALTER TABLE sealpoint_settings DROP COLUMN required_keks")
    query(url, "UPDATE sealpoint_settings SET schema_version = 1")


def test_a_key_store_of_schema_version_1(url: str, kms: FakeKms) -> None:
    with ready(url, kms) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    to_version_1(url)
    with Keyring.connect(url, kek=kms) as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        keyring.load(OTHER_TENANT)
        assert keyring.required_wraps() == ()
        refused(lambda: keyring.require_wraps(["fake:one"]), "store_invalid", "setup()")
        for _ in range(2):
            keyring.setup()
            assert keyring._store.settings() == StoreSettings(2, 3600)
            assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        keyring.require_wraps(["fake:one"])
        keyring.setup()
        assert keyring.required_wraps() == ("fake:one",)
    store = store_from_url(url)
    query(url, "DELETE FROM sealpoint_settings")
    store.setup(3600)
    assert store.settings() == StoreSettings(2, 3600)


def test_in_memory(kms: FakeKms) -> None:
    store = MemoryStore()
    with ready(store, [kms, PUBLIC]) as keyring:  # type: ignore[arg-type]
        keyring.require_wraps([URI])
        keyring.load(TENANT)
    with Keyring.connect(store, kek=kms) as keyring:
        keyring.load(TENANT)
        refused(lambda: keyring.seal(PLAINTEXT, Context(tenant="new", purpose="field")), "invalid_argument")


def test_the_command(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SEALPOINT_STORE", url)
    ready(url, "env:SEALPOINT_KEK").close()

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["policy", *arguments])
        return code, "".join(capsys.readouterr())

    assert run() == (0, "no KEK is required\n")
    assert run("--require-wrap", "env:SEALPOINT_KEK", "--require-wrap", PUBLIC) == (0, f"env:SEALPOINT_KEK\n{URI}\n")
    code, out = run("--json")
    assert (code, json.loads(out)) == (0, {"required_wraps": ["env:SEALPOINT_KEK", URI]})
    with Keyring.connect(url, kek="env:SEALPOINT_KEK") as keyring:
        refused(lambda: keyring.load(TENANT), "invalid_argument", "(recovery)")
    with Keyring.connect(url, kek=["env:SEALPOINT_KEK", PUBLIC]) as keyring:
        keyring.load(TENANT)
    query(url, "DELETE FROM sealpoint_wraps WHERE kek_uri = ?", URI)
    assert main(["status", TENANT]) == 0
    assert capsys.readouterr().out.endswith(f"  lacks {URI}\n")
    assert run("--clear") == (0, "no KEK is required\n")
    with Keyring.connect(url, kek="env:SEALPOINT_KEK") as keyring:
        keyring.load(OTHER_TENANT)
    code, out = run("--require-wrap", "env:NO_KEK")
    assert (code, out.startswith("sealpoint: invalid_argument")) == (1, True)
    with pytest.raises(SystemExit):
        main(["policy", "--clear", "--require-wrap", "env:SEALPOINT_KEK"])
