"""The demo shows, and checks what it shows."""

from collections.abc import Callable
from typing import Any

from sealpoint import SealpointError


class DemoFailed(Exception):
    """Something did not turn out as the demo says it does."""


def expect(true: object, otherwise: str) -> None:
    """Ends the demo with this message unless it holds."""
    if not true:
        raise DemoFailed(otherwise)


def refusal(call: Callable[[], Any], codes: tuple[str, ...], what: str) -> SealpointError:
    """The error that the call must end in."""
    try:
        call()
    except SealpointError as error:
        expect(error.code in codes, f"{what}: refused with {error.code} instead of {' or '.join(codes)}: {error}")
        return error
    raise DemoFailed(f"{what}: was not refused")
