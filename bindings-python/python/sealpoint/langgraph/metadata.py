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


def matches(entries: Mapping[str, Any], wanted: Mapping[str, Any], *, contained: bool = False) -> bool:
    """LangGraph's own rule: equality, and an absent entry equals None. Or Postgres' rule for JSON: `wanted` is contained in the entries."""
    if contained:
        return _contains(entries, wanted)
    return all(value == entries.get(key) for key, value in wanted.items())


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(key in found and _contains(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return isinstance(found, (list, tuple)) and all(any(_contains(item, value) for item in found) for value in wanted)
    # In JSON, unlike in Python, true is not 1.
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)
