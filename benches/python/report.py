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
NODE_RESULT, BROWSER_RESULT = "node-seal.json", "browser-seal.json"
QUOTED = (seal.SEALPOINT, seal.AESGCM, seal.COBBLESTONE, seal.TINK, seal.AWS_MASTER_KEY, seal.EAX)
"""The first is what the others are compared with. The names of those in JavaScript are from `benches/js/contenders.mjs`."""
QUOTED_NODE = (
    "sealpoint",
    "sealpoint, context as an object",
    "sealpoint WASM",
    "node:crypto AES-256-GCM",
    "WebCrypto AES-256-GCM",
    "@noble/ciphers gcm",
)
QUOTED_BROWSER = ("sealpoint WASM, async", "sealpoint WASM", "WebCrypto AES-256-GCM", "@noble/ciphers gcm")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=harness.RESULTS, help="folder of the results (default: benches/results)")
    parser.add_argument("--readme", type=Path, default=harness.ROOT / "README.md", help="the file to update (default: README.md)")
    parser.add_argument("--update-readme", action="store_true", help=f"also write the tables between {START} and {END}")
    options = parser.parse_args()
    scripts = {script.RESULT: f"python/{script.__name__}.py" for script in (seal, graph, memory, loop)}
    scripts |= {NODE_RESULT: "js/seal.mjs", BROWSER_RESULT: "js/browser.mjs"}
    text = report(*(read(options.results / result, script) for result, script in scripts.items()))
    print(text)
    if options.update_readme:
        update(options.readme, text)
    return 0


def read(path: Path, script: str) -> dict[str, Any]:
    if not path.exists():
        raise SystemExit(f"{path.name} is missing: run benches/{script} first")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def report(
    sealing: dict[str, Any],
    graphs: dict[str, Any],
    memories: dict[str, Any],
    loops: dict[str, Any],
    node: dict[str, Any],
    browser: dict[str, Any],
) -> str:
    machine = sealing["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in {**machine["versions"], **graphs["machine"]["versions"]}.items())
    return "\n\n".join(
        [
            "Seal / open in µs, and how many times as long as sealpoint. Fresh randomness is included; all but LangGraph's cipher bind the "
            "same position of seven names.",
            seal_table(sealing["rows"], QUOTED),
            f"Graphs of {max(row['steps'] for row in graphs['rows'])} steps, CPU time against the bare saver (Postgres: CPU / wall, fsync "
            "off). Messages: an agent and its tools, 1 KB each. Documents and string: 1 MB that the first step sets and no other changes.",
            graph_table(graphs["rows"]),
            f"{memory_line(memories)} {loop_line(loops)}",
            f"{machine['cpu']}, {machine['system']}, {machine['python']}, {machine['date']}; {versions}. "
            "Times are the best of interleaved rounds, ratios medians of what was measured side by side. The scripts are in `benches/`.",
            *javascript(node, browser),
        ]
    )


def javascript(node: dict[str, Any], browser: dict[str, Any]) -> list[str]:
    machine, versions = node["machine"], browser["machine"]["browsers"]
    tables = [
        seal_table((row for row in browser["rows"] if row["browser"] == name), QUOTED_BROWSER, f"{name} {version.split('.')[0]}: ")
        for name, version in versions.items()
    ]
    return [
        "In Node, seal / open in µs, and how many times as long as sealpoint. Fresh randomness is included; all bind the same position.",
        seal_table(node["rows"], QUOTED_NODE),
        "In browsers, and how many times as long as sealpoint's asynchronous calls, which give the AES of large payloads to WebCrypto. "
        "WebCrypto itself is shown bare: it neither derives a key nor commits to it.",
        joined(tables),
        f"{machine['cpu']}, {machine['system']}, {machine['node']} with {machine['openssl']}, {machine['date']}; "
        f"@noble/ciphers {machine['versions']['@noble/ciphers']}. "
        f"The WebAssembly module has {node['wasm']['gzip'] / 1024:.1f} KB after `gzip -9`.",
    ]


def seal_table(rows: Iterable[dict[str, Any]], names: Sequence[str], where: str = "") -> str:
    """Seal / open of the `names` that were measured, beside the first of them."""
    found = {(row["operation"], row["bytes"], row["contender"]): row for row in rows}
    sizes = [size for size in QUOTED_SIZES if ("seal", size, names[0]) in found]
    body = []
    for name in names:
        if all(("seal", size, name) in found for size in sizes):
            own = name == names[0]
            cells = [[found[operation, size, name] for operation in ("seal", "open")] for size in sizes]
            times = [" / ".join(harness.number(row["best_us"]) for row in pair) for pair in cells]
            ratios = ["" if own else f" ({' / '.join(harness.number(row['ratio']) for row in pair)}x)" for pair in cells]
            shown = f"**{name}**" if own else name
            body.append([f"{where}{shown}", *map("".join, zip(times, ratios, strict=True))])
    return markdown(["", *map(harness.size_name, sizes)], body)


def joined(tables: Sequence[str]) -> str:
    """One table of several with the same columns."""
    return "\n".join([*tables[:1], *("\n".join(table.splitlines()[2:]) for table in tables[1:])])


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
