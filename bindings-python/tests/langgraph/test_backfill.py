"""Backfill: what was stored before sealing is sealed where it lies, and opens in strict mode."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest
from backends import Backend, Postgres, Sqlite, database, stored_bytes
from graphs import asking
from langgraph.checkpoint.postgres import ShallowPostgresSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from old_threads import GRAPHS, OLD, Run, bare, chat, chat_with, config, encrypted, migrating, plan, sealed

from conftest import MakeBackend
from sealpoint import Keyring, SealpointError, fixed, from_config, tenant_scope
from sealpoint.cli import main
from sealpoint.langgraph import backfill

TENANT = from_config("workspace_id")
KINDS = pytest.mark.parametrize("kind", [Sqlite, Postgres], ids=lambda kind: kind.__name__)


def dump(backend: Backend) -> bytes:
    """Everything that a reader of the tables sees."""
    if isinstance(backend, Sqlite):
        return stored_bytes(backend.place)
    with psycopg.connect(backend.place) as connection:
        rows = [
            connection.execute(f"SELECT {table}::text FROM {table}").fetchall()
            for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
        ]
    blobs = b"".join(bytes.fromhex(part) for part in __import__("re").findall(r"\\\\x([0-9a-f]+)", str(rows)))
    return str(rows).encode() + blobs


@KINDS
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("before", [2, 4])
def test_a_thread_opens_strictly_and_is_the_same(
    make_backend: MakeBackend, keyring: Keyring, kind: type[Backend], name: str, before: int
) -> None:
    make, inputs = plan(name, kind)
    backend = make_backend(kind)
    _, history = Run(backend).steps(make, inputs, [bare] * before + [migrating(keyring)] * (4 - before))
    report = backfill(backend.place, keyring, tenant=TENANT)
    assert report.failed == ()
    assert report.threads == 1
    assert report.checkpoints > 0
    assert Run(backend).steps(make, [], [], last=sealed(keyring)) == ([], history)
    again = backfill(backend.place, keyring, tenant=TENANT)
    assert (again.checkpoints, again.values, again.writes, again.failed) == (0, 0, 0, ())


@KINDS
def test_nothing_readable_is_left(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    with backend.opened(bare) as saver:
        backend.invoke(chat(saver), {"messages": [("user", OLD)], "seen": [OLD], "note": OLD}, config())
    assert OLD.encode() in dump(backend)
    report = backfill(backend.place, keyring, tenant=TENANT)
    assert OLD.encode() not in dump(backend)
    assert ("VACUUM" in report.left_behind) == (kind is Postgres)


@KINDS
def test_threads_of_the_encrypted_serializer(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    eax = EncryptedSerializer.from_pycryptodome_aes(key=os.urandom(32))
    _, history = Run(backend).steps(*plan("chat", kind), [encrypted(eax)] * 4)
    assert [failed.code for failed in backfill(backend.place, keyring, tenant=TENANT).failed] == ["plaintext_refused"]
    assert backfill(backend.place, keyring, tenant=TENANT, legacy_serde=eax).failed == ()
    assert Run(backend).steps(chat, [], [], last=sealed(keyring)) == ([], history)


@KINDS
def test_a_dry_run_changes_nothing(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    Run(backend).steps(*plan("chat", kind), [bare] * 4)
    before = dump(backend)
    dry = backfill(backend.place, keyring, tenant=TENANT, dry_run=True)
    assert dump(backend) == before
    done = backfill(backend.place, keyring, tenant=TENANT)
    assert (dry.checkpoints, dry.values, dry.writes) == (done.checkpoints, done.values, done.writes)


@KINDS
def test_it_may_be_stopped_and_started_again(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    with backend.opened(bare) as saver:
        for thread in ("a", "b", "c"):
            backend.invoke(chat(saver), {"seen": [thread]}, config(thread))

    class Stopped(Exception):
        pass

    def stop(done: int, _of: int) -> None:
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        backfill(backend.place, keyring, tenant=TENANT, progress=stop)
    calls: list[tuple[int, int]] = []
    rest = backfill(backend.place, keyring, tenant=TENANT, progress=lambda done, of: calls.append((done, of)))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert rest.failed == ()
    with backend.opened(sealed(keyring)) as saver:
        assert {thread: backend.state(chat(saver), config(thread)).values["seen"][0] for thread in ("a", "b", "c")} == {
            "a": "a",
            "b": "b",
            "c": "c",
        }
    with backend.opened(bare) as saver:
        per_thread = len(list(saver.list(config("c"))))
    assert rest.checkpoints == per_thread, "only the thread that was left"


@KINDS
def test_a_thread_that_fails_is_left_as_it_was_and_reported(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    with backend.opened(bare) as saver:
        backend.invoke(chat(saver), {"seen": ["good"]}, config("good"))
        backend.invoke(chat_with(saver, b"\xc1raw"), {"seen": ["odd"]}, config("odd"))
        backend.invoke(chat(saver), {"seen": ["nobody's"]}, {"configurable": {"thread_id": "unknown"}})
    report = backfill(backend.place, keyring, tenant=TENANT)
    assert {failed.thread_id: failed.code for failed in report.failed} == {"odd": "malformed", "unknown": "tenant_required"}
    with backend.opened(bare) as saver:
        assert [message.content for message in backend.state(chat_with(saver), config("odd")).values["messages"]] == ["left answer"]
    with backend.opened(sealed(keyring)) as saver:
        assert backend.state(chat(saver), config("good")).values["seen"][0] == "good"
    with tenant_scope("acme"):
        assert [failed.thread_id for failed in backfill(backend.place, keyring, tenant=TENANT).failed] == ["odd"]


@KINDS
def test_each_tenant_gets_its_own_key(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    with backend.opened(bare) as saver:
        for tenant in ("acme", "globex"):
            backend.invoke(chat(saver), {"seen": [tenant]}, config(tenant, tenant))
    assert backfill(backend.place, keyring, tenant=TENANT).failed == ()
    with backend.opened(sealed(keyring)) as saver:
        assert backend.state(chat(saver), config("globex", "globex")).values["seen"][0] == "globex"
        with pytest.raises(SealpointError) as caught:
            backend.state(chat(saver), config("globex", "acme"))
        assert caught.value.code in ("authentication_failed", "key_not_found")


@KINDS
def test_only_these_threads(make_backend: MakeBackend, keyring: Keyring, kind: type[Backend]) -> None:
    backend = make_backend(kind)
    with backend.opened(bare) as saver:
        for thread in ("a", "b"):
            backend.invoke(chat(saver), {"seen": [thread]}, config(thread))
    report = backfill(backend.place, keyring, tenant=TENANT, threads=["a", "missing"])
    assert [(failed.thread_id, failed.code) for failed in report.failed] == [("missing", "invalid_argument")]
    with backend.opened(sealed(keyring)) as saver:
        assert backend.state(chat(saver), config("a")).values["seen"][0] == "a"
        with pytest.raises(SealpointError) as caught:
            backend.state(chat(saver), config("b"))
        assert caught.value.code == "plaintext_refused"


def test_what_would_not_open_is_not_committed(tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(inner).invoke({"seen": [OLD]}, config())
    from sealpoint.langgraph import backfill_rows

    honest = backfill_rows._SqliteRows.put

    def lossy(self: Any, thread: str, ns: str, checkpoint: Any, metadata: Any, dumps: Any) -> None:
        checkpoint["channel_values"].popitem()
        honest(self, thread, ns, checkpoint, metadata, dumps)

    monkeypatch.setattr(backfill_rows._SqliteRows, "put", lossy)
    report = backfill(path, keyring, tenant=TENANT)
    assert [failed.code for failed in report.failed] == ["authentication_failed"]
    with SqliteSaver.from_conn_string(str(path)) as inner:
        assert chat(inner).get_state(config()).values["seen"][0] == OLD


def test_a_database_in_use_says_what_is_left_behind(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(inner).invoke({"seen": [OLD]}, config())
        with database(path) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM checkpoints").fetchone()
            report = backfill(path, keyring, tenant=TENANT)
            reader.execute("COMMIT")
    assert report.failed == ()
    assert "VACUUM" in report.left_behind


def test_what_it_cannot_work_on(tmp_path: Path, keyring: Keyring, postgres: str) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE notes (text)")
    text = tmp_path / "text.db"
    text.write_text("no database at all, but long enough to look at")
    with ShallowPostgresSaver.from_conn_string(postgres) as shallow:
        shallow.setup()
    for place, options, code in (
        (tmp_path / "missing.db", {}, "store_unavailable"),
        (other, {}, "store_invalid"),
        (text, {}, "store_invalid"),
        (other, {"schema": "public"}, "invalid_argument"),
        (postgres, {}, "store_invalid"),
        ("postgresql:///nowhere?host=/nonexistent&password=hush", {}, "store_unavailable"),
        (other, {"tenant": "acme"}, "invalid_argument"),
    ):
        with pytest.raises(SealpointError) as caught:
            backfill(place, keyring, **{"tenant": fixed("acme"), **options})
        assert caught.value.code == code, place
        assert "hush" not in str(caught.value)
    assert not (tmp_path / "missing.db").exists()


def test_nobody_changes_a_thread_while_it_is_sealed(make_backend: MakeBackend, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a resume value that an application stores meanwhile would be replaced by the older one."""
    backend = make_backend(Postgres)
    with backend.opened(bare) as saver:
        backend.invoke(asking(saver), {"answers": ["start"]}, config())
    from sealpoint.langgraph import backfill_rows

    honest = backfill_rows._PostgresRows.writes
    refused: list[str] = []

    def writes(self: Any, thread: str) -> Any:
        with psycopg.connect(backend.place, autocommit=True) as other:
            for table in ("checkpoints", "checkpoint_writes"):
                try:
                    other.execute(f"SELECT 1 FROM {table} WHERE thread_id = %s FOR UPDATE NOWAIT", (thread,))
                except psycopg.errors.LockNotAvailable:
                    refused.append(table)
        return honest(self, thread)

    monkeypatch.setattr(backfill_rows._PostgresRows, "writes", writes)
    report = backfill(backend.place, keyring, tenant=TENANT)
    assert report.failed == ()
    assert report.writes > 0
    assert refused == ["checkpoints", "checkpoint_writes"]


