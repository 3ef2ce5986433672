"""What `Keyring.health()` and `Keyring.affected()` answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from ._refresh import Holding
from .errors import ERRORS

__all__ = ["AffectedTenant", "Health", "KekHealth"]


@dataclass(frozen=True)
class KekHealth:
    """One KEK, in configured order."""

    scheme: str
    """What comes before the colon of its URI; the rest stays out of health reports."""
    code: str | None
    """None: its canary was just unwrapped. Otherwise the error's code; `key_not_found`: it has no canary yet, run setup()."""
    cached_until: datetime | None = None
    """It is unreachable for now, and opened DEKs are held: when the first of them expires."""

    @property
    def status(self) -> Literal["ok", "cached", "failed"]:
        """`ok`, serving from the cache until `cached_until`, or `failed`."""
        return "ok" if self.code is None else "cached" if self.cached_until else "failed"


@dataclass(frozen=True)
class Health:
    """`ok`: everything works. `degraded`: at least one KEK works. `cached`: none does, what is not held cannot be opened, and what is
    held serves until `cached_until`, when the first DEK expires. `failed`: what is not held cannot be opened."""

    status: Literal["ok", "degraded", "cached", "failed"]
    store: str | None
    """None, or the code of what is wrong with the key store."""
    keks: tuple[KekHealth, ...]
    cached_until: datetime | None = None
    affected: int = 0
    """How many tenants `Keyring.affected()` lists."""


@dataclass(frozen=True)
class AffectedTenant:
    """A tenant with a DEK whose last refresh failed."""

    tenant: str = field(repr=False)
    code: str
    """What the key service answered."""
    until: datetime | None
    """When the DEK that is held expires. None: it was evicted, calls for this tenant go to the key service and fail."""


def assess(keks: Iterable[tuple[str, str | None]], holdings: tuple[Holding, ...]) -> Health:
    """From each KEK's scheme and code, and what is held."""
    until = min((_wall(holding) for holding in holdings if holding.held), default=None)
    judged = tuple(KekHealth(scheme, code, until if code is not None and ERRORS[code][1] else None) for scheme, code in keks)
    working = sum(kek.code is None for kek in judged)
    cached = next((kek.cached_until for kek in judged if kek.status == "cached"), None)
    affected = len(affected_tenants(holdings))
    if working:
        return Health("ok" if working == len(judged) else "degraded", None, judged, None, affected)
    return Health("cached" if cached else "failed", None, judged, cached, affected)


def affected_tenants(holdings: tuple[Holding, ...]) -> tuple[AffectedTenant, ...]:
    """One entry for each tenant: the DEK that goes, or went, first."""
    found: dict[str, AffectedTenant] = {}
    for holding in sorted(holdings, key=lambda holding: (holding.held, holding.expires)):
        if holding.code is not None:
            until = _wall(holding) if holding.held else None
            found.setdefault(holding.tenant, AffectedTenant(holding.tenant, holding.code, until))
    return tuple(found.values())


def _wall(holding: Holding) -> datetime:
    return datetime.fromtimestamp(holding.expires[1], UTC)
