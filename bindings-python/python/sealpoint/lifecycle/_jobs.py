"""What the jobs share: what they work on, their pages, what ends them and what is only reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from .._keks import Keks
from .._loader import Loader, context_of, unwrapped
from .._native import Context, SecretKey
from ..errors import KmsError, SealpointError, StoreError
from ..stores import NOT_SET_UP, POINTER_TTL_S, DamagedDek, DekRecord, KeyLifecycle, TenantRecord, WrapRecord
from .reports import MAX_LISTED, Failure

Progress: TypeAlias = Callable[[int], None]
"""Called with how many keys, or tenants, have been looked at."""

PAGE = 500
SKEW_S = 300
"""By how much clocks of the fleet may differ, together with the time that a transaction or a call to a key service takes."""

NAMES = {1: "data", 2: "index", 3: "client", 4: "audit"}
SET_BACK = "its state is not one that sealpoint leaves: it was set back, or planted. `sealpoint status TENANT` shows the tenant's keys"


@dataclass(frozen=True)
class Keys:
    """What the verbs work on."""

    store: KeyLifecycle
    keks: Keks
    loader: Loader

    def wait_us(self) -> int:
        """After this time nobody in the fleet uses what was retired or replaced before it. Raises: `store_invalid`."""
        settings = self.store.settings()
        if settings is None:
            raise StoreError("store_invalid", NOT_SET_UP)
        return (max(settings.max_ttl, POINTER_TTL_S) + SKEW_S) * 1_000_000

    def prove(
        self, record: DekRecord, wraps: tuple[WrapRecord, ...], context: Context | None = None, *, authenticated: bool = True
    ) -> SecretKey:
        """The key, opened through one of these wraps and compared with the record's key check (SPEC section 6.1)."""
        return unwrapped(self.keks, record, wraps, context or context_of(record), authenticated=authenticated)[0]

    def deks(self) -> Iterator[list[DekRecord | DamagedDek]]:
        """All of the key store's, in pages."""
        after: bytes | None = None
        while page := list(self.store.page_deks(after, PAGE)):
            yield page
            after = page[-1].dek_id

    def tenants(self, after: str | None = None) -> Iterator[list[tuple[str, TenantRecord | None]]]:
        """All of the key store's, in pages."""
        while page := list(self.store.page_tenants(after, PAGE)):
            yield page
            after = page[-1][0]


@dataclass
class Failures:
    """What was left alone, and why."""

    count: int = 0
    listed: list[Failure] = field(default_factory=list)

    def add(self, row: DekRecord | DamagedDek | str, error: SealpointError) -> None:
        """Raises the error itself if going on would only meet it again: an outage, or a key service that refuses. Run again later."""
        if isinstance(error, KmsError) or error.code in ("store_unavailable", "internal"):
            raise error
        self.count += 1
        if len(self.listed) < MAX_LISTED:
            tenant = row if isinstance(row, str) else row.tenant
            self.listed.append(Failure(tenant, None if isinstance(row, str) else shown_id(row.dek_id), error.code, str(error)))

    def damaged(self, row: DamagedDek) -> None:
        self.add(row, StoreError("store_invalid", "its row in the key store is not as sealpoint writes it"))


def shown_id(dek_id: object) -> str | None:
    return dek_id.hex() if isinstance(dek_id, bytes) else None
