"""`mode="migrating"`: threads from before sealing go on, what is new is sealed, and the window closes."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from backends import Backend, database, stored_bytes
from graphs import CHAT_INPUT, asking, delta, fan, functional, view
from graphs import chat as chat_with
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_POS_ARGS
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from sealpoint import Keyring, Migration, SealpointError
from sealpoint.langgraph import SealedSaver, from_config

FUTURE = datetime.now(UTC) + timedelta(days=30)
PAST = datetime.now(UTC) - timedelta(seconds=1)
OLD, NEW = "written before sealing", "written after sealing began"
Saver = BaseCheckpointSaver[Any]


def chat(saver: Saver) -> Any:
    return chat_with(saver, b"\x00raw")


def config(thread: str = "t", tenant: str = "acme") -> Any:
    return {"configurable": {"thread_id": thread, "workspace_id": tenant}}


def bare(inner: Saver) -> Saver:
    return inner


def sealed(keyring: Keyring, **options: Any) -> Callable[[Saver], Saver]:
    return lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"), **options)


def migrating(keyring: Keyring, until: Any = FUTURE, **options: Any) -> Callable[[Saver], Saver]:
    return sealed(keyring, mode="migrating", migration=Migration(until), **options)


def encrypted(serde: Any) -> Callable[[Saver], Saver]:
    def wrap(inner: Saver) -> Saver:
        inner.serde = serde
        return inner

    return wrap


def plain_again(serde: Any, wrap: Callable[[Saver], Saver]) -> Callable[[Saver], Saver]:
    """The application gives the saver its default serializer back when it starts to seal."""

    def wrapped(inner: Saver) -> Saver:
        inner.serde = serde
        return wrap(inner)

    return wrapped


class Run:
    """A thread of each graph, one step per saver: `wraps` says which saver takes which step."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def steps(self, make: Any, inputs: list[Any], wraps: list[Any]) -> Any:
        results = []
        for value, wrap in zip(inputs, wraps, strict=True):
            with self.backend.opened(wrap) as saver:
                result = _comparable(self.backend.invoke(make(saver), value, config()))
                results.append((result, view([self._clean(self.backend.state(make(saver), config()))])))
        with self.backend.opened(wraps[-1]) as saver:
            return results, view([self._clean(state) for state in self.backend.history(make(saver), config())])

    @staticmethod
    def _clean(state: Any) -> Any:
        return state._replace(values=_comparable(state.values))


def _comparable(values: Any) -> Any:
    """Without the ids that differ from run to run."""
    if not isinstance(values, dict):
        return values
    values = dict(values)
    pauses = [pause.value for pause in values.pop("__interrupt__", ())]
    if "messages" in values:
        values["messages"] = [(message.type, message.content) for message in values["messages"]]
    return values, pauses


