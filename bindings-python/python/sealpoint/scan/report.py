"""What a scan found: typed, without a single value, ready to be asserted on, printed or read by a machine.

Everything that comes out of the database (ids, names of tables) is cut, and characters that could steer a terminal are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

__all__ = ["Finding", "Report", "Tally", "Verdict", "WordHit", "printable"]

EXAMPLES = 3
"""How many positions a finding names unless told otherwise."""

_LONGEST = 80


class Verdict(StrEnum):
    """What a value is, as far as it can be told without a key."""

    SEALED = "sealed"
    """A well-formed envelope. Whether it opens, only its key can tell."""

    CLEAR = "clear"
    """Readable, and meant to be: an id, a name, a version."""

    UNSEALED = "unsealed"
    """Data that is not sealed, or that something else encrypted."""

    CORRUPT = "corrupt"
    """Neither an envelope nor anything that LangGraph writes, or not to be read at all."""

    UNKNOWN = "unknown"
    """A table that is not LangGraph's and not sealpoint's: not judged."""


@dataclass(frozen=True, slots=True)
class Finding:
    """All values of one column that are alike."""

    table: str
    column: str
    verdict: Verdict
    reason: str
    values: int
    bytes: int
    examples: tuple[str, ...] = ()
    """Positions of the first ones; empty for what is as it should be."""


@dataclass(frozen=True, slots=True)
class WordHit:
    """A word that was to occur nowhere. The word itself is not in here."""

    line: int
    """The word's line in the words file, from 1."""

    form: str
    """How it was written there: `utf-8`, `utf-16`, `json`, `base64` or `hex`."""

    where: str
    """A file and an offset in bytes, or a table, a column and a position."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `scan`. `ok` is what an auditor wants to see; `unsealed == ()` what a test asserts."""

    source: str
    """What was read. Never a password."""

    findings: tuple[Finding, ...]
    words: int | None = None
    """How many words were searched; None: none were given."""

    searched_bytes: int = 0
    """How many bytes of files were searched for the words."""

    hits: tuple[WordHit, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know: what was not read, and why."""

    strict: bool = False
    """Whether unknown tables count as findings."""

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict is verdict)

    @property
    def sealed(self) -> tuple[Finding, ...]:
        return self.of(Verdict.SEALED)

    @property
    def clear(self) -> tuple[Finding, ...]:
        return self.of(Verdict.CLEAR)

    @property
    def unsealed(self) -> tuple[Finding, ...]:
        return self.of(Verdict.UNSEALED)

    @property
    def corrupt(self) -> tuple[Finding, ...]:
        return self.of(Verdict.CORRUPT)

    @property
    def unknown(self) -> tuple[Finding, ...]:
        return self.of(Verdict.UNKNOWN)

    @property
    def ok(self) -> bool:
        """Nothing unsealed, nothing corrupt, no word; with `strict`, nothing unknown."""
        return not (self.unsealed or self.corrupt or self.hits or (self.strict and self.unknown))

    def to_json(self) -> str:
        """One object: the fields of this class, with `version` (1) and `ok`. Fields may be added; these stay."""
        return json.dumps({"version": 1, "ok": self.ok, **asdict(self)}, indent=2)

    def to_text(self) -> str:
        """A table for a person; the last line is the summary."""
        lines = [f"Scan of {self.source}", ""]
        rows = [("table", "what", "values", "bytes", "columns: why")]
        findings = _merged(self.findings)
        rows += [(f.table, _LABELS[f.verdict], f"{f.values:,}", f"{f.bytes:,}", f"{f.column}: {f.reason}".lstrip(": ")) for f in findings]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        numbers = (2, 3)
        for row, finding in zip(rows, (None, *findings), strict=True):
            cells = [cell.rjust(w) if n in numbers else cell.ljust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(cells).rstrip())
            lines += [f"    at {example}" for example in finding.examples] if finding else []
        if self.words is not None:
            lines += [
                "",
                f"{self.words:,} words searched in every row and in {self.searched_bytes:,} bytes of files: {len(self.hits):,} found",
            ]
            lines += [f"    the word of line {hit.line} as {hit.form} in {hit.where}" for hit in self.hits]
        lines += ["", *(f"Note: {note}" for note in self.notes)] if self.notes else []
        return "\n".join([*lines, "", self.summary])

    @property
    def summary(self) -> str:
        """One line, the verdict first."""
        bad = [
            f"{sum(finding.values or 1 for finding in found):,} {what}"
            for found, what in ((self.unsealed, "unsealed values"), (self.corrupt, "corrupt or unreadable"))
            if found
        ]
        if self.hits:
            bad.append(f"words found in {len(self.hits):,} places")
        if self.strict and self.unknown:
            bad.append(f"{len(self.unknown):,} unknown tables")
        if not self.findings:
            return f"NOT SEALED: {', '.join(bad)}" if bad else f"OK: none of {self.words or 0:,} words was found; nothing else was judged"
        sealed = f"{sum(finding.values for finding in self.sealed):,} sealed values"
        return f"NOT SEALED: {', '.join(bad)}; {sealed}" if bad else f"OK: {sealed}, no unsealed data"


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """For a person: one line for all columns of a table that are clear for the same reason."""
    merged: dict[object, Finding] = {}
    for f in findings:
        key = (f.table, f.reason) if f.verdict is Verdict.CLEAR else f
        before = merged.get(key)
        merged[key] = (
            f
            if before is None
            else replace(before, column=f"{before.column}, {f.column}", values=before.values + f.values, bytes=before.bytes + f.bytes)
        )
    return list(merged.values())


_LABELS = {
    Verdict.SEALED: "sealed",
    Verdict.CLEAR: "clear by design",
    Verdict.UNSEALED: "UNSEALED",
    Verdict.CORRUPT: "CORRUPT",
    Verdict.UNKNOWN: "not LangGraph's",
}


@dataclass(slots=True)
class _Count:
    values: int = 0
    bytes: int = 0
    examples: list[str] = field(default_factory=list)


class Tally:
    """Adds judgements up to findings."""

    def __init__(self, examples: int = EXAMPLES) -> None:
        self._examples = examples
        self._counts: dict[tuple[str, str, str, Verdict], _Count] = {}

    def add(
        self, table: str, column: str, verdict: Verdict, reason: str, size: int, at: Callable[[], str] | None = None, values: int = 1
    ) -> None:
        """`at` says where; it is called only for what will be shown."""
        count = self._counts.setdefault((table, column, reason, verdict), _Count())
        count.values += values
        count.bytes += size
        if at is not None and verdict in (Verdict.UNSEALED, Verdict.CORRUPT) and len(count.examples) < self._examples:
            example = at()
            if example not in count.examples:
                count.examples.append(example)

    def envelope(self, dek_id: bytes, at: Callable[[], str]) -> None:
        """Is told of each well-formed envelope which DEK it names, and where it is."""

    def findings(self) -> tuple[Finding, ...]:
        """By table, in the order in which they were read; within one, the worst first."""
        tables = list(dict.fromkeys(table for table, *_ in self._counts))
        ordered = sorted(self._counts.items(), key=lambda item: (tables.index(item[0][0]), _ORDER.index(item[0][3]), item[0][1]))
        return tuple(
            Finding(printable(table), printable(column), verdict, reason, count.values, count.bytes, tuple(count.examples))
            for (table, column, reason, verdict), count in ordered
        )


_ORDER = (Verdict.UNSEALED, Verdict.CORRUPT, Verdict.UNKNOWN, Verdict.SEALED, Verdict.CLEAR)


def printable(text: str) -> str:
    """What may be shown of a name or an id from a database: one line, no control characters, not too long."""
    shown = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text[: _LONGEST + 1])
    return shown if len(text) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def withheld(report: Report, holds_word: Callable[[str], bool]) -> Report:
    """The report without any text that holds one of the words: an id or a file's name can."""

    def shown(text: str) -> str:
        return "(withheld: it holds one of the words)" if holds_word(text) else text

    def all_shown(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(shown, texts))

    return replace(
        report,
        source=shown(report.source),
        findings=tuple(replace(f, table=shown(f.table), column=shown(f.column), examples=all_shown(f.examples)) for f in report.findings),
        hits=tuple(replace(hit, where=shown(hit.where)) for hit in report.hits),
        notes=all_shown(report.notes),
    )
