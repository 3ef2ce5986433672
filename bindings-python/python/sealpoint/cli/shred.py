"""`sealpoint shred`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..errors import InvalidArgumentError
from ..lifecycle import Tombstone
from ..lifecycle.reports import to_json
from . import Commands
from .keys import EXIT_CODES, WHERE, add_store, connect, show_failures
from .progress import Progress


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "shred",
        help="erase a tenant: destroy its keys for good",
        description="Destroys all keys of a tenant at once, of every purpose, and sets a tombstone: nothing of it opens again, and it gets "
        "no new key until it is readmitted. Prints what could not be reached, such as backups of the key store. This cannot be undone.",
        epilog=f"""\
{EXIT_CODES}

Examples:
  sealpoint shred acme --confirm acme --dry-run
  sealpoint shred acme --confirm acme --json > shredded-acme.json     # keep the report: it can be replayed
  sealpoint shred --export tombstones.json                            # all tombstones
  sealpoint shred --replay tombstones.json                            # after the key store was restored from a backup
  sealpoint shred --readmit acme                                      # new keys may be made for it; old data stays lost

{WHERE}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("tenant", metavar="TENANT", nargs="?", help="the tenant to erase")
    what.add_argument("--replay", metavar="FILE", help="erase again the tenants of a report or of an export; - is standard input")
    what.add_argument("--export", metavar="FILE", help="write all tombstones to a new file; - is standard output")
    what.add_argument("--readmit", metavar="TENANT", help="take this tenant's tombstone away")
    parser.add_argument("--confirm", metavar="TENANT", help="the tenant to erase once more")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_store(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    for name in ("export", "readmit"):
        if arguments.dry_run and getattr(arguments, name) is not None:
            raise InvalidArgumentError("invalid_argument", f"--dry-run does not go with --{name}")
    if arguments.replay is not None:
        return _replay(arguments)
    if arguments.export is not None:
        return _export(arguments)
    with connect(arguments) as keyring:
        if arguments.readmit is not None:
            print("readmitted" if keyring.readmit(arguments.readmit) else "there was no tombstone")
            return 0
        report = keyring.shred(arguments.tenant, confirm=arguments.confirm, dry_run=arguments.dry_run)
    if arguments.json:
        print(report.to_json())
    else:
        print(f"{report.deks} keys {'would be ' if report.dry_run else ''}destroyed")
        _show_unreached(report.unreached)
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    tombstones = _read(arguments.replay)
    progress = Progress(sys.stderr)
    with connect(arguments) as keyring:
        try:
            report = keyring.replay_tombstones(
                tombstones, dry_run=arguments.dry_run, progress=lambda done: progress(f"{done} of {len(tombstones)} tenants")
            )
        finally:
            progress.clear()
    if arguments.json:
        print(report.to_json())
    else:
        print(f"{report.shredded} tenants {'would be ' if report.dry_run else ''}shredded, {report.already} were already")
        _show_unreached(report.unreached)
    return show_failures(report.failures, report.failed)


def _export(arguments: argparse.Namespace) -> int:
    with connect(arguments) as keyring:
        tombstones = keyring.tombstones()
    text = f'{{"tombstones": {to_json(tombstones)}}}'
    if arguments.export == "-":
        print(text)
        return 0
    try:
        with open(arguments.export, "x", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        raise InvalidArgumentError("invalid_argument", f"{arguments.export} cannot be written: {error.strerror}") from None
    print(f"{len(tombstones)} tombstones")
    return 0


def _read(path: str) -> list[Tombstone]:
    try:
        with open(0 if path == "-" else path, encoding="utf-8") as file:
            listed = json.load(file)["tombstones"]
        tombstones = [_tombstone(one) for one in listed]
    except OSError as error:
        raise InvalidArgumentError("invalid_argument", f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        tombstones = []
    if not tombstones:
        raise InvalidArgumentError(
            "invalid_argument", f"{path} holds no tombstones: it takes the output of shred --json or of shred --export"
        )
    return tombstones


def _tombstone(one: Any) -> Tombstone:
    """As this package writes it, or the one for Node."""
    tenant, shredded_at = one["tenant"], datetime.fromisoformat(one["shredded_at"] if "shredded_at" in one else one["shreddedAt"])
    if not isinstance(tenant, str) or not tenant or shredded_at.utcoffset() is None:
        raise ValueError
    return Tombstone(tenant, shredded_at)


def _show_unreached(unreached: Sequence[str]) -> None:
    print("not reached:")
    for what in unreached:
        print(f"  - {what}")
