"""SPEC sections 6 to 6.2 and 6.5: wrapped keys, stored keys and canaries under a local KEK."""

import hmac
from dataclasses import dataclass

from . import context, derive, envelope
from .errors import SealpointError

WRAPPED_LEN = 125


def wrap_context(dek_id: bytes, dek_purpose: str, tenant: str) -> bytes:
    """SPEC section 6: the canonical context of a wrapped DEK."""
    return context.canonical(
        [
            ("dek.id", dek_id.hex()),
            ("dek.purpose", dek_purpose),
            ("dek.suite", derive.SUITE_NAME),
            ("purpose", "wrap"),
            ("tenant", tenant),
        ]
    )


def open_only_context(dek_id: bytes, dek_purpose: str, tenant: str) -> bytes:
    """SPEC section 6.5: the canonical context of an open-only wrap."""
    return context.canonical(
        [
            ("dek.id", dek_id.hex()),
            ("dek.purpose", dek_purpose),
            ("dek.suite", derive.SUITE_NAME),
            ("dek.use", "open"),
            ("purpose", "wrap"),
            ("tenant", tenant),
        ]
    )


def canary_context(kek_uri: str) -> bytes:
    """SPEC section 6.2: the canonical context of a canary."""
    return context.canonical([("kek_uri", kek_uri), ("purpose", "canary"), ("tenant", "sealpoint")])


def wrap(kek: bytes, canonical: bytes, secret: bytes, salt: bytes) -> bytes:
    """SPEC section 6: 32 bytes wrapped under a KEK. The salt is given, so this is for vectors only."""
    head = envelope.header(envelope.KIND_WRAP, 0x00, derive.kek_id(kek))
    return envelope.seal_body(derive.wrap_key(kek), head, canonical, salt, secret)


def unwrap(kek: bytes, canonical: bytes, data: bytes) -> bytes:
    """SPEC sections 6 and 8: the 32 bytes of a wrapped key."""
    envelope.check_header(data, envelope.KIND_WRAP, (0x00,))
    if len(data) != WRAPPED_LEN:
        raise SealpointError("malformed", "not 125 bytes")
    if data[5 : envelope.HEADER_LEN] != derive.kek_id(kek):
        raise SealpointError("key_not_found")
    return envelope.open_body(derive.wrap_key(kek), data, canonical)


@dataclass(frozen=True)
class Record:
    """SPEC section 6.1: what a key store keeps about a DEK."""

    tenant: str
    purpose: str
    dek_id: bytes
    version: int
    key_check: bytes | None


def open_stored(kek: bytes, record: Record, wrapped: bytes, tenant: str, purpose: str) -> bytes:
    """SPEC section 6.1: a stored DEK, for the caller's tenant and purpose."""
    if (record.tenant, record.purpose) != (tenant, purpose):
        raise SealpointError("authentication_failed", "the record is another's")
    dek = unwrap(kek, wrap_context(record.dek_id, record.purpose, record.tenant), wrapped)
    if record.key_check is None:
        raise SealpointError("store_invalid", "no key check")
    expected = derive.key_check(dek, record.purpose, record.dek_id, record.version, record.tenant)
    if not hmac.compare_digest(expected, record.key_check):
        raise SealpointError("authentication_failed", "key check")
    return dek
