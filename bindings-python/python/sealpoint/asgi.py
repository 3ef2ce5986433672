"""Health for services: an ASGI application, for any server or framework that speaks ASGI."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from ._health import Health
from .errors import InvalidArgumentError
from .keyring import Keyring

__all__ = ["health"]

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def health(keyring: Keyring, *, max_age: float = 10.0) -> App:
    """Answers GET and HEAD with the keyring's health as JSON: 200 as long as keys can be had, from a KEK or from the cache, else 503.

    It names schemes and codes; no tenant, no URI. Whoever asks within `max_age` seconds gets the same answer: nobody can make the key
    service's bill by asking. Mount it where your probes look: `Mount("/health/keys", sealpoint.asgi.health(keyring))`.

    Raises: `invalid_argument`.
    """
    if isinstance(max_age, bool) or not isinstance(max_age, (int, float)) or not 0 <= max_age <= 300:
        raise InvalidArgumentError("invalid_argument", "max_age is a number of seconds: from 0 to 300")
    probe = _Probe(keyring, max_age)

    async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["method"] in ("GET", "HEAD"):
            status, report = await probe.answer()
            await _respond(send, status, report, body=scope["method"] == "GET")
        else:
            await _respond(send, 405, {"error": "GET or HEAD"}, (b"allow", b"GET, HEAD"))

    return app


class _Probe:
    """One look at the keyring at a time, shared by all who ask while it lasts and shortly after."""

    def __init__(self, keyring: Keyring, max_age: float) -> None:
        self._keyring = keyring
        self._max_age = max_age
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._last: tuple[float, tuple[int, dict[str, Any]]] | None = None

    async def answer(self) -> tuple[int, dict[str, Any]]:
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = (loop, asyncio.Lock())
        async with self._lock[1]:
            if self._last is None or time.monotonic() - self._last[0] >= self._max_age:
                answer = await self._look()
                self._last = (time.monotonic(), answer)
            return self._last[1]

    async def _look(self) -> tuple[int, dict[str, Any]]:
        try:
            found = await self._keyring.ahealth()
        except InvalidArgumentError:
            return 503, {"status": "closed"}
        return 503 if found.status == "failed" else 200, _report(found)


def _report(found: Health) -> dict[str, Any]:
    return {
        "status": found.status,
        "store": found.store,
        "cached_until": found.cached_until and found.cached_until.isoformat(),
        "affected_tenants": found.affected,
        "keks": [{"scheme": kek.scheme, "status": kek.status, "code": kek.code} for kek in found.keks],
    }


async def _respond(
    send: Callable[[Message], Awaitable[None]], status: int, report: dict[str, Any], *more: tuple[bytes, bytes], body: bool = True
) -> None:
    content = json.dumps(report).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content if body else b""})


async def _live(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    """Where it is the whole application: nothing to start, nothing to end; the keyring stays its owner's."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
