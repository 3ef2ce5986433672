"""What the providers for services share: one budget of time for each call, no secrets in a client library's log, and what came back."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from .._native import SecretKey
from ..errors import AuthenticationError, InternalError, InvalidArgumentError, SealpointError

DEADLINE_S = 10.0
MAX_DEADLINE_S = 120.0
ATTEMPTS = 3

_T = TypeVar("_T")
_call = threading.local()


class Budget:
    """The time for one call of a service: at most three attempts of `attempt` seconds, and pauses with jitter between them."""

    def __init__(self, deadline: object, service: str, *, attempts: int = ATTEMPTS) -> None:
        """deadline: seconds for everything. Raises: `invalid_argument`."""
        if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not 0 < deadline <= MAX_DEADLINE_S:
            raise InvalidArgumentError("invalid_argument", f"deadline is a number of seconds: more than 0 and at most {MAX_DEADLINE_S:.0f}")
        self._deadline = deadline
        self._service = service
        self._attempts = attempts
        self.attempt = deadline * 0.28

    def run(self, call: Callable[[], _T], translate: Callable[[Exception], SealpointError | None]) -> _T:
        """`call()`, again if its error can be cured by a retry and there is time for it.

        translate: from what the client library raised to our error; what it does not know becomes `internal`. The original goes nowhere:
        libraries put parameters, and services put names, into what they raise.
        """
        started = time.monotonic()
        for number in range(1, self._attempts + 1):
            try:
                with _quiet():
                    return call()
            except SealpointError:
                raise
            except Exception as error:  # noqa: BLE001  # a client library raises anything
                name = type(error).__name__
                failure = translate(error) or InternalError("internal", f"the client of {self._service} raised {name}")
            pause = random.uniform(0, self._deadline / 50 * number)  # noqa: S311  # spreads callers, hides nothing
            left = started + self._deadline - time.monotonic()
            if not failure.retryable or number == self._attempts or pause + self.attempt > left:
                break
            time.sleep(pause)
        raise failure  # outside of the handler: the original does not become its context


def secret_from(plaintext: bytes | bytearray, service: str) -> SecretKey:
    """What a service unwrapped. Raises: `authentication_failed`."""
    if len(plaintext) != 32:
        raise AuthenticationError("authentication_failed", f"{service} unwrapped something that is no key")
    return SecretKey.from_bytes(plaintext if isinstance(plaintext, bytearray) else bytearray(plaintext))


@contextmanager
def exposed(secret: SecretKey) -> Iterator[bytearray]:
    """The secret's bytes for a client library; wiped afterwards."""
    plaintext = secret.expose()
    try:
        yield plaintext
    finally:
        plaintext[:] = bytes(len(plaintext))


def never_log(*loggers: str) -> None:
    """These loggers of client libraries write requests and answers, keys included, at the level DEBUG: not those of our calls."""
    for name in loggers:
        logging.getLogger(name).addFilter(_not_ours)


def _not_ours(_: logging.LogRecord) -> bool:
    return not getattr(_call, "running", False)


@contextmanager
def _quiet() -> Iterator[None]:
    _call.running = True
    try:
        yield
    finally:
        _call.running = False
