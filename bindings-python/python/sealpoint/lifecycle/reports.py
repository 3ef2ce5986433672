"""What the verbs return. They name tenants and dek_ids, which the key store holds in the clear, and nothing secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from .._purposes import DekPurpose
from ..stores import DekState

MAX_LISTED = 1_000
"""Failures that a report names; all are counted."""


def at(microseconds: int) -> datetime:
    """A key store's time."""
    try:
        return datetime.fromtimestamp(microseconds / 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):  # a planted one
        return datetime.max.replace(tzinfo=UTC)


class _Report:
    def to_json(self, indent: int | None = 2) -> str:
        """One object; times are ISO 8601 in UTC."""
        return to_json(self, indent)


def to_json(report: Any, indent: int | None = 2) -> str:
    """A report, or a list of them, as JSON text."""
    shown = [asdict(one) for one in report] if isinstance(report, Sequence) else asdict(report)
    return json.dumps(shown, indent=indent, ensure_ascii=False, default=_iso)


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@dataclass(frozen=True)
class Failure(_Report):
    """A key that was left exactly as it was."""

    tenant: str | None
    dek_id: str | None
    """In hex; None: it is not known, or it has none yet."""
    code: str
    message: str


@dataclass(frozen=True)
class Rotation(_Report):
    """The tenant's active DEK after a rotation."""

    tenant: str
    dek_purpose: DekPurpose
    dek_id: str
    version: int
    retired: str
    """The dek_id of the DEK that was active before."""
    rotated: bool
    """False: somebody else rotated at the same moment, and this is theirs; or it was a dry run, and this is what is active."""


@dataclass(frozen=True)
class RotationReport(_Report):
    """What a rotation of many tenants did, or with `dry_run` would do."""

    dry_run: bool
    made_before: datetime
    """Active DEKs from before this moment were due. Given again, it lets an interrupted job go on."""
    tenants: int
    """Looked at."""
    rotated: int
    failed: int
    failures: tuple[Failure, ...]
    """The first 1,000."""


@dataclass(frozen=True)
class RewrapReport(_Report):
    """What a rewrap did, or with `dry_run` would do."""

    dry_run: bool
    from_uri: str
    to_uri: str
    kek_version: str
    """Of the new wraps."""
    deks: int
    """That are not destroyed, as the last pass saw them."""
    wrapped: int
    """Wraps that were stored."""
    verified: int
    """Wraps that the last pass opened and compared with the key check."""
    passes: int
    complete: bool
    """Every DEK that is not destroyed has a verified wrap under the KEK's current version."""
    failed: int
    failures: tuple[Failure, ...]
    """The first 1,000."""


@dataclass(frozen=True)
class RecoveryReport(_Report):
    """What a recovery did, or with `dry_run` would do."""

    dry_run: bool
    keks: tuple[str, ...]
    """The KEKs that the DEKs were put under."""
    deks: int
    """That are not destroyed, as the last pass saw them."""
    recovered: int
    """DEKs that no KEK of `keks` opened, which came back: compared with their key check, wrapped, and open-only from now on."""
    activated: int
    """New active DEKs, each in place of one that only opens."""
    verified: int
    """Wraps under KEKs of `keks` that the last pass opened and compared with the key check."""
    passes: int
    complete: bool
    """Every DEK that is not destroyed opens by a KEK of `keks`, and every active one seals."""
    failed: int
    failures: tuple[Failure, ...]
    """The first 1,000: what did not come back."""


@dataclass(frozen=True)
class DropReport(_Report):
    """What removing a KEK's wraps did, or with `dry_run` would do."""

    dry_run: bool
    from_uri: str
    dropped: int
    left_behind: str
    """Where copies of the wraps may still lie in the key store's own files. Empty: nowhere."""
    failed: int
    failures: tuple[Failure, ...]
    """The first 1,000."""


@dataclass(frozen=True)
class Tombstone(_Report):
    """A tenant that was shredded. It must be replayed into a key store that is restored from a backup."""

    tenant: str
    shredded_at: datetime


@dataclass(frozen=True)
class ShredReport(_Report):
    """What a shredding did, or with `dry_run` would do."""

    dry_run: bool
    deks: int
    """Of every purpose: destroyed, their wraps gone."""
    unreached: tuple[str, ...]
    """What may still open the tenant's data, and until when."""
    tombstones: tuple[Tombstone, ...]
    """Of the one tenant: the report, as JSON, is a file for `sealpoint shred --replay`. Empty in a dry run."""


@dataclass(frozen=True)
class ReplayReport(_Report):
    """What replaying tombstones did, or with `dry_run` would do."""

    dry_run: bool
    shredded: int
    already: int
    """Tenants that had their tombstone."""
    unreached: tuple[str, ...]
    failed: int
    failures: tuple[Failure, ...]
    """Tenants with DEKs from after the tombstone: somebody readmitted them. They were left alone."""


@dataclass(frozen=True)
class DekStatus(_Report):
    """One DEK."""

    dek_id: str
    version: int
    state: DekState
    created_at: datetime
    retired_at: datetime | None
    destroyed_at: datetime | None
    keks: tuple[str, ...]
    """The URI of each KEK that it is wrapped by."""
    lacks: tuple[str, ...]
    """KEKs of `Keyring.required_wraps` that it is not wrapped by: `rewrap`."""
    opens_only: bool
    """A recovery key brought it back: nothing is sealed under it (SPEC section 6.5)."""


@dataclass(frozen=True)
class PurposeStatus(_Report):
    """A tenant's DEKs of one purpose."""

    dek_purpose: str
    active_version: int | None
    age_days: float | None
    """Of the active one."""
    due: tuple[Literal["rotate", "rewrap"], ...]
    """`rotate`: the active one is older than the policy allows. `rewrap`: a DEK lacks a wrap under a KEK that is configured or
    required (`Keyring.required_wraps`)."""
    deks: tuple[DekStatus, ...]


@dataclass(frozen=True)
class TenantStatus(_Report):
    """One tenant."""

    tenant: str
    shredded_at: datetime | None
    purposes: tuple[PurposeStatus, ...]
    problems: tuple[str, ...]
    """Rows that are not as sealpoint writes them. Nothing here was opened: what only a key proves, this does not find."""
