"""`sealpoint keygen`."""

from __future__ import annotations

import argparse
import base64
import os
import sys

from .._native import SecretKey
from ..errors import InvalidArgumentError
from . import Commands


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "keygen",
        help="make a key encryption key (KEK)",
        description="Makes a KEK: 32 random bytes as base64, 44 characters. Whoever has it can open everything; without it, nothing opens.",
        epilog='Examples:  export SEALPOINT_KEK="$(sealpoint keygen)"  and kek="env:SEALPOINT_KEK"; '
        'or  sealpoint keygen --file kek.b64  and kek="file:kek.b64".',
        allow_abbrev=False,
    )
    parser.add_argument(
        "--file",
        metavar="PATH",
        help="write it to a new file that only its owner can read (mode 600), and print nothing",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.file is None:
        _print_kek()
    else:
        _write_kek(arguments.file)
    return 0


def _print_kek() -> None:
    print(_new_kek())
    if sys.stdout.isatty():
        print(
            "Keep it in a secret store, not in a file under version control. Without it, nothing that it protects opens.",
            file=sys.stderr,
        )


def _write_kek(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidArgumentError("invalid_argument", f"{path} exists, and a KEK is never overwritten: choose another path") from None
    except (OSError, ValueError) as error:
        raise InvalidArgumentError("invalid_argument", f"{path} cannot be created: {getattr(error, 'strerror', error)}") from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(_new_kek() + "\n")
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        os.unlink(path)
        raise InvalidArgumentError("invalid_argument", f"{path} cannot be written: {error.strerror}") from None


def _new_kek() -> str:
    secret = SecretKey.generate().expose()
    try:
        return base64.b64encode(secret).decode()
    finally:
        secret[:] = bytes(len(secret))
