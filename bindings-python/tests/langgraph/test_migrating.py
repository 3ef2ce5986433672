"""`mode="migrating"`: threads from before sealing go on, what is new is sealed, and the window closes."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from backends import (
    BACKENDS,
    AsyncMemory,
    AsyncPostgres,
    AsyncRedis,
    AsyncSqlite,
    Backend,
    FakeMongo,
    Memory,
    Postgres,
    Redis,
    Sqlite,
    database,
    stored_bytes,
)
from graphs import asking
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_POS_ARGS
from langgraph.checkpoint.sqlite import SqliteSaver
from old_threads import FUTURE, GRAPHS, NEW, OLD, Run, bare, chat, chat_with, config, encrypted, migrating, plain_again, plan, sealed

from conftest import MakeBackend
from sealpoint import Keyring, Migration, SealpointError
from sealpoint.langgraph import SealedSaver, from_config

PAST = datetime.now(UTC) - timedelta(seconds=1)

# Bare Redis savers do not give equal runs equal histories: messages in lists come back as maps, Sends are lost, writes change their order.
REDIS = tuple(kind for kind in BACKENDS if issubclass(kind, (Redis, AsyncRedis)))
UNORDERED = (FakeMongo,)  # writes of parallel nodes come back in any order, and delta channels are rebuilt from them
EVERYWHERE = [(kind, name, 2) for kind in BACKENDS for name in GRAPHS if kind not in REDIS and not (kind in UNORDERED and name == "delta")]
EARLY_AND_LATE = [(kind, name, before) for kind in (Memory, Sqlite, Postgres) for name in GRAPHS for before in (1, 3)]


@pytest.mark.parametrize(
    ("kind", "name", "before"), EVERYWHERE + EARLY_AND_LATE, ids=lambda given: given.__name__ if isinstance(given, type) else str(given)
)
def test_a_thread_goes_on(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend], name: str, before: int) -> None:
    make, inputs = plan(name, kind)
    expected = Run(make_backend(kind, "bare")).steps(make, inputs, [bare] * 4)
    wraps = [bare] * before + [migrating(keyring)] * (4 - before)
    assert Run(make_backend(kind)).steps(make, inputs, wraps) == expected


@pytest.mark.parametrize("kind", REDIS, ids=lambda kind: kind.__name__)
def test_a_thread_goes_on_on_redis(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    results = []
    for step, wrap in zip(GRAPHS["asking"][1], [bare, bare, migrating(keyring), migrating(keyring)], strict=True):
        with backend.opened(wrap) as saver:
            result = backend.invoke(asking(saver), step, config())
            results.append((result["answers"], [pause.value for pause in result.get("__interrupt__", ())]))
    assert [pauses for _, pauses in results] == [[{"ask": "first"}], [{"ask": "second"}], ["sure?"], []]
    assert sorted(results[-1][0]) == ["beside", "one", "start", "two", "yes"]


@pytest.mark.parametrize("kind", [Memory, AsyncMemory, Sqlite, AsyncSqlite, Postgres, AsyncPostgres], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_thread_of_the_encrypted_serializer_goes_on(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend], name: str) -> None:
    make, inputs = plan(name, kind)
    expected = Run(make_backend(kind, "bare")).steps(make, inputs, [bare] * 4)
    backend = make_backend(kind)
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
    [datetime(2030, 1, 1), {}, {"acme": datetime(2030, 1, 1)}, {"": FUTURE}, {1: FUTURE}, "2030-01-01", None],
    ids=["naive", "nobody", "naive for one", "no tenant", "a number as tenant", "text", "none"],
)
def test_refused_ends(until: Any) -> None:
    with pytest.raises(SealpointError) as caught:
        Migration(until)
    assert caught.value.code == "invalid_argument"
