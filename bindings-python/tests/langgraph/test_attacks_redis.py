"""Somebody without a key edits Redis. Each edit is also made to a bare saver's data, where it goes through."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from backends import Redis, ShallowRedis
from test_attacks import NEW, OLD, checkpoint, config, fill, refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, from_config

HERE = config("acme", "t1")


class Documents:
    """The attacker's hands: JSON, no key."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, decode_responses=True)

    def name(self, thread: str = "t1", ns: str = "", checkpoint_id: str = NEW) -> str:
        return f"checkpoint:{thread}:{ns or '__empty__'}:{checkpoint_id}"

    def read(self, *place: str) -> Any:
        return self.client.json().get(self.name(*place))

    @contextmanager
    def edited(self) -> Iterator[tuple[Any, Any]]:
        """The newest checkpoint of t1 and its metadata."""
        document: Any = self.read()
        metadata = json.loads(document["metadata"])
        yield document["checkpoint"], metadata
        document["metadata"] = json.dumps(metadata)
        self.client.json().set(self.name(), "$", document)

    def write_name(self, thread: str, ns: str, checkpoint_id: str, task: str, number: int) -> str:
        return f"checkpoint_write:{thread}:{ns or '__empty__'}:{checkpoint_id}:{task}:{number}"


Attack = Callable[[Documents], object]


@dataclass(frozen=True)
class Case:
    attack: Attack
    code: str
    goes_through: Callable[[Any], bool]


def field(change: Callable[[Any, Any], object]) -> Attack:
    def attack(documents: Documents) -> None:
        with documents.edited() as row:
            change(*row)

    return attack


def value_from(*place: str) -> Attack:
    def attack(documents: Documents) -> None:
        stolen = documents.read(*place)["checkpoint"]["channel_values"]["role"]
        with documents.edited() as (found, _):
            found["channel_values"]["role"] = stolen

    return attack


def planted(value: Any) -> Attack:
    return field(lambda c, m: c["channel_values"].update(role=value))


def older_renamed(documents: Documents) -> None:
    document = documents.read("t1", "", OLD)
    document["checkpoint"]["id"] = document["checkpoint_id"] = NEW
    documents.client.json().set(documents.name(), "$", document)


def moved(*source: str) -> Attack:
    def attack(documents: Documents) -> None:
        document = documents.read(*source)
        document.update(thread_id="t1", checkpoint_ns="__empty__")
        documents.client.json().set(documents.name(), "$", document)

    return attack


def write(change: Callable[[Documents, Any], object]) -> Attack:
    """Changes the write of task 1 to `role`."""

    def attack(documents: Documents) -> None:
        name = documents.write_name("t1", "", NEW, "task-1", 0)
        document: Any = documents.client.json().get(name)
        change(documents, document)
        documents.client.json().set(name, "$", document)

    return attack


def write_from(*place: Any) -> Attack:
    def change(documents: Documents, document: Any) -> None:
        other: Any = documents.client.json().get(documents.write_name(*place))
        document.update(type=other["type"], blob=other["blob"])

    return write(change)


def role(expected: Any) -> Callable[[Any], bool]:
    return lambda found: found.checkpoint["channel_values"].get("role") == expected


def task_1(expected: Any) -> Callable[[Any], bool]:
    return lambda found: ("task-1", "role", expected) in found.pending_writes


