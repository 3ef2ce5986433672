"""Which metadata stays readable, and filters over the part that does not."""

from collections.abc import Mapping
from typing import Any

SEALED_KEY = "sealpoint"
"""The one key under which a row's metadata holds the envelope."""

CLEAR = ("source", "step", "parents", "run_id", "counters_since_delta_snapshot", "delta_writes_versioned")
"""What savers and their SQL look at themselves (SPEC section 7.1). The manifest authenticates it."""

_CLEAR = frozenset(CLEAR)


def split(entries: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Clear entries and the rest."""
    clear: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in entries.items():
        (clear if key in _CLEAR else rest)[key] = value
    return clear, rest


def matches(entries: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """LangGraph's own rule: equality, and an absent entry equals None."""
    return all(value == entries.get(key) for key, value in wanted.items())
