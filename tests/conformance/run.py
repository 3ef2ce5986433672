"""Proves that every build of sealpoint reads and writes the same bytes: `python tests/conformance/run.py` (README.md says what it does).

Prints one matrix and ends with 1 if anything differs.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests" / "reference"), str(HERE)]

import cases as made

from sealpoint_ref import context, envelope, wrap
from vector_cases import jsonform as jf
from vector_cases.check import Checker

Json = dict[str, Any]
VECTORS = ROOT / "tests" / "vectors"
README = ROOT / "README.md"
START, END = "<!-- conformance:start -->", "<!-- conformance:end -->"
STRICT = os.environ.get("SEALPOINT_STRICT") == "1"
TIMEOUT = 180.0
SHOWN = 12

ALL = ("envelope", "wrap", "canary", "key", "manifest")
WITHOUT_MANIFEST = ("envelope", "wrap", "canary", "key")
DATA = ("envelope",)

FEATURES = "hazmat,json,native,recovery"
BACKENDS = {"RustCrypto": "RustCrypto", "AwsLc": "aws-lc"}
INDEPENDENT = ("node", str(HERE / "independent_runner.mjs"))
CARGO = ["cargo", "--quiet"]
RUST = ["run", "--profile", "test", "--package", "sealpoint-core", "--features", FEATURES, "--example", "conformance", "--"]
RUST_VECTORS = ["test", "--package", "sealpoint-core", "--features", FEATURES, "--test", "vectors", "--", "--nocapture"]
BROWSERS = {"Chromium": ("chromium", "google-chrome"), "Firefox": ("firefox-esr", "firefox")}
"""Executables; the first is also the name of Debian's package."""


class Trouble(Exception):
    """Why a runner could not do what it was asked."""


class Program:
    """A runner's process, which takes one order at a time. What it says on stderr is in a file."""

    def __init__(self, command: tuple[str, ...], said: Path) -> None:
        self._said = said
        with said.open("wb") as errors:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)

    def ask(self, order: Json) -> Any:
        """The answer to an order. Raises: `Trouble`."""
        done = b""
        try:
            self._stdin.write(json.dumps(order).encode() + b"\n")
            self._stdin.flush()
            if select.select([self._stdout], [], [], TIMEOUT)[0]:
                done = self._stdout.readline()
        except BrokenPipeError:
            pass  # it ended: its last words say why
        if done != b"done\n":
            self._process.kill()
            self._process.wait()
            raise Trouble(f"{order['do']}: {self._said.read_text(errors='replace')[-3000:] or f'no answer in {TIMEOUT:.0f} s'}")
        return json.loads(Path(order["out"]).read_bytes())

    def end(self) -> None:
        """Waits for it, since there is nothing more to do."""
        try:
            self._stdin.close()
            self._process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout
        return self._process.stdout


