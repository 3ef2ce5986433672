"""The commands for the life of keys: what they print where, and their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import pytest
from support import CONTEXT, OTHER_CONTEXT, OTHER_TENANT, PLAINTEXT, TENANT, query, ready, refused

from sealpoint import Keyring
from sealpoint.cli import main
from sealpoint.cli.progress import Progress
from sealpoint.lifecycle import _jobs

Run: TypeAlias = Callable[..., tuple[int, str, str]]
KEK, OTHER = "env:SEALPOINT_KEK", "env:OTHER_KEK"


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@pytest.fixture
def sealed(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    monkeypatch.setenv("SEALPOINT_STORE", url)
    with ready(url, KEK) as keyring:
        keyring.seal(PLAINTEXT, OTHER_CONTEXT)
        yield keyring.seal(PLAINTEXT, CONTEXT)


@pytest.fixture
def run(sealed: bytes, capsys: pytest.CaptureFixture[str]) -> Run:
    """(exit code, stdout, stderr) of a command in this process."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


def active(url: str) -> list[tuple[str, int]]:
    return [tuple(row) for row in query(url, "SELECT tenant, version FROM sealpoint_deks WHERE state = 'active' ORDER BY tenant")]


def test_rotate(run: Run, url: str) -> None:
    assert run("rotate", TENANT, "--dry-run")[:2] == (0, "version 1 would be retired\n")
    code, out, err = run("rotate", TENANT)
    assert (code, out.startswith("version 2 is active"), err) == (0, True, "")
    assert active(url) == [(TENANT, 2), (OTHER_TENANT, 1)]
    assert run("rotate", "--due") == (0, "2 tenants: 0 rotated\n", "")
    query(url, "UPDATE sealpoint_deks SET created_at = created_at - ?", 31 * 86_400_000_000)
    assert run("rotate", "--due", "--policy-days", "30", "--dry-run") == (0, "2 tenants: 2 would be rotated\n", "")
    assert run("rotate", "--due", "--policy-days", "30")[1] == "2 tenants: 2 rotated\n"
    code, out, err = run("rotate", "--all")
    assert (code, out, "--made-before" in err) == (0, "2 tenants: 2 rotated\n", True)
    assert run("rotate", "--all", "--made-before", err.split()[-1])[1] == "2 tenants: 0 rotated\n"
    assert active(url) == [(TENANT, 4), (OTHER_TENANT, 3)]
    assert json.loads(run("rotate", TENANT, "--purpose", "data", "--json")[1])["version"] == 5
    assert json.loads(run("rotate", "--due", "--json")[1])["rotated"] == 0


def test_rewrap_and_drop(run: Run, url: str, sealed: bytes) -> None:
    arguments = ("rewrap", "--from", KEK, "--to", OTHER)
    assert run(*arguments, "--dry-run")[:2] == (0, "2 keys: 2 would be wrapped\n")
    assert run(*arguments)[:2] == (0, "2 keys: 2 wrapped, 2 verified in the last of 2 passes\n")
    assert json.loads(run(*arguments, "--json")[1])["complete"] is True
    code, out, err = run(*arguments, "--drop-old")
    assert (code, out) == (1, "")
    assert err.startswith("sealpoint: invalid_argument: ")
    assert "not before" in err
    query(url, "UPDATE sealpoint_wraps SET verified_at = verified_at - ?", (3600 + _jobs.SKEW_S) * 1_000_000)
    assert run(*arguments, "--drop-old", "--dry-run")[1] == "2 wraps would be removed\n"
    assert run(*arguments, "--drop-old")[1].startswith("2 wraps removed\n")
    assert json.loads(run(*arguments, "--drop-old", "--json")[1])["dropped"] == 0
    assert query(url, "SELECT DISTINCT kek_uri FROM sealpoint_wraps") == [(OTHER,)]
    with Keyring.connect(url, kek=OTHER) as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    code, _, err = run("rewrap", "--from", OTHER, "--to", OTHER, "--drop-old")
    assert (code, "--to names the KEK that is kept" in err) == (1, True)


