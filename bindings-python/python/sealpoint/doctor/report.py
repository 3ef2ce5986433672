"""What `doctor` says: a check for each thing that it looked at, with what was seen and the remedy. Nothing secret is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from ..lifecycle._jobs import shown_id
from ..lifecycle.reports import MAX_LISTED
from ..scan.report import printable
from ..stores import DamagedDek, DekRecord

__all__ = ["Check", "Found", "Report", "Tally", "Verdict"]

Verdict: TypeAlias = Literal["ok", "warning", "problem"]
SHOWN = 20
"""Rows that the text names for each check; JSON has the first 1,000."""


@dataclass(frozen=True)
class Found:
    """One row that a check is about."""

    what: str
    tenant: str | None = None
    dek_id: str | None = None
    """In hex."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    """`warning`: it works, and somebody should know. `problem`: it does not, or somebody changed what only sealpoint may write."""
    seen: str
    remedy: str = ""
    count: int = 0
    """How many rows it is about."""
    found: tuple[Found, ...] = ()
    """The first 1,000."""


@dataclass(frozen=True)
class Report:
    """The result of `doctor`."""

    checks: tuple[Check, ...]
    kms_calls: Mapping[str, int]
    """How often each KEK was asked to wrap or unwrap, by its URI."""

    @property
    def sound(self) -> bool:
        """No check found a problem. There may be warnings."""
        return not self.of("problem")

    def of(self, verdict: Verdict) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict == verdict)

    def to_json(self) -> str:
        """One object: the fields of this class, with `version` (1) and `sound`. Fields and checks may be added; these stay."""
        return json.dumps({"version": 1, "sound": self.sound, **asdict(self)}, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """For a person; the last line is the summary."""
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.verdict:<7}  {check.name:<{width}}  {check.seen}")
            indent = " " * (11 + width)
            for found in check.found[:SHOWN]:
                whose = f"tenant {printable(found.tenant)}: " if found.tenant is not None else ""
                which = f"key {found.dek_id}: " if found.dek_id is not None else ""
                lines.append(f"{indent}- {whose}{which}{found.what}")
            if check.count > SHOWN:
                lines.append(f"{indent}- {check.count - SHOWN} more; --json lists up to {MAX_LISTED}")
            if check.remedy:
                lines.append(f"{indent}→ {check.remedy}")
        calls = sum(self.kms_calls.values())
        judged = "Sound" if self.sound else "Not sound"
        lines += ["", f"{judged}: {len(self.of('problem'))} problems, {len(self.of('warning'))} warnings; {calls} calls to KEKs"]
        return "\n".join(lines)


@dataclass
class Tally:
    """Rows that one check is about, as they come."""

    name: str
    verdict: Verdict
    remedy: str
    count: int = 0
    found: list[Found] = field(default_factory=list)

    def add(self, what: str, row: DekRecord | DamagedDek | str | None = None) -> None:
        """row: the DEK, or its tenant alone."""
        self.count += 1
        if len(self.found) < MAX_LISTED:
            if isinstance(row, (DekRecord, DamagedDek)):
                self.found.append(Found(what, row.tenant, shown_id(row.dek_id)))
            else:
                self.found.append(Found(what, row))

    def check(self, good: str, bad: str) -> Check:
        """What it comes to: `good` if nothing was added, else how many, and `bad`."""
        if not self.count:
            return Check(self.name, "ok", good)
        return Check(self.name, self.verdict, f"{self.count} {bad}", self.remedy, self.count, tuple(self.found))
