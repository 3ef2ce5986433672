"""One `setup()` for a LangGraph object and the keyring."""

import inspect
from typing import Any

from sealpoint import Keyring


def set_up(inner: object, keyring: Keyring) -> Any:
    """Sets up both. An awaitable if the inner `setup` is a coroutine function, else None; an object without one needs none."""
    inner_setup = getattr(inner, "setup", None)
    if inspect.iscoroutinefunction(inner_setup):
        return _aset_up(inner_setup, keyring)
    if inner_setup is not None:
        inner_setup()
    keyring.setup()
    return None


async def _aset_up(inner_setup: Any, keyring: Keyring) -> None:
    await inner_setup()
    await keyring.asetup()
