"""What keys there are and what is due."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from support import OTHER_KEK_TEXT, OTHER_TENANT, TENANT, FakeKms, lift_constraints, query, ready, refused

from sealpoint import Keyring

DAY_US = 86_400_000_000


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


def test_one_tenant(url: str, keyring: Keyring) -> None:
    keyring.load(TENANT)
    keyring.load(TENANT, dek_purpose="client")
    keyring.load(OTHER_TENANT)
    done = keyring.rotate(TENANT)
    query(url, "UPDATE sealpoint_deks SET created_at = created_at - ? WHERE purpose = 3", 100 * DAY_US)
    (found,) = keyring.status(TENANT)
    assert (found.tenant, found.shredded_at, found.problems) == (TENANT, None, ())
    data, client = found.purposes
    assert (data.dek_purpose, data.active_version, data.due, client.dek_purpose, client.due) == ("data", 2, (), "client", ("rotate",))
    assert (data.age_days, client.age_days) == (pytest.approx(0, abs=0.1), pytest.approx(100, abs=0.1))
    assert [(dek.dek_id, dek.version, dek.state, dek.keks, dek.retired_at is None) for dek in data.deks] == [
        (done.retired, 1, "retired", ("fake:one",), False),
        (done.dek_id, 2, "active", ("fake:one",), True),
    ]
    assert keyring.status(TENANT, policy=timedelta(days=101))[0].purposes[1].due == ()
    assert json.loads(found.to_json())["purposes"][0]["deks"][1]["state"] == "active"


def test_a_rewrap_that_is_due(url: str, keyring: Keyring, kms: FakeKms) -> None:
    keyring.load(TENANT)
    with ready(url, [kms, FakeKms("fake:two", OTHER_KEK_TEXT)]) as both:
        assert both.status(TENANT)[0].purposes[0].due == ("rewrap",)
        both.rewrap("fake:one", "fake:two")
        (found,) = both.status(TENANT)
        assert (found.purposes[0].due, found.purposes[0].deks[0].keks) == ((), ("fake:one", "fake:two"))


def test_pages(keyring: Keyring) -> None:
    names = ["a", "b", "ä", "Z", "日本", "x" * 1024]
    for name in names:
        keyring.load(name)
    pages, after = [], None
    while page := keyring.status(limit=2, after=after):
        pages.append([one.tenant for one in page])
        after = page[-1].tenant
    assert [name for page in pages for name in page] == sorted(names, key=str.encode)
    assert [len(page) for page in pages] == [2, 2, 2]


def test_a_shredded_tenant(keyring: Keyring) -> None:
    keyring.load(TENANT)
    keyring.shred(TENANT, confirm=TENANT)
    (found,) = keyring.status()
    assert found.shredded_at is not None
    assert (found.purposes[0].active_version, found.purposes[0].age_days, found.purposes[0].due, found.problems) == (None, None, (), ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE sealpoint_deks SET key_check = NULL WHERE version = 1", "damaged"),
        ("UPDATE sealpoint_deks SET state = 'destroyed' WHERE version = 1", "has wraps"),
        ("DELETE FROM sealpoint_wraps", "no wraps"),
        ("UPDATE sealpoint_deks SET retired_at = NULL WHERE version = 1", "not since when"),
        ("UPDATE sealpoint_deks SET created_at = created_at * 2", "future"),
        ("UPDATE sealpoint_tenants SET shredded_at = 1", "is not destroyed"),
        ("DELETE FROM sealpoint_tenants", "no row of its own"),
        ("UPDATE sealpoint_deks SET state = CASE version WHEN 2 THEN 'retired' ELSE 'pending_destroy' END; "
         "UPDATE sealpoint_deks SET state = 'active' WHERE version = 1", "not the newest"),
    ],
)  # fmt: skip
def test_planted_rows_are_named(change: str, words: str, url: str, keyring: Keyring) -> None:
    keyring.load(TENANT)
    keyring.rotate(TENANT)
    keyring.load(OTHER_TENANT)
    lift_constraints(url)
    for statement in change.split(";"):
        query(url, statement)
    found = {one.tenant: one for one in keyring.status()}
    assert any(words in problem for problem in found[TENANT].problems)
    assert keyring.status(TENANT)[0].problems == found[TENANT].problems


def test_bad_arguments(keyring: Keyring) -> None:
    refused(lambda: keyring.status("nobody"), "key_not_found")
    bad: list[dict[str, Any]] = [
        {"policy": 90},
        {"policy": timedelta(0)},
        {"limit": 0},
        {"limit": 1001},
        {"limit": True},
        {"tenant": 7},
        {"after": 7},
    ]
    for options in bad:
        refused(lambda options=options: keyring.status(**options), "invalid_argument")  # type: ignore[misc]


async def test_async_twin_in_memory(kms: FakeKms) -> None:
    async with await Keyring.aconnect("memory:", kek=kms) as keyring:
        for name in ("b", "a"):
            await keyring.aload(name)
        assert [one.tenant for one in await keyring.astatus()] == ["a", "b"]
        assert await keyring.astatus(after="b") == ()
