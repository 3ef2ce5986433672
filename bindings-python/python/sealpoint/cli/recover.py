"""`sealpoint recover`."""

from __future__ import annotations

import argparse
import getpass
import sys
import warnings

from ..errors import InvalidArgumentError
from ..kms.local import read_private
from ..kms.recovery import OfflineRecoveryProvider
from . import Commands
from .keys import EXIT_CODES, LEFT, WHERE, add_store, connect, named, show_failures
from .progress import Progress

_MAX_TEXT = 4096


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "recover",
        help="with every KEK lost, bring the keys back by the recovery key",
        description="Opens every DEK that is not destroyed with the secret half of the recovery key, compares it with its key check, and "
        "wraps it under the KEKs of --kek, which are new. What comes back opens what it sealed; nothing is sealed under it any more, since "
        "anybody could have made a wrap for the recovery key. So each tenant gets a new active key at the same time. Nothing is removed.",
        epilog=f"""\
{EXIT_CODES}

Examples:
  sealpoint recover --kek env:NEW_KEK --secret-file - --dry-run           # asks for the secret half, or reads it from a pipe
  sealpoint recover --kek env:NEW_KEK --secret-file /run/recovery/secret

{WHERE}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--secret-file",
        metavar="PATH",
        required=True,
        help="the file with the recovery key's secret half, which only its owner may read (mode 600); - is stdin",
    )
    parser.add_argument("--dry-run", action="store_true", help="open what would be wrapped, and store nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_store(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    keks = named(arguments)
    if not keks:
        raise InvalidArgumentError("invalid_argument", "name the new KEK, under which the keys are put: --kek URI")
    progress = Progress(sys.stderr)
    with connect(arguments, [*keks, OfflineRecoveryProvider(_secret(arguments.secret_file))]) as keyring:
        try:
            report = keyring.recover(dry_run=arguments.dry_run, progress=lambda done: progress(f"{done} keys"))
        finally:
            progress.clear()
    would = "would be " if report.dry_run else ""
    if arguments.json:
        print(report.to_json())
    else:
        print(f"{report.recovered} keys {would}recovered, {report.activated} {would}replaced by a new active key")
        if not report.dry_run:
            print(f"{report.deks} keys, {report.verified} wraps verified in the last of {report.passes} passes")
    code = show_failures(report.failures, report.failed)
    if not report.dry_run and not report.complete and not code:
        print("others change keys meanwhile: run this again", file=sys.stderr)
        return LEFT
    return code


def _secret(path: str) -> str:
    """Neither an argument nor the environment: other users see those."""
    if path == "-" and sys.stdin.isatty():
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would be shown while it is typed
            try:
                return getpass.getpass("secret half of the recovery key: ")
            except (getpass.GetPassWarning, EOFError):
                raise InvalidArgumentError(
                    "invalid_argument", "this terminal cannot read without showing: use --secret-file PATH"
                ) from None
    if path == "-":
        content = bytearray(sys.stdin.buffer.read(_MAX_TEXT))
    else:
        content = read_private(path, "secret half of a recovery key", "`sealpoint keygen --recovery --file PATH` made it")
    try:
        return content.decode("ascii", "replace")  # an error would hold the bytes
    finally:
        content[:] = bytes(len(content))
