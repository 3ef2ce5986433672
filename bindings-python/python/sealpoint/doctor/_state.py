"""The envelopes of a LangGraph database beside the key store that should open them. Their dek_ids are in the clear; nothing is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .._purposes import DATA
from ..lifecycle.reports import at
from ..scan import Envelope, envelopes
from ..stores import DamagedDek, DekRecord, now
from .report import Check, Tally

MAX_ROWS = 100_000


@dataclass
class _Uses:
    count: int
    first: str


class State:
    """What the envelopes of a database name, and, once the DEKs were seen, what those are."""

    def __init__(self, wait_us: int) -> None:
        self._wait_us = wait_us
        self._envelopes = 0
        self._uses: dict[bytes, _Uses] = {}
        self._rows: dict[frozenset[bytes], str] = {}
        self._tenant: dict[bytes, str] = {}
        self._found: set[bytes] = set()
        self._ended: list[tuple[DekRecord | DamagedDek, _Uses]] = []
        self._retired: list[tuple[DekRecord, _Uses]] = []

    def read(self, database: str, schemas: Sequence[str], progress: Callable[[str], object]) -> None:
        """Raises: as `scan`."""
        for row in envelopes(database, schemas=schemas, progress=progress):
            self._see_row(row)

    def _see_row(self, row: Sequence[Envelope]) -> None:
        for envelope in row:
            uses = self._uses.get(envelope.dek_id)
            if uses is None:
                uses = self._uses[envelope.dek_id] = _Uses(0, envelope.at())
            uses.count += 1
            self._envelopes += 1
        together = frozenset(envelope.dek_id for envelope in row)
        if len(together) > 1 and len(self._rows) < MAX_ROWS:
            self._rows.setdefault(together, row[0].at())

    def see(self, row: DekRecord | DamagedDek) -> None:
        """One DEK of the key store."""
        uses = self._uses.get(row.dek_id)
        if uses is None:
            return
        self._found.add(row.dek_id)
        self._tenant[row.dek_id] = row.tenant
        if isinstance(row, DamagedDek) or row.state in ("pending_destroy", "destroyed") or row.purpose != DATA:
            self._ended.append((row, uses))
        elif row.state == "retired" and row.retired_at is not None and row.retired_at + self._wait_us <= now():
            self._retired.append((row, uses))

    def checks(self) -> Iterator[Check]:
        """After all DEKs were seen."""
        missing = Tally(
            "state keys", "problem", "it is another key store's state, or keys were deleted: restore the key store from a backup"
        )
        for dek_id in sorted(self._uses.keys() - self._found):
            uses = self._uses[dek_id]
            missing.add(f"key {dek_id.hex()}: {uses.count} envelopes, the first at {uses.first}")
        yield missing.check(
            f"{self._envelopes} envelopes under {len(self._uses)} keys, which the key store has", "keys are not in the key store"
        )
        unreadable = Tally("state readable", "warning", "pending_destroy: cancel_destroy takes it back. destroyed: delete these rows")
        foreign = Tally("state purpose", "problem", "LangGraph state is sealed under data keys alone: see who wrote these rows")
        for row, uses in self._ended:
            if isinstance(row, DamagedDek) or row.state in ("pending_destroy", "destroyed"):
                state = "damaged" if isinstance(row, DamagedDek) else row.state
                unreadable.add(f"{state}: {uses.count} envelopes, the first at {uses.first}", row)
            else:
                foreign.add(f"{uses.count} envelopes, the first at {uses.first}", row)
        yield unreadable.check("none is under a key that does not open", "keys do not open, and have envelopes")
        yield foreign.check("none is under a key of another purpose", "keys of another purpose have envelopes")
        mixed = Tally(
            "state tenants", "problem", "a value was moved between tenants: reading it is refused. See who writes to the database"
        )
        for together, where in self._rows.items():
            if len({self._tenant[dek_id] for dek_id in together if dek_id in self._tenant}) > 1:
                mixed.add(f"a row with envelopes of several tenants, at {where}")
        yield mixed.check("no row has envelopes of several tenants", "rows have envelopes of several tenants")
        if self._retired:
            oldest = at(min(row.retired_at or 0 for row, _ in self._retired)).isoformat(timespec="seconds")
            count = sum(uses.count for _, uses in self._retired)
            seen = f"{count} envelopes are under {len(self._retired)} retired keys (the first since {oldest}): these open, and must be kept"
            yield Check("state retired", "ok", seen)
