"""Copies of the user's stores and caches in which one part is replaced."""

import copy
from typing import TypeVar

from sealpoint.errors import InvalidArgumentError

T = TypeVar("T")


def borrowed(inner: T, **replaced: object) -> T:
    """A shallow copy that shares everything but what is `replaced`; `inner` itself is not changed.

    Some stores and caches close their connection, or cancel their background task, when they are collected. The copy does not: these are
    the original's. Keep the original as long as the copy.
    Raises: `invalid_argument` (it cannot be copied).
    """
    cls = type(inner)
    try:
        twin = copy.copy(inner)
        twin.__class__ = type(cls.__name__, (cls,), {"__slots__": (), "__del__": _leave, "__module__": cls.__module__})
        for name, value in replaced.items():
            setattr(twin, name, value)
    except (AttributeError, TypeError):
        raise InvalidArgumentError(
            "invalid_argument",
            f"{cls.__name__} cannot be copied, so its parts cannot be replaced: use one of LangGraph's own",
        ) from None
    return twin


def _leave(_self: object) -> None:
    pass
