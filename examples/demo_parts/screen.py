"""What the demo prints: headings, paragraphs, aligned rows, and one line that shows progress."""

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

STYLES = {"heading": "1;36", "strong": "1", "good": "32", "bad": "31", "dim": "2"}
WIDEST = 110
INDENT = "  "


class Screen:
    """Plain ANSI: colour on a terminal only, and not where NO_COLOR is set."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self.live = out.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self.live and not os.environ.get("NO_COLOR")
        self.width = max(60, min(shutil.get_terminal_size().columns, WIDEST)) if self.live else WIDEST

    def style(self, text: str, name: str) -> str:
        """The text in one of STYLES."""
        return f"\x1b[{STYLES[name]}m{text}\x1b[0m" if self._colour and name else text

    def heading(self, text: str) -> None:
        """Begins a section."""
        self.line()
        self.line(self.style(text, "heading"))

    def line(self, text: str = "") -> None:
        """As it is."""
        print(text, file=self._out, flush=True)

    def say(self, text: str) -> None:
        """A paragraph."""
        for line in self._wrapped(text, self.width - len(INDENT)):
            self.line(INDENT + line)

    def rows(self, rows: Sequence[Sequence[str]], *, indent: str = INDENT * 2, head: bool = False, numbers: bool = False) -> None:
        """Columns, as wide as they must be; the last one is cut at the edge. `numbers`: all but the first are aligned to the right."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for n, row in enumerate(rows):
            aligned = [cell.rjust(w) if numbers and i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
            text = cut((indent + "  ".join(aligned)).rstrip(), self.width)
            self.line(self.style(text, "dim" if head and n == 0 else ""))

    def entry(self, label: str, text: str, style: str = "", *, label_width: int = 0) -> None:
        """A label and a text that continues below itself."""
        label_width = label_width or len(label)
        first = f"{INDENT * 2}{label:<{label_width}}  "
        wrapped = self._wrapped(text, self.width - len(first)) or [""]
        self.line(first + self.style(wrapped[0], style))
        for more in wrapped[1:]:
            self.line(" " * len(first) + self.style(more, style))

    def spoken(self, who: str, text: str) -> None:
        """One line of a conversation, cut at the edge."""
        self.line(f"{INDENT * 2}{self.style(f'{who:<9}', 'strong')}  {cut(text, self.width - 15)}")

    def _wrapped(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """What takes a moment, on a terminal only."""
        if self.live:
            self._out.write(f"{INDENT * 2}{self.style(f'{text} …', 'dim')}")
            self._out.flush()
        yield
        if self.live:
            self._out.write("\r\x1b[2K")

    @contextmanager
    def progress(self, total: int) -> Iterator["Progress"]:
        """Shows how far something is: one line that changes on a terminal, a line per quarter elsewhere."""
        bar = Progress(self, total)
        try:
            yield bar
        finally:
            bar.clear()


class Progress:
    def __init__(self, screen: Screen, total: int) -> None:
        self._screen, self._total = screen, total
        self._quarter, self._last, self._shown = 0, 0.0, False

    def update(self, done: int, text: str) -> None:
        """Call as often as you like."""
        screen = self._screen
        if not screen.live:
            if done * 4 // self._total > self._quarter:
                self._quarter = done * 4 // self._total
                screen.line(f"{INDENT * 2}{done * 100 // self._total:3} %  {text}")
            return
        if done < self._total and time.monotonic() - self._last < 0.1:
            return
        self._last, self._shown = time.monotonic(), True
        filled = done * 20 // self._total
        line = cut(f"{INDENT * 2}[{'#' * filled}{'.' * (20 - filled)}] {text}", screen.width - 1)
        screen._out.write(f"\r\x1b[2K{line}")
        screen._out.flush()

    def clear(self) -> None:
        """Takes the changing line away."""
        if self._shown:
            self._shown = False
            self._screen._out.write("\r\x1b[2K")
            self._screen._out.flush()


def cut(text: str, width: int) -> str:
    """One line of at most so many characters."""
    text = " ".join(text.splitlines())
    return text if len(text) <= width else text[: width - 1] + "…"


def size(count: float) -> str:
    """Bytes as people write them."""
    for unit, bytes_ in (("MB", 1e6), ("KB", 1e3)):
        if count >= bytes_:
            return f"{count / bytes_:.1f} {unit}"
    return f"{count:.0f} bytes"
