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
    version = keys.store.next_version(tenant, purpose)
    if version != old.version + 1:
        winner = keys.store.active_dek(tenant, purpose)
        if winner is None or winner.dek_id == old.dek_id:
            raise StoreError("store_invalid", f"the active key is not its tenant's newest: {SET_BACK}")
        return _lost(keys, old, winner, dek_purpose)
    keys.prove(old, old.wraps)
    if dry_run:
        return Rotation(tenant, dek_purpose, old.dek_id.hex(), old.version, old.dek_id.hex(), rotated=False)
    mine, key = keys.loader.make(tenant, purpose, version)
    active = keys.store.replace_active(old.dek_id, mine)
    if active.dek_id != mine.dek_id:
        return _lost(keys, old, active, dek_purpose)
    keys.loader.succeed(old.dek_id, active, key)
    return Rotation(tenant, dek_purpose, mine.dek_id.hex(), version, old.dek_id.hex(), rotated=True)


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


def _lost(keys: Keys, old: DekRecord, winner: DekRecord, dek_purpose: DekPurpose) -> Rotation:
    keys.loader.succeed(old.dek_id, winner, None)
    return Rotation(winner.tenant, dek_purpose, winner.dek_id.hex(), winner.version, old.dek_id.hex(), rotated=False)
