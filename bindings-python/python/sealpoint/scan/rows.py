"""What a reader of a database hands over. Readers are thin: they know where rows lie, not what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Reader", "Row", "unread"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row, or without values: that there is such a table."""

    table: str
    """What the report calls it."""

    name: str
    """What LangGraph calls it."""

    values: Mapping[str, Any] | None = None
    damage: str = ""
    """Why the rest of the table cannot be read."""


class Reader(Protocol):
    """One database, read once, as of one moment where the database can do that."""

    source: str
    notes: list[str]

    def files(self) -> list[Path]:
        """The files that hold every byte of it, if they can be reached."""

    def rows(self, everything: bool) -> Iterator[Row]:
        """Each table once without values, then its rows, streamed; those of unknown tables only for `everything`.

        Raises: `store_unavailable`, `store_invalid`.
        """


def unread(table: str, name: str, why: str) -> Row:
    return Row(table, name, damage=f"cannot be read to its end ({why})")
