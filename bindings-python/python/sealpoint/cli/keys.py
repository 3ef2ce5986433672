"""What the commands for keys share: which key store and KEKs, how failures are shown, and the exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import InvalidArgumentError
from ..keyring import Keyring
from ..kms import KeyManagementProvider
from ..lifecycle import Failure

LEFT = 3
EXIT_CODES = """\
Exit codes: 0 done; 1 it could not be done, or was cut short: run it again, and it goes on; 2 the command line is wrong; 3 done, but for
keys that are named and were left alone."""
WHERE = """\
Without --store it is the URL in SEALPOINT_STORE, without --kek the KEK in SEALPOINT_KEK (env:SEALPOINT_KEK). Other users of the machine
see command lines: leave passwords to PGPASSFILE or PGPASSWORD."""
SHOWN = 20


def add_store(parser: argparse.ArgumentParser) -> None:
    """The options that say which key store and which KEKs."""
    parser.add_argument("--store", metavar="URL", default=os.environ.get("SEALPOINT_STORE"), help="the key store")
    parser.add_argument("--kek", metavar="URI", action="append", help="a KEK; can be repeated")


def connect(arguments: argparse.Namespace, keks: Sequence[str | KeyManagementProvider] | None = None) -> Keyring:
    """The keyring that the options name; `keks` in place of theirs. Raises: `invalid_argument`, and as `Keyring.connect`."""
    chosen = keks or named(arguments)
    return Keyring.connect(_store(arguments, chosen), kek=list(chosen))


def configured(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The key store and the KEKs that the options name. Raises: `invalid_argument`."""
    chosen = named(arguments)
    return _store(arguments, chosen), chosen


def named(arguments: argparse.Namespace) -> list[str]:
    """The KEKs that the options or the environment name."""
    return arguments.kek or (["env:SEALPOINT_KEK"] if "SEALPOINT_KEK" in os.environ else [])


def _store(arguments: argparse.Namespace, keks: Sequence[object]) -> str:
    if not arguments.store or not keks:
        raise InvalidArgumentError("invalid_argument", "name the key store and the KEK: --store URL --kek URI")
    return str(arguments.store)


def show_failures(failures: Sequence[Failure], count: int) -> int:
    """On stderr; the exit code that goes with them."""
    for failure in failures[:SHOWN]:
        whose = f"tenant {failure.tenant!r}: " if failure.tenant is not None else ""
        which = f"key {failure.dek_id}: " if failure.dek_id is not None else ""
        print(f"left alone: {whose}{which}{failure.code}: {failure.message}", file=sys.stderr)
    if count > SHOWN:
        print(f"left alone: {count - SHOWN} more; --json lists up to 1000", file=sys.stderr)
    return LEFT if count else 0
