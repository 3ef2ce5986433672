"""`sealpoint status`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import timedelta

from ..keyring import Keyring
from ..lifecycle import DekStatus, TenantStatus
from ..lifecycle.verbs import POLICY
from . import Commands
from .keys import LEFT, WHERE, add_store, connect
from .numbers import days

PAGE = 500
HEAD = ("TENANT", "PURPOSE", "ACTIVE", "AGE (DAYS)", "VERSIONS", "DUE", "KEKS")
WIDTHS = (24, 7, 6, 10, 8, 13, 0)


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "status",
        help="show tenants, their keys, and what is due",
        description="Shows for each tenant its active version and that key's age, how many versions there are, which KEKs wrap them, and "
        "what is due: rotate (the active key is older than the policy allows), rewrap (a key lacks a wrap under a KEK that is configured, "
        "or required by `sealpoint policy`). Changes nothing and opens no key but the KEKs' canaries.",
        epilog=f"""\
Exit codes: 0 shown; 1 it could not be done; 2 the command line is wrong; 3 shown, and rows of the key store are not as sealpoint writes
them.

Examples:
  sealpoint status
  sealpoint status acme --json
  sealpoint status --policy-days 30

{WHERE}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("tenant", metavar="TENANT", nargs="?", help="this tenant alone, with each of its keys")
    parser.add_argument("--policy-days", metavar="N", type=days, default=POLICY.days, help=f"how old an active key may be ({POLICY.days})")
    parser.add_argument("--json", action="store_true", help="print JSON: one tenant's object a line")
    add_store(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    problems = False
    with connect(arguments) as keyring:
        head = None if arguments.json else _line(HEAD)
        for status in _all(keyring, arguments.tenant, timedelta(days=arguments.policy_days)):
            problems |= bool(status.problems)
            if head:
                print(head)
                head = None
            if arguments.json:
                print(status.to_json(indent=None))
            else:
                _show(status, keys=arguments.tenant is not None)
    return LEFT if problems else 0


def _all(keyring: Keyring, tenant: str | None, policy: timedelta) -> Iterator[TenantStatus]:
    page = keyring.status(tenant, policy=policy, limit=PAGE)
    yield from page
    while tenant is None and len(page) == PAGE:
        page = keyring.status(policy=policy, after=page[-1].tenant, limit=PAGE)
        yield from page


def _show(status: TenantStatus, *, keys: bool) -> None:
    name = status.tenant if status.tenant.isprintable() else repr(status.tenant)
    if status.shredded_at is not None:
        print(_line((name, "-", "-", "-", "-", "-", f"shredded {status.shredded_at.isoformat(timespec='seconds')}")))
    for purpose in status.purposes:
        live = [dek for dek in purpose.deks if dek.state != "destroyed"]
        keks = ", ".join(sorted({kek for dek in live for kek in dek.keks}))
        age = "-" if purpose.age_days is None else f"{purpose.age_days:.1f}"
        active = "-" if purpose.active_version is None else str(purpose.active_version)
        print(_line((name, purpose.dek_purpose, active, age, str(len(purpose.deks)), ",".join(purpose.due) or "-", keks or "-")))
        for dek in purpose.deks if keys else ():
            made = dek.created_at.isoformat(timespec="seconds")
            print(f"  version {dek.version}  {dek.state}  key {dek.dek_id}  made {made}  {', '.join(dek.keks) or '-'}{_remarks(dek)}")
    for problem in status.problems:
        print(f"  ! {problem}")


def _remarks(dek: DekStatus) -> str:
    return ("  opens only" if dek.opens_only else "") + (f"  lacks {', '.join(dek.lacks)}" if dek.lacks else "")


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()