def test_shred_and_replay(run: Run, url: str, sealed: bytes, tmp_path: Path) -> None:
    code, out, err = run("shred", TENANT)
    assert (code, out, err.startswith("sealpoint: confirmation_required: ")) == (1, "", True)
    code, out, _ = run("shred", TENANT, "--confirm", TENANT, "--dry-run")
    assert (code, out.splitlines()[0]) == (0, "1 keys would be destroyed")
    code, out, _ = run("shred", TENANT, "--confirm", TENANT, "--json")
    (tmp_path / "report.json").write_text(out)
    assert (code, json.loads(out)["deks"], json.loads(out)["tombstones"][0]["tenant"]) == (0, 1, TENANT)
    assert run("shred", "--export", "all.json") == (0, "1 tombstones\n", "")
    assert json.loads((tmp_path / "all.json").read_text())["tombstones"] == json.loads(out)["tombstones"]
    assert "cannot be written" in run("shred", "--export", "all.json")[2]
    assert json.loads(run("shred", "--export", "-")[1]) == json.loads((tmp_path / "all.json").read_text())
    for file in ("report.json", "all.json"):
        assert run("shred", "--replay", file)[1].splitlines()[0] == "0 tenants shredded, 1 were already"
    assert run("shred", "--readmit", TENANT)[1] == "readmitted\n"
    assert run("shred", "--readmit", TENANT)[1] == "there was no tombstone\n"
    assert run("shred", "--replay", "all.json", "--dry-run")[1].splitlines()[0] == "1 tenants would be shredded, 0 were already"
    with Keyring.connect(url, kek=KEK) as keyring:
        keyring.load(TENANT)
    code, out, err = run("shred", "--replay", "all.json", "--json")
    assert (code, json.loads(out)["failed"]) == (3, 1)
    assert err.startswith(f"left alone: tenant {TENANT!r}: confirmation_required: ")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tombstones": 7}', '{"tombstones": []}', '{"tombstones": [{"tenant": "a"}]}',
                                  '{"tombstones": [{"tenant": 7, "shredded_at": "2027-01-01T00:00:00+00:00"}]}',
                                  '{"tombstones": [{"tenant": "a", "shredded_at": "2027-01-01T00:00:00"}]}',
                                  '{"tombstones": [{"tenant": "a", "shredded_at": 7}]}', "[" * 100_000])  # fmt: skip
def test_a_file_without_tombstones(text: str, run: Run, url: str, tmp_path: Path) -> None:
    (tmp_path / "stones").write_text(text)
    code, out, err = run("shred", "--replay", "stones")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "sealpoint: invalid_argument: " in err
    assert "shred --export" in err
    assert run("shred", "--replay", "missing")[2].startswith("sealpoint: invalid_argument: missing cannot be read")


def test_status(run: Run, url: str) -> None:
    run("rotate", TENANT)
    code, out, err = run("status")
    head, *lines = out.splitlines()
    assert (code, err, head.split()[0]) == (0, "", "TENANT")
    assert [line.split() for line in lines] == [
        [TENANT, "data", "2", "0.0", "2", "-", KEK],
        [OTHER_TENANT, "data", "1", "0.0", "1", "-", KEK],
    ]
    code, out, _ = run("status", TENANT)
    assert (code, out.count("  version ")) == (0, 2)
    shown = [json.loads(line) for line in run("status", "--json")[1].splitlines()]
    assert [one["tenant"] for one in shown] == [TENANT, OTHER_TENANT]
    assert shown[0]["purposes"][0]["deks"][0]["keks"] == [KEK]
    query(url, "UPDATE sealpoint_deks SET created_at = created_at - ?", 31 * 86_400_000_000)
    assert run("status", "--policy-days", "30")[1].count("rotate") == 2
    run("shred", TENANT, "--confirm", TENANT)
    assert "shredded 20" in run("status", TENANT)[1]
    query(url, "UPDATE sealpoint_tenants SET shredded_at = NULL")
    query(url, "DELETE FROM sealpoint_wraps")
    code, out, _ = run("status")
    assert (code, "  ! key " in out) == (3, True)
    assert run("status", "nobody")[0] == 1


