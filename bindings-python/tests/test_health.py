"""Health: what the keyring says of its KEKs, and what a service answers to its probes; on a real ASGI server."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn
from support import CONTEXT, OTHER_CONTEXT, PLAINTEXT, TENANT, FakeKms, in_threads, lose, refused
from test_refresh import DUE, pass_time, touch

from sealpoint import Keyring
from sealpoint.asgi import health


@contextmanager
def served(app: Any) -> Iterator[tuple[str, int]]:
    """The application on a server of its own, on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on", ws="none"))
    started = threading.Event()
    startup = server.startup

    async def tell(*arguments: Any, **options: Any) -> None:
        await startup(*arguments, **options)
        started.set()

    server.startup = tell  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join(30)


def ask(address: tuple[str, int], method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(method, "/")
        response = connection.getresponse()
        body = response.read()
        assert (response.headers["content-type"], response.headers["cache-control"]) == ("application/json", "no-store")
        assert TENANT.encode() not in body
        assert b"fake:" not in body
        return response.status, json.loads(body) if body else None
    finally:
        connection.close()


def test_serving_from_the_cache_until(keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    began = datetime.now(UTC)
    pass_time(keyring, 600)
    keyring.seal(PLAINTEXT, OTHER_CONTEXT)
    assert (keyring.health().status, keyring.health().keks[0].status, keyring.health().cached_until) == ("ok", "ok", None)
    kms.fail("kms_unavailable")
    found = keyring.health()
    assert (found.status, found.keks[0].status, found.keks[0].code, found.affected) == ("cached", "cached", "kms_unavailable", 0)
    assert found.cached_until == found.keks[0].cached_until
    assert found.cached_until is not None
    assert abs(found.cached_until - began - timedelta(seconds=3600)) < timedelta(seconds=60)  # the first that expires
    pass_time(keyring, 3001)
    second = keyring.health().cached_until
    assert second is not None
    assert second > found.cached_until
    pass_time(keyring, 600)
    assert (keyring.health().status, keyring.health().keks[0].status, keyring.health().cached_until) == ("failed", "failed", None)


@pytest.mark.parametrize("code", ["kms_denied", "key_disabled", "authentication_failed", "internal"])
def test_a_refusal_is_no_outage_whatever_is_held(code: str, keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    kms.fail(code)
    found = keyring.health()
    assert (found.status, found.keks[0].status, found.cached_until) == ("failed", "failed", None)


def test_what_was_evicted_serves_nobody(keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    pass_time(keyring, DUE)
    kms.fail("kms_denied")
    touch(keyring)
    kms.fail("kms_unavailable")
    found = keyring.health()
    assert (found.status, found.cached_until, found.affected) == ("failed", None, 1)


def test_affected_tenants_are_counted(keyring: Keyring, kms: FakeKms) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    pass_time(keyring, DUE)
    kms.fail("kms_throttled")
    touch(keyring)
    assert (keyring.health().affected, len(keyring.affected())) == (1, 1)
    assert TENANT not in repr(keyring.health())


def test_the_endpoint_follows_the_keys(keyring: Keyring, kms: FakeKms, url: str) -> None:
    with served(health(keyring, max_age=0)) as address:
        kek = {"scheme": "fake", "status": "ok", "code": None}
        expected = {"status": "ok", "store": None, "cached_until": None, "affected_tenants": 0, "keks": [kek]}
        assert ask(address) == (200, expected)
        kms.fail("kms_unavailable")
        assert ask(address)[0] == 503
        kms.fail(None)
        keyring.seal(PLAINTEXT, CONTEXT)
        kms.fail("kms_unavailable")
        status, report = ask(address)
        assert (status, report["status"], report["keks"][0]["status"]) == (200, "cached", "cached")
        assert datetime.fromisoformat(report["cached_until"]) > datetime.now(UTC)
        pass_time(keyring, 3601)
        assert ask(address)[0] == 503
        kms.fail(None)
        lose(url)
        assert (ask(address)[0], ask(address)[1]["store"]) == (503, "store_invalid")
        keyring.close()
        assert ask(address) == (503, {"status": "closed"})


def test_probes_share_a_look(keyring: Keyring, kms: FakeKms) -> None:
    with served(health(keyring)) as address:
        assert in_threads(8, lambda _: ask(address)[0]) == [200] * 8
    assert kms.calls == {"unwrap": 1}


def test_degraded_serves(pair: tuple[Keyring, FakeKms, FakeKms, bytes]) -> None:
    keyring, first, _, _ = pair
    first.fail("kms_denied")
    with served(health(keyring)) as address:
        status, report = ask(address)
    assert (status, report["status"], [kek["status"] for kek in report["keks"]]) == (200, "degraded", ["failed", "ok"])


def test_other_methods(keyring: Keyring) -> None:
    with served(health(keyring)) as address:
        assert ask(address, "HEAD") == (200, None)
        assert ask(address, "POST")[0] == 405


@pytest.mark.parametrize("max_age", [-1, 301, True, "10", None, float("nan")])
def test_no_age(max_age: Any, keyring: Keyring) -> None:
    refused(lambda: health(keyring, max_age=max_age), "invalid_argument", "max_age")
