"""The demo runs to its end and says what it has to say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import demo

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, str(FOLDER / "demo.py"), "--quick"]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == []
    return done.stdout


def test_every_section_is_there_and_none_printed_a_trace(shown: str) -> None:
    headings = re.findall(r"^(\d)\. ", shown, re.MULTILINE)
    assert headings == [str(n) for n in range(1, 8)]
    assert "\nSummary\n" in shown
    assert "Traceback" not in shown
    assert "\x1b" not in shown
    assert "\r" not in shown


def test_the_scan_finds_words_in_all_but_the_sealed_files(shown: str) -> None:
    found = {label: (int(hits), int(of)) for label, hits, of in re.findall(r"^    (\w+) +\S+\.db.* (\d+) of (\d+)$", shown, re.MULTILINE)}
    hits, words = found["unsealed"]
    assert hits > 0.99 * words > 300
    assert 0 < found["EncryptedSerializer"][0] < words
    assert found["sealed"] == (0, words)


def test_every_attack_is_refused_when_sealed(shown: str) -> None:
    section = shown[shown.index("6. Attacks") : shown.index("7. Overhead")]
    codes = re.findall(r"^    (?:sealed|Keyring\.connect) +refused, (\w+): ", section, re.MULTILINE)
    assert codes == ["authentication_failed"] * 4 + ["plaintext_refused"] + ["authentication_failed"] * 2
    assert len(re.findall(r"^    unsealed +accepted: ", section, re.MULTILINE)) == 6
    assert len(re.findall(r"^    EncryptedSerializer +accepted: ", section, re.MULTILINE)) == 4
    assert "sealed               accepted" not in section.replace("unsealed", "")


def test_a_fresh_process_resumed(shown: str) -> None:
    section = shown[shown.index("3. Resumed") : shown.index("4. What")]
    here, there = re.findall(r"Process (\d+) \(this one is (\d+)\)", section)[0]
    assert here != there
    assert "It finds 19 messages of globex" in section
    assert "globex: 27 messages, 1002.00 paid back." in section


@pytest.mark.parametrize("options", [["--fast"], ["--qui"], ["extra"], ["--keep"], ["--keep", str(FOLDER)]])
def test_a_wrong_command_line_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        demo.main(options)
    assert stopped.value.code == 2
    assert "usage: demo.py" in capsys.readouterr().err


def test_what_does_not_hold_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("demo_parts.keys.make_kek", lambda files: files.kek.touch(0o644))
    assert demo.main(["--quick"]) == 1
    assert "The demo failed: the KEK's file has mode 644, not 600" in capsys.readouterr().err
