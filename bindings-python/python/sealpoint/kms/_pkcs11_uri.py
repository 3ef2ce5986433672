"""PKCS#11 URIs (RFC 7512): which key of which token, and how to get there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes

from ..errors import InvalidArgumentError
from .local import read_private

_PATH = ("token", "manufacturer", "serial", "model", "object", "id", "type")
_QUERY = ("module-path", "pin-source")
_ATTRIBUTE = re.compile(r"([a-z][a-z0-9-]*)=((?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*)")


@dataclass(frozen=True, repr=False)
class Pkcs11Uri:
    """What a URI says, decoded."""

    path: dict[str, bytes]
    module_path: str
    pin_source: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Raises: `invalid_argument`."""
        scheme, _, rest = uri.partition(":")
        if scheme != "pkcs11":
            raise _refuse("it begins with pkcs11:")
        names, _, ways = rest.partition("?")
        path, query = _attributes(names, ";", _PATH), _attributes(ways, "&", _QUERY)
        if not (path.get("token") or path.get("serial")) or not (path.get("object") or path.get("id")):
            raise _refuse("it names the token (token= or serial=) and the key (object= or id=)")
        if path.setdefault("type", b"secret-key") != b"secret-key":
            raise _refuse("the key's type is secret-key")
        module_path, pin_source = (os.fsdecode(query.get(name, b"")) for name in _QUERY)
        if not os.path.isabs(module_path) or "\0" in module_path:
            raise _refuse("module-path= is the absolute path of the token's PKCS#11 library")
        if not pin_source.startswith(("env:", "file:")):
            raise _refuse("pin-source= is env:NAME or file:PATH")
        return cls(path, module_path, pin_source)

    @property
    def name(self) -> str:
        """The KEK's name: without the way to it, and the same in whatever order and escaping the attributes came."""
        return "pkcs11:" + ";".join(f"{key}={quote(self.path[key], safe='')}" for key in _PATH if key in self.path)

    @property
    def object(self) -> str | None:
        return self._text("object")

    @property
    def id(self) -> bytes | None:
        return self.path.get("id")

    def matches(self, token: Any) -> bool:
        """Whether it is the token that is meant; python-pkcs11 gives these without their padding, but as other types."""
        own = {"token": token.label, "manufacturer": token.manufacturer_id, "model": token.model, "serial": token.serial}
        return all(_bytes(value) == self.path[key] for key, value in own.items() if key in self.path)

    def read_pin(self) -> str:
        """Raises: `invalid_argument`."""
        kind, _, place = self.pin_source.partition(":")
        if kind == "env":
            pin = os.environ.get(place)
            if not pin:
                raise InvalidArgumentError("invalid_argument", f"pin-source=: the environment variable {place} is not set, or empty")
            return pin
        content = read_private(place, "PIN", "pin-source=: write the PIN there, mode 600")
        try:
            return content.decode().strip("\r\n")
        except UnicodeDecodeError:
            pass
        finally:
            content[:] = bytes(len(content))
        raise InvalidArgumentError("invalid_argument", f"pin-source=: the file {place} holds no UTF-8 text")

    def _text(self, key: str) -> str | None:
        return self.path[key].decode() if key in self.path else None


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        match = _ATTRIBUTE.fullmatch(part)
        if match is None:
            raise _refuse("an attribute is NAME=VALUE, its special characters as %XX")
        key, value = match[1], unquote_to_bytes(match[2])
        if key == "pin-value":
            raise _refuse("a PIN is not put into it: pin-source=env:NAME or file:PATH")
        if key not in known or key in found:
            raise _refuse(f"{separator} separates {', '.join(known)}, each at most once")
        if key in ("token", "object") and not _is_text(value):
            raise _refuse(f"{key}= is UTF-8 text")
        found[key] = value
    return found


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _refuse(rule: str) -> InvalidArgumentError:
    return InvalidArgumentError("invalid_argument", f"not a pkcs11: URI that this release takes: {rule}")
