"""The words that a sealed database must not contain."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from support_agent.conversation import load_conversation

LENGTH = 8
"""Shorter ones turn up by chance: 50 MB of base64 hold a given 6-byte word once in 1,400 times, and
there are that many words. With 8 bytes the chance of any false alarm is below one in a thousand."""

VOCABULARY = ("langgraph", "langchain_core", "sealpoint", "support_agent")
"""The packages whose words may be in a database for another reason: as node, channel or type."""

_WORD = re.compile(rf"[A-Za-z0-9][A-Za-z0-9'@._/-]{{{LENGTH - 2},}}[A-Za-z0-9]")
_NUMBER = re.compile(r"\+?\d{2,4}(?: \d{3,7}){2,3}\b")
"""As people write them: cards, telephones, insurance."""

_CHANCE = re.compile(r"[0-9a-fA-F._/-]+|\d{4}-\d\d-\d\dT.*")
"""Numbers, hexadecimal and timestamps: a checkpoint has its own."""


@cache
def distinctive_words(*tenants: str) -> tuple[str, ...]:
    """What only the conversations of these tenants can have put into a database.

    Names, codes, addresses, plain words, long numbers: everything of some length that occurs
    nowhere in the code that runs here, compared without regard to case.
    """
    text = "\n".join(_sensitive(tenants))
    vocabulary = _vocabulary()
    words = {word for word in _WORD.findall(text) if not _CHANCE.fullmatch(word) and word.lower() not in vocabulary}
    return tuple(sorted(words | set(_NUMBER.findall(text))))


def _sensitive(tenants: Iterable[str]) -> Iterable[str]:
    """All texts of the cases, but neither ids nor names of tools: those are in the code."""
    for tenant in tenants:
        conversation = load_conversation(tenant)
        yield conversation.requester
        for line in conversation.lines:
            yield line["content"]
            yield line.get("note", "")
            yield from (str(value) for value in line.get("approval", {}).values())


def _vocabulary() -> str:
    words: set[str] = set()
    for package in VOCABULARY:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for source in Path(folder).rglob("*.py*"):
                if source.suffix in (".py", ".pyi"):
                    words.update(_WORD.findall(source.read_text(encoding="utf-8").lower()))
    return "\n".join(words)
