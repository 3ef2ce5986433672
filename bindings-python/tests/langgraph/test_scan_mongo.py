"""`scan` on what the real MongoDBSaver writes into mongomock: a fake of the database, not the database."""

from collections.abc import Callable
from typing import Any

import ormsgpack
import pymongo
import pytest
from backends import FakeMongo
from graphs import CHAT_INPUT, chat, delta

from sealpoint import Keyring, SealpointError
from sealpoint.langgraph import SealedSaver, fixed
from sealpoint.scan import Report, Verdict, scan

SECRET = "a diagnosis nobody may read"
CONTENT = {("checkpoints", "checkpoint.channel_values"), ("checkpoint_writes", "value")}
URL = "mongodb://user:hunter2-password@localhost/checkpointing_db"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeMongo:
    """A saver's backend whose fake database is also what `scan` connects to."""
    backend = FakeMongo("unused")

    def connect(url: str, **_: Any) -> Any:
        assert url.startswith("mongodb://")
        return backend.client

    monkeypatch.setattr(pymongo, "MongoClient", connect)
    monkeypatch.setattr(backend.client, "close", lambda: None)
    monkeypatch.setattr(backend.client, "get_default_database", lambda default: backend.client["checkpointing_db"])
    return backend


def played(backend: FakeMongo, wrap: Callable[[Any], Any]) -> None:
    with backend.opened(wrap) as saver:
        config: Any = {"configurable": {"thread_id": "chat", "note": SECRET}, "metadata": {"customer": SECRET}}
        backend.invoke(chat(saver), CHAT_INPUT, config)
        for _ in range(2):
            backend.invoke(delta(saver), {"log": ["start"], "turn": 1}, {"configurable": {"thread_id": "delta"}})


@pytest.fixture
def sealed(fake: FakeMongo, keyring: Keyring) -> Any:
    played(fake, lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme")))
    return fake.client["checkpointing_db"]


def where(report: Report, verdict: Verdict = Verdict.UNSEALED) -> set[tuple[str, str]]:
    return {(finding.table, finding.column) for finding in report.of(verdict)}


def test_a_sealed_database_is_all_sealed(sealed: Any) -> None:
    report = scan(URL)
    assert report.ok, report.to_text()
    assert where(report, Verdict.SEALED) == {*CONTENT, ("checkpoints", "metadata")}
    assert "hunter2" not in report.to_text() + report.to_json()


def test_a_bare_database_is_not(fake: FakeMongo) -> None:
    played(fake, lambda inner: inner)
    report = scan(URL)
    assert where(report) == {*CONTENT, ("checkpoints", "metadata")}
    assert report.sealed == ()
    assert SECRET not in report.to_text()


@pytest.mark.parametrize(
    ("collection", "change", "column"),
    [
        ("checkpoint_writes", {"type": "msgpack", "value": ormsgpack.packb(SECRET)}, "value"),
        ("checkpoints", {"metadata.customer": ["msgpack", ormsgpack.packb(SECRET)]}, "metadata"),
        ("checkpoints", {"metadata.sealpoint": ["msgpack", ormsgpack.packb(SECRET)]}, "metadata"),
        ("checkpoints", {"metadata.sealpoint": SECRET}, "metadata"),
        ("checkpoints", {"metadata.step": ["bytes", SECRET.encode()]}, "metadata"),
        ("checkpoints", {"metadata_search": {"customer": SECRET}}, "metadata_search"),
    ],
)
def test_each_value_that_is_unsealed_is_found(sealed: Any, collection: str, change: Any, column: str) -> None:
    assert sealed[collection].update_one({}, {"$set": change}).modified_count == 1
    report = scan(URL)
    assert {(finding.table, finding.column, finding.values) for finding in report.unsealed} == {(collection, column, 1)}, report.to_text()
    assert "thread_id chat" in report.unsealed[0].examples[0]
    assert SECRET not in report.to_text()


def test_every_database_is_read_if_none_is_named(sealed: Any, fake: FakeMongo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake.client, "get_default_database", lambda default: fake.client[default])
    fake.client["other"]["checkpoint_writes"].insert_one({"thread_id": "t", "type": "bytes", "value": SECRET.encode()})
    fake.client["other"]["notes"].insert_one({"note": SECRET})
    report = scan("mongodb://localhost/")
    assert where(report) == {("other.checkpoint_writes", "value")}
    assert [finding.table for finding in report.unknown] == ["other.notes"]


def test_a_url_that_is_none_is_not_repeated() -> None:
    with pytest.raises(SealpointError) as caught:
        scan("mongodb://user:hunter2-password@[")
    assert caught.value.code == "invalid_argument"
    assert "hunter2" not in str(caught.value)
