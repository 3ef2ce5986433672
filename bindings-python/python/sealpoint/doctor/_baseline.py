"""What a rollback of the database hides from every other check: the key store as it is, beside what it was.

A baseline holds what never changes of a DEK, and what changes in one direction only. It holds nothing secret (a digest of each key check),
but the tenants' names. Keep it where who writes the key store does not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError
from ..lifecycle._jobs import NAMES, SKEW_S
from ..stores import DamagedDek, DekRecord, StoreSettings, TenantRecord, now
from ._rows import CHANGED
from .report import Check, Tally

VERSION = 1
_FIXED = ("tenant", "purpose", "suite", "version", "created_at", "key_check")
_ONCE = ("retired_at", "rotated_by", "destroyed_at")
"""Set once, and never changed after."""
_NEXT = {
    "active": ("active", "retired", "pending_destroy", "destroyed"),
    "retired": ("retired", "pending_destroy", "destroyed"),
    "pending_destroy": ("retired", "pending_destroy", "destroyed"),  # cancel_destroy takes it back
    "destroyed": ("destroyed",),
}


class Baseline:
    """The key store at one moment."""

    def __init__(self, settings: StoreSettings, canaries: Mapping[str, bytes]) -> None:
        self.made_at = now()
        self.settings: dict[str, Any] = {"schema_version": settings.schema_version, "max_ttl": settings.max_ttl}
        self.canaries = {uri: _digest(wrapped) for uri, wrapped in canaries.items()}
        self.tenants: dict[str, dict[str, Any]] = {}
        self.deks: dict[str, dict[str, Any]] = {}

    def see(self, row: DekRecord | DamagedDek) -> None:
        """One DEK. A damaged one is in no baseline: it is reported, and the next baseline that has it would not match."""
        if isinstance(row, DekRecord):
            self.deks[row.dek_id.hex()] = {
                "tenant": row.tenant,
                "purpose": row.purpose,
                "suite": row.suite,
                "version": row.version,
                "state": row.state,
                "created_at": row.created_at,
                "key_check": _digest(row.key_check),
                **{name: getattr(row, name) for name in _ONCE if getattr(row, name) is not None},
            }

    def see_tenants(self, page: Sequence[tuple[str, TenantRecord | None]]) -> None:
        """One page of tenants."""
        self.tenants.update(
            (name, {"shredded_at": known.shredded_at, "kek_uri": known.kek_uri}) for name, known in page if known is not None
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Whole or not at all, mode 600. Raises: `invalid_argument`."""
        shown = {
            "sealpoint": "baseline",
            "version": VERSION,
            "made_at": self.made_at,
            "settings": self.settings,
            "canaries": self.canaries,
            "tenants": self.tenants,
            "deks": self.deks,
        }
        target = Path(path)
        temporary = target.with_name(f"{target.name}.{os.getpid()}.new")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(shown, file, ensure_ascii=True)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except (OSError, ValueError) as error:
            with suppress(OSError):
                temporary.unlink()
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise InvalidArgumentError("invalid_argument", f"the baseline cannot be written: {reason}") from None


