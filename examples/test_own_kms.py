"""A provider of one's own: it runs, it fails closed, and it is as short as it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from own_kms import HttpKms
from own_kms_server import key_service
from sealpoint import Context, KeyManagementProvider, Keyring, SealpointError

NOTE = Context(tenant="acme", purpose="app.note", note="n-1")


def test_it_runs() -> None:
    command = [sys.executable, str(Path(__file__).with_name("own_kms.py"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("call back on Monday\n", "")


def test_it_is_a_provider() -> None:
    assert isinstance(HttpKms("http://127.0.0.1:1", "kek-1"), KeyManagementProvider)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (403, "kms_denied", False),
        (404, "key_not_found", False),
        (410, "key_disabled", False),
        (422, "authentication_failed", False),
        (429, "kms_throttled", True),
        (500, "kms_unavailable", True),
    ],
)
def test_each_answer_has_its_code(status: int, code: str, retryable: bool) -> None:
    answers: list[int] = []
    with key_service(answers) as url, Keyring.connect("memory:", kek=HttpKms(url, "kek-1")) as keyring:
        answers.append(status)
        with pytest.raises(SealpointError) as caught:
            keyring.seal(b"payload", NOTE)
        assert (caught.value.code, caught.value.retryable) == (code, retryable)
        assert keyring.open(keyring.seal(b"payload", NOTE), NOTE) == b"payload"


def test_an_outage() -> None:
    with pytest.raises(SealpointError) as caught:
        Keyring.connect("memory:", kek=HttpKms("http://127.0.0.1:1", "kek-1"))
    assert caught.value.code == "kms_unavailable"


def test_it_is_about_thirty_lines() -> None:
    source = Path(__file__).with_name("own_kms.py").read_text()
    body = source[source.index("class HttpKms") : source.index('if __name__ == "__main__"')]
    assert sum(1 for line in body.splitlines() if line.strip() and not line.strip().startswith("#")) <= 30
