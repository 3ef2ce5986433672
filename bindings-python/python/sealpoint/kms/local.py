"""KEKs that this process holds itself: `env:NAME` and `file:PATH` (SPEC section 6).

The value is 32 random bytes as base64 (43 or 44 characters) or 64 hex digits; a file may also hold the 32 bytes.
`sealpoint keygen` makes one. It is read once, when the provider is made, and then lives in Rust memory.
"""

from __future__ import annotations

import os
import re
import stat

from .._native import Context, LocalKek, SecretKey
from ..errors import InvalidArgumentError
from . import ProviderCapabilities, WrappedKey

__all__ = ["EnvProvider", "FileProvider"]

WRAP_ALG = "sealpoint-v1"
_MAX_FILE_LEN = 4096


class _LocalProvider:
    """A `LocalKek` behind the provider protocol."""

    capabilities = ProviderCapabilities(binds_context=True, authenticates=True)

    def __init__(self, uri: str, kek: LocalKek) -> None:
        self.uri = uri
        self._kek = kek

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """A wrapped key of SPEC section 6; its version is the `kek_id` in hex."""
        return WrappedKey(self._kek.wrap(secret, context), WRAP_ALG, self._kek.kek_id.hex())

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        """Raises what `LocalKek.unwrap` raises."""
        return self._kek.unwrap(wrapped.wrapped, context)


class EnvProvider(_LocalProvider):
    """The KEK in an environment variable."""

    def __init__(self, name: str) -> None:
        """Raises: `invalid_argument` (no such variable, or not a KEK in it)."""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidArgumentError(
                "invalid_argument", "env: is followed by the name of an environment variable, such as env:SEALPOINT_KEK"
            )
        value = os.environ.get(name)
        if value is None:
            raise InvalidArgumentError(
                "invalid_argument",
                f"the environment variable {name} is not set; `sealpoint keygen` prints a KEK to put there",
            )
        super().__init__(f"env:{name}", _parse(value, f"the environment variable {name}"))


class FileProvider(_LocalProvider):
    """The KEK in a file that only its owner can read."""

    def __init__(self, path: str) -> None:
        """A relative path counts from the current folder. Raises: `invalid_argument` (no such file, readable by others, not a KEK)."""
        if not path or "\0" in path or (path.startswith("//") and not path.startswith("///")):
            raise InvalidArgumentError(
                "invalid_argument",
                "file: is followed by the path of a file on this machine, such as file:/run/secrets/kek",
            )
        content = read_private(path, "KEK", "`sealpoint keygen --file PATH` makes one")
        try:
            super().__init__(f"file:{path}", _parse(content, f"the file {path}"))
        finally:
            content[:] = bytes(len(content))


def _parse(value: str | bytearray, place: str) -> LocalKek:
    try:
        return LocalKek.parse(value)
    except InvalidArgumentError as error:
        raise InvalidArgumentError("invalid_argument", f"{place} holds no KEK: {error}") from None


def read_private(path: str, what: str, remedy: str) -> bytearray:
    """The file's bytes, if nobody but its owner may touch it. Checked on what was opened: a path can change meanwhile.

    what: it holds, or should; remedy: for a file that is not there. Raises: `invalid_argument`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise InvalidArgumentError("invalid_argument", f"there is no file {path}; {remedy}") from None
    except OSError as error:
        raise InvalidArgumentError(
            "invalid_argument",
            f"the file {path} cannot be read ({error.strerror}); its owner must be the user that runs this, mode 600",
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or pipe"
            raise InvalidArgumentError("invalid_argument", f"{path} is a {kind}; file: needs the path of a file that holds the {what}")
        if os.name == "posix" and status.st_mode & 0o077:
            raise InvalidArgumentError(
                "invalid_argument",
                f"others than its owner have access to the file {path} (mode {stat.S_IMODE(status.st_mode):03o}): run chmod 600 on it",
            )
        if status.st_size > _MAX_FILE_LEN:
            raise InvalidArgumentError("invalid_argument", f"the file {path} holds no {what}: it has {status.st_size} bytes")
        content = bytearray(_MAX_FILE_LEN)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            length = file.readinto(content)
        del content[length:]  # in place: a copy would leave one to wipe
        return content
    finally:
        os.close(descriptor)
