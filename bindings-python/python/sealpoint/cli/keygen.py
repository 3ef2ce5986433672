"""`sealpoint keygen`."""

from __future__ import annotations

import argparse
import base64
import os
import sys
from collections.abc import Callable

from .._native import RecoveryKey, SecretKey
from ..errors import InvalidArgumentError, MissingDependencyError
from . import Commands


def add(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "keygen",
        help="make a key encryption key (KEK), or a recovery key",
        description="Makes a KEK: 32 random bytes as base64, 44 characters. Whoever has it can open everything; without it, nothing opens. "
        "With --recovery a recovery key instead: a public half, which goes into kek= beside the other KEKs, and a secret half, which is "
        "kept offline and opens everything when all other KEKs are lost.",
        epilog='Examples:  export SEALPOINT_KEK="$(sealpoint keygen)"  and kek="env:SEALPOINT_KEK"; '
        'or  sealpoint keygen --file kek.b64  and kek="file:kek.b64". '
        'Or  sealpoint keygen --recovery --public-file recovery.pub --qr  and kek=["aws-kms:…", "recovery:recovery.pub"].',
        allow_abbrev=False,
    )
    parser.add_argument(
        "--file",
        metavar="PATH",
        help="write it to a new file that only its owner can read (mode 600), and print nothing",
    )
    parser.add_argument("--recovery", action="store_true", help="make a recovery key; prints the secret half, unless --file is given")
    parser.add_argument("--public-file", metavar="PATH", help="with --recovery: the new file for the public half, which is no secret")
    parser.add_argument("--qr", action="store_true", help="with --recovery: print the secret half as a QR code too, for paper")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.recovery:
        _make_recovery_key(arguments)
    elif arguments.public_file is not None or arguments.qr:
        raise InvalidArgumentError("invalid_argument", "--public-file and --qr go with --recovery")
    elif arguments.file is None:
        _print_kek()
    else:
        _write_new(arguments.file, _new_kek(), 0o600)
    return 0


def _make_recovery_key(arguments: argparse.Namespace) -> None:
    if arguments.public_file is None:
        raise InvalidArgumentError("invalid_argument", "--recovery needs --public-file PATH for the public half")
    qr = _qr_encoder() if arguments.qr else None
    if os.path.lexists(arguments.public_file):
        raise _exists(arguments.public_file)
    key = RecoveryKey.generate()
    secret = key.to_text()
    # The secret half first: a public half whose secret half was lost would be worse than none.
    if arguments.file is None:
        print(secret, flush=True)
    else:
        _write_new(arguments.file, secret, 0o600)
    try:
        _write_new(arguments.public_file, key.public.to_text(), 0o644)
    except BaseException:
        if arguments.file is not None:
            os.unlink(arguments.file)
        raise
    if qr is not None:
        qr(secret)
    if arguments.file is None and sys.stdout.isatty():
        print("Keep it offline, on paper or in a safe, twice. It opens everything that was wrapped for it.", file=sys.stderr)


def _qr_encoder() -> Callable[[str], None]:
    try:
        import segno
    except ImportError:
        raise MissingDependencyError("missing_dependency", "--qr needs segno: pip install 'sealpoint[qr]'") from None
    return lambda text: segno.make(text, error="q", micro=False).terminal(compact=True)


def _print_kek() -> None:
    print(_new_kek())
    if sys.stdout.isatty():
        print(
            "Keep it in a secret store, not in a file under version control. Without it, nothing that it protects opens.",
            file=sys.stderr,
        )


def _write_new(path: str, key: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _exists(path) from None
    except (OSError, ValueError) as error:
        raise InvalidArgumentError("invalid_argument", f"{path} cannot be created: {getattr(error, 'strerror', error)}") from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
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


def _exists(path: str) -> InvalidArgumentError:
    return InvalidArgumentError("invalid_argument", f"{path} exists, and a key is never overwritten: choose another path")
