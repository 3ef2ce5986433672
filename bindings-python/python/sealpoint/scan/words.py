"""Searching for words that must occur nowhere, in rows and in every byte of files, all at once and in constant memory.

A word is looked for as it is (UTF-8, case-sensitive, not normalised), as UTF-16LE, as JSON escapes it, within base64 of either alphabet
and as hex digits. Not found is what was compressed, encrypted, or broken over lines or pages.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgumentError
from .plain import Ext
from .report import WordHit, printable

__all__ = ["Words"]

CHUNK_BYTES = 1 << 14
"""Searched at a time. Small, so that confirming what the keys suggest costs little."""

KEY_BYTES = 4
"""Forms are found by groups of this many bytes, so none is shorter. One of at least `ALIGNED_BYTES` has a group that begins at a multiple
of it, wherever the form lies: only every fourth place is looked at."""

ALIGNED_BYTES = 2 * KEY_BYTES - 1

SURE_BYTES = 8
"""A shorter word turns up by chance now and again where there is much base64; as base64 itself it is not searched at all."""


@dataclass(frozen=True, slots=True, eq=False)
class _Form:
    line: int
    name: str
    written: bytes


class Words:
    """`hits` grows with each search: for each word, form and column (or file) the first place."""

    def __init__(self, words: Mapping[int, str]) -> None:
        """Words by their lines. Raises: `invalid_argument`."""
        self.hits: list[WordHit] = []
        self.notes: list[str] = []
        self._words = tuple(words.values())
        self._aligned: dict[int, list[_Form]] = {}
        self._anywhere: dict[int, list[_Form]] = {}
        self._columns: dict[tuple[str, str], set[_Form]] = {}
        self._overlap = 0
        short = 0
        for line, word in words.items():
            raw = word.encode()
            if len(raw) < KEY_BYTES:
                raise InvalidArgumentError(
                    "invalid_argument", f"the word of line {line} has fewer than {KEY_BYTES} bytes: it would be found everywhere"
                )
            short += len(raw) < SURE_BYTES
            for written, name in {written: name for name, written in _forms(word)}.items():
                self._add(_Form(line, name, written))
                self._overlap = max(self._overlap, len(written) - 1)
        if not words:
            raise InvalidArgumentError("invalid_argument", "there is no word in the file: nothing would be searched")
        if short:
            self.notes.append(
                f"{short:,} words have fewer than {SURE_BYTES} bytes: such a one can turn up by chance, and is not searched in base64"
            )

    @classmethod
    def read(cls, path: Path) -> Words:
        """One word a line, without the white space around it; blank lines are ignored. Raises: `invalid_argument`."""
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except OSError as error:
            raise InvalidArgumentError("invalid_argument", f"the file of words cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidArgumentError("invalid_argument", "the file of words is not UTF-8") from None
        words: dict[str, int] = {}
        for number, line in enumerate(lines, 1):
            if word := line.strip():
                words.setdefault(word, number)
        return cls({number: word for word, number in words.items()})

    def __len__(self) -> int:
        return len(self._words)

    def __repr__(self) -> str:
        return f"Words({len(self)})"

    def occur_in(self, text: str) -> bool:
        """Whether a text that is to be shown holds a word."""
        return any(word in text for word in self._words)

    def search_row(self, table: str, row: Mapping[str, Any], at: Callable[[], str]) -> None:
        """Searches each value of a row; `at` says which row it is."""
        for column, value in row.items():
            known = self._columns.setdefault((table, column), set())
            data = _bytes(value)
            for start in range(0, max(1, len(data) - self._overlap), CHUNK_BYTES):
                for form, _ in self._found(data[start : start + CHUNK_BYTES + self._overlap], known):
                    self.hits.append(WordHit(form.line, form.name, f"{printable(table)}.{printable(column)}, {at()}"))

    def search_file(self, path: Path, progress: Callable[[str], object] = lambda _: None) -> int:
        """Searches every byte, and returns how many there were. Raises: `invalid_argument`."""
        known: set[_Form] = set()
        searched = 0
        tail = b""
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    data = tail + chunk
                    for form, offset in self._found(data, known):
                        where = f"the file {printable(path.name)}, offset {searched - len(tail) + offset:,}"
                        self.hits.append(WordHit(form.line, form.name, where))
                    searched += len(chunk)
                    tail = data[-self._overlap :]
                    progress(f"{searched:,} bytes of {printable(path.name)} searched")
        except FileNotFoundError:
            self.notes.append(f"the file {printable(path.name)} was gone before it could be searched")
        except OSError as error:
            raise InvalidArgumentError("invalid_argument", f"{printable(path.name)} cannot be read: {error.strerror}") from None
        return searched

    def _add(self, form: _Form) -> None:
        if len(form.written) < ALIGNED_BYTES:
            self._anywhere.setdefault(_key(form.written, 0), []).append(form)
        else:
            for shift in range(KEY_BYTES):
                self._aligned.setdefault(_key(form.written, shift), []).append(form)

    def _found(self, data: bytes, known: set[_Form]) -> Iterator[tuple[_Form, int]]:
        """Forms other than the known ones that occur in the data, each with its first offset. They are known from then on."""
        suggested = {form for key in self._aligned.keys() & _groups(data, 0) for form in self._aligned[key]}
        if self._anywhere:
            for shift in range(KEY_BYTES):
                suggested.update(form for key in self._anywhere.keys() & _groups(data, shift) for form in self._anywhere[key])
        found = [(form, offset) for form in suggested - known if (offset := data.find(form.written)) >= 0]
        known.update(form for form, _ in found)
        yield from sorted(found, key=lambda hit: (hit[0].line, hit[1], hit[0].name))


def _key(written: bytes, shift: int) -> int:
    return int.from_bytes(written[shift : shift + KEY_BYTES], sys.byteorder)


def _groups(data: bytes, shift: int) -> Iterable[int]:
    """The numbers that every four bytes from `shift` on make."""
    whole = max(0, len(data) - shift) // KEY_BYTES * KEY_BYTES
    return memoryview(data)[shift : shift + whole].cast("I")


def _bytes(value: Any) -> bytes:
    """A value as it may be searched; of a container everything in it, keys too."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Ext):
        return value.data
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple, set)):
        return b"\0".join(map(_bytes, value))
    return str(value).encode("utf-8", "surrogateescape")


def _forms(word: str) -> Iterator[tuple[str, bytes]]:
    raw = word.encode()
    yield "utf-8", raw
    yield "utf-16", word.encode("utf-16-le")
    escaped = json.dumps(word)[1:-1]
    for text in (
        escaped,
        json.dumps(word, ensure_ascii=False)[1:-1],
        re.sub(r"\\u[0-9a-f]{4}", lambda m: "\\u" + m[0][2:].upper(), escaped),
    ):
        if text != word:
            yield "json", text.encode()
    yield "hex", raw.hex().encode()
    yield "hex", raw.hex().upper().encode()
    if len(raw) >= SURE_BYTES:
        for encode in (b64encode, urlsafe_b64encode):
            for before in range(3):
                # Of the characters only those that the word alone decides.
                yield "base64", encode(bytes(before) + raw)[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
