"""After a fork the child starts afresh: no opened key, lock, thread or connection is carried over."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something with state that a child process must not inherit."""

    def _after_fork(self) -> None: ...


_live: WeakSet[Forkable] = WeakSet()


def watch(thing: Forkable) -> None:
    """Calls `thing._after_fork()` in every child that this process forks, as long as the thing lives."""
    _live.add(thing)


def _in_child() -> None:
    for thing in list(_live):
        thing._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
