"""`sealpoint rewrap`."""

from __future__ import annotations

import argparse
import sys

from ..errors import InvalidArgumentError
from . import Commands
from .keys import EXIT_CODES, LEFT, add_store, connect, show_failures
from .progress import Progress


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "rewrap",
        help="put every key under another KEK, or under the new version of its own",
        description="Gives every DEK that is not destroyed a wrap under the KEK --to. No payload is touched, and the wraps under --from "
        "stay. Each new wrap is opened and compared before it is stored, and once more at the end. With --drop-old, in a later step, the "
        "wraps under --from are removed: refused until every key has had a verified wrap under another KEK for the fleet's largest "
        "cache_ttl and 5 minutes.",
        epilog=f"""\
{EXIT_CODES}

Examples:
  sealpoint rewrap --from env:OLD_KEK --to file:/run/secrets/new-kek --dry-run
  sealpoint rewrap --from env:OLD_KEK --to file:/run/secrets/new-kek
  sealpoint rewrap --from env:OLD_KEK --to file:/run/secrets/new-kek --drop-old      # later; needs --to alone

The KEKs of --from and --to need not be repeated with --kek; others that keys are opened through do. First configure both KEKs in the
whole fleet, with the new one beside the old one; before --drop-old take the old one out of it.
Without --store it is the URL in SEALPOINT_STORE.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--from", metavar="URI", dest="from_uri", required=True, help="the KEK that opens the keys")
    parser.add_argument("--to", metavar="URI", dest="to_uri", required=True, help="the KEK that they get a wrap under; may be the same")
    parser.add_argument("--drop-old", action="store_true", help="remove the wraps under --from instead")
    parser.add_argument("--dry-run", action="store_true", help="open what would be wrapped, and store nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_store(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    try:
        return (_drop if arguments.drop_old else _rewrap)(arguments, progress)
    finally:
        progress.clear()


def _rewrap(arguments: argparse.Namespace, progress: Progress) -> int:
    with connect(arguments, list(dict.fromkeys([arguments.from_uri, arguments.to_uri, *(arguments.kek or [])]))) as keyring:
        report = keyring.rewrap(
            arguments.from_uri,
            arguments.to_uri,
            dry_run=arguments.dry_run,
            progress=lambda done: progress(f"{done} keys"),
        )
    progress.clear()
    if arguments.json:
        print(report.to_json())
    elif report.dry_run:
        print(f"{report.deks} keys: {report.wrapped} would be wrapped")
    else:
        print(f"{report.deks} keys: {report.wrapped} wrapped, {report.verified} verified in the last of {report.passes} passes")
    code = show_failures(report.failures, report.failed)
    if not report.dry_run and not report.complete and not code:
        print("others make keys without the new KEK: add it to their configuration, and run this again", file=sys.stderr)
        return LEFT
    return code


def _drop(arguments: argparse.Namespace, progress: Progress) -> int:
    if arguments.from_uri == arguments.to_uri:
        raise InvalidArgumentError("invalid_argument", "--drop-old removes the wraps under --from: --to names the KEK that is kept")
    keks = [uri for uri in dict.fromkeys([arguments.to_uri, *(arguments.kek or [])]) if uri != arguments.from_uri]
    with connect(arguments, keks) as keyring:
        report = keyring.drop_wraps(arguments.from_uri, dry_run=arguments.dry_run, progress=lambda done: progress(f"{done} keys"))
    progress.clear()
    if arguments.json:
        print(report.to_json())
    else:
        print(f"{report.dropped} wraps {'would be ' if report.dry_run else ''}removed")
        if report.left_behind:
            print(f"copies of the wraps remain in {report.left_behind}")
    return show_failures(report.failures, report.failed)
