"""`scan` on SQLite: databases that real savers wrote, sealed and not, and each value that somebody unseals."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from backends import Sqlite, database
from graphs import CHAT_INPUT, chat
from langgraph.cache.sqlite import SqliteCache
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.base import VECTOR_MIGRATIONS
from scanning import SECRET, edit, played, where

from sealpoint import Keyring, SealpointError
from sealpoint.langgraph import SealedSaver, SealedSerializer, fixed
from sealpoint.scan import Report, Verdict, scan


def with_serde(serde: Any) -> Callable[[Any], Any]:
    def wrap(inner: Any) -> Any:
        inner.serde = serde
        return inner

    return wrap


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyring]:
    folder = tmp_path_factory.mktemp("keys")
    kek = folder / "kek"
    kek.write_bytes(os.urandom(32))
    kek.chmod(0o600)
    with Keyring.connect(f"sqlite:///{folder / 'keys.db'}", kek=f"file:{kek}") as ring:
        ring.setup()
        yield ring


@pytest.fixture(scope="module")
def template(keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return played(tmp_path_factory.mktemp("sealed") / "state.db", lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme")))


@pytest.fixture
def sealed(template: Path, tmp_path: Path) -> Path:
    """A copy of a sealed database, to be edited."""
    return Path(shutil.copy(template, tmp_path / "state.db"))


def columns(report: Report) -> set[tuple[str, str]]:
    return where(report, Verdict.SEALED)


CONTENT = {("checkpoints", "checkpoint.channel_values"), ("writes", "value")}


def test_a_sealed_database_is_all_sealed(sealed: Path) -> None:
    report = scan(sealed)
    assert report.ok, report.to_text()
    assert (report.unsealed, report.corrupt, report.unknown) == ((), (), ())
    assert columns(report) == {*CONTENT, ("checkpoints", "metadata")}
    with closing(database(sealed)) as db:
        checkpoints, writes = (db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("checkpoints", "writes"))
    counted = {(finding.table, finding.column): finding.values for finding in report.sealed}
    assert counted["checkpoints", "metadata"] == checkpoints > 10
    assert counted["writes", "value"] == writes > 10
    assert counted["checkpoints", "checkpoint.channel_values"] > checkpoints
    assert report.summary.startswith("OK: ")


def test_a_bare_database_is_not(tmp_path: Path) -> None:
    report = scan(played(tmp_path / "bare.db", lambda inner: inner))
    assert where(report) == {*CONTENT, ("checkpoints", "metadata")}
    assert report.sealed == ()
    assert "NOT SEALED" in report.summary
    assert SECRET not in report.to_text() + report.to_json()


def test_sealed_serializer_leaves_metadata_readable(keyring: Keyring, tmp_path: Path) -> None:
    report = scan(played(tmp_path / "serializer.db", with_serde(SealedSerializer(keyring, tenant=fixed("acme")))))
    assert where(report) == {("checkpoints", "metadata")}
    assert columns(report) == {("checkpoints", "checkpoint"), ("writes", "value")}
    assert SECRET not in report.to_text()


def test_encrypted_serializer_is_not_sealing(tmp_path: Path) -> None:
    report = scan(played(tmp_path / "aes.db", with_serde(EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef"))))
    assert where(report) == {("checkpoints", "checkpoint"), ("checkpoints", "metadata"), ("writes", "value")}
    assert report.sealed == ()
    assert any("encrypted by something else (msgpack+aes)" in finding.reason for finding in report.unsealed)


def test_encrypted_serializer_below_a_sealed_saver(keyring: Keyring, tmp_path: Path) -> None:
    """What it wrote hides the envelopes: without its key nothing can be told, so nothing is said to be sealed but the metadata."""
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")
    report = scan(played(tmp_path / "both.db", lambda inner: SealedSaver(with_serde(serde)(inner), keyring, tenant=fixed("acme"))))
    assert where(report) == {("checkpoints", "checkpoint"), ("writes", "value")}
    assert columns(report) == {("checkpoints", "metadata")}


def test_rows_of_both_kinds_are_told_apart(sealed: Path) -> None:
    before = scan(sealed)
    with Sqlite(str(sealed)).opened(lambda inner: inner) as saver:
        Sqlite(str(sealed)).invoke(chat(saver), CHAT_INPUT, {"configurable": {"thread_id": "plain"}})
    report = scan(sealed)
    assert report.sealed == before.sealed
    assert where(report) == {*CONTENT, ("checkpoints", "metadata")}
    assert all("thread_id plain" in example for finding in report.unsealed for example in finding.examples)
    assert all(finding.examples for finding in report.unsealed)


def _foreign(code: int, data: bytes) -> ormsgpack.Ext:
    return ormsgpack.Ext(code, data)


def in_checkpoint(change: Callable[[dict[str, Any]], None], thread: str = "chat") -> Callable[[Path], None]:
    """Edits the newest checkpoint of a thread as MessagePack."""

    def apply(path: Path) -> None:
        with closing(database(path)) as db:
            sql = "SELECT rowid, checkpoint FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id DESC LIMIT 1"
            rowid, blob = db.execute(sql, (thread,)).fetchone()
            checkpoint = ormsgpack.unpackb(blob, ext_hook=_foreign, option=ormsgpack.OPT_NON_STR_KEYS)
            change(checkpoint)
            packed = ormsgpack.packb(checkpoint, option=ormsgpack.OPT_NON_STR_KEYS)
            assert packed != blob
            db.execute("UPDATE checkpoints SET checkpoint = ? WHERE rowid = ?", (packed, rowid))

    return apply


def in_metadata(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with closing(database(path)) as db:
            rowid, raw = db.execute("SELECT rowid, metadata FROM checkpoints WHERE thread_id = 'chat' LIMIT 1").fetchone()
            metadata = json.loads(raw)
            change(metadata)
            db.execute("UPDATE checkpoints SET metadata = ? WHERE rowid = ?", (json.dumps(metadata).encode(), rowid))

    return apply


def in_write(kind: str, value: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        edit(path, "UPDATE writes SET type = ?, value = ? WHERE rowid = (SELECT min(rowid) FROM writes)", kind, value)

    return apply


def snapshot_of(value: Any) -> Callable[[dict[str, Any]], None]:
    def change(checkpoint: dict[str, Any]) -> None:
        assert isinstance(checkpoint["channel_values"]["log"], ormsgpack.Ext)
        checkpoint["channel_values"]["log"] = ormsgpack.Ext(7, ormsgpack.packb(value))

    return change


def put(*path: str, value: Any = SECRET) -> Callable[[dict[str, Any]], None]:
    def change(within: dict[str, Any]) -> None:
        for key in path[:-1]:
            within = within[key]
        within[path[-1]] = value

    return change


def snapshots(path: Path) -> str:
    """A delta channel keeps its snapshot in every third checkpoint only."""
    with closing(database(path)) as db:
        for rowid, blob in db.execute("SELECT rowid, checkpoint FROM checkpoints WHERE thread_id = 'delta'").fetchall():
            log = ormsgpack.unpackb(blob, ext_hook=_foreign)["channel_values"].get("log")
            if isinstance(log, ormsgpack.Ext):
                return str(rowid)
    raise AssertionError("no snapshot")


UNSEALINGS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a text channel": (in_checkpoint(put("channel_values", "note")), "checkpoints", "checkpoint.channel_values"),
    "a number channel": (in_checkpoint(put("channel_values", "count", value=7)), "checkpoints", "checkpoint.channel_values"),
    "a true channel": (in_checkpoint(put("channel_values", "approved", value=True)), "checkpoints", "checkpoint.channel_values"),
    "a null channel": (in_checkpoint(put("channel_values", "nothing", value=None)), "checkpoints", "checkpoint.channel_values"),
    "a list channel": (in_checkpoint(put("channel_values", "seen", value=[SECRET])), "checkpoints", "checkpoint.channel_values"),
    "an added channel": (in_checkpoint(put("channel_values", "new")), "checkpoints", "checkpoint.channel_values"),
    "a field of another name": (in_checkpoint(put("pending_sends", value=[SECRET])), "checkpoints", "checkpoint.other fields"),
    "an object": (in_checkpoint(put("channel_values", "o", value=ormsgpack.Ext(0, b"x"))), "checkpoints", "checkpoint.channel_values"),
    "a version that is none": (
        in_checkpoint(put("channel_versions", "note", value=[SECRET])),
        "checkpoints",
        "checkpoint.channel_versions",
    ),
    "a time that is none": (in_checkpoint(put("ts", value=[SECRET])), "checkpoints", "checkpoint.ts"),
    "deep in versions_seen": (
        in_checkpoint(put("versions_seen", "join", value={"a": {"b": SECRET}})),
        "checkpoints",
        "checkpoint.versions_seen",
    ),
    "a metadata entry": (in_metadata(put("customer")), "checkpoints", "metadata"),
    "a step that is none": (in_metadata(put("step")), "checkpoints", "metadata"),
    "no metadata envelope": (in_metadata(lambda metadata: metadata.pop("sealpoint")), "checkpoints", "metadata"),
    "plain text in its place": (in_metadata(put("sealpoint")), "checkpoints", "metadata"),
    "a write": (in_write("msgpack", ormsgpack.packb(SECRET)), "writes", "value"),
    "a write of JSON": (in_write("json", json.dumps(SECRET).encode()), "writes", "value"),
    "a write of bytes": (in_write("bytes", SECRET.encode()), "writes", "value"),
    "a null write": (in_write("null", b""), "writes", "value"),
    "a write of no known type": (in_write("rot13", SECRET.encode()), "writes", "value"),
    "a write of text": (in_write("json", json.dumps(SECRET)), "writes", "value"),
    "a write of a number": (in_write("msgpack", 12), "writes", "value"),
}


@pytest.mark.parametrize("name", UNSEALINGS)
def test_each_value_that_is_unsealed_is_found(sealed: Path, name: str) -> None:
    unseal, table, column = UNSEALINGS[name]
    before = scan(sealed)
    unseal(sealed)
    report = scan(sealed)
    assert [(finding.table, finding.column, finding.values) for finding in report.unsealed] == [(table, column, 1)], report.to_text()
    assert report.corrupt == ()
    (example,) = report.unsealed[0].examples
    assert "thread_id " in example
    assert "checkpoint_id " in example
    assert not report.ok
    assert SECRET not in report.to_text() + report.to_json()
    lost = sum(f.values for f in before.sealed) - sum(f.values for f in report.sealed)
    assert lost in (0, 1)


def test_a_delta_snapshot_that_is_unsealed_is_found(sealed: Path) -> None:
    rowid = snapshots(sealed)
    with closing(database(sealed)) as db:
        checkpoint = ormsgpack.unpackb(
            db.execute("SELECT checkpoint FROM checkpoints WHERE rowid = ?", (rowid,)).fetchone()[0], ext_hook=_foreign
        )
    snapshot_of([SECRET])(checkpoint)
    edit(sealed, "UPDATE checkpoints SET checkpoint = ? WHERE rowid = ?", ormsgpack.packb(checkpoint), rowid)
    (finding,) = scan(sealed).unsealed
    assert (finding.column, finding.values) == ("checkpoint.channel_values", 1)
    assert "thread_id delta" in finding.examples[0]
    assert finding.examples[0].endswith("channel log")


def test_an_entry_that_hides_behind_another_of_its_name_is_found(sealed: Path) -> None:
    """A dictionary would keep the second and never see the first."""
    with closing(database(sealed)) as db:
        rowid, raw = db.execute("SELECT rowid, metadata FROM checkpoints LIMIT 1").fetchone()
        text = raw.decode()
        db.execute("UPDATE checkpoints SET metadata = ? WHERE rowid = ?", (text.replace('{"', f'{{"sealpoint": "{SECRET}", "', 1), rowid))
    assert where(scan(sealed)) == {("checkpoints", "metadata")}


def test_bytes_behind_a_checkpoint_are_corrupt(sealed: Path) -> None:
    edit(sealed, "UPDATE checkpoints SET checkpoint = checkpoint || CAST(? AS BLOB) WHERE rowid = 1", SECRET.encode())
    report = scan(sealed)
    assert where(report, Verdict.CORRUPT) == {("checkpoints", "checkpoint")}


CORRUPTIONS: dict[str, tuple[str, tuple[Any, ...], str, str]] = {
    "only the first byte": ("UPDATE writes SET value = ? WHERE rowid = 1", (b"\xc1" + SECRET.encode(),), "writes", "value"),
    "a header and plain text": (
        "UPDATE writes SET value = ? WHERE rowid = 1",
        (b"\xc1\x53\x02\x01\x00" + SECRET.encode() * 10,),
        "writes",
        "value",
    ),
    "a wrapped key": ("UPDATE writes SET value = ? WHERE rowid = 1", (b"\xc1\x57\x01\x01\x00" + bytes(120),), "writes", "value"),
    "text where bytes belong": ("UPDATE writes SET value = CAST('sealpoint:v1:AAAA' AS BLOB) WHERE rowid = 1", (), "writes", "value"),
    "cut off": ("UPDATE writes SET value = substr(value, 1, 90) WHERE rowid = 1", (), "writes", "value"),
    "half a checkpoint": ("UPDATE checkpoints SET checkpoint = substr(checkpoint, 1, 99) WHERE rowid = 1", (), "checkpoints", "checkpoint"),
    "a checkpoint that is no map": ("UPDATE checkpoints SET checkpoint = x'93010203' WHERE rowid = 1", (), "checkpoints", "checkpoint"),
    "no checkpoint": ("UPDATE checkpoints SET checkpoint = NULL WHERE rowid = 1", (), "checkpoints", "checkpoint"),
    "metadata that is no JSON": ("UPDATE checkpoints SET metadata = x'ff00' WHERE rowid = 1", (), "checkpoints", "metadata"),
    "metadata that is a list": ("UPDATE checkpoints SET metadata = '[1]' WHERE rowid = 1", (), "checkpoints", "metadata"),
    "metadata nested without end": ("UPDATE checkpoints SET metadata = ? WHERE rowid = 1", ("[" * 200_000,), "checkpoints", "metadata"),
    "a checkpoint nested without end": (
        "UPDATE checkpoints SET checkpoint = ? WHERE rowid = 1",
        (b"\x91" * 200_000,),
        "checkpoints",
        "checkpoint",
    ),
    "a map said to be huge": ("UPDATE checkpoints SET checkpoint = x'dfffffffff' WHERE rowid = 1", (), "checkpoints", "checkpoint"),
    "half an envelope in metadata": (
        'UPDATE checkpoints SET metadata = \'{"sealpoint": "sealpoint:v1:wVMBAQA"}\' WHERE rowid = 1',
        (),
        "checkpoints",
        "metadata",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_damaged_row_is_reported_and_the_scan_goes_on(sealed: Path, name: str) -> None:
    sql, parameters, table, column = CORRUPTIONS[name]
    total = sum(finding.values for finding in scan(sealed).sealed)
    edit(sealed, sql, *parameters)
    report = scan(sealed)
    assert [(f.table, f.column, f.values) for f in report.corrupt] == [(table, column, 1)], report.to_text()
    assert report.unsealed == ()
    assert not report.ok
    assert total - 10 < sum(finding.values for finding in report.sealed) < total
    assert SECRET not in report.to_text()


def test_a_damaged_page_is_reported_and_other_tables_are_read(sealed: Path) -> None:
    with closing(database(sealed)) as db:
        root, size = db.execute(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE name = 'writes'"
        ).fetchone()
        db.execute("PRAGMA journal_mode = DELETE").fetchall()
    with sealed.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    report = scan(sealed)
    assert where(report, Verdict.CORRUPT) == {("writes", "")}
    assert ("checkpoints", "metadata") in columns(report)


def test_a_column_that_is_not_langgraphs_is_not_clear(sealed: Path) -> None:
    with closing(database(sealed)) as db:
        db.execute("ALTER TABLE writes ADD COLUMN remark TEXT")
    assert scan(sealed).ok, "while it holds nothing"
    edit(sealed, "UPDATE writes SET remark = ? WHERE rowid = 1", SECRET)
    report = scan(sealed)
    assert where(report) == {("writes", "remark")}
    assert SECRET not in report.to_text()


def test_other_tables_are_named_and_fail_only_a_strict_scan(sealed: Path) -> None:
    with closing(database(sealed)) as db:
        db.execute('CREATE TABLE "my ""own"" notes" (note TEXT)')
        db.execute('INSERT INTO "my ""own"" notes" VALUES (?)', (SECRET,))
        db.execute("CREATE VIEW endless AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c")
    report = scan(sealed)
    assert [finding.table for finding in report.unknown] == ['my "own" notes'], "a view holds nothing of its own"
    assert report.ok
    assert not scan(sealed, strict=True).ok
    assert SECRET not in report.to_text()


def test_a_database_without_tables_of_langgraph_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(database(path)) as db:
        db.execute("CREATE TABLE t (a)")
    for empty in (path, Path(shutil.copy(os.devnull, tmp_path / "empty.db"))):
        with pytest.raises(SealpointError) as caught:
            scan(empty)
        assert caught.value.code == "invalid_argument"
        assert "Nothing was proven" in str(caught.value)


def test_the_key_store_in_the_same_file(template: Path, tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "all.db"
    kek = tmp_path / "kek"
    kek.write_bytes(os.urandom(32))
    kek.chmod(0o600)
    with Keyring.connect(f"sqlite:///{path}", kek=f"file:{kek}") as ring:
        ring.setup()
        played(path, lambda inner: SealedSaver(inner, ring, tenant=fixed("acme")))
    report = scan(path)
    assert report.ok, report.to_text()
    assert {("sealpoint_wraps", "wrapped"), ("sealpoint_canaries", "wrapped"), *CONTENT} <= columns(report)
    assert report.unknown == ()
    edit(path, "UPDATE sealpoint_wraps SET wrapped = ?", os.urandom(32))
    assert where(scan(path)) == {("sealpoint_wraps", "wrapped")}


def test_store_items(keyring: Keyring, tmp_path: Path) -> None:
    """What SealedStore keeps: an envelope under its key, fields that are text envelopes, and those left clear by choice."""
    context_text = keyring.seal_text("x", _field())
    path = tmp_path / "store.db"
    with SqliteStore.from_conn_string(str(path)) as store:
        store.setup()
        store.put(("users", "u"), "sealed", {"sealpoint": context_text, "name": context_text, "city": "Bern"})
    assert where(scan(path)) == {("store", "value")}
    report = scan(path, clear_fields=["city"])
    assert report.ok, report.to_text()
    assert [(finding.column, finding.values) for finding in report.sealed] == [("value", 2)]
    assert ("store", "value") in where(report, Verdict.CLEAR)
    for value in (
        {"city": "Bern"},
        {},
        {"sealpoint": SECRET},
        {"sealpoint": context_text, "x": SECRET},
        {"sealpoint": context_text, "x": None},
    ):
        edit(path, "UPDATE store SET value = ?", json.dumps(value))
        report = scan(path, clear_fields=["city"])
        assert where(report) == {("store", "value")}, value
        assert "prefix users.u, key sealed" in report.unsealed[0].examples
        assert SECRET not in report.to_text()


def test_vectors_are_derived_from_plaintext(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    with SqliteStore.from_conn_string(str(path)) as store:
        store.setup()
        store.put(("users",), "u", {"name": SECRET})
    with closing(database(path)) as db:
        # LangGraph's own tables; filling them through it takes an extension that not every SQLite can load.
        for sql in VECTOR_MIGRATIONS:
            db.execute(sql)
        db.execute("INSERT INTO store_vectors (prefix, key, field_name, embedding) VALUES ('users', 'u', 'name', ?)", (os.urandom(8),))
    edit(path, "UPDATE store SET value = ?", json.dumps({"sealpoint": keyring.seal_text("x", _field())}))
    report = scan(path)
    assert where(report) == {("store_vectors", "embedding")}
    assert "derived from plaintext" in report.unsealed[0].reason
    assert scan(path, clear_vectors=True).ok


def test_cache_values(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    cache = SqliteCache(path=str(path))
    cache.set({(("node",), "a"): (SECRET, 60)})
    report = scan(path)
    assert where(report) == {("cache", "val")}
    assert SECRET not in report.to_text()
    sealed = SqliteCache(path=str(tmp_path / "sealed.db"), serde=SealedSerializer(keyring, tenant=fixed("acme")))
    sealed.set({(("node",), "a"): (SECRET, 60)})
    report = scan(tmp_path / "sealed.db")
    assert report.ok, report.to_text()
    assert columns(report) == {("cache", "val")}


def test_rows_of_langgraph_js(keyring: Keyring, tmp_path: Path) -> None:
    """JS savers write JSON: the same tables and fields, the type `json`. A saver that keeps JSON text keeps envelopes as text."""
    path = tmp_path / "js.db"
    text = keyring.seal_text("x", _field())
    with closing(database(path)) as db:
        db.execute(
            "CREATE TABLE checkpoints (thread_id TEXT, checkpoint_ns TEXT, checkpoint_id TEXT, parent_checkpoint_id TEXT, type TEXT, "
            "checkpoint BLOB, metadata BLOB)"
        )
        db.execute(
            "CREATE TABLE writes (thread_id TEXT, checkpoint_ns TEXT, checkpoint_id TEXT, task_id TEXT, idx INTEGER, channel TEXT, "
            "type TEXT, value BLOB)"
        )

        def write(value: Any) -> None:
            checkpoint = {
                "v": 4,
                "id": "c",
                "ts": "2026",
                "channel_values": {"a": value},
                "channel_versions": {"a": 1},
                "versions_seen": {},
            }
            metadata = {"source": "loop", "step": 1, "parents": {}, "sealpoint": text}
            db.execute("DELETE FROM checkpoints")
            db.execute("DELETE FROM writes")
            row = ("t", "", "c", None, "json", json.dumps(checkpoint).encode(), json.dumps(metadata).encode())
            db.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("INSERT INTO writes VALUES ('t', '', 'c', 'k', 0, 'a', 'json', ?)", (json.dumps(value).encode(),))

        write(text)
        report = scan(path)
        assert report.ok, report.to_text()
        assert columns(report) == {*CONTENT, ("checkpoints", "metadata")}
        for value in (SECRET, {"lc": 1}, None, True, [text], f" {text}"):
            write(value)
            report = scan(path)
            assert where(report) == CONTENT, value
            assert columns(report) == {("checkpoints", "metadata")}


def _field() -> Any:
    from sealpoint import Context

    return Context(tenant="acme", purpose="field", document="d", path="/p")
