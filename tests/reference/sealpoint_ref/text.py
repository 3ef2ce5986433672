"""SPEC sections 5 and 8, step 1: the text form."""

import base64
import re

from .envelope import KIND_DATA, KIND_KEY, KIND_RECOVERY_PUBLIC, KIND_RECOVERY_SECRET, KIND_WRAP, MAGIC
from .errors import SealpointError

PREFIXES = {
    KIND_DATA: "sealpoint:",
    KIND_WRAP: "sealpoint-wrap:",
    KIND_KEY: "sealpoint-key:",
    KIND_RECOVERY_PUBLIC: "sealpoint-recovery-public:",
    KIND_RECOVERY_SECRET: "sealpoint-recovery-secret:",
}
VERSION = "v1:"


def encode(kind: int, data: bytes) -> str:
    """SPEC section 5: the one text of an envelope."""
    return PREFIXES[kind] + VERSION + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(kind: int, text: str) -> bytes:
    """SPEC section 8, step 1: the bytes of a text form, from which parsing goes on."""
    if not text.startswith(("sealpoint:", "sealpoint-")):
        raise SealpointError("plaintext_refused")
    if not text.startswith(PREFIXES[kind]):
        raise SealpointError("malformed", "prefix of another kind")
    rest = text.removeprefix(PREFIXES[kind])
    if not rest.startswith(VERSION):
        raise SealpointError("unsupported_version")
    rest = rest.removeprefix(VERSION)
    if not re.fullmatch("[A-Za-z0-9_-]*", rest) or len(rest) % 4 == 1:
        raise SealpointError("malformed", "not base64url")
    data = base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4))
    if encode(kind, data) != text:
        raise SealpointError("malformed", "nonzero trailing bits")
    if data[:1] != bytes([MAGIC]):  # has the prefix, so it never passes as plaintext
        raise SealpointError("malformed", "no magic behind the prefix")
    return data
