"""A page that opens and seals in the browser, and the server behind it, on this machine only: `python examples/browser/server.py --demo`.

Exit codes: 0 ended by Ctrl-C, 1 it could not start, 2 the command line is wrong.
"""

import argparse
import base64
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

try:
    from records import Records
    from web import Answer, Site, pages_from

    from sealpoint import Keyring, SealpointError
except ModuleNotFoundError as error:
    sys.exit(f"The example needs the package {error.name}. `make build` installs everything into .venv; run it with .venv/bin/python.")

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "bindings-node"
KEK = "SEALPOINT_KEK"
MAX_FILE_MIB = 100


class CannotStart(Exception):
    """Why, and what helps."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.demo and options.store is not None:
        parser.error("--demo forgets its KEK at the end: keys in a --store could never be opened again")
    if options.demo:
        os.environ[KEK] = base64.b64encode(secrets.token_bytes(32)).decode()
    try:
        pages = _pages(options.package)
        with Keyring.connect(options.store or "memory:", kek=f"env:{KEK}") as keyring:
            keyring.setup()
            records = Records(keyring, options.file_mib << 20)
            with _listening(options.port, keyring, records, pages) as site:
                print(
                    f"http://127.0.0.1:{site.server_port}/ until Ctrl-C{' (a KEK for this run only)' if options.demo else ''}", flush=True
                )
                site.serve_forever()
    except (CannotStart, SealpointError) as error:
        code = f" ({error.code})" if isinstance(error, SealpointError) else ""
        hint = " Or run it with --demo." if KEK not in os.environ else ""
        print(f"It could not start: {error}{code}.{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _pages(package: Path) -> dict[str, Answer]:
    """With the module that the package's `exports` name for browsers."""
    try:
        exports = json.loads((package / "package.json").read_bytes())["exports"]
        return pages_from(HERE / "page", package / exports["."]["browser"]["default"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CannotStart(f"{package} is not the built npm package: `make build` builds it, or name one with --package") from None


def _listening(port: int, keyring: Keyring, records: Records, pages: dict[str, Answer]) -> Site:
    try:
        return Site(port, keyring, records, pages)
    except OSError as error:
        raise CannotStart(f"port {port} of 127.0.0.1 cannot be had ({error.strerror}): choose another with --port") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="server.py",
        description=f"A page that opens and seals in the browser, and the server behind it. The KEK is in the environment variable {KEK}.",
        epilog="Exit codes: 0 ended by Ctrl-C, 1 it could not start, 2 the command line is wrong. It listens on 127.0.0.1 only.",
        allow_abbrev=False,
    )
    parser.add_argument("--demo", action="store_true", help="a KEK and keys for this run only")
    parser.add_argument("--store", metavar="URL", help="key store, such as sqlite:///keys.db (default: in memory)")
    parser.add_argument("--port", type=_number(0, 65_535), default=8740, metavar="N", help="default 8740; 0 takes a free one")
    parser.add_argument("--file-mib", type=_number(1, MAX_FILE_MIB), default=32, metavar="N", help="size of the large file (default 32)")
    parser.add_argument("--package", type=Path, default=PACKAGE, metavar="DIR", help="the npm package (default: bindings-node, built)")
    return parser


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"a number from {lowest} to {highest}")
        return int(text)

    return number


if __name__ == "__main__":
    sys.exit(main())
