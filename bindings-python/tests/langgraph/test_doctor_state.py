"""`doctor --state`: the envelopes of databases that real savers wrote, beside the key store that should open them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import Backend, Home, Postgres, Redis, Sqlite
from graphs import CHAT_INPUT, chat
from support import FakeKms, query, ready

from sealpoint import Keyring
from sealpoint.doctor import Check, Report, doctor
from sealpoint.langgraph import SealedSaver, fixed

DAY_US = 86_400_000_000


@pytest.fixture
def keys(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'keys.db'}"


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


@pytest.fixture
def ring(keys: str, kms: FakeKms) -> Iterator[Keyring]:
    with ready(keys, kms) as keyring:
        yield keyring


@pytest.fixture(params=[Sqlite, Postgres, Redis], ids=lambda kind: kind.__name__)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with request.param.home(Home(request, tmp_path), "state") as place:
        backend = request.param(place)
        yield backend
        backend.close()


def play(backend: Backend, keyring: Keyring, tenant: str) -> None:
    with backend.opened(lambda inner: SealedSaver(inner, keyring, tenant=fixed(tenant))) as saver:
        backend.invoke(chat(saver), CHAT_INPUT, {"configurable": {"thread_id": f"thread of {tenant}"}})


def looked_at(keys: str, kms: FakeKms, state: str) -> tuple[Report, dict[str, Check]]:
    report = doctor(keys, [kms], state=state)
    return report, {check.name: check for check in report.checks if check.name.startswith("state")}


def test_state_and_keys_that_belong_together(state: Backend, ring: Keyring, keys: str, kms: FakeKms) -> None:
    play(state, ring, "acme")
    ring.rotate("acme")
    play(state, ring, "acme")
    play(state, ring, "globex")
    report, found = looked_at(keys, kms, state.place)
    assert report.sound, report.to_text()
    assert {check.verdict for check in found.values()} == {"ok"}
    assert "envelopes under 3 keys" in found["state keys"].seen
    assert "state retired" not in found
    query(keys, "UPDATE sealpoint_deks SET retired_at = retired_at - ?, created_at = created_at - ?", DAY_US, DAY_US)
    assert "under 1 retired keys" in looked_at(keys, kms, state.place)[1]["state retired"].seen


def test_keys_that_are_gone(state: Backend, ring: Keyring, keys: str, kms: FakeKms, tmp_path: Path) -> None:
    play(state, ring, "acme")
    ring.shred("acme", confirm="acme")
    report, found = looked_at(keys, kms, state.place)
    assert (report.sound, found["state readable"].verdict) == (True, "warning")
    assert "destroyed: " in found["state readable"].found[0].what
    assert "thread of acme" in found["state readable"].found[0].what
    query(keys, "DELETE FROM sealpoint_deks")
    report, found = looked_at(keys, kms, state.place)
    assert (report.sound, found["state keys"].verdict, found["state keys"].count) == (False, "problem", 1)


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ("UPDATE sealpoint_deks SET state = 'pending_destroy' WHERE tenant = 'acme'", "state readable", "warning"),
        ("UPDATE sealpoint_deks SET purpose = 3 WHERE tenant = 'acme'", "state purpose", "problem"),
        ("UPDATE sealpoint_deks SET key_check = x'00' WHERE tenant = 'acme'", "state readable", "warning"),
    ],
)
def test_keys_that_do_not_open_it(change: str, name: str, verdict: str, ring: Keyring, keys: str, kms: FakeKms, tmp_path: Path) -> None:
    backend = Sqlite(str(tmp_path / "state.db"))
    play(backend, ring, "acme")
    play(backend, ring, "globex")
    query(keys, change)
    _, found = looked_at(keys, kms, backend.place)
    assert (found[name].verdict, found[name].count) == (verdict, 1)


def test_a_row_of_two_tenants(ring: Keyring, keys: str, kms: FakeKms, tmp_path: Path) -> None:
    """Somebody gives one tenant's checkpoint the metadata of another's."""
    backend = Sqlite(str(tmp_path / "state.db"))
    play(backend, ring, "acme")
    play(backend, ring, "globex")
    theirs = "SELECT metadata FROM checkpoints WHERE thread_id = 'thread of globex' LIMIT 1"
    query(tmp_path / "state.db", f"UPDATE checkpoints SET metadata = ({theirs}) WHERE thread_id = 'thread of acme'")
    report, found = looked_at(keys, kms, backend.place)
    assert (report.sound, found["state tenants"].verdict) == (False, "problem")
    assert "thread of acme" in found["state tenants"].found[0].what


def test_state_that_cannot_be_read(ring: Keyring, keys: str, kms: FakeKms, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database")
    for place in (str(tmp_path / "text"), str(tmp_path / "missing"), f"postgresql:///nothing?host={tmp_path}"):
        report, found = looked_at(keys, kms, place)
        assert (report.sound, found["state"].verdict) == (False, "problem")
    backend = Sqlite(str(tmp_path / "state.db"))
    play(backend, ring, "acme")
    with open(tmp_path / "state.db", "r+b") as file:
        file.truncate(8192)
    assert not doctor(keys, [kms], state=backend.place).sound
