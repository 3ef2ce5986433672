"""SPEC section 6.3: exported keys."""

import hmac
from dataclasses import dataclass

from . import derive, envelope, text
from .errors import SealpointError

PURPOSE = "client"
TENANT_AT = 91
MAX_TENANT_LEN = 1024


@dataclass(frozen=True)
class Exported:
    """SPEC section 6.3: what an exported key says."""

    dek: bytes
    dek_id: bytes
    version: int
    tenant: str


def layout(key: Exported, key_check: bytes) -> bytes:
    """SPEC section 6.3: the table, with any key check."""
    name = key.tenant.encode()
    head = bytes([envelope.MAGIC, envelope.KIND_KEY, envelope.VERSION, derive.SUITE, derive.DEK_PURPOSES[PURPOSE]])
    return head + key.dek_id + key.version.to_bytes(4, "big") + key.dek + key_check + len(name).to_bytes(2, "big") + name


def export(dek: bytes, purpose: str, dek_id: bytes, version: int, tenant: str) -> str:
    """SPEC section 6.3: the one text of a `client` DEK."""
    if purpose != PURPOSE:
        raise SealpointError("invalid_argument", "only client DEKs are exported")
    key_check = derive.key_check(dek, purpose, dek_id, version, tenant)
    return text.encode(envelope.KIND_KEY, layout(Exported(dek, dek_id, version, tenant), key_check))


def import_(exported: str) -> Exported:
    """SPEC section 6.3: the steps of an importer."""
    data = text.decode(envelope.KIND_KEY, exported)
    for at, known, code in (
        (1, envelope.KIND_KEY, "malformed"),
        (2, envelope.VERSION, "unsupported_version"),
        (3, derive.SUITE, "unsupported_suite"),
        (4, derive.DEK_PURPOSES[PURPOSE], "malformed"),
    ):
        if len(data) <= at:
            raise SealpointError("malformed", f"ends before byte {at}")
        if data[at] != known:
            raise SealpointError(code)
    if len(data) <= TENANT_AT or len(data) != TENANT_AT + int.from_bytes(data[89:TENANT_AT], "big"):
        raise SealpointError("malformed", "length")
    if len(data) > TENANT_AT + MAX_TENANT_LEN:
        raise SealpointError("malformed", "a tenant too long")
    try:
        tenant = data[TENANT_AT:].decode()
    except UnicodeDecodeError:
        raise SealpointError("malformed", "the tenant is no UTF-8") from None
    key = Exported(data[25:57], data[5:21], int.from_bytes(data[21:25], "big"), tenant)
    if key.version == 0:
        raise SealpointError("malformed", "version 0")
    expected = derive.key_check(key.dek, PURPOSE, key.dek_id, key.version, key.tenant)
    if not hmac.compare_digest(expected, data[57:89]):
        raise SealpointError("authentication_failed", "key check")
    return key