GRAPHS: dict[str, tuple[Any, list[Any]]] = {
    "chat": (chat, [CHAT_INPUT, {"seen": ["two"]}, {"seen": ["three"]}, {"messages": [("user", "again")]}]),
    "fan": (fan, [{"items": ["x", "y"], "inner": ""}] * 4),
    "asking": (asking, [{"answers": ["start"]}, Command(resume="one"), Command(resume="two"), Command(resume="yes")]),
    "functional": (functional, [[1, 2, 3], Command(resume="fine"), [4, 5], Command(resume="again")]),
    "delta": (delta, [{"log": ["you"], "turn": turn} for turn in range(4)]),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_thread_goes_on(backend: Backend, keyring: Keyring, tmp_path: Path, name: str, before: int) -> None:
    make, inputs = GRAPHS[name]
    if name == "functional" and backend.__class__.__name__.startswith("Async"):
        from graphs import afunctional as make
    reference = type(backend)(tmp_path / "bare.db")
    try:
        expected = Run(reference).steps(make, inputs, [bare] * 4)
    finally:
        reference.close()
    wraps = [bare] * before + [migrating(keyring)] * (4 - before)
    assert Run(backend).steps(make, inputs, wraps) == expected


@pytest.mark.parametrize("name", GRAPHS)
def test_a_thread_of_the_encrypted_serializer_goes_on(backend: Backend, keyring: Keyring, tmp_path: Path, name: str) -> None:
    make, inputs = GRAPHS[name]
    if name == "functional" and backend.__class__.__name__.startswith("Async"):
        from graphs import afunctional as make
    reference = type(backend)(tmp_path / "bare.db")
    try:
        expected = Run(reference).steps(make, inputs, [bare] * 4)
    finally:
        reference.close()
    with backend.opened(bare) as saver:
        serde = saver.serde
    eax = EncryptedSerializer.from_pycryptodome_aes(serde, key=os.urandom(32))
    after = plain_again(serde, migrating(keyring, legacy_serde=eax))
    assert Run(backend).steps(make, inputs, [encrypted(eax)] * 2 + [after] * 2) == expected


def old_thread(path: Path, *, thread: str = "t", tenant: str = "acme") -> None:
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(inner).invoke({"seen": [OLD]}, config(thread, tenant))


def test_what_is_new_is_sealed(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    old_thread(path)
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(migrating(keyring)(inner)).invoke({"seen": [NEW]}, config())
    stored = stored_bytes(path)
    assert OLD.encode() in stored
    assert NEW.encode() not in stored


def test_it_counts_by_tenant_and_kind(tmp_path: Path, keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    old_thread(path)
    old_thread(path, thread="u", tenant="globex")
    migration = Migration({"acme": FUTURE, "globex": FUTURE})
    with SqliteSaver.from_conn_string(str(path)) as inner:
        saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"), mode="migrating", migration=migration)
        assert migration.counts() == {}
        saver.get_tuple(config())
        saver.get_tuple(config())
        saver.get_tuple(config("u", "globex"))
        assert {tenant: counts["checkpoints"] for tenant, counts in migration.counts().items()} == {"acme": 2, "globex": 1}
        before = migration.counts()
        chat(saver).invoke({"seen": [NEW]}, config("v"))
        saver.get_tuple(config("v"))
        assert migration.counts() == before, "what is sealed is not counted"
    assert [record.getMessage() for record in caplog.records if record.name == "sealpoint"] == [
        "unsealed data was read while migrating: 1 checkpoints so far"
    ]
    assert "acme" not in repr(migration)


@pytest.mark.parametrize(
    "until",
    [PAST, {"acme": PAST}, {"globex": FUTURE}],
    ids=["ended", "ended for the tenant", "another tenant's"],
)
def test_outside_its_window_it_is_strict(tmp_path: Path, keyring: Keyring, until: Any) -> None:
    path = tmp_path / "state.db"
    old_thread(path)
    with SqliteSaver.from_conn_string(str(path)) as inner:
        saver = migrating(keyring, until)(inner)
        for read in (saver.get_tuple, lambda at: list(saver.list(at))):
            with pytest.raises(SealpointError, match="migrating") as caught:
                read(config())
            assert caught.value.code == "plaintext_refused"
        chat(saver).invoke({"seen": [NEW]}, config("new"))
        assert saver.get_tuple(config("new")) is not None


def test_a_thread_that_was_continued_opens_strictly_from_its_sealed_checkpoints(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    old_thread(path)
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(migrating(keyring)(inner)).invoke({"seen": [NEW]}, config())
        strict = sealed(keyring)(inner)
        found = strict.get_tuple(config())
        assert found is not None
        assert found.checkpoint["channel_values"]["seen"][0] == OLD
        with pytest.raises(SealpointError) as caught:
            list(strict.list(config()))
        assert caught.value.code == "plaintext_refused"


def test_the_old_checkpoint_of_another_tenant_is_refused(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    old_thread(path, tenant="globex")
    with SqliteSaver.from_conn_string(str(path)) as inner:
        with pytest.raises(SealpointError) as caught:
            migrating(keyring)(inner).get_tuple(config())
        assert caught.value.code == "authentication_failed"


def test_a_sealed_checkpoint_without_its_manifest_is_no_old_one(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(sealed(keyring)(inner)).invoke({"seen": [NEW]}, config())
    with database(path) as db:
        db.execute('UPDATE checkpoints SET metadata = \'{"source": "loop", "step": 1, "parents": {}}\'')
    with SqliteSaver.from_conn_string(str(path)) as inner:
        with pytest.raises(SealpointError) as caught:
            migrating(keyring)(inner).get_tuple(config())
        assert caught.value.code == "authentication_failed"


def test_an_old_value_that_begins_like_an_envelope_never_passes_as_plaintext(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat_with(inner, b"\xc1raw").invoke({"seen": [OLD]}, config())
        with pytest.raises(SealpointError, match="'blob'") as caught:
            migrating(keyring)(inner).get_tuple(config())
        assert caught.value.code == "authentication_failed"


def test_an_unsealed_value_in_a_sealed_row_is_refused_where_the_row_holds_its_values(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(sealed(keyring)(inner)).invoke({"seen": [NEW]}, config())
    with database(path) as db:
        for rowid, blob in db.execute("SELECT rowid, checkpoint FROM checkpoints").fetchall():
            row = ormsgpack.unpackb(blob)
            row["channel_values"]["seen"] = ["planted"]
            db.execute("UPDATE checkpoints SET checkpoint = ? WHERE rowid = ?", (ormsgpack.packb(row), rowid))
    with SqliteSaver.from_conn_string(str(path)) as inner:
        with pytest.raises(SealpointError) as caught:
            migrating(keyring)(inner).get_tuple(config())
        assert caught.value.code == "plaintext_refused"


def test_classes_are_built_only_for_a_tenant_that_migrates(tmp_path: Path, keyring: Keyring) -> None:
    """LangGraph's serializer builds what a row names, before anybody can authenticate it: that comes with reading unsealed rows."""
    path = tmp_path / "state.db"
    old_thread(path)
    with database(path) as db:
        for rowid, blob in db.execute("SELECT rowid, checkpoint FROM checkpoints").fetchall():
            row = ormsgpack.unpackb(blob, ext_hook=lambda code, data: None)
            call = ormsgpack.Ext(EXT_CONSTRUCTOR_POS_ARGS, ormsgpack.packb(("os", "mkdir", (str(tmp_path / "made"),))))
            row["channel_values"]["seen"] = [call]
            db.execute("UPDATE checkpoints SET checkpoint = ? WHERE rowid = ?", (ormsgpack.packb(row), rowid))
    with SqliteSaver.from_conn_string(str(path)) as inner:
        with pytest.raises(SealpointError):
            migrating(keyring, {"globex": FUTURE})(inner).get_tuple(config())
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("legacy", [None, "other key"])
def test_threads_of_the_encrypted_serializer_need_its_key(tmp_path: Path, keyring: Keyring, legacy: str | None) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        inner.serde = EncryptedSerializer.from_pycryptodome_aes(inner.serde, key=os.urandom(32))
        chat(inner).invoke({"seen": [OLD]}, config())
    other = EncryptedSerializer.from_pycryptodome_aes(key=os.urandom(32))
    with SqliteSaver.from_conn_string(str(path)) as inner:
        saver = migrating(keyring, legacy_serde=other if legacy else None)(inner)
        with pytest.raises(SealpointError, match="legacy_serde") as caught:
            saver.get_tuple(config())
        assert caught.value.code == ("authentication_failed" if legacy else "plaintext_refused")


def test_a_damaged_old_row_is_malformed(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    old_thread(path)
    with database(path) as db:
        db.execute("UPDATE checkpoints SET checkpoint = substr(checkpoint, 1, 40)")
    with SqliteSaver.from_conn_string(str(path)) as inner:
        with pytest.raises(SealpointError) as caught:
            migrating(keyring)(inner).get_tuple(config())
        assert caught.value.code == "malformed"
        assert caught.value.__context__ is None, "its message may hold the value"


def test_filters_and_copies_reach_old_checkpoints(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(inner).invoke({"seen": [OLD]}, {**config(), "metadata": {"locale": "de"}})
        saver = migrating(keyring)(inner)
        chat(saver).invoke({"seen": [NEW]}, {**config(), "metadata": {"locale": "fr"}})
        found = {locale: len(list(saver.list(config(), filter={"locale": locale}))) for locale in ("de", "fr")}
        bare_count = sum(json.loads(row[0]).get("locale") == "de" for row in inner.conn.execute("SELECT metadata FROM checkpoints"))
        assert found["de"] == bare_count > 0
        assert found["fr"] > 0


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "migrating"},
        {"mode": "migrating", "migration": FUTURE},
        {"migration": Migration(FUTURE)},
        {"legacy_serde": EncryptedSerializer.from_pycryptodome_aes(key=bytes(32))},
        {"mode": "lenient", "migration": Migration(FUTURE)},
    ],
    ids=["no end", "a bare date", "strict with a migration", "strict with a legacy_serde", "unknown mode"],
)
def test_refused_options(tmp_path: Path, keyring: Keyring, options: Any) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "state.db")) as inner, pytest.raises(SealpointError) as caught:
        sealed(keyring, **options)(inner)
    assert caught.value.code == "invalid_argument"


@pytest.mark.parametrize(
    "until",
    [datetime(2030, 1, 1), {}, {"acme": datetime(2030, 1, 1)}, {"": FUTURE}, {1: FUTURE}, "2030-01-01", None],  # noqa: DTZ001
    ids=["naive", "nobody", "naive for one", "no tenant", "a number as tenant", "text", "none"],
)
def test_refused_ends(until: Any) -> None:
    with pytest.raises(SealpointError) as caught:
        Migration(until)
    assert caught.value.code == "invalid_argument"
