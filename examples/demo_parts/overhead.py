"""Section 7: what sealing costs, measured in section 2."""

from statistics import median

from demo_parts.agents import LABELS, SEALED, UNSEALED, Files, database
from demo_parts.checks import expect
from demo_parts.play import Cost
from demo_parts.screen import Screen, size

SANE = 3.0
"""Above this something is wrong; a machine that is busy with other things stays far below."""


def show(screen: Screen, files: Files, costs: dict[str, Cost]) -> float:
    screen.heading("7. Overhead")
    turns = len(costs[SEALED].cpu)
    screen.say(
        f"{turns} turns of acme, each played on all three in changing order. Sums; ratios to the unsealed agent are medians over turns:"
    )
    sizes = {label: _bytes(files, label) for label in LABELS}
    table = [["", "CPU", "ratio", "time", "ratio", "file", "ratio"]]
    for label in LABELS:
        row = [label]
        for measured, base in ((costs[label].cpu, costs[UNSEALED].cpu), (costs[label].wall, costs[UNSEALED].wall)):
            row += [f"{sum(measured):.2f} s", f"{_ratio(measured, base):.2f}"]
        table.append([*row, size(sizes[label]), f"{sizes[label] / sizes[UNSEALED]:.2f}"])
    screen.rows(table, head=True, numbers=True)
    screen.say(
        "A turn is everything: loading the thread, running the nodes, serializing, sealing, SQLite. `make bench` measures more exactly."
    )
    ratio = _ratio(costs[SEALED].cpu, costs[UNSEALED].cpu)
    expect(ratio < SANE, f"a sealed turn costs {ratio:.2f} times the CPU of an unsealed one")
    return ratio


def _ratio(measured: list[float], base: list[float]) -> float:
    return median(one / other for one, other in zip(measured, base, strict=True))


def _bytes(files: Files, label: str) -> int:
    """The database's own count: the file may lag behind its -wal."""
    with database(files.state(label)) as db:
        (pages,), (page,) = db.execute("PRAGMA page_count").fetchone(), db.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page)
