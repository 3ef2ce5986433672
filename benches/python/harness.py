"""What the benchmarks share: options, peers that may be missing, interleaved timing, facts about the machine, and the files of results."""

import argparse
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

K = TypeVar("K")
T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches" / "results"
KEK_VARIABLE = "SEALPOINT_BENCH_KEK"

_SLOW_CALL_NS = 50_000_000
_SLOW_ROUNDS = 5


class MissingPeerError(Exception):
    """A peer is not installed."""


def arguments(description: str, result: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="much shorter, noisier; writes results only with --output")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--skip-missing", action="store_true", help="leave out peers that are not installed, instead of stopping")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--output", type=Path, help=f"where the results go (default: benches/results/{result})")
    parser.add_argument("--no-write", action="store_true", help="print only")
    return parser


def parsed(parser: argparse.ArgumentParser, result: str) -> argparse.Namespace:
    """The options, with `output` the file to write, or None."""
    options = parser.parse_args()
    if options.no_write:
        options.output = None
    elif options.output is None and not options.quick:
        options.output = RESULTS / result
    return options


def peer(module: str, pip: str) -> Any:
    """An optional module; `pip` is what brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPeerError(pip) from error


def available(makers: Mapping[str, Callable[[], T]], skip_missing: bool, *, needed: Iterable[str]) -> dict[str, T]:
    """What could be made. A peer that is not installed ends the program, unless it is to be skipped and is not `needed`."""
    made: dict[str, T] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except MissingPeerError as error:
            missing[name] = str(error)
    for name, pip in missing.items():
        print(f"{name} is not installed: pip install {pip}", file=sys.stderr)
    if missing.keys() & set(needed):
        raise SystemExit(2)
    if missing and not skip_missing:
        print("or leave missing peers out with --skip-missing", file=sys.stderr)
        raise SystemExit(2)
    return made


def new_kek() -> str:
    """The URI of a fresh KEK in this process's environment."""
    os.environ[KEK_VARIABLE] = os.urandom(32).hex()
    return f"env:{KEK_VARIABLE}"


# -- timing


def settle_allocator() -> None:
    """As in a process that has run for a while: having freed a large block once, the allocator keeps what it gets."""
    bytes(31 << 20)


def _thread_time_is_fine() -> bool:
    try:
        return time.get_clock_info("thread_time").resolution <= 1e-6
    except ValueError:
        return False


CLOCK = "thread_time" if _thread_time_is_fine() else "perf_counter"
"""The CPU time of the calling thread, where the system counts it finely enough: what other processes do then counts less."""

_now = time.thread_time_ns if CLOCK == "thread_time" else time.perf_counter_ns


@dataclass(frozen=True)
class Timing:
    """The time of one call in microseconds, in each round."""

    times: Sequence[float]

    @property
    def best(self) -> float:
        return min(self.times)

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def ratio(self, base: "Timing") -> float:
        """How many times as long as `base`: compared within each round, since a shared machine changes its speed; then the median."""
        return statistics.median(own / other for own, other in zip(self.times, base.times, strict=False))


def _loop(call: Callable[[Any], object], argument: Any, count: int) -> int:
    start = _now()
    for _ in repeat(None, count):
        call(argument)
    return _now() - start


def interleaved(calls: Mapping[K, tuple[Callable[[Any], object], Any]], *, rounds: int, sample_ms: float) -> dict[K, Timing]:
    """Times each `call(argument)` once per round, in an order that changes, so that what disturbs the machine disturbs all alike.

    A sample is as many calls as fit into `sample_ms`, at least one. Calls that take very long are sampled in the first rounds only.
    """
    counts: dict[K, int] = {}
    allowed: dict[K, int] = {}
    for name, (call, argument) in calls.items():
        warm = min(_loop(call, argument, 1) for _ in range(2))
        if warm < 1_000_000:
            warm = max(1, _loop(call, argument, 20) // 20)
        counts[name] = max(1, int(sample_ms * 1e6 / max(1, warm)))
        allowed[name] = min(rounds, _SLOW_ROUNDS) if warm > _SLOW_CALL_NS else rounds
    samples: dict[K, list[float]] = {name: [] for name in calls}
    order = list(calls)
    shuffle = random.Random(0).shuffle
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            shuffle(order)
            for name in order:
                if number < allowed[name]:
                    call, argument = calls[name]
                    samples[name].append(_loop(call, argument, counts[name]) / counts[name] / 1000)
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(times) for name, times in samples.items()}


# -- facts


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """What the numbers depend on. Nothing that names the machine or its user."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {name: version for name in packages if (version := _version(name))},
    }


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    if platform.system() == "Darwin":
        found = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        if found.stdout.strip():
            return found.stdout.strip()
    return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    if package == "sealpoint":
        return str(importlib.import_module("sealpoint").__version__)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# -- output


def verdict(passed: bool) -> str:
    return "pass" if passed else "MISSED"


def show_targets(targets: Iterable[Mapping[str, Any]]) -> None:
    for target in targets:
        print(f"{verdict(target['passed']):6}  {target['text']}: {number(target['measured'])}")


def size_name(count: int) -> str:
    for unit, factor in (("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= factor:
            return f"{count // factor} {unit}"
    return f"{count} B"


def number(value: float) -> str:
    """Three significant digits, nothing after the point from 100 on."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Plain columns: the first to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def write(path: Path, result: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
