"""One load in flight per key, however many threads and tasks wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeAlias

from ._native import DataKey

Loaded: TypeAlias = DataKey | None
"""A DEK that was just opened, or None: the cache holds it."""

_POOL_THREADS = 8


class SingleFlight:
    """The first caller does the work in its own thread; callers that come meanwhile get its result or its error.

    Async callers wait without a thread, and the work runs in a pool of this object's own: in the event loop's default pool it could
    queue behind threads that wait for it. Whoever leads a flight is running, never queued, so flights can nest.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[Loaded]] = {}
        self._submitted: dict[Hashable, Future[Loaded]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def run(self, key: Hashable, work: Callable[[], Loaded]) -> Loaded:
        """`work()`, or the result of the same work that another thread is doing."""
        with self._lock:
            future = self._running.get(key)
            if future is None:
                mine: Future[Loaded] = Future()
                self._running[key] = mine
        if future is not None:
            return future.result()
        try:
            result = work()
        except BaseException as error:
            self._land(key).set_exception(error)
            raise
        self._land(key).set_result(result)
        return result

    async def arun(self, key: Hashable, work: Callable[[], Loaded]) -> Loaded:
        """As `run`, off the event loop. Cancelling one waiter leaves the others theirs."""
        with self._lock:
            future = self._submitted.get(key)
            if future is None:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="sealpoint")
                future = self._pool.submit(copy_context().run, self.run, key, work)
                self._submitted[key] = future
                future.add_done_callback(lambda _: self._submitted.pop(key, None))
        return await asyncio.shield(asyncio.wrap_future(future))

    def close(self) -> None:
        """Lets the pool's threads end; flights that are under way finish."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _land(self, key: Hashable) -> Future[Loaded]:
        with self._lock:
            return self._running.pop(key)
