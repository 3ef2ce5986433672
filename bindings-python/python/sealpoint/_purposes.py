"""What a DEK is for (SPEC section 2): by name for callers, by number in the core and in the key store."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ._native import Context
from .errors import InvalidArgumentError

DekPurpose: TypeAlias = Literal["data", "client"]
"""Those that seal payloads. `client`: what an exported key may open, and may have sealed."""

DATA, CLIENT = 1, 3


def purpose_number(name: object) -> int:
    """Raises: `invalid_argument` (another name than these two)."""
    if name == "data":
        return DATA
    if name == "client":
        return CLIENT
    raise InvalidArgumentError("invalid_argument", 'dek_purpose is "data" or "client"')


def checked_tenant(tenant: object) -> str:
    """What a context would refuse never reaches the key store. Raises: `invalid_argument`, `tenant_required`, `invalid_context`."""
    if not isinstance(tenant, str):
        raise InvalidArgumentError("invalid_argument", "a tenant is a string")
    return Context(tenant=tenant, purpose="load").tenant
