"""Searching for words that must occur nowhere, in rows and in every byte of files, all at once and in constant memory.

A word is looked for as it is (UTF-8, case-sensitive, not normalised), as UTF-16LE, as JSON escapes it, within base64 of either alphabet
and as hex digits. Not found is what was compressed, encrypted, or broken over lines or pages.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InvalidArgumentError
from .report import WordHit, printable

__all__ = ["Words"]

CHUNK_BYTES = 1 << 20
KEY_BYTES = 4
"""Words are found by their first bytes, so they have at least as many."""

SURE_BYTES = 8
"""A shorter word turns up by chance now and again where there is much base64; as base64 itself it is not searched at all."""


class _Form(NamedTuple):
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
        self._forms: dict[int, list[_Form]] = {}
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
            for form in {_Form(line, name, written) for name, written in _forms(word)}:
                self._forms.setdefault(_key(form.written), []).append(form)
                self._overlap = max(self._overlap, len(form.written) - 1)
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
            for form, _ in self._found(_bytes(value), known):
                known.add(form)
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
                        known.add(form)
                        where = f"the file {printable(path.name)}, offset {searched - len(tail) + offset:,}"
                        self.hits.append(WordHit(form.line, form.name, where))
                    searched += len(chunk)
                    tail = data[-self._overlap :]
                    progress(f"{searched:,} bytes of {printable(path.name)} searched")
        except OSError as error:
            raise InvalidArgumentError("invalid_argument", f"{printable(path.name)} cannot be read: {error.strerror}") from None
        return searched

    def _found(self, data: bytes, known: Collection[_Form]) -> Iterator[tuple[_Form, int]]:
        """Forms other than the known ones that occur in the data, each with its first offset."""
        keys: set[int] = set()
        view = memoryview(data)
        for shift in range(KEY_BYTES):
            if whole := (len(data) - shift) // KEY_BYTES * KEY_BYTES if len(data) > shift else 0:
                keys |= self._forms.keys() & view[shift : shift + whole].cast("I")
        for form in sorted(chain.from_iterable(self._forms[key] for key in keys)):
            if form not in known and (offset := data.find(form.written)) >= 0:
                yield form, offset


def _key(written: bytes) -> int:
    return int.from_bytes(written[:KEY_BYTES], sys.byteorder)


def _bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
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
