"""A process that does a job on a key store and is killed when it sends a given statement: `python killed.py NUMBER URL VERB ARGUMENTS…`.

Pages are of three keys, so that there are many points to be killed at. Not a test.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from sealpoint import Keyring
from sealpoint.kms.recovery import OfflineRecoveryProvider
from sealpoint.lifecycle import _jobs
from sealpoint.stores.postgres import PostgresStore
from sealpoint.stores.sqlite import SqliteStore

KEKS = ["env:SEALPOINT_KEK", "env:OTHER_KEK"]


def main(number: int, url: str, verb: str, *arguments: str) -> None:
    _jobs.PAGE = 3
    numbers = count()

    def sent(*_: object) -> None:
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    keks = [KEKS[1], OfflineRecoveryProvider(Path(arguments[0]).read_text())] if verb == "recover" else KEKS
    with Keyring.connect(url, kek=keks) as keyring:
        _watch(sent)
        if verb == "rotate":
            assert keyring.rotate_all(made_before=datetime.fromisoformat(arguments[0])).failed == 0
        elif verb == "rewrap":
            assert keyring.rewrap(*arguments).complete
        elif verb == "recover":
            assert keyring.recover().complete
        elif verb == "shred":
            keyring.shred(arguments[0], confirm=arguments[0])


def _watch(sent: Any) -> None:
    connect, query = SqliteStore._connect, PostgresStore._query

    def connect_watched(self: SqliteStore, mode: str) -> sqlite3.Connection:
        connection = connect(self, mode)
        connection.set_trace_callback(sent)
        return connection

    def query_watched(self: PostgresStore, statement: Any, *parameters: object) -> Any:
        sent()
        return query(self, statement, *parameters)

    SqliteStore._connect = connect_watched  # type: ignore[method-assign]
    PostgresStore._query = query_watched  # type: ignore[method-assign]


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