CONSTRUCTOR = {"lc": 2, "type": "constructor", "id": ["decimal", "Decimal"], "kwargs": {}}
CASES = {
    "value of another tenant": Case(value_from("g1"), "authentication_failed", role("guest of g1")),
    "value of another thread": Case(value_from("t2"), "authentication_failed", role("guest of t2")),
    "value of another namespace": Case(value_from("t1", "sub"), "authentication_failed", role("guest of t1sub")),
    "value of an older checkpoint": Case(value_from("t1", "", OLD), "authentication_failed", role("admin of t1")),
    "older checkpoint renamed": Case(older_renamed, "authentication_failed", role("admin of t1")),
    "row of another tenant": Case(moved("g1"), "authentication_failed", role("guest of g1")),
    "row of another thread": Case(moved("t2"), "authentication_failed", role("guest of t2")),
    "row of another namespace": Case(moved("t1", "sub"), "authentication_failed", role("guest of t1sub")),
    "plaintext": Case(planted("admin"), "plaintext_refused", role("admin")),
    "null": Case(planted(None), "plaintext_refused", role(None)),
    "an object to rebuild": Case(planted(CONSTRUCTOR), "plaintext_refused", lambda found: True),
    "a snapshot of a plain value": Case(
        planted({"__delta_snapshot__": True, "value": "admin"}),
        "authentication_failed",
        lambda found: found.checkpoint["channel_values"]["role"].value == "admin",
    ),
    "channel dropped": Case(field(lambda c, m: c["channel_values"].pop("role")), "authentication_failed", role(None)),
    "version changed": Case(
        field(lambda c, m: c["channel_versions"].update(role="3")),
        "authentication_failed",
        lambda found: found.checkpoint["channel_versions"]["role"] == "3",
    ),
    "pending node marked as seen": Case(
        field(lambda c, m: c["versions_seen"]["pay"].update({"branch:to:pay": "2"})),
        "authentication_failed",
        lambda found: found.checkpoint["versions_seen"]["pay"]["branch:to:pay"] == "2",
    ),
    "step changed": Case(field(lambda c, m: m.update(step=9)), "authentication_failed", lambda found: found.metadata["step"] == 9),
    "manifest removed": Case(field(lambda c, m: m.pop("sealpoint", None)), "plaintext_refused", lambda found: True),
    "write of another tenant": Case(write_from("g1", "", NEW, "task-1", 0), "authentication_failed", task_1("task-1 2 g1")),
    "write of another checkpoint": Case(write_from("t1", "", OLD, "task-1", 0), "authentication_failed", task_1("task-1 1 t1")),
    "write of another task": Case(write_from("t1", "", NEW, "task-2", 0), "authentication_failed", task_1("task-2 2 t1")),
    "write of another channel": Case(write_from("t1", "", NEW, "task-1", 1), "authentication_failed", task_1("o")),
    "plaintext write": Case(write(lambda _, found: found.update(type="json", blob="ImFwcHJvdmUi")), "plaintext_refused", task_1("approve")),
    "write relabelled as null": Case(write(lambda _, found: found.update(type="null")), "plaintext_refused", task_1(None)),
}


def wrap(keyring: Keyring) -> Callable[[Any], Any]:
    return lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_edited(case: Case, make_backend: Any, keyring: Keyring) -> None:
    with (bare := make_backend(Redis)).opened(lambda inner: inner) as saver:
        fill(saver)
        case.attack(Documents(bare.place))
        assert case.goes_through(saver.get_tuple(HERE))
    with (sealed := make_backend(Redis)).opened(wrap(keyring)) as saver:
        fill(saver)
        assert role("guest of t1")(saver.get_tuple(HERE)), "before the attack it reads"
        case.attack(Documents(sealed.place))
        assert refused(lambda: saver.get_tuple(HERE)) == case.code
        assert refused(lambda: list(saver.list(HERE))) == case.code


def test_shallow(make_backend: Any, keyring: Keyring) -> None:
    """A document put back as it was is an older state, whole; pieces of it are refused."""
    with (backend := make_backend(ShallowRedis)).opened(wrap(keyring)) as saver:
        client = redis.Redis.from_url(backend.place, decode_responses=True)
        first, second = checkpoint(OLD, "admin", "1"), checkpoint(NEW, "guest", "2")
        saver.put(HERE, first, {"source": "loop", "step": 1, "parents": {}}, first["channel_versions"])
        old: Any = client.json().get("checkpoint:t1:")
        saver.put(config("acme", "t1", "", OLD), second, {"source": "loop", "step": 2, "parents": {}}, second["channel_versions"])
        assert saver.get_tuple(HERE).checkpoint["channel_values"] == second["channel_values"]
        client.json().set("checkpoint:t1:", "$.checkpoint.channel_values.role", old["checkpoint"]["channel_values"]["role"])
        assert refused(lambda: saver.get_tuple(HERE)) == "authentication_failed"
        client.json().set("checkpoint:t1:", "$.checkpoint", old["checkpoint"])
        assert refused(lambda: saver.get_tuple(HERE)) == "authentication_failed"
