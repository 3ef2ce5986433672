"""`scan` on a real Postgres: databases that real savers wrote, and each value that somebody unseals."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ormsgpack
import psycopg
import pytest
from graphs import CHAT_INPUT, asking, chat, delta
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.store.postgres import PostgresStore
from postgres import Server
from psycopg.rows import dict_row

from sealpoint import Context, Keyring, SealpointError
from sealpoint.langgraph import SealedSaver, SealedSerializer, fixed
from sealpoint.langgraph.layouts import Layout
from sealpoint.scan import Report, Verdict, scan

SECRET = "a diagnosis nobody may read"
CONTENT = {("checkpoints", "checkpoint.channel_values"), ("checkpoint_blobs", "blob"), ("checkpoint_writes", "blob")}


@contextmanager
def connected(dsn: str, schema: str = "public") -> Iterator[Any]:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        connection.execute(f'SET search_path TO "{schema}"')
        yield connection


def played(dsn: str, wrap: Callable[[Any], Any], schema: str = "public") -> None:
    with connected(dsn, schema) as connection:
        inner = PostgresSaver(connection)
        inner.setup()
        saver = wrap(inner)
        for thread, graph in (("chat", chat(saver)), ("asking", asking(saver)), ("delta", delta(saver))):
            given: Any = {"chat": CHAT_INPUT, "asking": {"answers": []}, "delta": {"log": ["start"], "turn": 1}}[thread]
            config: Any = {"configurable": {"thread_id": thread, "note": SECRET}, "metadata": {"customer": SECRET}}
            for _ in range(2 if thread == "delta" else 1):
                graph.invoke(given, config, durability="sync")


def sealing(keyring: Keyring) -> Callable[[Any], Any]:
    return lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))


def with_serde(serde: Any) -> Callable[[Any], Any]:
    def wrap(inner: Any) -> Any:
        inner.serde = serde
        return inner

    return wrap


@pytest.fixture
def sealed(postgres: str, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> str:
    from sealpoint.langgraph import layouts

    inline = Layout(inline_primitives=True)
    monkeypatch.setattr(layouts, "_LAYOUTS", {"langgraph.checkpoint.postgres.PostgresSaver": inline, **layouts._LAYOUTS})
    played(postgres, sealing(keyring))
    return postgres


def where(report: Report, verdict: Verdict = Verdict.UNSEALED) -> set[tuple[str, str]]:
    return {(finding.table, finding.column) for finding in report.of(verdict)}


def edit(dsn: str, sql: str, *parameters: Any) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.execute(sql, parameters).rowcount > 0


def test_a_sealed_database_is_all_sealed(sealed: str) -> None:
    report = scan(sealed)
    assert report.ok, report.to_text()
    assert where(report, Verdict.SEALED) == {*CONTENT, ("checkpoints", "metadata")}
    assert report.unknown == ()
    with psycopg.connect(sealed) as connection:
        marked = connection.execute("SELECT count(*) FROM checkpoints WHERE checkpoint -> 'channel_values' ->> 'log' = 'true'").fetchone()
        rows = connection.execute("SELECT count(*) FROM checkpoint_writes").fetchone()
    assert marked is not None
    assert marked[0] > 0, "a delta snapshot lies beside the checkpoint, and is not taken for an unsealed true"
    assert rows == (next(f.values for f in report.sealed if f.table == "checkpoint_writes"),)


def test_bare_and_otherwise_encrypted_databases_are_not(postgres: str) -> None:
    played(postgres, lambda inner: inner)
    played(postgres, with_serde(EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")), "aes")
    report = scan(postgres, schemas=["public"])
    assert where(report) == {*CONTENT, ("checkpoints", "metadata")}
    assert report.sealed == ()
    assert SECRET not in report.to_text() + report.to_json()
    report = scan(postgres, schemas=["aes"])
    assert where(report) == {(f"aes.{table}", column) for table, column in (*CONTENT, ("checkpoints", "metadata"))}
    assert any("encrypted by something else (msgpack+aes)" in finding.reason for finding in report.unsealed)


def test_sealed_serializer_leaves_primitives_and_metadata_readable(postgres: str, keyring: Keyring) -> None:
    played(postgres, with_serde(SealedSerializer(keyring, tenant=fixed("acme"))))
    report = scan(postgres)
    assert where(report) == {("checkpoints", "checkpoint.channel_values"), ("checkpoints", "metadata")}
    assert where(report, Verdict.SEALED) == {("checkpoint_blobs", "blob"), ("checkpoint_writes", "blob")}


def test_every_schema_is_read_unless_some_are_named(sealed: str) -> None:
    played(sealed, lambda inner: inner, "Elsewhere")
    with psycopg.connect(sealed) as connection:
        connection.execute("CREATE SCHEMA empty")
    assert scan(sealed, schemas=["public"]).ok
    report = scan(sealed)
    assert {table for table, _ in where(report)} == {
        f"Elsewhere.{table}" for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    }
    assert where(scan(sealed, schemas=["Elsewhere"])) == where(report)
    for missing in ("elsewhere", "empty"):
        with pytest.raises(SealpointError) as caught:
            scan(sealed, schemas=["public", missing])
        assert caught.value.code == "invalid_argument"


def jsonb(path: str, value: Any) -> tuple[str, tuple[Any, ...]]:
    return (
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, %s, %s) "
        "WHERE checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = 'chat')",
        (path, json.dumps(value)),
    )


ONE_BLOB = "UPDATE checkpoint_blobs SET type = %s, blob = %s WHERE ctid = (SELECT min(ctid) FROM checkpoint_blobs WHERE type <> 'empty')"
ONE_WRITE = "UPDATE checkpoint_writes SET type = %s, blob = %s WHERE ctid = (SELECT min(ctid) FROM checkpoint_writes)"
ONE_METADATA = "UPDATE checkpoints SET metadata = {} WHERE ctid = (SELECT min(ctid) FROM checkpoints)"
UNSEALINGS: dict[str, tuple[tuple[str, tuple[Any, ...]], str, str]] = {
    "a text channel": (jsonb("{channel_values,note}", SECRET), "checkpoints", "checkpoint.channel_values"),
    "a number channel": (jsonb("{channel_values,count}", 7), "checkpoints", "checkpoint.channel_values"),
    "a true channel": (jsonb("{channel_values,approved}", True), "checkpoints", "checkpoint.channel_values"),
    "a true in the place of a sealed value": (jsonb("{channel_values,note}", True), "checkpoints", "checkpoint.channel_values"),
    "a null channel": (jsonb("{channel_values,nothing}", None), "checkpoints", "checkpoint.channel_values"),
    "an added channel": (jsonb("{channel_values,new}", {"a": SECRET}), "checkpoints", "checkpoint.channel_values"),
    "another field": (jsonb("{pending_sends}", [SECRET]), "checkpoints", "checkpoint.other fields"),
    "a version that is none": (jsonb("{channel_versions,note}", [SECRET]), "checkpoints", "checkpoint.channel_versions"),
    "a blob": ((ONE_BLOB, ("msgpack", ormsgpack.packb(SECRET))), "checkpoint_blobs", "blob"),
    "a blob of a sealed kind and a plain snapshot": (
        (ONE_BLOB, ("msgpack", ormsgpack.packb(ormsgpack.Ext(7, ormsgpack.packb([SECRET]))))),
        "checkpoint_blobs",
        "blob",
    ),
    "a write": ((ONE_WRITE, ("bytes", SECRET.encode())), "checkpoint_writes", "blob"),
    "a write of JSON": ((ONE_WRITE, ("json", json.dumps(SECRET).encode())), "checkpoint_writes", "blob"),
    "a null write": ((ONE_WRITE, ("null", b"")), "checkpoint_writes", "blob"),
    "a metadata entry": ((ONE_METADATA.format("metadata || %s"), (json.dumps({"customer": SECRET}),)), "checkpoints", "metadata"),
    "no metadata envelope": ((ONE_METADATA.format("metadata - %s::text"), ("sealpoint",)), "checkpoints", "metadata"),
}


@pytest.mark.parametrize("name", UNSEALINGS)
def test_each_value_that_is_unsealed_is_found(sealed: str, name: str) -> None:
    (sql, parameters), table, column = UNSEALINGS[name]
    edit(sealed, sql, *parameters)
    report = scan(sealed)
    assert [(finding.table, finding.column, finding.values) for finding in report.unsealed] == [(table, column, 1)], report.to_text()
    assert report.corrupt == ()
    assert "thread_id " in report.unsealed[0].examples[0]
    assert SECRET not in report.to_text() + report.to_json()


@pytest.mark.parametrize("change", ["DELETE FROM checkpoint_blobs", "UPDATE checkpoint_blobs SET version = version || '.'"])
def test_a_snapshot_mark_without_its_snapshot_is_an_unsealed_true(sealed: str, change: str) -> None:
    edit(sealed, f"{change} WHERE channel = 'log'")
    assert where(scan(sealed)) == {("checkpoints", "checkpoint.channel_values")}


def test_damaged_rows_are_reported_and_the_scan_goes_on(sealed: str) -> None:
    edit(sealed, ONE_WRITE, "bytes", b"\xc1" + SECRET.encode())
    edit(sealed, "UPDATE checkpoints SET checkpoint = '[1]' WHERE ctid = (SELECT min(ctid) FROM checkpoints)")
    edit(sealed, "UPDATE checkpoints SET metadata = '7' WHERE ctid = (SELECT max(ctid) FROM checkpoints)")
    report = scan(sealed)
    assert where(report, Verdict.CORRUPT) == {("checkpoint_writes", "blob"), ("checkpoints", "checkpoint"), ("checkpoints", "metadata")}
    assert all(finding.values == 1 for finding in report.corrupt)
    assert not report.ok
    assert SECRET not in report.to_text()


def test_the_shallow_saver(postgres: str, keyring: Keyring) -> None:
    from langgraph.checkpoint.postgres.shallow import ShallowPostgresSaver

    with connected(postgres) as connection:
        with pytest.warns(DeprecationWarning, match="Shallow"):
            inner = ShallowPostgresSaver(connection)
        inner.setup()
        chat(SealedSaver(inner, keyring, tenant=fixed("acme"))).invoke(CHAT_INPUT, {"configurable": {"thread_id": "t"}})
    report = scan(postgres)
    assert report.ok, report.to_text()
    assert ("checkpoint_blobs", "blob") in where(report, Verdict.SEALED)
    edit(postgres, ONE_BLOB, "msgpack", ormsgpack.packb(SECRET))
    assert where(scan(postgres)) == {("checkpoint_blobs", "blob")}


def test_store_items(postgres: str, keyring: Keyring) -> None:
    text = keyring.seal_text("x", Context(tenant="acme", purpose="field", document="d", path="/p"))
    with PostgresStore.from_conn_string(postgres) as store:
        store.setup()
        store.put(("users",), "u", {"sealpoint": text, "name": text, "city": "Bern"})
    report = scan(postgres)
    assert where(report) == {("store", "value")}
    assert "Bern" not in report.to_text()
    assert scan(postgres, clear_fields=["city"]).ok
    assert not scan(postgres, clear_fields=["name"]).ok


def test_the_stores_of_javascript_are_not_taken_for_sealed(postgres: str, keyring: Keyring) -> None:
    """JS keeps namespaces in a column of another name, and beside an embedding the text that it was made of."""
    text = keyring.seal_text("x", Context(tenant="acme", purpose="field", document="d", path="/p"))
    with psycopg.connect(postgres) as connection:
        connection.execute(
            "CREATE TABLE store (namespace_path text, key text, value jsonb, created_at timestamptz, updated_at timestamptz)"
        )
        connection.execute("CREATE TABLE store_vectors (namespace_path text, key text, field_path text, text_content text, embedding text)")
        connection.execute("INSERT INTO store VALUES ('users', 'u', %s, now(), now())", (json.dumps({"sealpoint": text}),))
    assert scan(postgres).ok
    edit(postgres, "INSERT INTO store_vectors VALUES ('users', 'u', 'name', %s, '[1,2]')", SECRET)
    report = scan(postgres)
    assert where(report) == {("store_vectors", column) for column in ("text_content", "embedding")}
    assert SECRET not in report.to_text()


def test_row_level_security_does_not_hide_rows(sealed: str) -> None:
    edit(sealed, ONE_WRITE, "bytes", SECRET.encode())
    with psycopg.connect(sealed, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS scan_auditor")
        connection.execute("CREATE ROLE scan_auditor LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO scan_auditor")
        auditor = sealed.replace("user=postgres", "user=scan_auditor")
        try:
            assert where(scan(auditor)) == {("checkpoint_writes", "blob")}
            connection.execute("ALTER TABLE checkpoint_writes ENABLE ROW LEVEL SECURITY")
            report = scan(auditor)
            assert where(report, Verdict.CORRUPT) == {("checkpoint_writes", "")}, report.to_text()
            assert ("checkpoints", "metadata") in where(report, Verdict.SEALED), "the scan goes on"
            connection.execute("REVOKE SELECT ON checkpoints FROM scan_auditor")
            assert where(scan(auditor), Verdict.CORRUPT) == {("checkpoint_writes", ""), ("checkpoints", "")}
        finally:
            connection.execute("DROP OWNED BY scan_auditor")
            connection.execute("DROP ROLE scan_auditor")


def test_one_snapshot_and_nothing_is_written(sealed: str) -> None:
    """Rows that come while it reads are not seen, in any table; and the session could not write if it wanted to."""
    seen: list[Any] = []

    def write(_: str) -> None:
        if not seen:
            edit(sealed, ONE_WRITE, "bytes", SECRET.encode())
            edit(sealed, ONE_BLOB, "bytes", SECRET.encode())
            with psycopg.connect(sealed) as other:
                seen.extend(
                    other.execute("SELECT query FROM pg_stat_activity WHERE application_name = 'sealpoint scan' AND state <> 'idle'")
                )

    assert scan(sealed, progress=write).ok
    assert seen, "the edits were made while the scan was reading"
    assert where(scan(sealed)) == {("checkpoint_writes", "blob"), ("checkpoint_blobs", "blob")}


def test_words_in_rows_and_in_the_servers_files(sealed: str, postgres_server: Server, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text(f"{SECRET}\n\nMerkwürdiges Leiden\n")
    edit(sealed, ONE_WRITE, "bytes", SECRET.encode())
    with psycopg.connect(sealed) as connection:
        connection.execute("CREATE TABLE notes (note jsonb)")
        connection.execute("INSERT INTO notes VALUES (%s)", (json.dumps({"n": "Merkwürdiges Leiden"}),))
    with psycopg.connect(sealed, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    report = scan(sealed, expect=words, data_directory=postgres_server.data)
    text = report.to_text() + report.to_json()
    assert SECRET not in text
    assert "Leiden" not in text
    assert {hit.line for hit in report.hits} == {1, 3}
    places = [hit.where for hit in report.hits]
    assert any(place.startswith("checkpoint_writes.blob, thread_id ") for place in places)
    assert any(place.startswith("notes.note, row ") for place in places)
    assert any(place.startswith("the file 0") for place in places), "the write-ahead log"
    assert sum(place.startswith("the file ") for place in places) >= 4, "heap and log"
    report = scan(sealed, expect=words)
    assert any("the files of this database were not given" in note for note in report.notes)


@pytest.mark.parametrize(
    ("dsn", "code"),
    [
        ("postgresql:///nothing?host=/nonexistent&password=hunter2-password", "store_unavailable"),
        ("postgresql://u:hunter2-password@127.0.0.1:1/nothing?connect_timeout=5", "store_unavailable"),
        ("postgresql://u:hunter2-password@host/db?nonsense=1", "invalid_argument"),
        ("host=x hunter2-password=", "invalid_argument"),
    ],
)
def test_a_server_that_does_not_answer_and_no_password_is_said(dsn: str, code: str) -> None:
    with pytest.raises(SealpointError) as caught:
        scan(dsn)
    assert caught.value.code == code
    shown = str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    assert "hunter2" not in shown


def test_the_source_shows_no_password(sealed: str) -> None:
    report = scan(f"{sealed}&password=hunter2-password")
    assert "hunter2" not in report.to_text() + report.to_json()
    assert os.path.basename(sealed.partition("?")[0]) in report.source
