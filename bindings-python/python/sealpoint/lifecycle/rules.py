"""What sealpoint never leaves in the key store, as far as rows alone show it: `status` and `doctor` name what breaks these rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..stores import DekRecord, now
from ._jobs import SKEW_S

DAY_US = 86_400_000_000


def row_problems(dek: DekRecord) -> Iterator[str]:
    """What is wrong with one DEK by itself."""
    if dek.state == "destroyed":
        if dek.wraps:
            yield "it is destroyed and has wraps"
        if dek.destroyed_at is None:
            yield "it is destroyed but not since when"
    else:
        if not dek.wraps:
            yield "it has no wraps"
        if dek.shredded_at is not None:
            yield "its tenant was shredded and it is not destroyed"
        if dek.destroyed_at is not None:
            yield "it was destroyed: its state was set back"
    if dek.state == "active" and (dek.retired_at is not None or dek.rotated_by is not None):
        yield "it is active and was retired: its state was set back"
    if dek.state in ("retired", "pending_destroy"):
        if dek.retired_at is None:
            yield "it is retired but not since when"
        if dek.rotated_by is None:
            yield "it is retired but not by which key"
    if any(wrap.verified_at is not None and wrap.verified_at < dek.created_at - SKEW_S * 1_000_000 for wrap in dek.wraps):
        yield "a wrap is said to have been verified before the key was made: a time was changed"
    if max(dek.created_at, dek.retired_at or 0, dek.destroyed_at or 0) > now() + DAY_US:
        yield "one of its times is in the future"


def chain_problems(deks: Sequence[DekRecord]) -> Iterator[tuple[DekRecord, str]]:
    """What is wrong with all DEKs of one tenant and purpose, in order of version, as they follow each other.

    Versions count from 1 without a gap, since a destroyed DEK keeps its row. Each DEK was retired by the next one, but for those that
    a shredding destroyed while they were active. The newest one is the active one, unless all are destroyed.
    """
    expected = 1
    for dek, successor in zip(deks, (*deks[1:], None), strict=True):
        if dek.version != expected:
            yield dek, f"version {expected} is missing before it: a row was deleted, or a version changed"
        expected = dek.version + 1
        if dek.state == "active" and successor is not None:
            yield dek, "it is active but not the newest: a state was set back, or a key planted"
        if dek.rotated_by is None:
            if successor is not None and dek.state == "destroyed" and dek.retired_at is not None:
                yield dek, "it was retired, but not by which key"
        elif successor is None or dek.rotated_by != successor.dek_id.hex():
            yield dek, "the key that it was retired by is not the next version: a row was deleted, or changed"
        elif dek.retired_at is not None and dek.retired_at < successor.created_at - SKEW_S * 1_000_000:
            yield dek, "it was retired before the next version was made: a time was changed"
    newest = deks[-1] if deks else None
    if newest is not None and newest.state in ("retired", "pending_destroy"):
        yield newest, "it is the newest and not active: its state was changed, or the row of a newer key deleted"
