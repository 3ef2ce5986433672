"""How much memory a graph's run takes, bare and sealed: the growth of the process's peak, each run in a new process.

The graphs of `graph.py`, 200 steps (with --quick 20). What imports and a first run take is there before.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import harness
from savers import BARE, POSTGRES, SEALED, SQLITE, Databases, makers
from workloads import DOCUMENTS, MESSAGES, STRING, turn, workload

RESULT = "python-memory.json"
GRAPHS = (MESSAGES, DOCUMENTS, STRING)
SAVERS = (SQLITE, POSTGRES)
PACKAGES = ("sealpoint", "langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres")


def main() -> int:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:5], int(sys.argv[5]))))
        return 0
    options = harness.parsed(harness.arguments(__doc__ or "", RESULT), RESULT)
    if not Path("/proc/self/status").exists():
        raise SystemExit("memory.py reads the peak from /proc, which this system does not have")
    rounds = options.rounds or (1 if options.quick else 5)
    contenders = harness.available(makers(), options.skip_missing, needed=[BARE, SEALED])
    steps = 20 if options.quick else 200
    rows = [row for name in GRAPHS for kind in SAVERS for row in compare(list(contenders), name, kind, steps, rounds)]
    bound = harness.peer("sealpoint.langgraph.reuse", "'sealpoint[langgraph]'").MAX_BYTES
    head = ["graph, saver, steps", *(f"{name}: MB" for name in contenders), "held for reuse: MB"]
    grown = {(row["graph"], row["saver"], row["contender"]): row for row in rows}
    lines = [
        [
            f"{name}, {kind}, {steps}",
            *(harness.number(grown[name, kind, contender]["grown_mb"]) for contender in contenders),
            harness.number(grown[name, kind, SEALED]["kept_mb"]),
        ]
        for name in GRAPHS
        for kind in SAVERS
    ]
    print(harness.table(head, lines))
    print(f"\nWhat one SealedSaver holds for reuse is at most {bound >> 20} MB (objects counted as four times their serialized form).")
    if options.output:
        harness.write(options.output, {"machine": harness.machine(PACKAGES), "reuse_bound_mb": bound >> 20, "rows": rows})
    return 0


def compare(contenders: list[str], name: str, kind: str, steps: int, rounds: int) -> list[dict[str, Any]]:
    runs: dict[str, list[dict[str, float]]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            command = [sys.executable, __file__, "--one", name, kind, contender, str(steps)]
            runs[contender].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return [
        {
            "graph": name,
            "saver": kind,
            "steps": steps,
            "contender": contender,
            **{what: round(statistics.median(run[what] for run in done), 2) for what in ("grown_mb", "kept_mb")},
            "rounds": rounds,
        }
        for contender, done in runs.items()
    ]


def one(name: str, kind: str, contender: str, steps: int) -> dict[str, float]:
    wrap = makers()[contender]()
    with Databases() as databases:
        # What a first run loads (modules, caches of the interpreter) is not what a run takes.
        with databases.saver(kind) as saver:
            warm = workload(MESSAGES, 4)
            turn(warm.graph.compile(checkpointer=wrap(saver)), warm)
        work = workload(name, steps)
        with databases.saver(kind) as inner:
            saver = wrap(inner)
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            before = _status("VmRSS")
            turn(work.graph.compile(checkpointer=saver), work)
            grown = _status("VmHWM") - before
            kept = saver._sealer.reuse.held_bytes if contender == SEALED else 0
    return {"grown_mb": grown / 1024, "kept_mb": kept / (1 << 20)}


def _status(field: str) -> int:
    """KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(field)


if __name__ == "__main__":
    sys.exit(main())
