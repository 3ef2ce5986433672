"""What keys there are, and what is due. Nothing is opened."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from .._keks import Keks, is_open_only
from ..errors import KeyNotFoundError
from ..stores import DamagedDek, DekRecord, TenantRecord, now
from . import policy
from ._jobs import NAMES, Keys, shown_id
from .reports import DekStatus, PurposeStatus, TenantStatus, at
from .rules import DAY_US, chain_problems, row_problems


def status(keys: Keys, tenant: str | None, policy_us: int, after: str | None, limit: int) -> tuple[TenantStatus, ...]:
    """See `Keyring.status`."""
    page = list(keys.store.page_tenants(after, limit)) if tenant is None else [(tenant, keys.store.tenant(tenant))]
    rows = keys.store.deks_of([name for name, _ in page]) if page else []
    required = frozenset(policy.required_wraps(keys))
    of = {name: list(group) for name, group in groupby(rows, key=lambda row: row.tenant)}
    if tenant is not None and page[0][1] is None and not of:
        raise KeyNotFoundError("key_not_found", "the key store does not know this tenant")
    return tuple(_tenant(keys.keks, required, name, known, of.get(name, []), policy_us) for name, known in page)


def _tenant(
    keks: Keks,
    required: frozenset[str],
    name: str,
    known: TenantRecord | None,
    rows: Sequence[DekRecord | DamagedDek],
    policy_us: int,
) -> TenantStatus:
    deks = [row for row in rows if isinstance(row, DekRecord)]
    problems = [f"key {shown_id(row.dek_id)}: its row is damaged" for row in rows if isinstance(row, DamagedDek)]
    if known is None:
        problems.append("it has no row of its own, or a damaged one")
    shredded_at = known.shredded_at if known else None
    purposes = []
    for purpose, group in groupby(deks, key=lambda dek: dek.purpose):
        theirs = list(group)
        active = next((dek for dek in theirs if dek.state == "active"), None)
        problems += [f"key {dek.dek_id.hex()}: {what}" for dek in theirs for what in row_problems(dek)]
        if active is not None and _opens_only(active):
            problems.append(
                f"key {active.dek_id.hex()}: it is active, but came back by a recovery key, so that nothing is sealed under it: rotate"
            )
        if len(deks) == len(rows):  # a damaged row would look like a gap
            problems += [f"key {dek.dek_id.hex()}: {what}" for dek, what in chain_problems(theirs)]
        purposes.append(_purpose(keks, required, NAMES[purpose], active, theirs, policy_us))
    return TenantStatus(name, None if shredded_at is None else at(shredded_at), tuple(purposes), tuple(problems))


def _purpose(
    keks: Keks, required: frozenset[str], name: str, active: DekRecord | None, deks: Sequence[DekRecord], policy_us: int
) -> PurposeStatus:
    wanted = required.union(provider.uri for provider in keks.providers)
    due: list[Literal["rotate", "rewrap"]] = []
    if active is not None and name in ("data", "client") and active.created_at + policy_us <= now():
        due.append("rotate")
    if any(dek.state != "destroyed" and not wanted <= {wrap.kek_uri for wrap in dek.wraps} for dek in deks):
        due.append("rewrap")
    age = None if active is None else round((now() - active.created_at) / DAY_US, 2)
    return PurposeStatus(name, active.version if active else None, age, tuple(due), tuple(_dek(dek, required) for dek in deks))


def _dek(dek: DekRecord, required: frozenset[str]) -> DekStatus:
    retired_at, destroyed_at = (None if time is None else at(time) for time in (dek.retired_at, dek.destroyed_at))
    keks = tuple(wrap.kek_uri for wrap in dek.wraps)
    lacks = () if dek.state == "destroyed" else tuple(sorted(required.difference(keks)))
    return DekStatus(dek.dek_id.hex(), dek.version, dek.state, at(dek.created_at), retired_at, destroyed_at, keks, lacks, _opens_only(dek))


def _opens_only(dek: DekRecord) -> bool:
    return any(is_open_only(wrap) for wrap in dek.wraps)
