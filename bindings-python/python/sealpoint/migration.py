"""The window in which a wrapper still reads unsealed data: for named tenants, until a date, counted."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TypeAlias, get_args

from .errors import InvalidArgumentError

__all__ = ["Migration", "Unsealed", "Window", "check_mode"]

Mode: TypeAlias = Literal["strict", "migrating"]
Unsealed: TypeAlias = Literal["checkpoints", "values", "writes", "items"]
"""What was read unsealed: whole checkpoints, single values of sealed checkpoints, pending writes, items of a store."""

_log = logging.getLogger("sealpoint")
_LOG_EVERY = 1_000


class Migration:
    """Lets `mode="migrating"` wrappers read unsealed data; one object may serve several wrappers, and counts for all of them.

    While it lasts, whoever can write the database can put unsealed data in the place of sealed data for these tenants: keep it short. What
    is written is sealed all the same. Afterwards unsealed data is refused again (`plaintext_refused`), without a restart.

    Args:
        until: when it ends: one aware datetime for every tenant, or one for each tenant that migrates, by tenant; others are strict.

    Raises: `invalid_argument`.
    """

    def __init__(self, until: datetime | Mapping[str, datetime]) -> None:
        ends = list(until.values()) if isinstance(until, Mapping) else [until]
        tenants = list(until) if isinstance(until, Mapping) else []
        if not ends or not all(isinstance(tenant, str) and tenant for tenant in tenants):
            raise InvalidArgumentError("invalid_argument", "until= takes a datetime, or a datetime for each tenant that migrates")
        if not all(isinstance(end, datetime) and end.utcoffset() is not None for end in ends):
            raise InvalidArgumentError(
                "invalid_argument", "a migration ends at a datetime with a time zone, such as datetime(2027, 3, 31, tzinfo=UTC)"
            )
        self._until: datetime | dict[str, datetime] = dict(until) if isinstance(until, Mapping) else until
        self._counts: dict[str, Counter[Unsealed]] = {}
        self._totals: Counter[Unsealed] = Counter()
        self._lock = threading.Lock()

    def window(self, tenant: str) -> Window | None:
        """The tenant's open window; None once it has ended, or for a tenant that does not migrate."""
        until = self._until.get(tenant) if isinstance(self._until, dict) else self._until
        return Window(self, tenant) if until is not None and datetime.now(UTC) < until else None

    def counts(self) -> dict[str, dict[Unsealed, int]]:
        """How much unsealed data was read, by tenant and kind, since this object was made. Nothing for a while: time to go strict."""
        with self._lock:
            return {tenant: dict(counter) for tenant, counter in self._counts.items()}

    def __repr__(self) -> str:
        return f"<Migration read unsealed: {dict(self._totals)}>"

    def _count(self, tenant: str, kind: Unsealed) -> None:
        with self._lock:
            self._counts.setdefault(tenant, Counter())[kind] += 1
            self._totals[kind] += 1
            total = self._totals[kind]
        if total % _LOG_EVERY == 1:
            _log.warning("unsealed data was read while migrating: %d %s so far", total, kind)


class Window:
    """An open window of one tenant."""

    __slots__ = ("_migration", "_tenant")

    def __init__(self, migration: Migration, tenant: str) -> None:
        self._migration, self._tenant = migration, tenant

    def let(self, kind: Unsealed) -> None:
        """Counts one unsealed thing that was let through."""
        self._migration._count(self._tenant, kind)


def check_mode(mode: object, migration: object) -> Migration | None:
    """The migration of a wrapper that is given these arguments. Raises: `invalid_argument`."""
    if mode not in get_args(Mode):
        raise InvalidArgumentError("invalid_argument", "mode must be 'strict' or 'migrating'")
    if mode == "strict":
        if migration is not None:
            raise InvalidArgumentError("invalid_argument", "migration= needs mode='migrating'")
        return None
    if not isinstance(migration, Migration):
        raise InvalidArgumentError(
            "invalid_argument", "mode='migrating' needs an end: migration=Migration(until=datetime(2027, 3, 31, tzinfo=UTC))"
        )
    return migration
