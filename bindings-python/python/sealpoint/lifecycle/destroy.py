"""The end of keys: one retired DEK after its waiting time, or all of a tenant's at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from .._purposes import checked_tenant
from ..errors import InvalidArgumentError, KeyNotFoundError, KeyUnusableError, StoreError
from ..stores import DamagedDek, DekRecord, DekState, now
from ._jobs import SET_BACK, SKEW_S, Failures, Keys, Progress
from .reports import ReplayReport, ShredReport, Tombstone, at


def schedule_destroy(keys: Keys, dek_id: str) -> None:
    """See `Keyring.schedule_destroy`."""
    record = _stored(keys, dek_id)
    _require_state(record, "retired")
    _require_waited(keys, record)
    _change(keys, record, "pending_destroy")
    keys.loader.evict(record.dek_id)


def cancel_destroy(keys: Keys, dek_id: str) -> None:
    """See `Keyring.cancel_destroy`."""
    record = _stored(keys, dek_id)
    _require_state(record, "pending_destroy")
    _change(keys, record, "retired")


def destroy(keys: Keys, dek_id: str, *, scanned_at: datetime, confirm: str) -> str:
    """See `Keyring.destroy`."""
    record = _stored(keys, dek_id)
    _require_state(record, "pending_destroy")
    _require_confirmed(confirm, dek_id, "dek_id")
    since = _require_waited(keys, record)
    if not isinstance(scanned_at, datetime) or scanned_at.utcoffset() is None or _microseconds(scanned_at) > now():
        raise InvalidArgumentError("invalid_argument", "scanned_at= is when the scan began: a datetime with a time zone, in the past")
    if _microseconds(scanned_at) < since:
        raise InvalidArgumentError(
            "confirmation_required",
            "that scan began while the key could still seal: scan all data again, and pass when that scan began; not before "
            f"{at(since).isoformat(timespec='seconds')}",
        )
    _change(keys, record, "destroyed")
    keys.loader.forget([record.dek_id])
    return keys.store.scrub()


def shred(keys: Keys, tenant: str, *, confirm: str | None, dry_run: bool) -> ShredReport:
    """See `Keyring.shred`."""
    _require_confirmed(confirm, tenant, "tenant")
    if dry_run:
        return ShredReport(True, len(keys.store.deks_of([tenant])), _unreached(keys, ""), ())
    dek_ids = keys.store.shred_tenant(tenant, now())
    keys.loader.forget(dek_ids)
    known = keys.store.tenant(tenant)
    if known is None or known.shredded_at is None:
        raise StoreError("store_unavailable", "the tenant was readmitted at the same moment: shred it again")
    return ShredReport(False, len(dek_ids), _unreached(keys, keys.store.scrub()), (Tombstone(tenant, at(known.shredded_at)),))


def replay(keys: Keys, tombstones: Iterable[Tombstone], *, dry_run: bool, progress: Progress | None) -> ReplayReport:
    """See `Keyring.replay_tombstones`."""
    listed = [_checked(tombstone) for tombstone in tombstones]
    failures, shredded, already = Failures(), 0, 0
    for number, tombstone in enumerate(listed):
        known = keys.store.tenant(tombstone.tenant)
        rows = keys.store.deks_of([tombstone.tenant])
        since = _microseconds(tombstone.shredded_at)
        if known is not None and known.shredded_at is not None and all(_is_destroyed(row) for row in rows):
            already += 1
        elif any(isinstance(row, DekRecord) and row.state != "destroyed" and row.created_at > since for row in rows):
            failures.add(
                tombstone.tenant,
                InvalidArgumentError(
                    "confirmation_required",
                    "it has keys from after it was shredded: if it was not readmitted, shred it by name",
                ),
            )
        else:
            shredded += 1
            if not dry_run:
                keys.loader.forget(keys.store.shred_tenant(tombstone.tenant, since))
        if progress is not None:
            progress(number + 1)
    left_behind = keys.store.scrub() if shredded and not dry_run else ""
    return ReplayReport(dry_run, shredded, already, _unreached(keys, left_behind), failures.count, tuple(failures.listed))


def tombstones(keys: Keys) -> tuple[Tombstone, ...]:
    """See `Keyring.tombstones`."""
    pages = (known for page in keys.tenants() for known in page)
    return tuple(Tombstone(name, at(known.shredded_at)) for name, known in pages if known and known.shredded_at is not None)


def _checked(tombstone: object) -> Tombstone:
    if not isinstance(tombstone, Tombstone) or not isinstance(tombstone.shredded_at, datetime) or tombstone.shredded_at.utcoffset() is None:
        raise InvalidArgumentError("invalid_argument", "a tombstone is a Tombstone with a tenant and a datetime with a time zone")
    checked_tenant(tombstone.tenant)
    return tombstone


def _stored(keys: Keys, dek_id: str) -> DekRecord:
    try:
        raw = bytes.fromhex(dek_id)
    except (TypeError, ValueError):
        raw = b""
    if len(raw) != 16:
        raise InvalidArgumentError("invalid_argument", "a dek_id is 32 hex digits, as status shows it")
    record = keys.store.dek(raw)
    if record is None:
        raise KeyNotFoundError("key_not_found", "the key store holds no key of this dek_id")
    return record


def _require_state(record: DekRecord, expected: DekState) -> None:
    if record.state == expected:
        return
    if record.state == "destroyed":
        raise KeyUnusableError("key_destroyed", "the key was destroyed already")
    remedy = {
        "active": "rotate its tenant first, and wait",
        "retired": "schedule_destroy comes first",
        "pending_destroy": "it is waiting to be destroyed already",
    }[record.state]
    raise InvalidArgumentError("invalid_argument", f"the key is {record.state}: {remedy}")


def _require_waited(keys: Keys, record: DekRecord) -> int:
    """Since when nobody in the fleet seals under the DEK, in microseconds."""
    if record.retired_at is None:
        raise StoreError("store_invalid", f"it is retired but not since when: {SET_BACK}")
    since = record.retired_at + keys.wait_us()
    if since > now():
        raise InvalidArgumentError(
            "invalid_argument",
            "others may still use the key: it must have been retired for the fleet's largest cache_ttl and "
            f"{SKEW_S} seconds; not before {at(since).isoformat(timespec='seconds')}",
        )
    return since


def _require_confirmed(confirm: object, name: str, what: str) -> None:
    if confirm != name:
        raise InvalidArgumentError("confirmation_required", f"this cannot be undone: pass the {what} once more as confirm=")


def _change(keys: Keys, record: DekRecord, state: DekState) -> None:
    if not keys.store.set_state(record.dek_id, record.state, state):
        raise StoreError("store_unavailable", "the key was changed by another process at the same moment: look at it, and try again")


def _is_destroyed(row: DekRecord | DamagedDek) -> bool:
    return isinstance(row, DekRecord) and row.state == "destroyed"


def _microseconds(when: datetime) -> int:
    return round(when.timestamp() * 1_000_000)


def _unreached(keys: Keys, left_behind: str) -> tuple[str, ...]:
    hours = keys.wait_us() / 3_600_000_000
    return (
        *([left_behind] if left_behind else []),
        f"other processes: keys that they have opened serve for up to {hours:.1f} hours, or until they restart",
        "backups, replicas and archived logs of the key store: wraps in them open with the KEK until they expire. Destroying a KEK that "
        "wraps this tenant's keys alone reaches them at once; after a restore, replay the tombstones",
        "what was exported (export_data_key), and plaintext outside of sealpoint",
    )
