"""Jobs on keys in a real process that is killed at a statement, and run again, and killed again, until it comes through.

Meanwhile others seal and open.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import PLAINTEXT, query, ready

from sealpoint import Context, Keyring, SealpointError
from sealpoint._native import RecoveryKey

OLD, NEW = "env:SEALPOINT_KEK", "env:OTHER_KEK"
TENANTS = [f"tenant-{number}" for number in range(12)]


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


def context(tenant: str) -> Context:
    return Context(tenant=tenant, purpose="field")


def kill_again_and_again(url: str, *job: str, first: int, step: int) -> int:
    """Kills the job later each time, until it ends by itself. How often."""
    kills = 0
    while True:
        command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(first + step * kills), url, *job]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode == 0:
            return kills
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1


@contextmanager
def others_at_work(url: str, kek: object) -> Iterator[list[tuple[str, bytes]]]:
    """Threads of a second application, which seal and open for all tenants all the while."""
    sealed: list[tuple[str, bytes]] = []
    errors: list[Exception] = []
    over = threading.Event()

    def work(keyring: Keyring) -> None:
        try:
            while not over.wait(0.01):
                for tenant in TENANTS:
                    sealed.append((tenant, keyring.seal(PLAINTEXT, context(tenant))))
                    assert keyring.open(sealed[-1][1], context(tenant)) == PLAINTEXT
                keyring._cache.clear()
        except Exception as error:
            errors.append(error)

    with ready(url, kek) as keyring:
        for tenant in TENANTS:
            sealed.append((tenant, keyring.seal(PLAINTEXT, context(tenant))))
        threads = [threading.Thread(target=work, args=(keyring,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield sealed
        finally:
            over.set()
            for thread in threads:
                thread.join(30)
    assert errors == []


def all_open(url: str, sealed: list[tuple[str, bytes]], kek: object) -> bool:
    with Keyring.connect(url, kek=kek) as keyring:  # type: ignore[arg-type]
        return all(keyring.open(one, context(tenant)) == PLAINTEXT for tenant, one in sealed)


def test_rotate(url: str) -> None:
    with others_at_work(url, OLD) as sealed:
        start = datetime.now(UTC).isoformat()
        kills = kill_again_and_again(url, "rotate", start, first=4, step=17)
    assert kills >= 4
    rows = query(url, "SELECT tenant, version, state FROM sealpoint_deks ORDER BY tenant, version")
    assert rows == [row for tenant in sorted(TENANTS) for row in ((tenant, 1, "retired"), (tenant, 2, "active"))]
    assert query(url, "SELECT count(*), min(verified_at) > 0 FROM sealpoint_wraps") == [(3 * len(TENANTS), True)]
    assert all_open(url, sealed, OLD)


def test_rewrap(url: str) -> None:
    with others_at_work(url, OLD) as sealed:
        kills = kill_again_and_again(url, "rewrap", OLD, NEW, first=1, step=3)
    assert kills >= 4
    assert query(url, "SELECT kek_uri, count(*) FROM sealpoint_wraps GROUP BY kek_uri ORDER BY kek_uri") == [
        (NEW, len(TENANTS)),
        (OLD, len(TENANTS)),
    ]
    assert all_open(url, sealed, NEW)
    assert all_open(url, sealed, OLD)


def test_recover(url: str, tmp_path: Path) -> None:
    key = RecoveryKey.generate()
    (tmp_path / "secret").write_text(key.to_text())
    with ready(url, [OLD, key.public.to_text()]) as keyring:
        sealed = [(tenant, keyring.seal(PLAINTEXT, context(tenant))) for tenant in TENANTS]
    assert kill_again_and_again(url, "recover", "secret", first=1, step=11) >= 4
    rows = query(url, "SELECT tenant, version, state FROM sealpoint_deks ORDER BY tenant, version")
    assert rows == [row for tenant in sorted(TENANTS) for row in ((tenant, 1, "retired"), (tenant, 2, "active"))]
    assert query(url, "SELECT wrap_alg, count(*) FROM sealpoint_wraps WHERE kek_uri = ? GROUP BY wrap_alg ORDER BY wrap_alg", NEW) == [
        ("sealpoint-v1", len(TENANTS)),
        ("sealpoint-v1+open-only", len(TENANTS)),
    ]
    assert all_open(url, sealed, NEW)
    with Keyring.connect(url, kek=NEW) as keyring:
        again = [(tenant, keyring.seal(PLAINTEXT, context(tenant))) for tenant in TENANTS]
    assert all_open(url, again, NEW)


def test_shred(url: str) -> None:
    with ready(url, OLD) as keyring:
        for tenant in TENANTS[:2]:
            keyring.load(tenant)
            keyring.rotate(tenant)
    assert kill_again_and_again(url, "shred", TENANTS[0], first=0, step=2) >= 4
    with Keyring.connect(url, kek=OLD) as keyring:
        keyring.load(TENANTS[1])
        with pytest.raises(SealpointError) as caught:
            keyring.load(TENANTS[0])
        assert caught.value.code == "key_destroyed"
    assert query(url, "SELECT DISTINCT state FROM sealpoint_deks WHERE tenant = ?", TENANTS[0]) == [("destroyed",)]
    assert query(url, "SELECT count(*) FROM sealpoint_wraps") == [(2,)]
