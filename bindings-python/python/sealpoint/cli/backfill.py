"""`sealpoint backfill`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ..errors import InvalidArgumentError, MissingDependencyError
from ..tenants import TenantSource, fixed, from_config
from . import Commands
from .keys import WHERE, add_store, connect
from .progress import Progress

FAILED = 3


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "backfill",
        help="seal what a LangGraph database holds from before sealing",
        description="Seals the checkpoints and writes that LangGraph's SqliteSaver or PostgresSaver stored without sealpoint, where they "
        "lie. Each thread is one transaction, and is opened again strictly before it is committed; one that fails is left as it was. It "
        "may be stopped and started again, and run beside an application in migrating mode. Back the database up first.",
        epilog=f"""\
Exit codes: 0 everything is sealed; 1 it could not be done; 2 the command line is wrong; 3 threads failed, and are named.

Examples:
  sealpoint backfill state.db --store sqlite:///keys.db --kek env:SEALPOINT_KEK --tenant-key workspace_id --dry-run
  sealpoint backfill "$DATABASE_URL" --store "$DATABASE_URL" --kek env:SEALPOINT_KEK --tenant acme
  sealpoint scan state.db

{WHERE}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("database", metavar="DATABASE", help="a SQLite file or a Postgres DSN (postgresql://…)")
    add_store(parser)
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--tenant-key", metavar="KEY", help="the key in configurable that names the tenant: from_config(KEY)")
    whose.add_argument("--tenant", metavar="TENANT", help="everything is this tenant's: fixed(TENANT)")
    parser.add_argument("--thread", metavar="ID", action="append", help="only this thread; can be repeated")
    parser.add_argument("--schema", metavar="NAME", help="Postgres: the schema")
    parser.add_argument(
        "--legacy-aes-key",
        metavar="VARIABLE",
        help="the environment variable with the key of LangGraph's EncryptedSerializer, if it wrote threads (LANGGRAPH_AES_KEY)",
    )
    parser.add_argument("--dry-run", action="store_true", help="do all but commit")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from ..langgraph import backfill

    source: TenantSource = fixed(arguments.tenant) if arguments.tenant else from_config(arguments.tenant_key)
    progress = Progress(sys.stderr)
    with connect(arguments) as keyring:
        try:
            report = backfill(
                arguments.database,
                keyring,
                tenant=source,
                legacy_serde=_legacy(arguments.legacy_aes_key),
                threads=arguments.thread,
                schema=arguments.schema,
                dry_run=arguments.dry_run,
                progress=lambda done, of: progress(f"{done} of {of} threads"),
            )
        finally:
            progress.clear()
    for failed in report.failed:
        print(f"thread {failed.thread_id!r} was left as it was: {failed.code}: {failed.message}", file=sys.stderr)
    would = "would be " if arguments.dry_run else ""
    print(f"{report.threads} threads: {report.checkpoints} checkpoints, {report.values} values, {report.writes} writes {would}sealed")
    if report.left_behind:
        print(f"copies of the old rows remain in {report.left_behind}")
    return FAILED if report.failed else 0


def _legacy(variable: str | None) -> Any:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if key is None:
        raise InvalidArgumentError("invalid_argument", f"the environment variable {variable} is not set")
    if len(key.encode()) not in (16, 24, 32):
        raise InvalidArgumentError("invalid_argument", f"{variable} holds no AES key: 16, 24 or 32 bytes of text, as LangGraph takes them")
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    try:
        return EncryptedSerializer.from_pycryptodome_aes(key=key.encode())
    except ImportError:
        raise MissingDependencyError("missing_dependency", "pycryptodome is not installed: pip install pycryptodome") from None
