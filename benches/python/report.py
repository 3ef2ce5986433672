"""Prints the tables that the README quotes, from the files of results that the benchmarks wrote."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import graph
import harness
import loop
import memory
import savers
import seal
import workloads

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
QUOTED_SIZES = (1 << 10, 100 << 10, 1 << 20)
QUOTED = (seal.SEALPOINT, seal.AESGCM, seal.COBBLESTONE, seal.TINK, seal.AWS_MASTER_KEY, seal.EAX)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=harness.RESULTS, help="folder of the results (default: benches/results)")
    parser.add_argument("--readme", type=Path, default=harness.ROOT / "README.md", help="the file to update (default: README.md)")
    parser.add_argument("--update-readme", action="store_true", help=f"also write the tables between {START} and {END}")
    options = parser.parse_args()
    text = report(*(read(options.results / script.RESULT, f"{script.__name__}.py") for script in (seal, graph, memory, loop)))
    print(text)
    if options.update_readme:
        update(options.readme, text)
    return 0


def read(path: Path, script: str) -> dict[str, Any]:
    if not path.exists():
        raise SystemExit(f"{path.name} is missing: run benches/python/{script} first")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def report(sealing: dict[str, Any], graphs: dict[str, Any], memories: dict[str, Any], loops: dict[str, Any]) -> str:
    machine = sealing["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in {**machine["versions"], **graphs["machine"]["versions"]}.items())
    return "\n\n".join(
        [
            "Seal / open in µs, and how many times as long as sealpoint. Fresh randomness is included; all but LangGraph's cipher bind the "
            "same position of seven names.",
            seal_table(sealing["rows"]),
            f"Graphs of {max(row['steps'] for row in graphs['rows'])} steps, CPU time against the bare saver (Postgres: CPU / wall, fsync "
            "off). Messages: an agent and its tools, 1 KB each. Documents and string: 1 MB that the first step sets and no other changes.",
            graph_table(graphs["rows"]),
            f"{memory_line(memories)} {loop_line(loops)}",
            f"{machine['cpu']}, {machine['system']}, {machine['python']}, {machine['date']}; {versions}. "
            "Times are the best of interleaved rounds, ratios medians of what was measured side by side. The scripts are in `benches/`.",
        ]
    )


def seal_table(rows: Iterable[dict[str, Any]]) -> str:
    found = {(row["operation"], row["bytes"], row["contender"]): row for row in rows}
    sizes = [size for size in QUOTED_SIZES if ("seal", size, seal.SEALPOINT) in found]
    body = []
    for name in QUOTED:
        if all(("seal", size, name) in found for size in sizes):
            own = name == seal.SEALPOINT
            cells = [[found[operation, size, name] for operation in ("seal", "open")] for size in sizes]
            times = [" / ".join(harness.number(row["best_us"]) for row in pair) for pair in cells]
            ratios = ["" if own else f" ({' / '.join(harness.number(row['ratio']) for row in pair)}x)" for pair in cells]
            body.append([f"**{name}**" if own else name, *map("".join, zip(times, ratios, strict=True))])
    return markdown(["", *map(harness.size_name, sizes)], body)


def graph_table(rows: Iterable[dict[str, Any]]) -> str:
    """One line per graph and contender, one column per saver, with the largest number of steps that was measured."""
    found = {(row["graph"], row["saver"], row["steps"], row["contender"]): row for row in rows}
    graphs, kinds, steps = ({key[place]: None for key in found} for place in range(3))
    count = max(steps)

    def cell(row: dict[str, Any]) -> str:
        ratios = [row[f"{clock}_ratio"] for clock in graph.JUDGED_BY[row["saver"]]]
        return " / ".join(f"{ratio:.2f}x" for ratio in ratios)

    body = [
        [shown, *(cell(found[name, kind, count, contender]) for kind in kinds)]
        for name in graphs
        for contender, shown in ((savers.SEALED, f"**{name}, `SealedSaver`**"), (savers.EAX, f"{name}, `EncryptedSerializer`"))
        if all((name, kind, count, contender) in found for kind in kinds)
    ]
    return markdown(["", *kinds], body)


def memory_line(memories: dict[str, Any]) -> str:
    grown = {(row["graph"], row["saver"], row["contender"]): harness.number(row["grown_mb"]) for row in memories["rows"]}
    pairs = [
        f"{grown[name, savers.SQLITE, savers.SEALED]} MB ({name}; bare {grown[name, savers.SQLITE, savers.BARE]})"
        for name in (workloads.MESSAGES, workloads.DOCUMENTS)
    ]
    return f"Memory at its peak on SQLite: {', '.join(pairs)}; what is held for reuse is bounded to {memories['reuse_bound_mb']} MB."


def loop_line(loops: dict[str, Any]) -> str:
    stalls = [
        f"{harness.number(row['stall_ms'])} ms ({row['saver']}, {row['contender']})"
        for row in loops["rows"]
        if row["contender"] != loop.SEALED
    ]
    return f"The longest stall of an event loop that runs {loops['rows'][0]['agents']} agents at once: {', '.join(stalls)}."


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def update(readme: Path, text: str) -> None:
    old = readme.read_text(encoding="utf-8") if readme.exists() else ""
    before, start, rest = old.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"{readme.name} has no {START} … {END}: nothing was written")
    readme.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
