"""A graph of messages on real savers: bare, sealed, and with LangGraph's EncryptedSerializer, in interleaved rounds.

One node runs 20 or 200 times; each time it appends one message of about 1 KB and changes some scalar channels. The state is read once
at the end. SQLite writes a real file. Ratios are medians over the rounds of sealed / bare, each from the same round. The target is judged
by CPU time of the whole process: in wall time, waiting for the disk hides what sealing costs.

--profile records what the graph asks of its saver, replays it on a bare and on a sealed saver, and tells where the time goes.
"""

import cProfile
import gc
import os
import pstats
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import harness

RESULT = "python-graph.json"
BARE, SEALED, EAX = "bare", "sealed", "EncryptedSerializer"
SQLITE, MEMORY = "SqliteSaver", "InMemorySaver"
STEPS = (20, 200)
TARGET = 1.15
CONFIG = {
    "configurable": {"thread_id": "0b8a3f6e-58c6-4d0e-9d3a-0d5a4c1f7b21", "workspace_id": "acme"},
    "recursion_limit": 1000,
}
PACKAGES = ("sealpoint", "langgraph", "langgraph-checkpoint", "langgraph-checkpoint-sqlite", "langchain-core", "pycryptodome")

_TEXT = (
    "the invoice was approved after a review of each line and its totals while our customer asked for another delivery date because "
    "their warehouse closes early on Friday so we moved it and confirmed by mail"
)


def main() -> int:
    parser = harness.arguments(__doc__ or "", RESULT)
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps (default: 20 200, with --quick 20)")
    parser.add_argument("--profile", action="store_true", help="also tell where the time goes")
    options = harness.parsed(parser, RESULT)
    rounds = options.rounds or (5 if options.quick else 9)
    steps = tuple(options.steps or ((20,) if options.quick else STEPS))
    makers = harness.available(_makers(), options.skip_missing, needed=[BARE, SEALED])
    rows = [row for saver in (SQLITE, MEMORY) for count in steps for row in compare(makers, saver, count, rounds)]
    targets = judge(rows)
    show(rows)
    for target in targets:
        print(f"{harness.verdict(target['passed']):6}  {target['text']}: {target['measured']:.2f}")
    result: dict[str, Any] = {"machine": harness.machine(PACKAGES), "rows": rows, "targets": targets}
    if options.profile:
        result["profile"] = [row for saver in (SQLITE, MEMORY) for row in profile(saver, max(steps), rounds=3 if options.quick else 5)]
    if options.output:
        harness.write(options.output, result)
    return 1 if options.check and not all(target["passed"] for target in targets) else 0


# -- the graph


def messages(count: int) -> list[Any]:
    """The same for every contender: assistant messages as a provider returns them, with a fixed id."""
    core = harness.peer("langchain_core.messages", "langgraph")
    draw, words = random.Random(7), _TEXT.split()
    return [
        core.AIMessage(
            id=f"run--{draw.getrandbits(128):032x}",
            content=" ".join(draw.choice(words) for _ in range(130)),
            response_metadata={"model_name": "example-large", "finish_reason": "stop", "system_fingerprint": f"fp_{number:08x}"},
            usage_metadata={"input_tokens": 900 + number, "output_tokens": 140, "total_tokens": 1040 + number},
        )
        for number in range(count)
    ]


def builder(replies: list[Any]) -> Any:
    graph = harness.peer("langgraph.graph", "langgraph")
    reducers = harness.peer("langgraph.graph.message", "langgraph")

    class State(TypedDict, total=False):
        messages: Annotated[list[Any], reducers.add_messages]
        step: int
        status: str
        score: float
        approved: bool

    def reply(state: State) -> dict[str, Any]:
        done = state.get("step", 0)
        return {
            "messages": [replies[done]],
            "step": done + 1,
            "status": "running" if done + 1 < len(replies) else "done",
            "score": done / 7,
            "approved": done % 2 == 0,
        }

    def more(state: State) -> str:
        return "reply" if state.get("step", 0) < len(replies) else "__end__"

    made = graph.StateGraph(State)
    made.add_node("reply", reply)
    made.add_edge("__start__", "reply")
    made.add_conditional_edges("reply", more, ["reply", "__end__"])
    return made


def turn(compiled: Any, count: int) -> None:
    """What is timed."""
    compiled.invoke({"messages": [], "step": 0}, CONFIG)
    assert len(compiled.get_state(CONFIG).values["messages"]) == count


# -- the savers


Wrap = Callable[[Any], Any]
"""From a bare saver to the saver under test."""


def _makers() -> dict[str, Callable[[], Wrap]]:
    return {BARE: _bare, SEALED: _sealed, EAX: _eax}


def _bare() -> Wrap:
    harness.peer("langgraph.checkpoint.sqlite", "langgraph-checkpoint-sqlite")
    return lambda saver: saver


def _sealed() -> Wrap:
    sealpoint = harness.peer("sealpoint", "sealpoint")
    adapters = harness.peer("sealpoint.langgraph", "'sealpoint[langgraph]'")
    keyring = sealpoint.Keyring.connect("memory:", kek=harness.new_kek())
    keyring.load("acme")
    return lambda saver: adapters.SealedSaver(saver, keyring, tenant=adapters.from_config("workspace_id"))


def _eax() -> Wrap:
    serde = harness.peer("langgraph.checkpoint.serde.encrypted", "langgraph")
    harness.peer("Crypto.Cipher.AES", "pycryptodome")
    encrypted = serde.EncryptedSerializer.from_pycryptodome_aes(key=os.urandom(32))

    def wrap(saver: Any) -> Any:
        # Not every saver's constructor hands its serializer on to everything that it makes.
        saver.serde = encrypted
        return saver

    return wrap


