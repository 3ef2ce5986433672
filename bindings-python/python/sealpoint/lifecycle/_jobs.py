"""What the jobs share: what they work on, their pages, what ends them and what is only reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from .._keks import Keks
from .._loader import Loader, context_of, unwrapped
from .._native import Context, SecretKey
from ..errors import KeyUnusableError, KmsError, SealpointError, StoreError
from ..kms import KeyManagementProvider
from ..stores import NOT_SET_UP, POINTER_TTL_S, DamagedDek, DekRecord, KeyLifecycle, TenantRecord, WrapChange, WrapRecord
from .reports import MAX_LISTED, Failure

Progress: TypeAlias = Callable[[int], None]
"""Called with how many keys, or tenants, have been looked at."""

PAGE = 500
MAX_PASSES = 10
SKEW_S = 300
"""By how much clocks of the fleet may differ, together with the time that a transaction or a call to a key service takes."""

NAMES = {1: "data", 2: "index", 3: "client", 4: "audit"}
DAMAGED = "its row in the key store is not as sealpoint writes it"
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

    def ensure_canary(self, provider: KeyManagementProvider) -> None:
        """The first thing under a new KEK, so that a wrong one shows before anything depends on it."""
        if provider.uri not in self.store.canaries():
            self.store.add_canary(provider.uri, self.keks.make_canary(provider))
        self.keks.check_canary(provider, self.store.canaries()[provider.uri])

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
        self.add(row, StoreError("store_invalid", DAMAGED))


def shown_id(dek_id: object) -> str | None:
    return dek_id.hex() if isinstance(dek_id, bytes) else None


class Passes:
    """Passes over all DEKs that give them wraps. What is done is recognised from the rows: so the first pass goes on where a killed job
    stopped, and the last one, which finds nothing to do, has opened every new wrap once more and seen what others made meanwhile."""

    deks: int
    """That are not destroyed, as the last pass saw them."""
    verified: int
    """Wraps that the last pass opened and compared."""
    failures: Failures

    def __init__(self, keys: Keys, dry_run: bool, progress: Progress | None) -> None:
        self.keys, self.dry_run, self._progress = keys, dry_run, progress
        self.passes = self.done = 0
        self.complete = False

    def run(self) -> None:
        """`done` is how much was changed, or in a dry run, which is one pass, would be."""
        self.done = last = self._pass(verify=False)
        while not self.dry_run and self.passes < MAX_PASSES and (last or self.passes == 1):
            last = self._pass(verify=True)
            self.done += last
        self.complete = not self.dry_run and last == 0 and self.failures.count == 0

    def examine(self, record: DekRecord, *, verify: bool) -> Sequence[WrapChange]:
        """What this DEK needs, in a dry run with whatever wraps. verify: what it has is opened and compared too. Raises: what is wrong."""
        raise NotImplementedError

    def store(self, changes: Sequence[WrapChange]) -> int:
        """After each page. How much was changed, or would be."""
        return len(changes) if self.dry_run else self.keys.store.put_wraps(changes) if changes else 0

    def _pass(self, *, verify: bool) -> int:
        self.passes += 1
        self.deks = self.verified = changed = 0
        self.failures = Failures()
        for page in self.keys.deks():
            changes: list[WrapChange] = []
            for row in page:
                try:
                    changes += self._examine(row, verify)
                except SealpointError as error:
                    self.failures.add(row, error)
            changed += self.store(changes)
            if self._progress is not None:
                self._progress(self.deks)
        return changed

    def _examine(self, row: DekRecord | DamagedDek, verify: bool) -> Sequence[WrapChange]:
        if isinstance(row, DekRecord) and row.state == "destroyed":
            if row.wraps:
                raise StoreError("store_invalid", f"it is destroyed and has wraps: {SET_BACK}")
            return ()
        self.deks += 1
        if isinstance(row, DamagedDek):
            raise StoreError("store_invalid", DAMAGED)
        if row.shredded_at is not None:
            raise KeyUnusableError("key_destroyed", f"the tenant was shredded, but this key is not destroyed: {SET_BACK}")
        return self.examine(row, verify=verify)
