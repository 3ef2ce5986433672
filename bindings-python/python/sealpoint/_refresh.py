"""Which DEKs are held until when, and unwrapping them again before that, off the hot path.

The cache holds the keys and alone decides when one expires; this is a record beside it. A refresh is started when the active pointer is
read from the key store anyway (each 60 seconds at most), for the DEK that was just read: one that nobody seals with is not refreshed.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from .errors import SealpointError
from .stores import DekRecord

_THREADS = 2
_MAX_WAITING = 64
_EARLIEST = 0.5
_SPREAD = 0.25


@dataclass(frozen=True)
class Holding:
    """One DEK that is held, or was until it was refused. Times are seconds: on the monotonic clock and on the wall clock."""

    tenant: str
    due: tuple[float, float]
    expires: tuple[float, float]
    code: str | None = None
    """What the last refresh failed with."""
    held: bool = True


class Refresher:
    """Has a pool of its own: refreshes that wait for a key service hold up nobody's load."""

    def __init__(self, ttl: float, capacity: int, contains: Callable[[bytes], bool]) -> None:
        """contains: whether the cache holds a DEK (any more)."""
        self._ttl = ttl
        self._contains = contains
        self._capacity = capacity
        self._lock = threading.Lock()
        self._holdings: OrderedDict[bytes, Holding] = OrderedDict()
        self._running: set[bytes] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._advanced = 0.0

    def loaded(self, dek_id: bytes, tenant: str) -> None:
        """The cache took the DEK in just now. It is due between half and three quarters of its time, so that not all are at once."""
        due = self._ttl * (_EARLIEST + random.uniform(0, _SPREAD))  # noqa: S311  # spreads calls, hides nothing
        holding = Holding(tenant, self._in(due), self._in(self._ttl))
        with self._lock:
            self._holdings.pop(dek_id, None)
            self._holdings[dek_id] = holding
            while len(self._holdings) > self._capacity:
                self._holdings.popitem(last=False)

    def failed(self, dek_id: bytes, code: str, *, held: bool) -> None:
        """The last refresh failed; whether the DEK still serves."""
        with self._lock:
            if dek_id in self._holdings:
                self._holdings[dek_id] = replace(self._holdings[dek_id], code=code, held=held)

    def start_if_due(self, record: DekRecord, work: Callable[[DekRecord], object]) -> None:
        """`work(record)` in the pool, unless it is too early, under way, or too many wait: then at the next read of the pointer."""
        with self._lock:
            holding = self._holdings.get(record.dek_id)
            if self._closed or holding is None or not self._past(holding.due):
                return
            if record.dek_id in self._running or len(self._running) >= _MAX_WAITING:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="sealpoint-refresh")
            with suppress(RuntimeError):  # the interpreter is ending: nothing is started any more
                self._pool.submit(self._run, record, work)
                self._running.add(record.dek_id)

    def holdings(self) -> tuple[Holding, ...]:
        """What is held now, or was refused within its time."""
        with self._lock:
            for dek_id, holding in list(self._holdings.items()):
                if self._past(holding.expires) or (holding.held and not self._contains(dek_id)):
                    del self._holdings[dek_id]
            return tuple(self._holdings.values())

    def close(self) -> None:
        """What waits is dropped, what runs finishes."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            self._holdings.clear()
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, record: DekRecord, work: Callable[[DekRecord], object]) -> None:
        try:
            with suppress(SealpointError):  # is told by `failed`
                work(record)
        finally:
            with self._lock:
                self._running.discard(record.dek_id)

    def _in(self, seconds: float) -> tuple[float, float]:
        return time.monotonic() + self._advanced + seconds, time.time() + self._advanced + seconds

    def _past(self, moment: tuple[float, float]) -> bool:
        """Either clock says so: one jumps, the other may stand still while the machine sleeps."""
        return any(now >= then for now, then in zip(self._in(0), moment, strict=True))

    def _advance(self, seconds: float) -> None:
        """Moves this record's own clocks forward (tests), as `DekCache._advance` does the cache's."""
        self._advanced += seconds
