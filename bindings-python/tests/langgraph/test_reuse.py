"""Which sealed values are stored again as they are."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backends import database
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, fixed
from sealpoint.langgraph.reuse import SealedValues

DOCUMENT = "d" * 5000


class Recorder(InMemorySaver):
    """Keeps what it was given. Its class is not in the table of layouts by itself, but its ancestor is."""


class Unknown(BaseCheckpointSaver[Any]):
    """A saver that nothing is known about, and that takes no task path."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Any] = []

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        self.rows.append((config, checkpoint, metadata))
        return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}

    def put_writes(self, config: Any, writes: Any, task_id: str) -> None:  # type: ignore[override]
        self.rows.append((config, writes, task_id))


def config(thread: str = "t", parent: str | None = None) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **({"checkpoint_id": parent} if parent else {})}}


def checkpoint(checkpoint_id: str, value: Any, version: Any = 1) -> Any:
    return {
        "v": 4,
        "id": checkpoint_id,
        "ts": "",
        "channel_values": {"document": value},
        "channel_versions": {"document": version},
        "versions_seen": {},
    }


def put(saver: SealedSaver, inner: Unknown, *args: Any, new: Any = (), thread: str = "t") -> Any:
    saver.put(config(thread), checkpoint(*args), {}, dict.fromkeys(new, args[2] if len(args) > 2 else 1))
    return inner.rows[-1][1]["channel_values"]["document"]


@pytest.fixture
def inner() -> Unknown:
    return Unknown()


@pytest.fixture
def saver(inner: Unknown, keyring: Keyring) -> SealedSaver:
    return SealedSaver(inner, keyring, tenant=lambda config: "globex" if config["configurable"]["thread_id"] == "g" else "acme")


def test_the_same_unchanged_object_is_sealed_once(saver: SealedSaver, inner: Unknown) -> None:
    first = put(saver, inner, "1", DOCUMENT, new=["document"])
    assert put(saver, inner, "2", DOCUMENT) == first


def test_what_is_new_is_sealed_again(saver: SealedSaver, inner: Unknown) -> None:
    first = put(saver, inner, "1", DOCUMENT, new=["document"])
    assert put(saver, inner, "2", DOCUMENT, new=["document"]) != first


def test_an_equal_object_is_sealed_again(saver: SealedSaver, inner: Unknown) -> None:
    first = put(saver, inner, "1", DOCUMENT, new=["document"])
    assert put(saver, inner, "2", "".join(["d" * 2500] * 2)) != first


def test_two_forks_with_one_version_do_not_mix(saver: SealedSaver, inner: Unknown, keyring: Keyring) -> None:
    """Integer versions: both forks call their value version 2."""
    left, right = "l" * 5000, "r" * 5000
    put(saver, inner, "1", DOCUMENT, 1, new=["document"])
    put(saver, inner, "2", left, 2, new=["document"])
    put(saver, inner, "3", right, 2, new=["document"])
    back = put(saver, inner, "4", left, 2)
    on = put(saver, inner, "5", right, 2)
    context = saver._sealer.keyring._cache
    from sealpoint.langgraph.positions import position

    at = position("acme", "t", "").channel.extend(channel="document", version=2)
    assert [context.open(sealed, at)[1][-1:] for sealed in (back, on)] == [b"l", b"r"]  # type: ignore[index]


@pytest.mark.parametrize(
    "other", [{"version": 2}, {"version": "1"}, {"thread": "u"}, {"thread": "g"}], ids=["version", "type of version", "thread", "tenant"]
)
def test_another_position_is_sealed_again(other: Any, saver: SealedSaver, inner: Unknown) -> None:
    first = put(saver, inner, "1", DOCUMENT, 1, new=["document"])
    assert put(saver, inner, "2", DOCUMENT, other.get("version", 1), thread=other.get("thread", "t")) != first


def test_what_could_have_changed_in_place_is_sealed_again(saver: SealedSaver, inner: Unknown) -> None:
    document = [DOCUMENT]
    first = put(saver, inner, "1", document, new=["document"])
    document.append("more")
    second = put(saver, inner, "2", document)
    assert len(second) > len(first)


def test_an_old_key_does_not_live_on(saver: SealedSaver, inner: Unknown, keyring: Keyring) -> None:
    from sealpoint._native import DataKey

    first = put(saver, inner, "1", DOCUMENT, new=["document"])
    key, _ = DataKey.generate(tenant="acme", version=2)
    keyring._cache.insert(key, active=True)
    second = put(saver, inner, "2", DOCUMENT)
    assert first[5:21] != second[5:21]
    assert second[5:21] == key.dek_id
    assert put(saver, inner, "3", DOCUMENT) == second


def test_what_was_read_is_reused(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    def stored() -> list[bytes]:
        import ormsgpack

        with closing(database(path)) as sql:
            rows = sql.execute("SELECT checkpoint FROM checkpoints ORDER BY checkpoint_id").fetchall()
        return [ormsgpack.unpackb(row[0])["channel_values"]["document"] for row in rows]

    with SqliteSaver.from_conn_string(str(path)) as sqlite:
        SealedSaver(sqlite, keyring, tenant=fixed("acme")).put(config(), checkpoint("1", DOCUMENT), {}, {"document": 1})
        fresh = SealedSaver(sqlite, keyring, tenant=fixed("acme"))
        found = fresh.get_tuple(config())
        assert found is not None
        fresh.put(config(parent="1"), {**found.checkpoint, "id": "2"}, {}, {})
        assert stored()[0] == stored()[1]
        again = fresh.get_tuple(config())
        assert again is not None
        assert again.checkpoint["channel_values"]["document"] == DOCUMENT


def test_bounds() -> None:
    kept = SealedValues(max_count=3, max_bytes=10_000)
    values = [f"{number}" * 3000 for number in range(5)]
    for number, value in enumerate(values):
        kept.put(("acme", "t", "", str(number)), 1, value, b"e" * 3000)
    assert len(kept) == 3
    assert kept.get(("acme", "t", "", "0"), 1, values[0]) is None
    assert kept.get(("acme", "t", "", "4"), 1, values[4]) == b"e" * 3000
    kept.put(("acme", "t", "", "big"), 1, values[0], b"e" * 20_000)
    assert len(kept) == 0, "what is larger than the bound is not kept either"
    kept.put(("acme", "t", "", "list"), 1, ["x"], b"e" * 100)
    assert len(kept) == 0, "a list may be changed in place"


def test_what_a_saver_would_not_store_is_not_sealed(keyring: Keyring) -> None:
    given: list[Any] = []

    class Watching(InMemorySaver):
        def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
            given.append(checkpoint["channel_values"])
            return super().put(config, checkpoint, metadata, new_versions)

    saver = SealedSaver(Watching(), keyring, tenant=fixed("acme"))
    saver.put(config(), checkpoint("1", DOCUMENT), {}, {"document": 1})
    saver.put(config(parent="1"), checkpoint("2", DOCUMENT), {}, {})
    assert [set(values) for values in given] == [{"document"}, set()]
    found = saver.get_tuple(config())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"document": DOCUMENT}


def test_a_saver_without_task_path(saver: SealedSaver, inner: Unknown) -> None:
    saver.put_writes(config(parent="1"), [("a", 1)], "task", "~path")
    assert inner.rows[-1][2] == "task"
    assert inner.rows[-1][1][0][0] == "a"
