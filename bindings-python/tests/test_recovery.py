"""Recovery keys: what the public half wraps, who can open it, and that losing every other KEK loses nothing."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support import CONTEXT, KEK, OTHER_CONTEXT, OTHER_KEK_TEXT, PLAINTEXT, TENANT, FakeKms, assert_error

from sealpoint import Keyring, SealpointError
from sealpoint._native import RecoveryKey, RecoveryPublicKey, SecretKey, secrets_equal, wrap_context
from sealpoint.cli import main
from sealpoint.kms import provider_from_uri
from sealpoint.kms.recovery import OfflineRecoveryProvider, RecoveryProvider

WRAP = wrap_context(tenant="t", dek_id=bytes(16), dek_purpose=1, suite=1)
STORE = "sqlite:///keys.db"
SECRET_PREFIX, PUBLIC_PREFIX = "sealpoint-recovery-secret:v1:", "sealpoint-recovery-public:v1:"


@pytest.fixture
def key() -> RecoveryKey:
    return RecoveryKey.generate()


def rows(query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect("keys.db")) as db:
        return db.execute(query).fetchall()


def test_a_text_is_the_key(key: RecoveryKey) -> None:
    secret = SecretKey.generate()
    public = RecoveryPublicKey.from_text(key.public.to_text())
    assert public.recovery_id == key.public.recovery_id
    assert key.to_text().startswith(SECRET_PREFIX)
    assert public.to_text().startswith(PUBLIC_PREFIX)
    assert secrets_equal(RecoveryKey.from_text(key.to_text()).unwrap(public.wrap(secret, WRAP), WRAP), secret)


def test_nothing_shows_the_secret(key: RecoveryKey) -> None:
    text = key.to_text()
    assert repr(key) == "RecoveryKey([redacted])"
    assert text[-20:] not in repr(OfflineRecoveryProvider(text))
    with pytest.raises(SealpointError) as caught:
        OfflineRecoveryProvider(text[:-1])
    assert_error(caught.value, "invalid_argument")
    assert text[30:50] not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("spelled", ["text", "file"])
def test_each_new_dek_is_wrapped_for_the_recovery_key_too(key: RecoveryKey, spelled: str, tmp_path: Path) -> None:
    (tmp_path / "recovery.pub").write_text(key.public.to_text() + "\n")
    recovery = key.public.to_text() if spelled == "text" else "recovery:recovery.pub"
    with Keyring.connect(STORE, kek=[KEK, recovery]) as keyring:
        keyring.setup()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        assert [kek.scheme for kek in keyring.health().keks] == ["env"]
    uri = f"recovery:{key.public.recovery_id.hex()}"
    assert rows("SELECT kek_uri, wrap_alg, length(wrapped), verified_at IS NULL FROM sealpoint_wraps ORDER BY kek_uri") == [
        (KEK, "sealpoint-v1", 125, 0),
        (uri, "sealpoint-recovery-v1", 1189, 1),
    ]
    assert rows("SELECT kek_uri FROM sealpoint_canaries") == [(KEK,)]
    with Keyring.connect(STORE, kek=[recovery, KEK]) as keyring:  # whichever comes first, the one that opens is asked
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT


def test_a_recovery_key_is_never_the_only_kek(key: RecoveryKey) -> None:
    with pytest.raises(SealpointError) as caught:
        Keyring.connect("memory:", kek=key.public.to_text())
    assert_error(caught.value, "invalid_argument", "authenticate")


def test_the_public_half_opens_nothing(key: RecoveryKey) -> None:
    provider = RecoveryProvider(key.public.to_text())
    with pytest.raises(SealpointError) as caught:
        provider.unwrap(provider.wrap(SecretKey.generate(), WRAP), WRAP)
    assert_error(caught.value, "kms_denied", "OfflineRecoveryProvider")


def test_an_outage_of_the_other_kek_is_that_keks_error(key: RecoveryKey) -> None:
    kms = FakeKms()
    with Keyring.connect(STORE, kek=[kms, key.public.to_text()]) as keyring:
        keyring.setup()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    with Keyring.connect(STORE, kek=[kms, key.public.to_text()]) as keyring:
        kms.fail("kms_unavailable")
        with pytest.raises(SealpointError) as caught:
            keyring.open(sealed, CONTEXT)
        assert_error(caught.value, "kms_unavailable")


def test_with_the_other_kek_gone_the_secret_half_opens_and_seals_nothing(key: RecoveryKey) -> None:
    with Keyring.connect(STORE, kek=[FakeKms("fake:lost"), key.public.to_text()]) as keyring:
        keyring.setup()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    new = FakeKms("fake:new", OTHER_KEK_TEXT)
    with pytest.raises(SealpointError) as caught:
        Keyring.connect(STORE, kek=[new, key.public.to_text()])  # the public half proves nothing
    assert_error(caught.value, "key_not_found")
    with Keyring.connect(STORE, kek=[new, OfflineRecoveryProvider(key.to_text())]) as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        keyring.setup()
        assert {uri for (uri,) in rows("SELECT kek_uri FROM sealpoint_canaries")} == {"fake:lost", "fake:new"}
        with pytest.raises(SealpointError) as caught:
            keyring.seal(PLAINTEXT, CONTEXT)
        assert_error(caught.value, "key_not_found")
        assert keyring.open(keyring.seal(PLAINTEXT, OTHER_CONTEXT), OTHER_CONTEXT) == PLAINTEXT  # a new tenant, under the new KEK
    with Keyring.connect(STORE, kek=[new, OfflineRecoveryProvider(RecoveryKey.generate().to_text())]) as keyring:
        with pytest.raises(SealpointError) as caught:
            keyring.open(sealed, CONTEXT)
        assert_error(caught.value, "key_not_found")


def test_keys_from_before_are_wrapped_for_the_recovery_key_by_rewrap(key: RecoveryKey) -> None:
    with Keyring.connect(STORE, kek=KEK) as keyring:
        keyring.setup()
        sealed = [keyring.seal(PLAINTEXT, context) for context in (CONTEXT, OTHER_CONTEXT)]
    uri = f"recovery:{key.public.recovery_id.hex()}"
    with Keyring.connect(STORE, kek=[KEK, key.public.to_text()]) as keyring:
        report = keyring.rewrap(KEK, uri)
        assert (report.wrapped, report.verified, report.complete, report.failed) == (2, 0, True, 0)
        assert keyring.rewrap(KEK, uri).wrapped == 0
    assert rows("SELECT kek_uri FROM sealpoint_canaries") == [(KEK,)]
    new = FakeKms("fake:new", OTHER_KEK_TEXT)
    with Keyring.connect(STORE, kek=[new, OfflineRecoveryProvider(key.to_text())]) as keyring:
        assert [keyring.open(one, at) for one, at in zip(sealed, (CONTEXT, OTHER_CONTEXT), strict=True)] == [PLAINTEXT] * 2


def test_the_command_wraps_keys_from_before_too(key: RecoveryKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Keyring.connect(STORE, kek=KEK) as keyring:
        keyring.setup()
        keyring.load(TENANT)
    (tmp_path / "recovery.pub").write_text(key.public.to_text())
    assert main(["rewrap", "--store", STORE, "--from", KEK, "--to", "recovery:recovery.pub"]) == 0, capsys.readouterr().err
    assert rows("SELECT count(*) FROM sealpoint_wraps WHERE kek_uri LIKE 'recovery:%'") == [(1,)]


def test_a_planted_recovery_wrap_is_refused(key: RecoveryKey) -> None:
    with Keyring.connect(STORE, kek=[KEK, key.public.to_text()]) as keyring:
        keyring.setup()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    dek_id = rows("SELECT dek_id FROM sealpoint_deks")[0][0]
    planted = key.public.wrap(SecretKey.generate(), wrap_context(tenant=TENANT, dek_id=dek_id, dek_purpose=1, suite=1))  # type: ignore[arg-type]
    with closing(sqlite3.connect("keys.db")) as db, db:
        db.execute("UPDATE sealpoint_wraps SET wrapped = ? WHERE kek_uri LIKE 'recovery:%'", (planted,))
    absent = FakeKms("fake:absent")
    with Keyring.connect(STORE, kek=[absent, OfflineRecoveryProvider(key.to_text())]) as keyring, pytest.raises(SealpointError) as caught:
        keyring.open(sealed, CONTEXT)
    assert_error(caught.value, "authentication_failed")


def test_any_provider_may_only_wrap() -> None:
    only = FakeKms("fake:wraps", OTHER_KEK_TEXT, authenticates=False)
    only.capabilities = replace(only.capabilities, can_unwrap=False)
    with Keyring.connect(STORE, kek=[only, KEK]) as keyring:
        keyring.setup()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        assert (keyring.health().status, [kek.scheme for kek in keyring.health().keks]) == ("ok", ["env"])
    assert rows("SELECT kek_uri, verified_at IS NULL FROM sealpoint_wraps ORDER BY kek_uri") == [(KEK, 0), ("fake:wraps", 1)]
    with Keyring.connect(STORE, kek=[only, KEK]) as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    assert only.calls == {"wrap": 1}


@pytest.mark.parametrize(
    ("kek", "words"),
    [
        ("recovery:absent.pub", ("keygen --recovery", "No such file")),
        ("recovery:", ("path of a file",)),
        ("recovery:other", ("public half",)),
        (PUBLIC_PREFIX + "AAAA", ("public half",)),
        ("sealpoint-recovery-public:v2:AAAA", ("public half",)),
    ],
)
def test_what_is_no_public_half_is_refused(kek: str, words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "other").write_text("swordfish")
    with pytest.raises(SealpointError) as caught:
        provider_from_uri(kek)
    assert_error(caught.value, "invalid_argument", *words)


def test_a_secret_half_in_a_configuration_is_refused(key: RecoveryKey) -> None:
    with pytest.raises(SealpointError) as caught:
        Keyring.connect("memory:", kek=[KEK, key.to_text()])
    assert_error(caught.value, "invalid_argument")
    assert key.to_text()[30:60] not in str(caught.value)


def keygen(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealpoint", "keygen", "--recovery", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_keygen_makes_a_pair(tmp_path: Path) -> None:
    done = keygen("--public-file", "recovery.pub")
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
    made = RecoveryKey.from_text(done.stdout.strip())
    assert (tmp_path / "recovery.pub").read_text().strip() == made.public.to_text()
    assert keygen("--public-file", "recovery.pub").returncode == 1
    done = keygen("--public-file", "other.pub", "--file", "other.secret")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE((tmp_path / "other.secret").stat().st_mode) == 0o600
    made = RecoveryKey.from_text((tmp_path / "other.secret").read_text().strip())
    assert (tmp_path / "other.pub").read_text().strip() == made.public.to_text()


def test_keygen_leaves_no_half_alone(tmp_path: Path) -> None:
    (tmp_path / "there.pub").write_text("precious")
    for public in ("there.pub", "absent/recovery.pub"):
        done = keygen("--public-file", public, "--file", "secret")
        assert (done.returncode, done.stdout) == (1, "")
        assert not (tmp_path / "secret").exists()
    assert keygen("--public-file", "there.pub").stdout == ""
    assert (tmp_path / "there.pub").read_text() == "precious"


def test_keygen_prints_a_qr_code_of_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    segno = pytest.importorskip("segno")
    assert main(["keygen", "--recovery", "--public-file", "recovery.pub", "--qr"]) == 0
    secret, _, code = capsys.readouterr().out.partition("\n")
    segno.make(secret, error="q", micro=False).terminal(compact=True)
    assert code == capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("--qr",)])
def test_a_recovery_key_needs_a_file_for_its_public_half(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = keygen(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--public-file" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_options_of_recovery_keys_go_with_recovery(capsys: pytest.CaptureFixture[str]) -> None:
    for option in (["--qr"], ["--public-file", "x"]):
        assert main(["keygen", *option]) == 1
        assert "--recovery" in capsys.readouterr().err
