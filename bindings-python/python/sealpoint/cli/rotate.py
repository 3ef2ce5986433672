"""`sealpoint rotate`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

from ..errors import InvalidArgumentError
from ..lifecycle.verbs import POLICY
from . import Commands
from .keys import EXIT_CODES, WHERE, add_store, connect, show_failures
from .numbers import days
from .progress import Progress


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "rotate",
        help="make a new active key for a tenant, or for all that are due",
        description="Makes a new active DEK, wrapped by every configured KEK, and retires the old one in the same transaction. Retired "
        "keys open what they sealed. Other processes go on sealing under the old key for up to 60 seconds.",
        epilog=f"""\
{EXIT_CODES}

Examples:
  sealpoint rotate acme --store sqlite:///keys.db --kek env:SEALPOINT_KEK
  sealpoint rotate --due --policy-days 90 --dry-run
  sealpoint rotate --all
  sealpoint rotate --all --made-before 2027-01-01T06:00:00+00:00      # goes on with a job that was cut short

{WHERE}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("tenant", metavar="TENANT", nargs="?", help="this tenant")
    whose.add_argument("--all", action="store_true", help="every tenant")
    whose.add_argument("--due", action="store_true", help="every tenant whose active key is older than --policy-days")
    parser.add_argument("--policy-days", metavar="N", type=days, help=f"with --due: how old an active key may be ({POLICY.days})")
    parser.add_argument("--made-before", metavar="TIME", type=_time, help="with --all: only keys from before (ISO 8601, with a time zone)")
    parser.add_argument("--purpose", choices=("data", "client"), default="data", help="which keys (data)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_store(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.policy_days is not None and not arguments.due:
        raise InvalidArgumentError("invalid_argument", "--policy-days goes with --due")
    if arguments.made_before is not None and not arguments.all:
        raise InvalidArgumentError("invalid_argument", "--made-before goes with --all")
    with connect(arguments) as keyring:
        if arguments.tenant is not None:
            done = keyring.rotate(arguments.tenant, dek_purpose=arguments.purpose, dry_run=arguments.dry_run)
            if arguments.json:
                print(done.to_json())
            elif arguments.dry_run:
                print(f"version {done.version} would be retired")
            elif done.rotated:
                print(f"version {done.version} is active, as key {done.dek_id}; key {done.retired} is retired")
            else:
                print(f"somebody else rotated at the same moment: version {done.version} is active, as key {done.dek_id}")
            return 0
        before = datetime.now(UTC) - timedelta(days=arguments.policy_days or POLICY.days) if arguments.due else arguments.made_before
        before = before or datetime.now(UTC)
        if arguments.all and not arguments.dry_run:
            print(f"if this is cut short, go on with --made-before {before.isoformat()}", file=sys.stderr)
        progress = Progress(sys.stderr)
        try:
            report = keyring.rotate_all(
                dek_purpose=arguments.purpose,
                made_before=before,
                dry_run=arguments.dry_run,
                progress=lambda done: progress(f"{done} tenants"),
            )
        finally:
            progress.clear()
    would = "would be " if report.dry_run else ""
    print(report.to_json() if arguments.json else f"{report.tenants} tenants: {report.rotated} {would}rotated")
    return show_failures(report.failures, report.failed)


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.utcoffset() is None:
        raise argparse.ArgumentTypeError("a time such as 2027-01-01T06:00:00+00:00")
    return when
