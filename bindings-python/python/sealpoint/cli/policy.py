"""`sealpoint policy`."""

from __future__ import annotations

import argparse
import json

from . import Commands
from .keys import WHERE, add_store, connect, named


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "policy",
        help="show or say which KEKs every new key must be wrapped by",
        description="Shows which KEKs every new key must be wrapped by, or changes it, for all who use the key store: a process whose "
        "configuration lacks one of them makes no keys any more, in Python or Node. It opens, and seals under keys that are there. Keys "
        "from before get the wrap by `sealpoint rewrap`; `sealpoint status TENANT` shows which lack it. This guards against a wrong "
        "configuration: who writes the key store can change the policy, and every configured KEK wraps each new key in any case.",
        epilog=f"""\
Exit codes: 0 done; 1 it could not be done; 2 the command line is wrong.

Examples:
  sealpoint policy
  sealpoint policy --kek env:SEALPOINT_KEK --require-wrap env:SEALPOINT_KEK --require-wrap recovery:recovery.pub
  sealpoint policy --clear

The KEKs of --require-wrap need not be repeated with --kek. Configure them in the whole fleet first.
{WHERE}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--require-wrap", metavar="URI", action="append", help="a KEK that is required, in place of those until now; can be repeated"
    )
    change.add_argument("--clear", action="store_true", help="require none")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_store(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    required = arguments.require_wrap or []
    with connect(arguments, list(dict.fromkeys([*named(arguments), *required]))) as keyring:
        if required or arguments.clear:
            keyring.require_wraps(required)
        uris = keyring.required_wraps()
    if arguments.json:
        print(json.dumps({"required_wraps": uris}))
    else:
        print("\n".join(uris) or "no KEK is required")
    return 0