def test_a_damaged_thread_does_not_stop_the_others(make_backend: MakeBackend, keyring: Keyring) -> None:
    backend = make_backend(Postgres)
    with backend.opened(bare) as saver:
        for thread in ("a", "b"):
            backend.invoke(chat(saver), {"seen": [thread]}, config(thread))
    with psycopg.connect(backend.place, autocommit=True) as sql:
        sql.execute("UPDATE checkpoints SET checkpoint = checkpoint - 'v' WHERE thread_id = 'a'")
    report = backfill(backend.place, keyring, tenant=TENANT)
    assert [(failed.thread_id, failed.code) for failed in report.failed] == [("a", "malformed")]
    with backend.opened(sealed(keyring)) as saver:
        assert backend.state(chat(saver), config("b")).values["seen"][0] == "b"


def test_the_command(tmp_path: Path, keyring: Keyring, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        chat(inner).invoke({"seen": [OLD]}, config())
        chat(inner).invoke({"seen": [OLD]}, {"configurable": {"thread_id": "unknown"}})
    keys = ["--store", f"sqlite:///{tmp_path / 'keys.db'}", "--kek", f"file:{tmp_path / 'kek'}"]
    assert main(["scan", str(path)]) == 3
    assert main(["backfill", str(path), *keys, "--tenant-key", "workspace_id", "--dry-run"]) == 3
    assert "would be sealed" in capsys.readouterr().out
    assert main(["backfill", str(path), *keys, "--tenant-key", "workspace_id"]) == 3
    printed = capsys.readouterr()
    assert "thread 'unknown' was left as it was: tenant_required" in printed.err
    assert "2 threads: 4 checkpoints" in printed.out
    assert OLD not in printed.out + printed.err
    monkeypatch.setenv("SEALPOINT_STORE", f"sqlite:///{tmp_path / 'keys.db'}")
    assert main(["backfill", str(path), *keys[2:], "--tenant", "acme", "--thread", "unknown"]) == 0
    assert main(["scan", str(path)]) == 0
    with SqliteSaver.from_conn_string(str(path)) as inner:
        assert chat(sealed(keyring)(inner)).get_state(config("unknown")).values["seen"][0] == OLD


def test_the_command_reads_what_the_encrypted_serializer_wrote(
    tmp_path: Path, keyring: Keyring, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    key = "0123456789abcdef0123456789abcdef"
    with SqliteSaver.from_conn_string(str(path)) as inner:
        inner.serde = EncryptedSerializer.from_pycryptodome_aes(key=key.encode())
        chat(inner).invoke({"seen": [OLD]}, config())
    command = [
        "backfill",
        str(path),
        "--store",
        f"sqlite:///{tmp_path / 'keys.db'}",
        "--kek",
        f"file:{tmp_path / 'kek'}",
        "--tenant",
        "acme",
    ]
    assert main(command) == 3
    assert main([*command, "--legacy-aes-key", "LANGGRAPH_AES_KEY"]) == 1
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "too short")
    assert main([*command, "--legacy-aes-key", "LANGGRAPH_AES_KEY"]) == 1
    assert "too short" not in capsys.readouterr().err
    monkeypatch.setenv("LANGGRAPH_AES_KEY", key)
    assert main([*command, "--legacy-aes-key", "LANGGRAPH_AES_KEY"]) == 0
    assert main(["scan", str(path)]) == 0


@pytest.mark.parametrize("arguments", [[], ["--tenant", "a", "--tenant-key", "b"], ["--tenant", "a", "--unknown"]])
def test_a_wrong_command_line(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["backfill", str(tmp_path / "state.db"), *arguments])
    assert ended.value.code == 2


def test_without_keys_nothing_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALPOINT_STORE", raising=False)
    assert main(["backfill", str(tmp_path / "state.db"), "--tenant", "acme"]) == 1
    assert "--store" in capsys.readouterr().err
