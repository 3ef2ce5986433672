"""LangGraph graphs on real savers: bare, sealed, and with LangGraph's EncryptedSerializer, in interleaved rounds.

Four graphs of 20 and 200 steps: an agent and its tools exchanging messages of about 1 KB; messages and four scalars that change at each
step; 1 MB of documents, and a string of 1 MB, that the first step sets and no other one changes. The state is read once at the end.
SQLite writes a real file. Postgres is a real server on the same machine, reached through a Unix socket, with fsync off for all.

Ratios are medians over the rounds of sealed / bare, each from the same round. Targets are judged by CPU time of this process: in wall
time, waiting for the disk hides what sealing costs. On Postgres also by wall time, since the server has its own work with what it is sent.

--profile records what a graph asks of its saver, replays it on a bare and on a sealed saver, and tells where the time goes.
"""

import gc
import random
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import harness
from graph_profile import profile
from savers import BARE, MEMORY, POSTGRES, SEALED, SQLITE, Databases, Wrap, makers
from workloads import DOCUMENTS, MESSAGES, MIXED, STRING, Workload, turn, workload

RESULT = "python-graph.json"
GRAPHS = (MESSAGES, MIXED, DOCUMENTS, STRING)
SAVERS = (SQLITE, POSTGRES, MEMORY)
STEPS = (20, 200)
PACKAGES = (
    "sealpoint",
    "langgraph",
    "langgraph-checkpoint",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
    "langchain-core",
    "pycryptodome",
)


class Target(NamedTuple):
    """At most `factor` times the time of the bare saver."""

    graph: str
    saver: str
    factor: float


TARGETS = (
    *(Target(graph, saver, 1.15) for graph in (MESSAGES, MIXED) for saver in SAVERS),
    Target(DOCUMENTS, SQLITE, 1.0),
    Target(STRING, SQLITE, 1.1),
    *(Target(graph, POSTGRES, 1.1) for graph in (DOCUMENTS, STRING)),
)
JUDGED_BY = {SQLITE: ("cpu",), MEMORY: ("cpu",), POSTGRES: ("cpu", "wall")}


def main() -> int:
    parser = harness.arguments(__doc__ or "", RESULT)
    parser.add_argument("--steps", type=int, nargs="+", help="numbers of steps (default: 20 200, with --quick 20)")
    parser.add_argument("--graphs", nargs="+", choices=GRAPHS, default=GRAPHS, help="which graphs")
    parser.add_argument("--savers", nargs="+", choices=SAVERS, default=SAVERS, help="which savers")
    parser.add_argument("--profile", action="store_true", help="also tell where the time goes")
    options = harness.parsed(parser, RESULT)
    rounds = options.rounds or (3 if options.quick else 9)
    steps = tuple(options.steps or ((20,) if options.quick else STEPS))
    wraps = harness.available(makers(), options.skip_missing, needed=[BARE, SEALED])
    result: dict[str, Any] = {"machine": harness.machine(PACKAGES)}
    with Databases() as databases:
        rows = [
            row
            for name in options.graphs
            for kind in options.savers
            for count in steps
            for row in compare(databases, wraps, name, kind, count, rounds)
        ]
        targets = judge(rows)
        show(rows)
        harness.show_targets(targets)
        result |= {"rows": rows, "targets": targets}
        if options.profile:
            result["profile"] = [
                row
                for name in options.graphs
                for kind in options.savers
                for row in profile(databases, name, kind, max(steps), rounds=3 if options.quick else 5)
            ]
    if options.output:
        harness.write(options.output, result)
    return 1 if options.check and not all(target["passed"] for target in targets) else 0


@dataclass(frozen=True)
class Run:
    wall_ms: float
    cpu_ms: float


def compare(databases: Databases, wraps: dict[str, Wrap], name: str, kind: str, count: int, rounds: int) -> list[dict[str, Any]]:
    harness.settle_allocator()
    work = workload(name, count)
    runs: dict[str, list[Run]] = {contender: [] for contender in wraps}
    order = list(wraps)
    shuffle = random.Random(0).shuffle
    for contender in order:
        _run(databases, work, wraps[contender], kind)
    for _ in range(rounds):
        shuffle(order)
        for contender in order:
            runs[contender].append(_run(databases, work, wraps[contender], kind))
    bare = runs[BARE]
    return [
        {
            "graph": name,
            "saver": kind,
            "steps": count,
            "contender": contender,
            "wall_ms": round(statistics.median(run.wall_ms for run in done), 2),
            "cpu_ms": round(statistics.median(run.cpu_ms for run in done), 2),
            "wall_ratio": round(statistics.median(run.wall_ms / base.wall_ms for run, base in zip(done, bare, strict=True)), 3),
            "cpu_ratio": round(statistics.median(run.cpu_ms / base.cpu_ms for run, base in zip(done, bare, strict=True)), 3),
            "rounds": rounds,
        }
        for contender, done in runs.items()
    ]


def _run(databases: Databases, work: Workload, wrap: Wrap, kind: str) -> Run:
    with databases.saver(kind) as saver:
        compiled = work.graph.compile(checkpointer=wrap(saver))
        gc.collect()
        gc.disable()
        try:
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            turn(compiled, work)
            return Run((time.perf_counter_ns() - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6)
        finally:
            gc.enable()


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    factors = {(target.graph, target.saver): target.factor for target in TARGETS}
    return [
        {
            "text": f"{row['graph']}, {row['saver']}, {row['steps']} steps, sealed at most {factor:g}x the {clock} time of bare",
            "measured": (measured := row[f"{clock}_ratio"]),
            "passed": measured <= factor,
        }
        for row in rows
        if row["contender"] == SEALED and (factor := factors.get((row["graph"], row["saver"])))
        for clock in JUDGED_BY[row["saver"]]
    ]


def show(rows: list[dict[str, Any]]) -> None:
    head = ["graph, saver, steps, contender", "wall ms", "x bare", "CPU ms", "x bare"]
    lines = [
        [
            f"{row['graph']}, {row['saver']}, {row['steps']}, {row['contender']}",
            harness.number(row["wall_ms"]),
            f"{row['wall_ratio']:.2f}",
            harness.number(row["cpu_ms"]),
            f"{row['cpu_ratio']:.2f}",
        ]
        for row in rows
    ]
    print(harness.table(head, lines), end="\n\n")


if __name__ == "__main__":
    sys.exit(main())
