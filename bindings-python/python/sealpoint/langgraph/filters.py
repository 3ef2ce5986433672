"""Filters on fields that the database cannot read, applied after opening."""

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

from sealpoint.errors import InvalidArgumentError

_ORDER: dict[str, Callable[[Any, Any], bool]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}
_OPERATORS = frozenset({"$eq", "$ne", *_ORDER})


def check_filter(condition: Any) -> None:
    """Refuses an operator that `matches` does not know. Raises: `invalid_argument`."""
    if isinstance(condition, Mapping):
        operators = {name for name in condition if isinstance(name, str) and name.startswith("$")}
        if operators and not (operators <= _OPERATORS and len(operators) == len(condition)):
            raise InvalidArgumentError("invalid_argument", f"a filter knows the operators {', '.join(sorted(_OPERATORS))} and no others")
        for nested in condition.values():
            check_filter(nested)
    elif isinstance(condition, (list, tuple)):
        for nested in condition:
            check_filter(nested)


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """As `InMemoryStore` compares: an absent field is None; `{"$gt": …}` compares numbers, and what reads as one.

    Where that store raises, two strings compare as text (as in the databases) and anything else does not match.
    """
    return all(_matches(value.get(name), condition) for name, condition in wanted.items())


def _matches(value: Any, condition: Any) -> bool:
    if isinstance(condition, Mapping):
        if any(isinstance(name, str) and name.startswith("$") for name in condition):
            return all(_compare(value, operator, operand) for operator, operand in condition.items())
        return isinstance(value, dict) and matches(value, condition)
    if isinstance(condition, (list, tuple)):
        return isinstance(value, list) and len(value) == len(condition) and all(map(_matches, value, condition))
    return bool(value == condition)


def _compare(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return bool(value == operand)
    if operator == "$ne":
        return bool(value != operand)
    compare = _ORDER[operator]
    try:
        return compare(float(value), float(operand))
    except (TypeError, ValueError, OverflowError):
        return isinstance(value, str) and isinstance(operand, str) and compare(value, operand)
