"""How long sealing holds up an event loop: 50 agents at once on async savers, bare and sealed.

A ticker asks the loop to be woken each millisecond and notes how late it is; the longest such stall of a run counts, and of these the
median over interleaved rounds (the best is reported too: what else the machine does only ever adds). `sealed, cold keys`: 50 tenants,
none of whose keys is in memory yet, with a key store in a database of the saver's kind. Each agent runs 10 steps of messages
(`graph.py`); they start one millisecond after another.
"""

import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import harness
from savers import BARE, SEALED, Databases, sealed_saver
from workloads import MESSAGES, Workload, config, workload

RESULT = "python-loop.json"
SQLITE, POSTGRES = "AsyncSqliteSaver", "AsyncPostgresSaver"
COLD = "sealed, cold keys"
CONTENDERS = (BARE, SEALED, COLD)
AGENTS = 50
STEPS = 10
TICK_S = 0.001
TARGET_MS = 5.0
PACKAGES = ("sealpoint", "langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "aiosqlite", "psycopg")


def main() -> int:
    options = harness.parsed(harness.arguments(__doc__ or "", RESULT), RESULT)
    rounds = options.rounds or (2 if options.quick else 9)
    with Databases() as databases:
        rows = [row for kind in (SQLITE, POSTGRES) for row in compare(databases, kind, rounds)]
    targets = judge(rows)
    head = ["saver, contender", "longest stall ms", "its best", "above bare", "wall ms"]
    columns = ("stall_ms", "best_stall_ms", "above_bare_ms", "wall_ms")
    lines = [[f"{row['saver']}, {row['contender']}", *(harness.number(row[what]) for what in columns)] for row in rows]
    print(harness.table(head, lines), end="\n\n")
    harness.show_targets(targets)
    if options.output:
        harness.write(options.output, {"machine": harness.machine(PACKAGES), "rows": rows, "targets": targets})
    return 1 if options.check and not all(target["passed"] for target in targets) else 0


def compare(databases: Databases, kind: str, rounds: int) -> list[dict[str, Any]]:
    work = workload(MESSAGES, STEPS)
    runs: dict[str, list[tuple[float, float]]] = {contender: [] for contender in CONTENDERS}
    order = list(CONTENDERS)
    shuffle = random.Random(0).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        for contender in order:
            measured = asyncio.run(_run(databases, work, kind, contender))
            if number:  # the first round warms up
                runs[contender].append(measured)
    return [
        {
            "saver": kind,
            "contender": contender,
            "stall_ms": round(statistics.median(stall for stall, _ in done), 2),
            "best_stall_ms": round(min(stall for stall, _ in done), 2),
            "above_bare_ms": round(statistics.median(stall for stall, _ in done) - statistics.median(stall for stall, _ in runs[BARE]), 2),
            "wall_ms": round(statistics.median(wall for _, wall in done), 1),
            "agents": AGENTS,
            "steps": STEPS,
            "rounds": rounds,
        }
        for contender, done in runs.items()
    ]


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "text": f"{row['saver']}, {AGENTS} agents, {row['contender']}: longest stall of the loop at most {TARGET_MS:g} ms above bare",
            "measured": row["above_bare_ms"],
            "passed": row["above_bare_ms"] <= TARGET_MS,
        }
        for row in rows
        if row["contender"] != BARE
    ]


async def _run(databases: Databases, work: Workload, kind: str, contender: str) -> tuple[float, float]:
    """The longest stall and the whole run's time, in milliseconds."""
    async with _saver(databases, kind, contender) as saver:
        compiled = work.graph.compile(checkpointer=saver)
        gc.collect()
        gc.disable()
        try:
            ticker = asyncio.create_task(_longest_stall(stop := asyncio.Event()))
            start = time.perf_counter()
            await asyncio.gather(*(_agent(compiled, work, number) for number in range(AGENTS)))
            wall = time.perf_counter() - start
            stop.set()
            return await ticker * 1000, wall * 1000
        finally:
            gc.enable()


async def _agent(compiled: Any, work: Workload, number: int) -> None:
    await asyncio.sleep(number * TICK_S)
    settings = config(f"thread-{number}", f"tenant-{number}")
    await compiled.ainvoke(work.given, settings)
    work.check((await compiled.aget_state(settings)).values)


async def _longest_stall(stop: asyncio.Event) -> float:
    longest = 0.0
    while not stop.is_set():
        asked = time.perf_counter()
        await asyncio.sleep(TICK_S)
        longest = max(longest, time.perf_counter() - asked - TICK_S)
    return longest


@asynccontextmanager
async def _saver(databases: Databases, kind: str, contender: str) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        if kind == SQLITE:
            folder = stack.enter_context(databases.folder())
            place, keys = str(folder / "state.db"), f"sqlite:///{folder / 'keys.db'}"
            savers = harness.peer("langgraph.checkpoint.sqlite.aio", "langgraph-checkpoint-sqlite")
            inner = await stack.enter_async_context(savers.AsyncSqliteSaver.from_conn_string(place))
        else:
            place = keys = stack.enter_context(databases.schema())
            savers = harness.peer("langgraph.checkpoint.postgres.aio", "langgraph-checkpoint-postgres")
            inner = await stack.enter_async_context(savers.AsyncPostgresSaver.from_conn_string(place))
        await inner.setup()
        if contender == BARE:
            yield inner
            return
        keyring_type, kek = harness.peer("sealpoint", "sealpoint").Keyring, harness.new_kek()
        async with await keyring_type.aconnect(keys, kek=kek) as keyring:
            await keyring.asetup()
            for number in range(AGENTS):
                await keyring.aload(f"tenant-{number}")
            if contender == SEALED:
                yield sealed_saver(inner, keyring)
                return
        async with await keyring_type.aconnect(keys, kek=kek) as keyring:
            yield sealed_saver(inner, keyring)


if __name__ == "__main__":
    sys.exit(main())