@dataclass
class Runner:
    """One row of the matrix."""

    name: str
    command: tuple[str, ...]
    ops: tuple[str, ...] = ALL
    mode: str | None = None
    vectors: bool = True
    ran: int = 0
    unreachable: dict[str, list[str]] = field(default_factory=dict)
    opened: int = 0
    refused: int = 0
    sealers: int = 0
    failures: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def slug(self) -> str:
        """For names of files."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def fail(self, what: str) -> None:
        """Counts against it."""
        self.failures.append(what)


def runners(quick: bool) -> tuple[list[Runner], list[str]]:
    """Who takes part here, and what is missing."""
    if not (ROOT / "bindings-node" / "dist" / "node.mjs").exists():
        raise SystemExit(
            "conformance: bindings-node/dist is not there: build the npm package first (npm ci && npm run build in bindings-node)"
        )
    node, python = ("node", str(HERE / "js" / "node.mjs")), (sys.executable, str(HERE / "python_runner.py"))
    found = [
        *(Runner(f"Rust, {name}", (*CARGO, *RUST, backend), vectors=False) for backend, name in BACKENDS.items()),
        Runner("Python", python),
        Runner("Node", (*node, "native")),
        Runner("WASM in Node", (*node, "wasm")),
        Runner("WebCrypto in Node", (*node, "async"), DATA),
    ]
    missing = []
    for name, executables in BROWSERS.items() if not quick else ():
        executable = next(filter(None, map(shutil.which, executables)), None)
        if executable is None:
            missing.append(f"{name} is not installed (Debian: apt install {executables[0]})")
            continue
        command = ("node", str(HERE / "js" / "browser.mjs"), name.lower(), executable)
        found += [Runner(f"WASM in {name}", command, mode="wasm"), Runner(f"WebCrypto in {name}", command, DATA, mode="async")]
    found += [
        Runner("independent, pyca", (sys.executable, str(HERE / "reference_runner.py"))),
        Runner("independent, node:crypto", INDEPENDENT, WITHOUT_MANIFEST),
    ]
    return found, missing


class Suite:
    """One run of everything."""

    def __init__(self, members: list[Runner], work: Path, quick: bool) -> None:
        self.members, self.work = members, work
        self.programs: dict[tuple[str, ...], Program] = {}
        self.cases = made.cases(largest=not quick)
        self.by_id = {case["id"]: case for case in self.cases["cases"]}
        self.files = {path.name: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))}
        self.vectors = {vector["id"]: vector for content in self.files.values() for vector in content["vectors"]}
        self.frozen = len((VECTORS / "FROZEN.sha256").read_text().splitlines())
        self.fresh: dict[str, list[Json]] = {}
        self.sealed: dict[str, dict[str, str]] = {}

    def run(self) -> None:
        """Every phase. What a runner got wrong is in its `failures`."""
        if len(self.vectors) != self.frozen:
            raise Trouble(f"tests/vectors has {len(self.vectors)} vectors and FROZEN.sha256 {self.frozen} lines")
        self.write("cases", self.cases)
        independent = next(runner for runner in self.members if runner.command == INDEPENDENT)
        self.ask(independent, "build", {}, "built")
        try:
            self.rust_vectors()
            self.each(self.run_vectors, [runner for runner in self.members if runner.vectors])
            self.each(self.check_fresh, [independent])
            self.each(self.seal, self.members)
            self.check_sealed()
            self.write_jobs()
            self.each(self.open, self.members)
        finally:
            for program in self.programs.values():
                program.end()

    def each(self, what: Callable[[Any], None], whom: Iterable[Any]) -> None:
        """For each of them, two programs at a time; one program takes one order after another."""
        groups: dict[object, list[Any]] = {}
        for one in whom:
            groups.setdefault(getattr(one, "command", None), []).append(one)

        def run(group: list[Any]) -> None:
            for one in group:
                try:
                    if not one.ended:
                        what(one)
                except Trouble as trouble:
                    one.ended = True
                    one.fail(str(trouble))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, groups.values()))

    def write(self, name: str, content: Any) -> None:
        """A file that runners read."""
        (self.work / f"{name}.json").write_text(json.dumps(content))

    def ask(self, runner: Runner, what: str, given: dict[str, str], out: str, **more: Any) -> Any:
        """An order to a runner; `given` and `out` are files of the work folder, without `.json`."""
        if runner.command not in self.programs:
            self.programs[runner.command] = Program(runner.command, self.work / f"{runner.slug}.stderr")
        files = {name: str(self.work / f"{file}.json") for name, file in given.items()}
        mode = {} if runner.mode is None else {"mode": runner.mode}
        return self.programs[runner.command].ask({"do": what, **files, "out": str(self.work / f"{out}.json"), **mode, **more})

    # Vectors

    def rust_vectors(self) -> None:
        """`core/tests/vectors.rs`, which runs them on both backends and says how many there were."""
        rust = {runner.command[-1]: runner for runner in self.members if runner.command[: len(CARGO)] == tuple(CARGO)}
        if not rust:
            return
        ran = subprocess.run([*CARGO, *RUST_VECTORS], cwd=ROOT, capture_output=True, text=True, check=False)
        for backend, runner in rust.items():
            counted = re.search(rf"^ *{backend} +(\d+) vectors in all$", ran.stdout, re.MULTILINE)
            runner.ran = int(counted[1]) if counted else 0
            if ran.returncode != 0 or runner.ran != self.frozen:
                runner.fail(f"ran {runner.ran} of {self.frozen} vectors: {(ran.stdout + ran.stderr)[-3000:]}")

    def run_vectors(self, runner: Runner) -> None:
        """A runner compares by itself; here its verdicts are compared once more, and counted."""
        answer = self.ask(runner, "vectors", {"built": "built"}, f"vectors-{runner.slug}")
        outcomes, runner.unreachable = answer["outcomes"], answer["unreachable"]
        aside = [vector for ids in runner.unreachable.values() for vector in ids]
        failed = {failure.split(":")[0] for failure in answer["failures"]}
        runner.ran = len(outcomes)
        self.fresh[runner.name] = answer["fresh"]
        for failure in answer["failures"]:
            runner.fail(f"vector {failure}")
        for vector, code in outcomes.items():
            if code != self.vectors[vector]["expect"] and vector not in failed:
                runner.fail(f"vector {vector}: {code}, not {self.vectors[vector]['expect']}, and it did not notice")
        seen = sorted([*outcomes, *aside, *(failed - outcomes.keys())])
        if seen != sorted(self.vectors) or len(seen) != self.frozen:
            runner.fail(f"accounted for {len(seen)} vectors of {self.frozen}, or not once for each")

    def check_fresh(self, independent: Runner) -> None:
        """What bindings sealed for vectors, with salts of their own, opens with both independent implementations."""
        for runner in self.members:
            if not (fresh := self.fresh.get(runner.name)):
                continue
            self.write(f"fresh-{runner.slug}", fresh)
            opened = self.ask(independent, "fresh", {"fresh": f"fresh-{runner.slug}"}, f"fresh-opened-{runner.slug}")
            checker = Checker(self.files)
            for item in fresh:
                want = self.fresh_expected(self.vectors[item["vector"]])
                for who, got in {"node:crypto": opened[item["vector"]], "pyca": open_fresh(checker, item)}.items():
                    if got != want:
                        runner.fail(f"vector {item['vector']}, sealed afresh: {who} found {got}, not {want}")

    @staticmethod
    def fresh_expected(vector: Json) -> Json:
        """What is in it."""
        if "secret" in vector:
            return {"hex": vector["secret"]}
        payload = jf.read_payload(vector["payload"])
        return {"content_type": vector["content_type"], "len": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}

    # Interop

    def seal(self, runner: Runner) -> None:
        """Every case that a runner can seal."""
        self.sealed[runner.name] = self.ask(runner, "seal", {"cases": "cases"}, f"sealed-{runner.slug}", ops=runner.ops)

    def check_sealed(self) -> None:
        """All cases, the same where nothing is random, and no salt twice in the world."""
        salts: dict[bytes, str] = {}
        alike: dict[str, str] = {}
        for runner in self.members:
            sealed = self.sealed.setdefault(runner.name, {})
            if not runner.ended and sealed.keys() != {case["id"] for case in self.cases["cases"] if case["op"] in runner.ops}:
                runner.fail(f"sealed {len(sealed)} cases, which are not those it was asked for")
            for name, text in sealed.items():
                if self.by_id[name]["op"] in ("manifest", "key"):
                    if alike.setdefault(name, text) != text:
                        runner.fail(f"{name}: other bytes than others make")
                    continue
                salt = unpacked(text)[21:45]
                if salt in salts:
                    runner.fail(f"{name}: the salt of {salts[salt]}")
                salts[salt] = f"{runner.name} {name}"

    def write_jobs(self) -> None:
        """What each sealed, and the changed copies, as everybody gets them: without the answers."""
        self.expected: dict[str, dict[str, Json]] = {}
        for runner in self.members:
            jobs, expected = [], {}
            for name, text in self.sealed[runner.name].items():
                case = self.by_id[name]
                job = {"case": name, "op": case["op"], "sealed": text}
                if "opens" in case:
                    job["envelope"] = self.sealed[runner.name][case["opens"]]
                jobs.append({"id": name, **job})
                expected[name] = made.expected(case)
                for what, changes, code in made.refusals(case, text):
                    jobs.append({"id": f"{name} {what}", **job, **changes})
                    expected[f"{name} {what}"] = {"code": code}
            self.expected[runner.name] = expected
            self.write(f"jobs-{runner.slug}", jobs)

    def open(self, runner: Runner) -> None:
        """What every runner sealed, itself included."""
        for sealer in self.members:
            got = self.ask(runner, "open", {"cases": "cases", "jobs": f"jobs-{sealer.slug}"}, f"opened-{runner.slug}", ops=runner.ops)
            want = {
                name: answer for name, answer in self.expected[sealer.name].items() if self.by_id[name.split(" ")[0]]["op"] in runner.ops
            }
            right = {name for name, answer in want.items() if got.get(name) == answer}
            runner.opened += sum("code" not in want[name] for name in right)
            runner.refused += sum("code" in want[name] for name in right)
            runner.sealers += len(right) == len(want) == len(got) > 0
            for name in sorted(want.keys() - right):
                runner.fail(f"{name}, sealed by {sealer.name}: {got.get(name)}, not {want[name]}")
            if extra := got.keys() - want.keys():
                runner.fail(f"answers that nobody asked for: {sorted(extra)[:3]}")


def unpacked(text: str) -> bytes:
    """An envelope's bytes, of either form."""
    if text.startswith("sealpoint:v1:"):
        body = text.removeprefix("sealpoint:v1:")
        return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    return base64.b64decode(text)


