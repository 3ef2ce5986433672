"""The Redis that other tests stand on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
from redis_server import Redis, snapshot_bytes, stored_bytes


def test_every_byte_of_the_server_can_be_searched() -> None:
    server = Redis()
    try:
        client = server.client()
        client.json().set("document", "$", {"c": "a canary in JSON"})
        client.set("key of a canary", "a canary in a string")
        client.zadd("set", {"a canary in a set": 1})
        for found in (stored_bytes(server.url), snapshot_bytes(server)):
            for canary in (b"a canary in JSON", b"key of a canary", b"a canary in a string", b"a canary in a set"):
                assert canary in found
    finally:
        server.close()
    assert not server.folder.exists()


def test_a_run_that_is_killed_leaves_no_server_and_no_folder() -> None:
    script = "import os, signal, redis_server\ns = redis_server.Redis(); print(s.folder, s._process.pid, flush=True)\n"
    command = [sys.executable, "-c", script + "os.kill(os.getpid(), signal.SIGKILL)"]
    # The watchdog holds the pipe until it is done.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    folder, pid = done.stdout.split()
    assert done.returncode == -9
    assert not Path(folder).exists()
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