class Comparison:
    """A key store, as it is seen, beside a baseline. What the baseline has and is not seen has vanished."""

    def __init__(self, before: dict[str, Any], settings: StoreSettings, canaries: Mapping[str, bytes]) -> None:
        self._before = before
        self._deks: dict[str, dict[str, Any]] = dict(before["deks"])
        self._tenants: dict[str, dict[str, Any]] = dict(before["tenants"])
        self._active = {(dek["tenant"], dek["purpose"]): dek["version"] for dek in self._deks.values() if dek["state"] == "active"}
        self._tally = Tally("baseline", "problem", f"{CHANGED}. After a restore: replay the tombstones, rewrap; then write a new baseline")
        for name in ("schema_version", "max_ttl"):
            if getattr(settings, name) != before["settings"][name]:
                self._tally.add(f"settings: {name} was {before['settings'][name]} and is {getattr(settings, name)}")
        for uri, digest in before["canaries"].items():
            if uri not in canaries:
                self._tally.add("the canary of a KEK is gone")
            elif _digest(canaries[uri]) != digest:
                self._tally.add("the canary of a KEK is another one")

    def see(self, row: DekRecord | DamagedDek) -> None:
        """One DEK."""
        if not isinstance(row.dek_id, bytes):
            return  # damaged, and named elsewhere
        was = self._deks.pop(row.dek_id.hex(), None)
        if isinstance(row, DamagedDek):
            return
        if was is None:
            if row.created_at < self._before["made_at"] - SKEW_S * 1_000_000:
                self._tally.add("it says that it was made before the baseline, which does not have it", row)
        else:
            self._compare(row, was)
        before = self._active.get((row.tenant, row.purpose))
        if row.state == "active" and before is not None and row.version < before:
            self._tally.add(f"version {row.version} is active, and version {before} was", row)

    def _compare(self, row: DekRecord, was: dict[str, Any]) -> None:
        changed = [name for name in _FIXED if (_digest(row.key_check) if name == "key_check" else getattr(row, name)) != was[name]]
        changed += [name for name in _ONCE if was.get(name) is not None and getattr(row, name) != was[name]]
        if changed:
            self._tally.add(f"changed: {', '.join(changed)}", row)
        if row.state not in _NEXT[was["state"]]:
            self._tally.add(f"its state was set back: it was {was['state']} and is {row.state}", row)

    def see_tenants(self, page: Sequence[tuple[str, TenantRecord | None]]) -> None:
        """One page of tenants."""
        for name, known in page:
            was = self._tenants.pop(name, None) if known is not None else None
            if was is None or known is None:
                continue
            if was["shredded_at"] is not None and known.shredded_at is None:
                self._tally.add("its tombstone is gone: unless somebody readmitted it, replay the tombstones", name)
            elif was["shredded_at"] is not None and known.shredded_at != was["shredded_at"]:
                self._tally.add("its tombstone has another time", name)
            if known.kek_uri != was["kek_uri"]:
                self._tally.add("it has another KEK of its own, or has one no more: unless somebody moved it, nothing does that", name)

    def check(self) -> Check:
        """After all were seen."""
        for dek_id, was in self._deks.items():
            what = f"the {NAMES[was['purpose']]} key {dek_id}, version {was['version']}, {was['state']} then, vanished"
            self._tally.add(what, was["tenant"])
        for name in self._tenants:
            self._tally.add("its row vanished", name)
        return self._tally.check(
            f"{len(self._before['deks'])} keys are as they were, or went on as they may", "differences that sealpoint does not make"
        )


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A baseline's content, of this shape. Raises: `invalid_argument`."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgumentError("invalid_argument", f"the baseline cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        content = None
    if not _is_baseline(content):
        raise InvalidArgumentError("invalid_argument", "this is no baseline that `sealpoint doctor --write-baseline` of this release wrote")
    return content  # type: ignore[no-any-return]


def _is_baseline(content: Any) -> bool:
    try:
        return (
            (content["sealpoint"], content["version"]) == ("baseline", VERSION)
            and isinstance(content["made_at"], int)
            and all(isinstance(content["settings"][name], int) for name in ("schema_version", "max_ttl"))
            and all(isinstance(digest, str) for digest in content["canaries"].values())
            and all(isinstance(tenant["shredded_at"], (int, type(None))) and "kek_uri" in tenant for tenant in content["tenants"].values())
            and all(
                dek["state"] in _NEXT
                and dek["purpose"] in NAMES
                and isinstance(dek["version"], int)
                and isinstance(dek["tenant"], str)
                and all(name in dek for name in _FIXED)
                for dek in content["deks"].values()
            )
        )
    except (TypeError, KeyError, AttributeError):
        return False


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
