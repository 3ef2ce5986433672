"""Progress of long commands."""

from __future__ import annotations

import time
from typing import TextIO

PROGRESS_S = 0.1


class Progress:
    """One line on a terminal, written over again and again; nothing elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out if out.isatty() else None
        self._next = 0.0

    def __call__(self, text: str) -> None:
        if self._out and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_S
            self._out.write(f"\r\x1b[K{text}")
            self._out.flush()

    def clear(self) -> None:
        if self._out:
            self._out.write("\r\x1b[K")
            self._out.flush()
