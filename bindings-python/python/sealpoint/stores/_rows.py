"""From rows of the SQL key stores to records."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, LiteralString

from ..errors import StoreError
from . import DamagedDek, DekRecord, TenantRecord, WrapRecord

SELECT_DEK: LiteralString = (
    "SELECT d.dek_id, d.tenant, d.purpose, d.suite, d.version, d.state, d.key_check, d.created_at, t.shredded_at, d.retired_at, "
    "d.destroyed_at, d.rotated_by, w.kek_uri, w.kek_version, w.wrap_alg, w.wrapped, w.created_at, w.verified_at "
)
"""A DEK (d) with its tombstone (t), once for each wrap (w): to be followed by FROM."""
_WRAP = 12


def record(rows: list[tuple[Any, ...]]) -> DekRecord:
    """The one DEK that these rows, of which there is one at least, are of. Raises: `store_invalid` (also if they are of several)."""
    if any(row[0] != rows[0][0] for row in rows):
        raise StoreError("store_invalid", "a tenant has two active keys of one purpose: somebody changed the key store")
    wraps = tuple([WrapRecord(*row[_WRAP:]) for row in rows if row[_WRAP] is not None])
    fields: list[Any] = [*rows[0][:8], wraps, *rows[0][8:_WRAP]]
    return DekRecord(*fields)


def records(rows: Iterable[tuple[Any, ...]]) -> list[DekRecord | DamagedDek]:
    """The DEKs that these rows are of, which lie together for each."""
    return [_record_or_damaged(list(group)) for _, group in groupby(rows, key=lambda row: row[0])]


def tenants(rows: Iterable[tuple[Any, ...]]) -> list[tuple[str, TenantRecord | None]]:
    """From rows of (name, created_at, shredded_at, kek_uri)."""
    return [(name, _tenant_or_none(*fields)) for name, *fields in rows]


def _record_or_damaged(rows: list[tuple[Any, ...]]) -> DekRecord | DamagedDek:
    try:
        return record(rows)
    except StoreError:
        return DamagedDek(rows[0][0], str(rows[0][1]))


def _tenant_or_none(*fields: Any) -> TenantRecord | None:
    try:
        return TenantRecord(*fields)
    except StoreError:
        return None


def uris(required: object) -> tuple[str, ...]:
    """The KEKs that the settings name. Raises: `store_invalid`."""
    if type(required) is not str:
        raise StoreError("store_invalid", "the settings of the key store are not as sealpoint writes them")
    return tuple(required.split("\n")) if required else ()
