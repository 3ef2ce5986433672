"""`sealpoint scan`."""

from __future__ import annotations

import argparse
import sys

from ..scan import scan
from . import Commands
from .progress import Progress

UNSEALED = 3


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "scan",
        help="prove that a LangGraph database holds no plaintext",
        description="Reads every row of a LangGraph database and says what is sealed, what is clear by design, and what is not sealed. "
        "It needs no key, changes nothing, and prints no value. Sealed means a well-formed envelope: that it opens, only its key proves.",
        epilog="""\
Exit codes: 0 nothing unsealed was found; 1 it could not be done; 2 the command line is wrong; 3 data that is not sealed, a damaged row,
or a word was found.

Examples:
  sealpoint scan state.db
  sealpoint scan state.db --expect words.txt --json > report.json
  sealpoint scan "$DATABASE_URL" --schema langgraph
  sealpoint scan "$DATABASE_URL" --expect words.txt --data-directory /var/lib/postgresql/17/main
  sealpoint scan backup.sql --expect words.txt

DATABASE is a SQLite file, a Postgres DSN (postgresql://… or "host=… dbname=…"), redis://… or mongodb://…. A password in it is never
printed, but other users of the machine see command lines: leave it to PGPASSFILE or PGPASSWORD.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("database", metavar="DATABASE", help="a SQLite file or a DSN; with --expect, any file")
    parser.add_argument("--schema", metavar="NAME", action="append", default=[], help="Postgres: only this schema; can be repeated")
    parser.add_argument(
        "--clear-field",
        metavar="NAME",
        action="append",
        default=[],
        help="a field of store items that is meant to be readable; can be repeated",
    )
    parser.add_argument("--clear-vectors", action="store_true", help="embeddings, which are derived from plaintext, are meant to be there")
    parser.add_argument(
        "--expect",
        metavar="FILE",
        help="words that must occur nowhere, one a line, UTF-8: searched in every row and in every byte of the database's files, also as "
        "UTF-16, JSON escapes, base64 and hex; never printed",
    )
    parser.add_argument("--data-directory", metavar="DIR", help="Postgres: its data directory, to be searched for the words of --expect")
    parser.add_argument("--strict", action="store_true", help="tables that are not LangGraph's are a failure too")
    parser.add_argument("--limit", metavar="N", type=_count, default=3, help="how many positions to name for each finding (3)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON (docs/OPERATIONS.md has its fields)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    try:
        report = scan(
            arguments.database,
            clear_fields=arguments.clear_field,
            clear_vectors=arguments.clear_vectors,
            schemas=arguments.schema,
            expect=arguments.expect,
            data_directory=arguments.data_directory,
            strict=arguments.strict,
            examples=arguments.limit,
            progress=progress,
        )
    finally:
        progress.clear()
    print(report.to_json() if arguments.json else report.to_text())
    return 0 if report.ok else UNSEALED


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError("a number from 0")
    return int(text)
