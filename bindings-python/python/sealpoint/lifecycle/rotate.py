"""A new DEK becomes active, the old one is retired: for one tenant, or for all whose DEK is due."""

from __future__ import annotations

from .._purposes import DekPurpose, purpose_number
from ..errors import KeyNotFoundError, KeyUnusableError, SealpointError, StoreError
from ..stores import NO_ACTIVE_DEK, DamagedDek, DekRecord
from ._jobs import SET_BACK, Failures, Keys, Progress
from .reports import Rotation, RotationReport, at


def rotate(keys: Keys, tenant: str, dek_purpose: DekPurpose, *, dry_run: bool) -> Rotation:
    """See `Keyring.rotate`."""
    purpose = purpose_number(dek_purpose)
    old = keys.store.active_dek(tenant, purpose)
    if old is None:
        known = keys.store.tenant(tenant)
        if known is not None and known.shredded_at is not None:
            raise KeyUnusableError("key_destroyed", "this tenant was shredded")
        raise KeyNotFoundError("key_not_found", NO_ACTIVE_DEK)
    keys.loader.check(old, tenant, purpose)
    winner = _newer(keys, old)
    if winner is None:
        keys.prove(old, old.wraps, authenticated=False)
        if dry_run:
            return Rotation(tenant, dek_purpose, old.dek_id.hex(), old.version, old.dek_id.hex(), rotated=False)
    active, rotated = replace_active(keys, old)
    return Rotation(tenant, dek_purpose, active.dek_id.hex(), active.version, old.dek_id.hex(), rotated=rotated)


def replace_active(keys: Keys, old: DekRecord) -> tuple[DekRecord, bool]:
    """A new active DEK in place of this one, and True; or the one of somebody who was first. This process goes on with it at once.

    Raises: `store_invalid` (it is not its tenant's newest), and as `Loader.make` and `KeyLifecycle.replace_active`.
    """
    winner, key = _newer(keys, old), None
    if winner is None:
        mine, made = keys.loader.make(old.tenant, old.purpose, old.version + 1)
        winner = keys.store.replace_active(old.dek_id, mine)
        key = made if winner.dek_id == mine.dek_id else None
    keys.loader.succeed(old.dek_id, winner, key)
    return winner, key is not None


def _newer(keys: Keys, old: DekRecord) -> DekRecord | None:
    """What is active meanwhile in place of this DEK; None: it is its tenant's newest. Raises: `store_invalid` (it is active, and older)."""
    if keys.store.next_version(old.tenant, old.purpose) == old.version + 1:
        return None
    active = keys.store.active_dek(old.tenant, old.purpose)
    if active is None or active.dek_id == old.dek_id:
        raise StoreError("store_invalid", f"the active key is not its tenant's newest: {SET_BACK}")
    return active


def rotate_all(keys: Keys, dek_purpose: DekPurpose, made_before: int, *, dry_run: bool, progress: Progress | None) -> RotationReport:
    """See `Keyring.rotate_all`. made_before: microseconds."""
    purpose = purpose_number(dek_purpose)
    failures, tenants, rotated = Failures(), 0, 0
    for page in keys.tenants():
        for row in keys.store.deks_of([name for name, _ in page]):
            if isinstance(row, DamagedDek):
                failures.damaged(row)
                continue
            if (row.purpose, row.state) != (purpose, "active") or row.created_at >= made_before:
                continue
            try:
                done = rotate(keys, row.tenant, dek_purpose, dry_run=dry_run)
            except SealpointError as error:
                failures.add(row, error)
            else:
                rotated += done.rotated or dry_run
        tenants += len(page)
        if progress is not None:
            progress(tenants)
    return RotationReport(dry_run, at(made_before), tenants, rotated, failures.count, tuple(failures.listed))
