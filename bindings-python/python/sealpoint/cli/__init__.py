"""The `sealpoint` command: a module for each subcommand, with `add` (its part of the parser) and `run`.

Exit codes: 0 done, 1 it could not be done (the message is on stderr), 2 the command line is wrong, 3 something is not sealed (`scan`,
`backfill`), or keys were left alone (`rotate`, `rewrap`, `recover`, `shred --replay`) or are not as they should be (`status`, `doctor`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .. import __version__
from ..errors import SealpointError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; a wrong command line raises `SystemExit(2)`."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except SealpointError as error:
        print(f"sealpoint: {error.code}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    from . import backfill, doctor, keygen, policy, recover, rewrap, rotate, scan, shred, status

    parser = argparse.ArgumentParser(
        prog="sealpoint",
        description="Keys for sealpoint, envelope encryption of LangGraph state, and proof of what is sealed.",
        epilog="Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong, 3 something is not as it should be: see the "
        "command's own help.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (keygen, scan, backfill, rotate, rewrap, recover, policy, shred, status, doctor):
        command.add(commands)
    version = commands.add_parser("version", help="print the version", description="Prints the version.", allow_abbrev=False)
    version.set_defaults(run=_version)
    return parser


def _version(_: argparse.Namespace) -> int:
    print(__version__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
