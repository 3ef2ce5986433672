"""Shows what sealpoint does, on a support agent of two tenants, and checks everything that it shows.

Exit codes: 0 all as said, 1 something is not, 2 the command line is wrong.
"""

import argparse
import io
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

try:
    from demo_parts import keys, overhead, play, resume, rows, scan
    from demo_parts.agents import LABELS, Files, cases
    from demo_parts.attacks import Attacks
    from demo_parts.checks import DemoFailed
    from demo_parts.screen import Screen
    from sealpoint import SealpointError
except ModuleNotFoundError as error:
    sys.exit(f"The demo needs the package {error.name}. `make demo` installs everything into .venv and runs it from there.")

QUICK_TURNS = 6
ALL_TURNS = 1000


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.resume_in is not None:
        resume.run(options.resume_in)
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character of the conversation
    try:
        with _folder(options.keep) as folder:
            _show(Screen(), Files(folder), QUICK_TURNS if options.quick else ALL_TURNS, options.keep is not None)
    except (DemoFailed, SealpointError) as error:
        code = f" ({error.code})" if isinstance(error, SealpointError) else ""
        print(f"\nThe demo failed: {error}{code}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as in `demo.py | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _show(screen: Screen, files: Files, turns: int, kept: bool) -> None:
    began = time.monotonic()
    acme, globex = cases(turns)
    screen.line(screen.style("sealpoint: LangGraph state, sealed", "strong"))
    screen.say("Seven sections; whatever does not turn out as it says here ends the demo with exit code 1.")
    keys.show(screen, files, kept)
    with _kept_open(files):
        costs = play.show(screen, files, acme, globex)
        resume.show(screen, files, globex, Path(__file__))
        rows.show(screen, files, acme, globex)
        words = scan.show(screen, files, acme, globex)
        attacks = Attacks(screen, files, acme, globex)
        attacks.show()
        ratio = overhead.show(screen, files, costs)
    screen.heading("Summary")
    messages = len(acme.messages) + len(globex.messages)
    screen.say(
        f"{messages} messages of two tenants went through SealedSaver and came back as they were, also in another process. None of "
        f"{words:,} words is in the files. {attacks.summary()} A sealed turn took {ratio:.2f} times the CPU of an unsealed one. What "
        "sealing does not protect is in docs/THREAT_MODEL.md. "
        f"({f'Everything is kept in {files.folder}. ' if kept else ''}{time.monotonic() - began:.0f} s)"
    )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="sealpoint-demo-") as folder:
            yield Path(folder)
    else:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()


@contextmanager
def _kept_open(files: Files) -> Iterator[None]:
    """As in an application with several processes: SQLite deletes its -wal and -shm files when the last connection closes."""
    with ExitStack() as stack:
        for label in LABELS:
            db = stack.enter_context(closing(sqlite3.connect(files.state(label))))
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            db.execute("SELECT * FROM sqlite_master").fetchall()  # only now it counts as one that uses the -wal
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo.py",
        description="Shows a LangGraph agent of two tenants whose state is sealed, beside the same agent unsealed; checks what it shows.",
        epilog="Exit codes: 0 all as said, 1 something is not, 2 the command line is wrong. NO_COLOR turns colours off.",
        allow_abbrev=False,
    )
    parser.add_argument("--quick", action="store_true", help="a shorter conversation")
    parser.add_argument("--keep", metavar="DIR", type=_empty, help="keep the databases and the KEK there; a new or empty folder")
    parser.add_argument("--resume-in", type=Path, help=argparse.SUPPRESS)
    return parser


def _empty(value: str) -> Path:
    folder = Path(value)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise argparse.ArgumentTypeError(f"{value} exists and is not an empty folder")
    return folder


if __name__ == "__main__":
    sys.exit(main())
