"""The drill of OPERATIONS, "With every other KEK lost", by its commands: the KEK is gone, and nothing is lost by it.

`bindings-node/test/keyring/recovered.test.mjs` does the same and goes on in Node.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from support import KEK_TEXT, OTHER_KEK_TEXT, PLAINTEXT, query, refused

from sealpoint import Context, Keyring
from sealpoint.cli import main
from sealpoint.keyring import DekPurpose

TENANTS = [f"tenant-{number}" for number in range(5)]
FLEET = ["env:PRIMARY", "recovery:recovery.pub"]
Sealed = list[tuple[bytes, Context, DekPurpose]]


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


def sealpoint(*arguments: str, given: str | None = None, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealpoint", *arguments]
    keep = {name: value for name, value in os.environ.items() if name not in ("PRIMARY", "SEALPOINT_KEK", "OTHER_KEK")}
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, env={**keep, **(environment or {})}, timeout=120
    )


@pytest.fixture
def lost(url: str, monkeypatch: pytest.MonkeyPatch) -> Sealed:
    """What the fleet sealed, in each tenant under a retired, an active and a client key, until its only KEK was lost."""
    assert sealpoint("keygen", "--recovery", "--public-file", "recovery.pub", "--file", "recovery.secret").returncode == 0
    monkeypatch.setenv("PRIMARY", KEK_TEXT)
    sealed: Sealed = []
    with Keyring.connect(url, kek=FLEET) as keyring:
        keyring.setup()
        for tenant in TENANTS:
            context = Context(tenant=tenant, purpose="drill")
            sealed.append((keyring.seal(PLAINTEXT, context), context, "data"))
            keyring.rotate(tenant)
            sealed.append((keyring.seal(PLAINTEXT, context), context, "data"))
            sealed.append((keyring.seal(PLAINTEXT, context, dek_purpose="client"), context, "client"))
    monkeypatch.delenv("PRIMARY")
    monkeypatch.setenv("NEW_KEK", OTHER_KEK_TEXT)
    return sealed


def opens(keyring: Keyring, sealed: Sealed) -> bool:
    return all(keyring.open(one, context, purpose) == PLAINTEXT for one, context, purpose in sealed)


def test_the_drill(url: str, lost: Sealed) -> None:
    command = ["recover", "--store", url, "--kek", "env:NEW_KEK", "--secret-file", "recovery.secret"]
    rehearsal = sealpoint(*command, "--dry-run")
    assert (rehearsal.returncode, rehearsal.stdout) == (0, "15 keys would be recovered, 10 would be replaced by a new active key\n"), (
        rehearsal
    )
    done = sealpoint(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "15 keys recovered, 10 replaced by a new active key\n25 keys, 25 wraps verified in the last of 2 passes\n"
    Path("recovery.secret").unlink()

    with Keyring.connect(url, kek=["env:NEW_KEK", "recovery:recovery.pub"]) as keyring:
        assert opens(keyring, lost)
        before = {one[5:21] for one, _, _ in lost}
        for tenant in TENANTS:
            context = Context(tenant=tenant, purpose="drill")
            made = keyring.seal(PLAINTEXT, context)
            assert made[5:21] not in before
            assert keyring.open(made, context) == PLAINTEXT
        keyring.load("a tenant that came later")
    recovery_wraps = query(url, "SELECT count(*) FROM sealpoint_wraps WHERE wrap_alg = 'sealpoint-recovery-v1'")
    assert recovery_wraps == [(26,)], "the next loss loses nothing either"
    again = sealpoint("status", "--store", url, "--kek", "env:NEW_KEK", "--json")
    assert (again.returncode, again.stderr) == (0, "")


def test_what_does_not_come_back_is_named_and_the_rest_does(url: str, lost: Sealed) -> None:
    dek_id = query(url, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ? AND purpose = 3", TENANTS[1])[0][0]
    query(url, "UPDATE sealpoint_deks SET key_check = ? WHERE dek_id = ?", bytes(32), dek_id)
    secret = Path("recovery.secret").read_text()
    done = sealpoint("recover", "--store", url, "--kek", "env:NEW_KEK", "--secret-file", "-", "--json", given=secret)
    report = json.loads(done.stdout)
    assert (done.returncode, report["recovered"], report["activated"], report["complete"]) == (3, 14, 9, False)
    assert [failure["dek_id"] for failure in report["failures"]] == [bytes(dek_id).hex()]
    assert done.stderr.startswith(f"left alone: tenant '{TENANTS[1]}': key {bytes(dek_id).hex()}: authentication_failed")
    with Keyring.connect(url, kek="env:NEW_KEK") as keyring:
        assert opens(keyring, [one for one in lost if one[0][5:21] != bytes(dek_id)])


def test_the_secret_is_asked_for_and_not_shown(url: str, lost: Sealed) -> None:
    secret = Path("recovery.secret").read_text().strip()
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "sealpoint", "recover", "--store", url, "--kek", "env:NEW_KEK", "--secret-file", "-"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        shown = b""
        while b"secret half" not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, secret.encode() + b"\n")
        with suppress(OSError):  # so a terminal ends on Linux
            while chunk := os.read(terminal, 4096):
                shown += chunk
    os.close(terminal)
    assert process.returncode == 0, shown
    assert b"15 keys recovered" in shown
    assert secret.encode() not in shown
    assert secret[40:60].encode() not in shown


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0, "there is no file"),
        ("", 0o644, "chmod 600"),
        ("swordfish", 0o600, "not the secret half"),
        ("\xff\xfe", 0o600, "not the secret half"),
    ],
)
def test_what_is_no_secret_half(
    content: str | None, mode: int, words: str, url: str, lost: Sealed, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path("other.secret").write_text(content, encoding="latin-1")
        Path("other.secret").chmod(mode)
    assert main(["recover", "--store", url, "--kek", "env:NEW_KEK", "--secret-file", "other.secret"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("sealpoint: invalid_argument: ")
    assert words in shown
    assert "swordfish" not in shown


def test_another_recovery_key(url: str, lost: Sealed) -> None:
    assert sealpoint("keygen", "--recovery", "--public-file", "other.pub", "--file", "other.secret").returncode == 0
    done = sealpoint("recover", "--store", url, "--kek", "env:NEW_KEK", "--secret-file", "other.secret")
    assert (done.returncode, done.stdout.startswith("0 keys recovered, 0 replaced")) == (3, True)
    assert done.stderr.count("key_not_found") == 15
    with Keyring.connect(url, kek=["env:NEW_KEK"]) as keyring:
        refused(lambda: opens(keyring, lost), "key_not_found")


def test_the_command_line(url: str, lost: Sealed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALPOINT_KEK")
    assert main(["recover", "--store", url, "--secret-file", "recovery.secret"]) == 1
    assert "--kek URI" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["recover", "--store", url, "--kek", "env:NEW_KEK"])
    assert caught.value.code == 2
