"""After a fork the child starts afresh: no opened key, lock, thread or connection is carried over."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

_T = TypeVar("_T")


class Forkable(Protocol):
    """Something with state that a child process must not inherit."""

    def _after_fork(self) -> None: ...


_live: WeakSet[Forkable] = WeakSet()


def watch(thing: Forkable) -> None:
    """Calls `thing._after_fork()` in every child that this process forks, as long as the thing lives."""
    _live.add(thing)


class PerProcess(Generic[_T]):
    """What a process makes when it first needs it, such as a client with connections."""

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._after_fork()
        watch(self)

    def get(self) -> _T:
        """Raises what `make` raises; then the next call tries again."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def drop(self) -> None:
        """The next call makes another one."""
        with self._lock:
            self._made.clear()

    def _after_fork(self) -> None:
        """Also how it starts."""
        self._lock = threading.Lock()
        self._made: list[_T] = []


def _in_child() -> None:
    for thing in list(_live):
        thing._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
