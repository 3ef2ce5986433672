"""How fast `rewrap` is: 100,000 DEKs, each another tenant's, from one `file:` KEK to another, on SQLite and on Postgres.

Beside it the same statements with ready-made bytes: the pages are read as often and the same number of wraps is stored, but nothing is
opened, wrapped or compared. Each run has a new process and a fresh copy of the key store; the two take turns. Wall time, and the growth
of the process's peak memory while the job lasts. Postgres runs with fsync off, for both.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
from savers import Databases

from sealpoint import Keyring
from sealpoint.cli import main as cli
from sealpoint.lifecycle import _jobs
from sealpoint.stores import DekRecord, KeyLifecycle, WrapChange, WrapRecord, now

RESULT = "python-rewrap.json"
SQLITE, POSTGRES = "SQLite", "Postgres"
REWRAP, READY_MADE = "rewrap", "ready-made bytes"
KEYS, QUICK_KEYS = 100_000, 5_000
TARGET = 0.7
PACKAGES = ("sealpoint", "psycopg")
DEKS = "INSERT INTO sealpoint_deks (dek_id, tenant, purpose, suite, version, state, key_check, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
WRAPS = "INSERT INTO sealpoint_wraps VALUES (?, ?, ?, ?, ?, ?, ?)"
TENANTS = "INSERT INTO sealpoint_tenants (tenant, created_at) VALUES (?, ?)"


def main() -> int:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
        return 0
    options = harness.parsed(harness.arguments(__doc__ or "", RESULT), RESULT)
    if not Path("/proc/self/status").exists():
        raise SystemExit("rewrap.py reads the peak from /proc, which this system does not have")
    keys, rounds = (QUICK_KEYS, options.rounds or 1) if options.quick else (KEYS, options.rounds or 3)
    with Databases() as databases:
        rows = [row for kind in (SQLITE, POSTGRES) for row in compare(databases, kind, keys, rounds)]
    targets = [
        {
            "text": f"{row['store']}, {keys:,} keys: at least {TARGET:g} of the rate of the same statements with ready-made bytes",
            "measured": row["ratio"],
            "passed": row["ratio"] >= TARGET,
        }
        for row in rows
        if row["contender"] == REWRAP
    ]
    head = ["store, contender", "seconds", "keys a second", "ratio", "grown MB"]
    columns = ("seconds", "rate", "ratio", "grown_mb")
    print(harness.table(head, [[f"{row['store']}, {row['contender']}", *(harness.number(row[what]) for what in columns)] for row in rows]))
    print()
    harness.show_targets(targets)
    if options.output:
        harness.write(options.output, {"machine": harness.machine(PACKAGES), "keys": keys, "rows": rows, "targets": targets})
    return 1 if options.check and not all(target["passed"] for target in targets) else 0


def compare(databases: Databases, kind: str, keys: int, rounds: int) -> list[dict[str, Any]]:
    runs: dict[str, list[dict[str, float]]] = {REWRAP: [], READY_MADE: []}
    with databases.folder() as folder, store(databases, kind, folder) as (url, restore):
        old, new = (f"file:{folder / name}" for name in ("old", "new"))
        for kek in (old, new):
            cli(["keygen", "--file", kek.removeprefix("file:")])
        fill(url, old, keys)
        restore(save=True)
        for _ in range(rounds):
            for contender, done in runs.items():
                restore(save=False)
                command = [sys.executable, __file__, "--one", contender, url, old, new]
                done.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert all(run["wrapped"] == keys for done in runs.values() for run in done)
    ratio = statistics.median(base["seconds"] / own["seconds"] for own, base in zip(runs[REWRAP], runs[READY_MADE], strict=True))
    return [
        {
            "store": kind,
            "contender": contender,
            "seconds": round(statistics.median(run["seconds"] for run in done), 2),
            "rate": round(keys / statistics.median(run["seconds"] for run in done)),
            "ratio": round(ratio, 3) if contender == REWRAP else 1.0,
            "grown_mb": round(statistics.median(run["grown_mb"] for run in done), 1),
            "rounds": rounds,
        }
        for contender, done in runs.items()
    ]


def one(contender: str, url: str, old: str, new: str) -> dict[str, float]:
    with Keyring.connect(url, kek=[old, new]) as keyring:
        keyring.status(limit=100)  # what a first query loads is not what the job takes
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
        start = time.perf_counter()
        wrapped = keyring.rewrap(old, new).wrapped if contender == REWRAP else ready_made(keyring._store, new)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "wrapped": wrapped, "grown_mb": (_status("VmHWM") - before) / 1024}


def ready_made(store: Any, new: str) -> int:
    """What `rewrap` asks of the key store: a pass that stores, and one that finds everything done."""
    assert isinstance(store, KeyLifecycle)
    made = now()
    wrap = WrapRecord(new, "0" * 32, "sealpoint-v1", bytes(125), made, made)
    stored = 0
    for first in (True, False):
        after: bytes | None = None
        while page := store.page_deks(after, _jobs.PAGE):
            if first:
                stored += store.put_wraps([WrapChange(row.dek_id, wrap) for row in page])
            after = page[-1].dek_id
    return stored


def fill(url: str, kek: str, keys: int) -> None:
    with Keyring.connect(url, kek=kek) as keyring:
        keyring.setup()
        made: list[DekRecord] = []
        for number in range(keys):
            made.append(keyring._loader.make(f"tenant-{number}", 1, 1)[0])
            if len(made) == 5_000 or number == keys - 1:
                insert(url, made)
                made.clear()


def insert(url: str, deks: list[DekRecord]) -> None:
    wraps = [(d.dek_id, w.kek_uri, w.kek_version, w.wrap_alg, w.wrapped, w.created_at, w.verified_at) for d in deks for w in d.wraps]
    batches = {
        TENANTS: [(d.tenant, d.created_at) for d in deks],
        DEKS: [(d.dek_id, d.tenant, d.purpose, d.suite, d.version, d.state, d.key_check, d.created_at) for d in deks],
        WRAPS: wraps,
    }
    with opened(url) as (cursor, mark):
        for sql, rows in batches.items():
            cursor.executemany(sql.replace("?", mark), rows)


@contextmanager
def opened(url: str) -> Iterator[tuple[Any, str]]:
    """A cursor in one transaction, and how it marks a parameter."""
    if url.startswith("sqlite:"):
        connection, mark = harness.peer("sqlite3", "python").connect(url.removeprefix("sqlite:///")), "?"
    else:
        connection, mark = harness.peer("psycopg", "'psycopg[binary]'").connect(url), "%s"
    try:
        yield connection.cursor(), mark
        connection.commit()
    finally:
        connection.close()


@contextmanager
def store(databases: Databases, kind: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """The URL of an empty key store, and what saves or restores its content."""
    if kind == SQLITE:
        path, saved = folder / "keys.db", folder / "saved.db"

        def restore(save: bool) -> None:
            if save:
                with opened(f"sqlite:///{path}") as (cursor, _):
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for rest in folder.glob("keys.db-*"):
                rest.unlink()
            shutil.copy(*((path, saved) if save else (saved, path)))

        yield f"sqlite:///{path}", restore
        return
    with databases.schema() as dsn:

        def restore(save: bool) -> None:
            with opened(dsn) as (cursor, _):
                if save:
                    cursor.execute("CREATE TABLE saved AS SELECT * FROM sealpoint_wraps")
                    return
                cursor.execute("TRUNCATE sealpoint_wraps")
                cursor.execute("INSERT INTO sealpoint_wraps SELECT * FROM saved")

        yield dsn, restore


def _status(field: str) -> int:
    """KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(field)


if __name__ == "__main__":
    sys.exit(main())
