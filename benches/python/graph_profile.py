"""Where a saver's time goes: what a graph asks of its saver is recorded, and replayed on a bare and on a sealed saver.

Run by `graph.py --profile`.
"""

import cProfile
import gc
import os
import pstats
import time
from collections import Counter
from typing import Any

import harness
from savers import BARE, SEALED, Databases, makers
from workloads import turn, workload

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def record(databases: Databases, name: str, kind: str, count: int) -> list[Call]:
    """What the graph asks of its saver, in order."""
    base: Any = harness.peer("langgraph.checkpoint.base", "langgraph").BaseCheckpointSaver
    calls: list[Call] = []

    with databases.saver(kind) as inner:

        def put(_self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(("put", args, kwargs))
            return inner.put(*args, **kwargs)

        def put_writes(_self: Any, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            calls.append(("put_writes", (config, list(writes), task_id, task_path), {}))
            inner.put_writes(config, writes, task_id, task_path)

        def get_tuple(_self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(("get_tuple", args, kwargs))
            return inner.get_tuple(*args, **kwargs)

        def get_next_version(_self: Any, current: Any, channel: Any) -> Any:
            return inner.get_next_version(current, channel)

        methods = {method.__name__: method for method in (put, put_writes, get_tuple, get_next_version)}
        recorder = type("Recorder", (base,), methods)
        work = workload(name, count)
        turn(work.graph.compile(checkpointer=recorder(serde=inner.serde)), work)
    return calls


def replay(saver: Any, calls: list[Call]) -> None:
    for name, args, kwargs in calls:
        getattr(saver, name)(*args, **kwargs)


def profile(databases: Databases, name: str, kind: str, count: int, rounds: int) -> list[dict[str, Any]]:
    """CPU µs per step by what they were spent on, and their sum without the profiler, under which Python code looks slower than it is."""
    calls = record(databases, name, kind, count)
    wraps = {contender: makers()[contender]() for contender in (BARE, SEALED)}
    totals: dict[str, list[float]] = {contender: [] for contender in wraps}
    shares: dict[str, Counter[str]] = {}
    for number in range(rounds + 1):
        for contender, wrap in wraps.items():
            with databases.saver(kind) as inner:
                saver = wrap(inner)
                profiler = cProfile.Profile(time.thread_time) if number == rounds else None
                gc.collect()
                start = time.thread_time_ns()
                if profiler is None:
                    replay(saver, calls)
                    totals[contender].append((time.thread_time_ns() - start) / 1000 / count)
                else:
                    profiler.runcall(replay, saver, calls)
                    shares[contender] = _shares(profiler)
    rows: list[dict[str, Any]] = [
        {
            "graph": name,
            "saver": kind,
            "steps": count,
            "contender": contender,
            "us_per_step": round(min(totals[contender]), 1),
            "profiled_us_per_step": {what: round(seconds * 1e6 / count, 1) for what, seconds in spent.most_common()},
        }
        for contender, spent in shares.items()
    ]
    kinds = sorted({what for row in rows for what in row["profiled_us_per_step"]}, key=lambda what: -shares[SEALED][what])
    lines = [[what, *(harness.number(row["profiled_us_per_step"].get(what, 0.0)) for row in rows)] for what in kinds]
    lines.append(["all, without the profiler", *(harness.number(row["us_per_step"]) for row in rows)])
    print("\n" + harness.table([f"{name}, {kind}, {count} steps: saver's µs per step", *(row["contender"] for row in rows)], lines))
    return rows


_PLACES = (
    ("sealpoint/langgraph/container", "envelopes' container"),
    ("sealpoint/langgraph/metadata", "metadata"),
    ("sealpoint/", "wrapper in Python"),
    ("langgraph/checkpoint/serde/", "serialization"),
    ("langchain_core/", "serialization"),
    ("pydantic/", "serialization"),
    ("langgraph/checkpoint/sqlite/", "storage"),
    ("langgraph/checkpoint/memory/", "storage"),
    ("json/", "storage"),
    ("langgraph/checkpoint/base/", "metadata"),
)
_NATIVE = (
    ("manifest_", "manifest"),
    ("'seal", "sealing and opening"),
    ("'open' of", "sealing and opening"),
    ("'extend' of", "contexts"),
    ("Context", "contexts"),
    ("sqlite3.", "storage"),
)


def _shares(profiler: cProfile.Profile) -> Counter[str]:
    """Seconds by what they were spent on. What is built in counts for who called it."""
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]  # not in the stubs
    spent: Counter[str] = Counter()
    for function, (_, _, own, _, callers) in stats.items():
        what = _kind(function)
        if what is not None:
            spent[what] += own
            continue
        for caller, (_, _, share, _) in callers.items():
            spent[_kind(caller) or "other"] += share
    return spent


def _kind(function: tuple[str, int, str]) -> str | None:
    file, _, name = function
    if file == "~":
        return next((what for part, what in _NATIVE if part in name), None)
    path = file.replace(os.sep, "/")
    return next((what for part, what in _PLACES if part in path), "other")