def open_fresh(checker: Checker, item: Json) -> Json:
    """By the reference."""
    vector, data = checker.by_id[item["vector"]], base64.b64decode(item["sealed"])
    try:
        if "secret" in vector:
            return {"hex": wrap.unwrap(bytes.fromhex(vector["kek"]), checker.wrap_context(vector), data).hex()}
        content_type, payload = envelope.open_(checker.key(vector), context.canonical(jf.read_pairs(vector["context"])), data)
    except envelope.SealpointError as error:
        return {"code": error.code}
    return {"content_type": content_type.decode(), "len": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}


def matrix(suite: Suite) -> list[str]:
    """The table, in Markdown."""
    many = len(suite.members)
    lines = [
        "| runner | vectors | not reachable | opens what these sealed | sealed values opened | changed copies refused |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for runner in suite.members:
        aside = sum(map(len, runner.unreachable.values()))
        numbers = [f"{runner.ran:,}", f"{aside:,}", f"{runner.sealers} of {many}", f"{runner.opened:,}", f"{runner.refused:,}"]
        lines.append(f"| {runner.name}{' **failed**' if runner.failures else ''} | {' | '.join(numbers)} |")
    return lines


def update_readme(lines: list[str]) -> None:
    """Between its markers."""
    text = README.read_text()
    if text.count(START) != 1 or text.count(END) != 1:
        raise SystemExit(f"{README.name} needs the lines {START} and {END}")
    before, after = text.split(START)[0], text.split(END)[1]
    README.write_text("\n".join([before + START, *lines, END]) + after)


def main() -> None:
    """Runs, prints, judges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no browsers, and nothing larger than 70 KB among the cases")
    parser.add_argument("--update-readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--only", metavar="TEXT", action="append", help="only runners whose name has this in it, and the independent ones")
    options = parser.parse_args()
    if options.update_readme and (options.quick or options.only):
        parser.error("--update-readme is for whole runs")

    started = time.monotonic()
    members, missing = runners(options.quick)
    if options.only:
        members = [runner for runner in members if any(text in runner.name for text in [*options.only, "independent"])]
    work = ROOT / "target" / "conformance"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    suite = Suite(members, work, options.quick)
    try:
        suite.run()
    except Trouble as trouble:
        raise SystemExit(f"conformance: {trouble}") from None

    lines = matrix(suite)
    print("\n".join(lines))
    print(f"\n{suite.frozen} vectors, {len(suite.by_id)} cases, {len(members)} runners, {time.monotonic() - started:.0f} s")
    for runner in members:
        for reason, ids in runner.unreachable.items():
            print(f"{runner.name}: {reason}: {len(ids)}")
    for text in missing:
        print(f"skip: {text}")
    failed = [runner for runner in members if runner.failures]
    for runner in failed:
        shown = [f"FAILED {runner.name}: {failure}" for failure in runner.failures]
        print("\n".join([*shown[:SHOWN], *([f"… and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else [])]))
    if missing and STRICT:
        print("SEALPOINT_STRICT=1: what is skipped counts as a failure")
    if failed or (missing and STRICT):
        raise SystemExit(1)
    if options.update_readme:
        update_readme(lines)


if __name__ == "__main__":
    main()
