"""Which sealed values are stored again as they are."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backends import database
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from sealpoint import Keyring, SealpointError
from sealpoint.langgraph import SealedSaver, fixed
from sealpoint.langgraph.reuse import Kept, SealedValues

DOCUMENT = "d" * 5000
DOCUMENTS = [{"text": "d" * 5000} for _ in range(4)]


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


def sealed_and_kept(saver: SealedSaver, inner: Unknown, value: Any, version: Any = 1) -> bytes:
    """The envelope that is kept: of the first step that left the value as it was."""
    put(saver, inner, "1", value, version, new=["document"])
    kept: bytes = put(saver, inner, "2", value, version)
    return kept


@pytest.mark.parametrize("value", [DOCUMENT, b"d", 7, 0.5, True, DOCUMENTS], ids=lambda value: type(value).__name__)
def test_the_same_unchanged_object_is_not_sealed_again(value: Any, saver: SealedSaver, inner: Unknown) -> None:
    kept = sealed_and_kept(saver, inner, value)
    assert put(saver, inner, "3", value) == kept
    assert put(saver, inner, "4", value) == kept


def test_what_is_new_is_sealed_again(saver: SealedSaver, inner: Unknown) -> None:
    kept = sealed_and_kept(saver, inner, DOCUMENT)
    assert put(saver, inner, "3", DOCUMENT, new=["document"]) != kept


def test_what_changes_at_each_step_is_not_kept(saver: SealedSaver, inner: Unknown) -> None:
    for number in range(3):
        put(saver, inner, str(number), [*DOCUMENTS, number], number, new=["document"])
    assert len(saver._sealer.reuse) == 0


def test_an_equal_object_is_sealed_again(saver: SealedSaver, inner: Unknown) -> None:
    kept = sealed_and_kept(saver, inner, DOCUMENT)
    assert put(saver, inner, "3", "".join(["d" * 2500] * 2)) != kept


def test_two_forks_with_one_version_do_not_mix(saver: SealedSaver, inner: Unknown, keyring: Keyring) -> None:
    """Integer versions: both forks call their value version 2."""
    left, right = "l" * 5000, "r" * 5000
    put(saver, inner, "1", DOCUMENT, 1, new=["document"])
    put(saver, inner, "2", left, 2, new=["document"])
    put(saver, inner, "3", left, 2)
    put(saver, inner, "4", right, 2, new=["document"])
    back = put(saver, inner, "5", left, 2)
    on = put(saver, inner, "6", right, 2)
    context = saver._sealer.keyring._cache
    from sealpoint.langgraph.positions import position

    at = position("acme", "t", "").channel.extend(channel="document", version=2)
    assert [context.open(sealed, at)[1][-1:] for sealed in (back, on)] == [b"l", b"r"]  # type: ignore[index]


@pytest.mark.parametrize(
    "other", [{"version": 2}, {"version": "1"}, {"thread": "u"}, {"thread": "g"}], ids=["version", "type of version", "thread", "tenant"]
)
def test_another_position_is_sealed_again(other: Any, saver: SealedSaver, inner: Unknown) -> None:
    kept = sealed_and_kept(saver, inner, DOCUMENT)
    assert put(saver, inner, "3", DOCUMENT, other.get("version", 1), thread=other.get("thread", "t")) != kept


def test_a_version_that_no_context_takes_is_refused_still(saver: SealedSaver, inner: Unknown) -> None:
    sealed_and_kept(saver, inner, DOCUMENT, 1)
    with pytest.raises(SealpointError) as refused:
        put(saver, inner, "3", DOCUMENT, True)
    assert refused.value.code == "invalid_context"


def test_a_small_value_that_changed_in_place_is_sealed_again(saver: SealedSaver, inner: Unknown) -> None:
    document = [DOCUMENT]
    kept = sealed_and_kept(saver, inner, document)
    document.append("more")
    assert len(put(saver, inner, "3", document)) > len(kept)


def test_a_large_value_that_changed_in_place_is_not_looked_at(saver: SealedSaver, inner: Unknown) -> None:
    """Within one version a value is one value: a node returns what it changed."""
    documents = list(DOCUMENTS)
    kept = sealed_and_kept(saver, inner, documents)
    documents.append({"text": "more"})
    assert put(saver, inner, "3", documents) == kept
    assert len(put(saver, inner, "4", documents, 2, new=["document"])) > len(kept)


def test_an_old_key_does_not_live_on(saver: SealedSaver, inner: Unknown, keyring: Keyring) -> None:
    from sealpoint._native import DataKey

    first = sealed_and_kept(saver, inner, DOCUMENT)
    key, _ = DataKey.generate(tenant="acme", version=2)
    keyring._cache.insert(key, active=True)
    second = put(saver, inner, "3", DOCUMENT)
    assert first[5:21] != second[5:21]
    assert second[5:21] == key.dek_id
    assert put(saver, inner, "4", DOCUMENT) == second


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


def test_where_primitives_stay_inline_their_text_is_reused(keyring: Keyring) -> None:
    class Watching(PostgresSaver):
        """Never connects: what it is given is what Postgres would be."""

        def __init__(self) -> None:
            BaseCheckpointSaver.__init__(self)

        def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
            given.append(checkpoint["channel_values"].get("document"))
            return config

    given: list[Any] = []
    saver = SealedSaver(Watching(), keyring, tenant=fixed("acme"))
    for number in range(3):
        saver.put(config(parent="0"), checkpoint(str(number), DOCUMENT), {}, {})
    assert given[1] == given[2] == given[0]
    assert given[0].startswith("sealpoint:v1:")
    # What lies in the saver's table of values is not stored again, but on a thread's first checkpoint nothing lies there.
    place = ("acme", "t", "")
    saver._sealer.reuse.keep(place, {"document": Kept(1, DOCUMENT, None)})
    saver.put(config(parent="0"), checkpoint("4", DOCUMENT), {}, {})
    saver.put(config(), checkpoint("5", DOCUMENT), {}, {})
    assert given[3] is None
    assert given[4].startswith("sealpoint:v1:")
    saver.put(config(parent="0"), checkpoint("6", DOCUMENTS), {}, {})
    assert given[5] is None
    assert len(saver._sealer.reuse) == 0, "what is not stored again is not kept"


def kept(value: object, length: int) -> dict[str, Kept]:
    return {"document": Kept(1, value, b"e" * length)}


def test_bounds() -> None:
    values = SealedValues(max_threads=3, max_bytes=50_000)
    places = [("acme", str(number), "") for number in range(5)]
    for place in places[:4]:
        values.keep(place, kept(DOCUMENT, 1000))
    assert [bool(values.of(place)) for place in places] == [False, True, True, True, False]
    values.of(places[1])
    values.keep(places[4], kept(DOCUMENT, 20_000))
    assert [bool(values.of(place)) for place in places] == [False, True, False, True, True], "the least recently used one goes"
    values.keep(places[0], kept(DOCUMENTS, 9_000))
    assert [bool(values.of(place)) for place in places] == [True, False, False, False, False], "an object takes more than its bytes"
    values.keep(places[2], kept(DOCUMENT, 30_000))
    assert [bool(values.of(place)) for place in places] == [True, False, False, False, False], "more than the bound is not kept"
    values.keep(places[0], {})
    assert len(values) == 0


def test_what_was_kept_before_is_let_go() -> None:
    values = SealedValues(max_bytes=50_000)
    for _ in range(100):
        values.keep(("acme", "t", ""), kept(DOCUMENT, 20_000))
    values.keep(("acme", "u", ""), kept(DOCUMENT, 1000))
    assert len(values) == 2


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
    assert len(saver._sealer.reuse) == 0


def test_a_saver_without_task_path(saver: SealedSaver, inner: Unknown) -> None:
    saver.put_writes(config(parent="1"), [("a", 1)], "task", "~path")
    assert inner.rows[-1][2] == "task"
    assert inner.rows[-1][1][0][0] == "a"
