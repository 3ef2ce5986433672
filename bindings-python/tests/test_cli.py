"""The command: what it prints where, and its exit codes."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import sealpoint
from sealpoint.cli import main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sealpoint", *arguments], capture_output=True, text=True, check=False)


def test_keygen_prints_one_kek_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run("keygen"), run("keygen")
    assert (first.returncode, first.stderr, len(first.stdout)) == (0, "", 45)
    assert len(base64.b64decode(first.stdout, validate=False)) == 32
    assert first.stdout != second.stdout
    monkeypatch.setenv("SEALPOINT_KEK", first.stdout.strip())
    sealpoint.Keyring.connect("memory:", kek="env:SEALPOINT_KEK").close()


def test_on_a_terminal_the_hint_goes_to_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["keygen"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out) == 45
    assert "secret" in printed.err
    assert printed.out.strip() not in printed.err


def test_keygen_to_a_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        done = run("keygen", "--file", "kek.b64")
    finally:
        os.umask(before)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE((tmp_path / "kek.b64").stat().st_mode) == 0o600
    sealpoint.Keyring.connect("memory:", kek="file:kek.b64").close()


def test_a_kek_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "kek").write_text("precious")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("kek", "link"):
        done = run("keygen", "--file", name)
        assert (done.returncode, done.stdout) == (1, "")
        assert "exists" in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "kek").read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("path", ["no/such/folder/kek", ""])
def test_a_file_that_cannot_be_made(path: str) -> None:
    done = run("keygen", "--file", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be created" in done.stderr


def test_a_disk_that_fills_leaves_no_half_kek(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["keygen", "--file", "kek"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not (tmp_path / "kek").exists()


def test_version() -> None:
    for arguments in (["version"], ["--version"]):
        done = run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{sealpoint.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["keygen", "--fil", "x"],
        ["keygen", "--force"],
        ["keygen", "extra"],
        ["--nonsense"],
        ["version", "--file", "x"],
        ["keygen", "--file"],
    ],
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: sealpoint" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["keygen", "--help"], ["version", "--help"]])
def test_help(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: sealpoint" in done.stdout
    if arguments[0] == "keygen":
        assert "--file PATH" in done.stdout
        assert "600" in done.stdout
    elif arguments[0] == "--help":
        assert "keygen" in done.stdout
        assert "Exit codes" in done.stdout
