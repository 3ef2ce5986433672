"""The Postgres that other tests stand on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from postgres import Server, new_database


def test_each_test_has_a_database_of_its_own(postgres: str) -> None:
    with new_database(postgres) as other, psycopg.connect(postgres) as mine, psycopg.connect(other) as theirs:
        mine.execute("CREATE TABLE here (i int)")
        mine.commit()
        assert theirs.execute("SELECT to_regclass('here')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(other)


def test_every_file_of_the_server_can_be_searched(postgres_server: Server) -> None:
    with new_database(postgres_server.dsn()) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 'a canary in its cage' AS c")
        found = {path.parent.name for path, content in postgres_server.files() if b"a canary in its cage" in content}
        (oid,) = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone() or (None,)
        assert {str(oid), "pg_wal"} <= found


def test_a_run_that_is_killed_leaves_no_server_and_no_folder() -> None:
    script = "import os, signal, postgres\ns = postgres.Server(); s.init(); s.start(); print(s.folder, s.pid, flush=True)\n"
    command = [sys.executable, "-c", script + "os.kill(os.getpid(), signal.SIGKILL)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)  # returns when the pipe closes
    folder, pid = done.stdout.split()
    assert done.returncode == -9
    assert not Path(folder).exists()
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