@contextmanager
def bare_saver(kind: str) -> Iterator[Any]:
    if kind == MEMORY:
        yield harness.peer("langgraph.checkpoint.memory", "langgraph").InMemorySaver()
        return
    sqlite = harness.peer("langgraph.checkpoint.sqlite", "langgraph-checkpoint-sqlite")
    with tempfile.TemporaryDirectory(prefix="sealpoint-bench-") as folder:
        connection = sqlite3.connect(Path(folder) / "state.db", check_same_thread=False)
        try:
            saver = sqlite.SqliteSaver(connection)
            saver.setup()
            yield saver
        finally:
            connection.close()


# -- comparing


@dataclass(frozen=True)
class Run:
    wall_ms: float
    cpu_ms: float


def compare(makers: dict[str, Wrap], kind: str, count: int, rounds: int) -> list[dict[str, Any]]:
    replies = messages(count)
    graph = builder(replies)
    runs: dict[str, list[Run]] = {name: [] for name in makers}
    order = list(makers)
    shuffle = random.Random(0).shuffle
    for name in order:
        _run(graph, makers[name], kind, count)
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            runs[name].append(_run(graph, makers[name], kind, count))
    bare = runs[BARE]
    return [
        {
            "saver": kind,
            "steps": count,
            "contender": name,
            "wall_ms": round(statistics.median(run.wall_ms for run in done), 2),
            "cpu_ms": round(statistics.median(run.cpu_ms for run in done), 2),
            "wall_ratio": round(statistics.median(run.wall_ms / base.wall_ms for run, base in zip(done, bare, strict=True)), 3),
            "cpu_ratio": round(statistics.median(run.cpu_ms / base.cpu_ms for run, base in zip(done, bare, strict=True)), 3),
            "rounds": rounds,
        }
        for name, done in runs.items()
    ]


def _run(graph: Any, wrap: Wrap, kind: str, count: int) -> Run:
    with bare_saver(kind) as saver:
        compiled = graph.compile(checkpointer=wrap(saver))
        gc.collect()
        gc.disable()
        try:
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            turn(compiled, count)
            return Run((time.perf_counter_ns() - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6)
        finally:
            gc.enable()


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "text": f"{row['saver']}, {row['steps']} steps, sealed at most {TARGET:g}x the CPU time of bare",
            "measured": row["cpu_ratio"],
            "passed": row["cpu_ratio"] <= TARGET,
        }
        for row in rows
        if row["contender"] == SEALED
    ]


def show(rows: list[dict[str, Any]]) -> None:
    head = ["saver, steps, contender", "wall ms", "x bare", "CPU ms", "x bare"]
    lines = [
        [
            f"{row['saver']}, {row['steps']}, {row['contender']}",
            harness.number(row["wall_ms"]),
            f"{row['wall_ratio']:.2f}",
            harness.number(row["cpu_ms"]),
            f"{row['cpu_ratio']:.2f}",
        ]
        for row in rows
    ]
    print(harness.table(head, lines), end="\n\n")


# -- where the time goes


Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def record(kind: str, count: int) -> list[Call]:
    """What the graph asks of its saver, in order."""
    base: Any = harness.peer("langgraph.checkpoint.base", "langgraph").BaseCheckpointSaver
    calls: list[Call] = []

    with bare_saver(kind) as inner:

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
        turn(builder(messages(count)).compile(checkpointer=recorder(serde=inner.serde)), count)
    return calls


def replay(saver: Any, calls: list[Call]) -> None:
    for name, args, kwargs in calls:
        getattr(saver, name)(*args, **kwargs)


def profile(kind: str, count: int, rounds: int) -> list[dict[str, Any]]:
    """CPU µs per step by what they were spent on, and their sum without the profiler, under which Python code looks slower than it is."""
    calls = record(kind, count)
    wraps = {BARE: _bare(), SEALED: _sealed()}
    totals: dict[str, list[float]] = {name: [] for name in wraps}
    shares: dict[str, Counter[str]] = {}
    for number in range(rounds + 1):
        for name, wrap in wraps.items():
            with bare_saver(kind) as inner:
                saver = wrap(inner)
                profiler = cProfile.Profile(time.thread_time) if number == rounds else None
                gc.collect()
                start = time.thread_time_ns()
                if profiler is None:
                    replay(saver, calls)
                    totals[name].append((time.thread_time_ns() - start) / 1000 / count)
                else:
                    profiler.runcall(replay, saver, calls)
                    shares[name] = _shares(profiler)
    rows: list[dict[str, Any]] = []
    for name, spent in shares.items():
        by_kind = {what: round(seconds * 1e6 / count, 1) for what, seconds in spent.most_common()}
        rows.append(
            {"saver": kind, "steps": count, "contender": name, "us_per_step": round(min(totals[name]), 1), "profiled_us_per_step": by_kind}
        )
    kinds = sorted({what for row in rows for what in row["profiled_us_per_step"]}, key=lambda what: -shares[SEALED][what])
    lines = [[what, *(harness.number(row["profiled_us_per_step"].get(what, 0.0)) for row in rows)] for what in kinds]
    lines.append(["all, without the profiler", *(harness.number(row["us_per_step"]) for row in rows)])
    print("\n" + harness.table([f"{kind}, {count} steps: saver's µs per step", *(row["contender"] for row in rows)], lines))
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
    ("'seal' of", "sealing and opening"),
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


if __name__ == "__main__":
    sys.exit(main())
