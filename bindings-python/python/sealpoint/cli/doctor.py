"""`sealpoint doctor`."""

from __future__ import annotations

import argparse
import sys

from ..doctor import doctor
from ..keyring import DEFAULT_CACHE_TTL_S
from . import Commands
from .keys import LEFT, WHERE, add_store, configured
from .numbers import seconds
from .progress import Progress


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="say whether configuration, key store and machine are sound",
        description="Looks at the package, each KEK, the key store's database, and its rows: states, versions, wraps. Changes nothing. "
        "With --open every key is unwrapped under each of its KEKs and compared with its key check. With --baseline it finds what a "
        "rollback of the key store hides. With --state it compares the envelopes of a LangGraph database with the key store.",
        epilog=f"""\
Exit codes: 0 sound, perhaps with warnings; 1 it could not be done; 2 the command line is wrong; 3 there are problems.

Examples:
  sealpoint doctor
  sealpoint doctor --open --state state.db --json
  sealpoint doctor --write-baseline /elsewhere/keys.json
  sealpoint doctor --baseline /elsewhere/keys.json --write-baseline /elsewhere/keys.json

{WHERE}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_store(parser)
    parser.add_argument(
        "--cache-ttl",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_CACHE_TTL_S,
        help=f"cache_ttl as the application has it ({DEFAULT_CACHE_TTL_S})",
    )
    parser.add_argument("--role", metavar="NAME", help="Postgres: the application's role, if it is not the one that connects here")
    parser.add_argument("--open", action="store_true", help="unwrap every key under each of its KEKs: one call each")
    parser.add_argument("--baseline", metavar="FILE", help="compare the key store with what --write-baseline wrote")
    parser.add_argument("--write-baseline", metavar="FILE", help="write what the key store is now; not if it differs from --baseline")
    parser.add_argument("--state", metavar="DATABASE", help="a LangGraph database: a SQLite file or a DSN, as for scan")
    parser.add_argument(
        "--schema", metavar="NAME", action="append", default=[], help="of --state, Postgres: only this schema; can be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON (docs/OPERATIONS.md has its fields)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    store, keks = configured(arguments)
    progress = Progress(sys.stderr)
    try:
        report = doctor(
            store,
            keks,
            cache_ttl=arguments.cache_ttl,
            role=arguments.role,
            open_keys=arguments.open,
            baseline=arguments.baseline,
            write_baseline=arguments.write_baseline,
            state=arguments.state,
            schemas=arguments.schema,
            progress=progress,
        )
    finally:
        progress.clear()
    print(report.to_json() if arguments.json else report.to_text())
    return 0 if report.sound else LEFT