def test_many_pages_of_status(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealpoint.cli.status.PAGE", 1)
    assert len(run("status", "--json")[1].splitlines()) == 2


def test_keys_that_are_left_alone(run: Run, url: str) -> None:
    other = "(SELECT dek_id FROM sealpoint_deks WHERE tenant = ?)"
    query(url, f"UPDATE sealpoint_wraps SET kek_uri = 'env:GONE' WHERE dek_id = {other}", TENANT)
    ((dek_id,),) = query(url, other.strip("()"), TENANT)
    for command in (("rotate", "--all"), ("rewrap", "--from", KEK, "--to", OTHER)):
        code, _, err = run(*command)
        assert code == 3
        assert f"left alone: tenant {TENANT!r}: key {dek_id.hex()}: key_not_found: " in err
    assert active(url) == [(TENANT, 1), (OTHER_TENANT, 2)]


BAD = [
    (["rotate", TENANT, "--store", "nowhere"], "invalid_argument", "key store is"),
    (["rotate", TENANT, "--kek", "env:NO_KEK"], "invalid_argument", "NO_KEK is not set"),
    (["rotate", TENANT, "--kek", "env:OTHER_KEK"], "key_not_found", "kek="),
    (["rotate", "nobody"], "key_not_found", "load(tenant)"),
    (["rotate", TENANT, "--policy-days", "30"], "invalid_argument", "--due"),
    (["rotate", "--due", "--made-before", "2027-01-01T00:00:00+00:00"], "invalid_argument", "--all"),
    (["rewrap", "--from", KEK, "--to", "nothing"], "invalid_argument", "URI"),
    (["rewrap", "--from", "env:NO_KEK", "--to", OTHER], "invalid_argument", "NO_KEK"),
    (["shred", TENANT, "--confirm", "another"], "confirmation_required", "confirm"),
    (["shred", "--export", "-", "--dry-run"], "invalid_argument", "--dry-run"),
    (["status", "nobody"], "key_not_found", "tenant"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD)
def test_one_line_with_code_and_remedy(arguments: list[str], code: str, words: str, run: Run, url: str) -> None:
    before = query(url, "SELECT * FROM sealpoint_deks ORDER BY dek_id")
    exit_code, out, err = run(*arguments)
    assert (exit_code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"sealpoint: {code}: ")
    assert words in err
    assert query(url, "SELECT * FROM sealpoint_deks ORDER BY dek_id") == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["rotate"],
        ["rotate", TENANT, "--all"],
        ["rotate", "--due", "--policy-days", "0"],
        ["rotate", "--due", "--policy-days", "soon"],
        ["rotate", "--all", "--made-before", "yesterday"],
        ["rotate", "--all", "--made-before", "2027-01-01"],
        ["rotate", TENANT, "--purpose", "index"],
        ["rotate", TENANT, "--dry"],
        ["rewrap", "--from", KEK],
        ["shred"],
        ["shred", TENANT, "--readmit", TENANT],
        ["status", "a", "b"],
    ],
)
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: sealpoint" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["rotate", "rewrap", "recover", "policy", "shred", "status"])
def test_help_documents_exit_codes_and_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for words in ("Exit codes: 0", "Examples:", "SEALPOINT_STORE", *(["--dry-run"] if command not in ("status", "policy") else [])):
        assert words in shown


def test_no_store_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("SEALPOINT_STORE", raising=False)
    assert main(["status"]) == 1
    assert "--store URL --kek URI" in capsys.readouterr().err


def test_as_a_process_of_its_own(sealed: bytes, url: str) -> None:
    command = [sys.executable, "-m", "sealpoint", "rotate", TENANT, "--store", url, "--kek", KEK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert active(url) == [(TENANT, 2), (OTHER_TENANT, 1)]


def test_progress_on_long_work(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Progress, "__call__", lambda _, text: shown.append(text))
    run("rewrap", "--from", KEK, "--to", OTHER)
    run("rotate", "--all", "--made-before", datetime.now(UTC).isoformat())
    assert shown == ["2 keys", "2 keys", "2 tenants"]


def test_an_outage_of_the_store(sealed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(lambda: Keyring.connect("sqlite:////no/such/folder/keys.db", kek=KEK), "store_unavailable")
    assert main(["status", "--store", "sqlite:////no/such/folder/keys.db"]) == 1
