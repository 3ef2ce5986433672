"""Somebody without a key edits a Postgres database. Each edit is also made to a bare saver's database, where it goes through."""

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ormsgpack
import psycopg
import pytest
from backends import Postgres, ShallowPostgres
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_POS_ARGS
from psycopg.types.json import Jsonb
from test_attacks import ENVELOPE_EDITS, NEW, OLD, PLACES, WRITE_SOURCES, checkpoint, config, flipped, refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, from_config

HERE = config("acme", "t1")


def fill(saver: Any) -> None:
    """In each place an older and a newer checkpoint: `role` is a string, so inline; `note` and `kept` are lists, so in the table of
    values; `kept` is stored with the older one only. And two tasks' writes for each."""
    for tenant, thread, ns in PLACES:
        for number, (checkpoint_id, word) in enumerate(((OLD, "admin"), (NEW, "guest")), start=1):
            found = checkpoint(checkpoint_id, f"{word} of {thread}{ns}", str(number))
            found["channel_values"].update(note=[f"{word} of {thread}{ns}"], kept=["kept"])
            found["channel_versions"].update(note=str(number), kept="1")
            new = dict(found["channel_versions"])
            if number == 2:
                del new["kept"]
            saver.put(
                config(tenant, thread, ns, OLD if number == 2 else None), found, {"source": "loop", "step": number, "parents": {}}, new
            )
            for task in ("task-1", "task-2"):
                writes = [("role", f"{task} {number} {thread}{ns}"), ("other", "o")]
                saver.put_writes(config(tenant, thread, ns, checkpoint_id), writes, task, "~path")


class Rows:
    """The attacker's hands: SQL, no key."""

    def __init__(self, sql: psycopg.Connection[Any]) -> None:
        self.sql = sql

    def read(self, thread: str = "t1", ns: str = "", checkpoint_id: str = NEW) -> tuple[Any, Any]:
        where = "thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s"
        return self.sql.execute(f"SELECT checkpoint, metadata FROM checkpoints WHERE {where}", (thread, ns, checkpoint_id)).fetchone()  # type: ignore[return-value]

    def store(self, found: Any, metadata: Any) -> None:
        where = "thread_id = 't1' AND checkpoint_ns = '' AND checkpoint_id = %s"
        self.sql.execute(f"UPDATE checkpoints SET checkpoint = %s, metadata = %s WHERE {where}", (Jsonb(found), Jsonb(metadata), NEW))

    @contextmanager
    def edited(self) -> Iterator[tuple[Any, Any]]:
        found, metadata = self.read()
        yield found, metadata
        self.store(found, metadata)

    def blob(self, thread: str, ns: str, channel: str, version: str) -> tuple[str, bytes]:
        where = "thread_id = %s AND checkpoint_ns = %s AND channel = %s AND version = %s"
        found = self.sql.execute(f"SELECT type, blob FROM checkpoint_blobs WHERE {where}", (thread, ns, channel, version)).fetchone()
        assert found is not None
        return found  # type: ignore[return-value]

    def set_blob(self, kind: str, content: bytes | None, channel: str = "note") -> None:
        self.sql.execute(
            "INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) VALUES ('t1', '', %s, '2', %s, %s) "
            "ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO UPDATE SET type = EXCLUDED.type, blob = EXCLUDED.blob",
            (channel, kind, content),
        )


Attack = Callable[[Rows], object]


@dataclass(frozen=True)
class Case:
    attack: Attack
    code: str
    goes_through: Callable[[Any], bool]
    """What a bare saver then gives for t1."""


def field(change: Callable[[Any, Any], object]) -> Attack:
    def attack(rows: Rows) -> None:
        with rows.edited() as row:
            change(*row)

    return attack


def inline_from(*place: Any) -> Attack:
    def attack(rows: Rows) -> None:
        stolen = rows.read(*place)[0]["channel_values"]["role"]
        with rows.edited() as (found, _):
            found["channel_values"]["role"] = stolen

    return attack


def values(change: Callable[[Any], object]) -> Attack:
    return field(lambda c, m: change(c["channel_values"]))


def inline(value: Any) -> Attack:
    return values(lambda values: values.update(role=value))


def blob_from(*source: str) -> Attack:
    return lambda rows: rows.set_blob(*rows.blob(*source))


def blob(kind: str, content: bytes | None) -> Attack:
    return lambda rows: rows.set_blob(kind, content)


def sql(*statements: str) -> Attack:
    def attack(rows: Rows) -> None:
        for statement in statements:
            rows.sql.execute(statement)  # type: ignore[call-overload]

    return attack


def older_inline_with_version(rows: Rows) -> None:
    older = rows.read(checkpoint_id=OLD)[0]
    with rows.edited() as (found, _):
        found["channel_values"]["role"] = older["channel_values"]["role"]
        found["channel_versions"]["role"] = older["channel_versions"]["role"]


def older_row_renamed(rows: Rows) -> None:
    older, metadata = rows.read(checkpoint_id=OLD)
    rows.store({**older, "id": NEW}, metadata)


def inline_for_a_dropped_blob(rows: Rows) -> None:
    rows.sql.execute("DELETE FROM checkpoint_blobs WHERE thread_id = 't1' AND channel = 'note'")
    field(lambda c, m: c["channel_values"].update(note="admin"))(rows)


def blob_over_an_inline_value(rows: Rows) -> None:
    """What lies in the table of values goes before what is inline."""
    kind, content = rows.blob("t1", "", "note", "2")
    rows.set_blob(kind, content, channel="role")


def moved(column: str, source: str, target: str) -> Attack:
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    return sql(
        *(f"DELETE FROM {table} WHERE {column} = '{target}'" for table in tables),
        *(f"UPDATE {table} SET {column} = '{target}' WHERE {column} = '{source}'" for table in tables),
    )


def value(channel: str, expected: Any) -> Callable[[Any], bool]:
    return lambda found: found.checkpoint["channel_values"].get(channel) == expected


def without(channel: str) -> Callable[[Any], bool]:
    return lambda found: channel not in found.checkpoint["channel_values"]


def stored(key: str, expected: Any) -> Callable[[Any], bool]:
    return lambda found: found.checkpoint[key] == expected


def meta(key: str, expected: Any) -> Callable[[Any], bool]:
    return lambda found: found.metadata.get(key) == expected


anything = lambda found: found is not None  # noqa: E731
OF_NOTE = "WHERE thread_id = 't1' AND checkpoint_ns = '' AND channel = 'note'"

CASES = {
    "inline value of another tenant": Case(inline_from("g1"), "authentication_failed", value("role", "guest of g1")),
    "inline value of another thread": Case(inline_from("t2"), "authentication_failed", value("role", "guest of t2")),
    "inline value of another namespace": Case(inline_from("t1", "sub"), "authentication_failed", value("role", "guest of t1sub")),
    "inline value of an older checkpoint": Case(inline_from("t1", "", OLD), "authentication_failed", value("role", "admin of t1")),
    "older inline value with its version": Case(older_inline_with_version, "authentication_failed", value("role", "admin of t1")),
    "inline value of another channel": Case(
        values(lambda values: values.update(role=values["branch:to:pay"])),
        "authentication_failed",
        value("role", None),
    ),
    "inline value dropped": Case(
        values(lambda values: values.pop("role")),
        "authentication_failed",
        without("role"),
    ),
    "inline value added": Case(
        values(lambda values: values.update(more=values["role"])),
        "authentication_failed",
        value("more", "guest of t1"),
    ),
    "blob of another tenant": Case(blob_from("g1", "", "note", "2"), "authentication_failed", value("note", ["guest of g1"])),
    "blob of another thread": Case(blob_from("t2", "", "note", "2"), "authentication_failed", value("note", ["guest of t2"])),
    "blob of another namespace": Case(blob_from("t1", "sub", "note", "2"), "authentication_failed", value("note", ["guest of t1sub"])),
    "blob of another channel": Case(blob_from("t1", "", "kept", "1"), "authentication_failed", value("note", ["kept"])),
    "blob of another version": Case(blob_from("t1", "", "note", "1"), "authentication_failed", value("note", ["admin of t1"])),
    "older version of a blob named": Case(
        field(lambda c, m: c["channel_versions"].update(note="1")), "authentication_failed", value("note", ["admin of t1"])
    ),
    "blob over an inline value": Case(blob_over_an_inline_value, "authentication_failed", value("role", ["guest of t1"])),
    "blob dropped": Case(
        sql(f"DELETE FROM checkpoint_blobs {OF_NOTE}"),
        "authentication_failed",
        without("note"),
    ),
    "unchanged blob dropped": Case(
        sql("DELETE FROM checkpoint_blobs WHERE channel = 'kept'"),
        "authentication_failed",
        without("kept"),
    ),
    "blob marked as empty": Case(
        sql(f"UPDATE checkpoint_blobs SET type = 'empty' {OF_NOTE}"),
        "authentication_failed",
        without("note"),
    ),
    "blob relabelled as null": Case(sql(f"UPDATE checkpoint_blobs SET type = 'null' {OF_NOTE}"), "plaintext_refused", value("note", None)),
    "plaintext blob": Case(blob("msgpack", ormsgpack.packb(["admin"])), "plaintext_refused", value("note", ["admin"])),
    "plaintext bytes blob": Case(blob("bytes", b"admin"), "plaintext_refused", value("note", b"admin")),
    "plaintext inline string": Case(inline("admin"), "plaintext_refused", value("role", "admin")),
    "plaintext inline number": Case(inline(1), "plaintext_refused", value("role", 1)),
    "plaintext inline truth": Case(inline(True), "plaintext_refused", value("role", True)),
    "plaintext inline null": Case(inline(None), "plaintext_refused", value("role", None)),
    "plaintext inline for a dropped blob": Case(inline_for_a_dropped_blob, "plaintext_refused", value("note", "admin")),
    "version changed": Case(
        field(lambda c, m: c["channel_versions"].update(role="3")),
        "authentication_failed",
        lambda found: found.checkpoint["channel_versions"]["role"] == "3",
    ),
    "pending node marked as seen": Case(
        field(lambda c, m: c["versions_seen"]["pay"].update({"branch:to:pay": "2"})),
        "authentication_failed",
        stored("versions_seen", {"pay": {"branch:to:pay": "2"}}),
    ),
    "updated channels changed": Case(
        field(lambda c, m: c.update(updated_channels=[])), "authentication_failed", stored("updated_channels", [])
    ),
    "time changed": Case(field(lambda c, m: c.update(ts="2030")), "authentication_failed", stored("ts", "2030")),
    "format version lowered": Case(field(lambda c, m: c.update(v=3)), "authentication_failed", stored("v", 3)),
    "unsealed field added": Case(field(lambda c, m: c.update(extra="x")), "plaintext_refused", stored("extra", "x")),
    "older checkpoint renamed": Case(older_row_renamed, "authentication_failed", value("role", "admin of t1")),
    "parent changed": Case(
        sql(f"UPDATE checkpoints SET parent_checkpoint_id = '{NEW}' WHERE thread_id = 't1' AND checkpoint_id = '{NEW}'"),
        "authentication_failed",
        lambda found: found.parent_config["configurable"]["checkpoint_id"] == NEW,
    ),
    "older metadata": Case(
        lambda rows: rows.store(rows.read()[0], rows.read(checkpoint_id=OLD)[1]), "authentication_failed", meta("step", 1)
    ),
    "step changed": Case(field(lambda c, m: m.update(step=9)), "authentication_failed", meta("step", 9)),
    "source changed": Case(field(lambda c, m: m.update(source="fork")), "authentication_failed", meta("source", "fork")),
    "clear metadata added": Case(field(lambda c, m: m.update(run_id="r")), "authentication_failed", meta("run_id", "r")),
    "clear metadata removed": Case(field(lambda c, m: m.pop("step")), "authentication_failed", meta("step", None)),
    "manifest removed": Case(field(lambda c, m: m.pop("sealpoint", None)), "plaintext_refused", anything),
    "manifest is no text": Case(field(lambda c, m: m.update(sealpoint=1)), "plaintext_refused", anything),
    "no metadata": Case(sql("UPDATE checkpoints SET metadata = '{}'"), "plaintext_refused", anything),
    "metadata is a list": Case(sql("UPDATE checkpoints SET metadata = '[]'"), "plaintext_refused", anything),
    "rows moved to another thread": Case(moved("thread_id", "t2", "t1"), "authentication_failed", value("role", "guest of t2")),
    "rows moved to another tenant": Case(moved("thread_id", "g1", "t1"), "authentication_failed", value("role", "guest of g1")),
    "rows moved to another namespace": Case(moved("checkpoint_ns", "sub", ""), "authentication_failed", value("role", "guest of t1sub")),
}


def wrap(keyring: Keyring) -> Callable[[Any], Any]:
    return lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"))


@dataclass(frozen=True)
class Databases:
    bare: Postgres
    sealed: Postgres
    keyring: Keyring

    def edit(self, attack: Attack, *, sealed: bool = True, bare: bool = True) -> None:
        for backend in [self.sealed] * sealed + [self.bare] * bare:
            with psycopg.connect(backend.place, autocommit=True) as connection:
                attack(Rows(connection))

    @contextmanager
    def opened(self, sealed: bool) -> Iterator[Any]:
        backend = self.sealed if sealed else self.bare
        with backend.opened(wrap(self.keyring) if sealed else lambda inner: inner) as saver:
            yield saver


@pytest.fixture
def databases(make_backend: Any, keyring: Keyring) -> Databases:
    found = Databases(make_backend(Postgres), make_backend(Postgres), keyring)
    for sealed in (False, True):
        with found.opened(sealed) as saver:
            fill(saver)
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_edited_checkpoint(case: Case, databases: Databases) -> None:
    with databases.opened(sealed=True) as saver:
        assert value("role", "guest of t1")(saver.get_tuple(HERE)), "before the attack it reads"
        assert value("kept", ["kept"])(saver.get_tuple(HERE))
    databases.edit(case.attack)
    with databases.opened(sealed=False) as saver:
        assert case.goes_through(saver.get_tuple(HERE))
    with databases.opened(sealed=True) as saver:
        assert refused(lambda: saver.get_tuple(HERE)) == case.code
        assert refused(lambda: list(saver.list(HERE))) == case.code


@pytest.mark.parametrize("where", ["inline", "blob"])
@pytest.mark.parametrize(("change", "code"), ENVELOPE_EDITS.values(), ids=ENVELOPE_EDITS)
def test_edited_envelope(change: Callable[[bytes], bytes], code: str, where: str, databases: Databases) -> None:
    def on_blob(rows: Rows) -> None:
        kind, content = rows.blob("t1", "", "note", "2")
        rows.set_blob(kind, change(content))

    def on_inline(rows: Rows) -> None:
        with rows.edited() as (found, _):
            found["channel_values"]["role"] = retexted(found["channel_values"]["role"], change)

    databases.edit(on_blob if where == "blob" else on_inline, bare=False)
    with databases.opened(sealed=True) as saver:
        assert refused(lambda: saver.get_tuple(HERE)) == code


def retexted(text: str, change: Callable[[bytes], bytes]) -> str:
    prefix, body = text[: len("sealpoint:v1:")], text[len("sealpoint:v1:") :]
    changed = change(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return prefix + base64.urlsafe_b64encode(changed).rstrip(b"=").decode()


RELABELLED = {"pickle": "plaintext_refused", "json": "malformed", "msgpack": "malformed", "msgpack+aes": "plaintext_refused"}


@pytest.mark.parametrize(("kind", "code"), RELABELLED.items())
@pytest.mark.parametrize("table", ["checkpoint_blobs", "checkpoint_writes"])
def test_relabelled(table: str, kind: str, code: str, databases: Databases) -> None:
    databases.edit(sql(f"UPDATE {table} SET type = '{kind}'"), bare=False)
    with databases.opened(sealed=True) as saver:
        assert refused(lambda: saver.get_tuple(HERE)) == code


WRITE = "SELECT type, blob FROM checkpoint_writes WHERE (thread_id, checkpoint_ns, checkpoint_id, task_id, channel) = (%s, %s, %s, %s, %s)"
OVER = (
    "UPDATE checkpoint_writes SET type = %s, blob = %s "
    f"WHERE (thread_id, checkpoint_ns, checkpoint_id, task_id, channel) = ('t1', '', '{NEW}', 'task-1', 'role')"
)


@pytest.mark.parametrize("source", WRITE_SOURCES.values(), ids=WRITE_SOURCES)
def test_moved_write(source: tuple[str, ...], databases: Databases) -> None:
    databases.edit(lambda rows: rows.sql.execute(OVER, rows.sql.execute(WRITE, source).fetchone()))
    with databases.opened(sealed=False) as saver:
        writes = {(task, channel): value for task, channel, value in saver.get_tuple(HERE).pending_writes}
        assert writes["task-1", "role"] != "task-1 2 t1"
    with databases.opened(sealed=True) as saver:
        assert refused(lambda: saver.get_tuple(HERE)) == "authentication_failed"


@pytest.mark.parametrize(
    ("kind", "content"), [("msgpack", ormsgpack.packb("approve")), ("null", b""), ("bytes", b"approve")], ids=["msgpack", "null", "bytes"]
)
def test_plaintext_write(kind: str, content: bytes, databases: Databases) -> None:
    databases.edit(lambda rows: rows.sql.execute(OVER, (kind, content)))
    with databases.opened(sealed=False) as saver:
        assert saver.get_tuple(HERE).pending_writes[0][2] in ("approve", None, b"approve")
    with databases.opened(sealed=True) as saver:
        assert refused(lambda: saver.get_tuple(HERE)) == "plaintext_refused"


def test_write_of_another_channel_name(databases: Databases) -> None:
    """The channel's column is clear, but bound."""
    databases.edit(sql("UPDATE checkpoint_writes SET channel = 'approved' WHERE channel = 'role'"))
    with databases.opened(sealed=False) as saver:
        assert saver.get_tuple(HERE).pending_writes[0][1] == "approved"
    with databases.opened(sealed=True) as saver:
        assert refused(lambda: saver.get_tuple(HERE)) == "authentication_failed"


@pytest.mark.filterwarnings("ignore")
def test_a_row_cannot_run_code(databases: Databases, tmp_path: Path) -> None:
    for sealed in (True, False):
        folder = str(tmp_path / f"made-by-{'sealed' if sealed else 'bare'}")
        call = ormsgpack.packb(ormsgpack.Ext(EXT_CONSTRUCTOR_POS_ARGS, ormsgpack.packb(("os", "mkdir", (folder,)))))

        def attack(rows: Rows, call: bytes = call) -> None:
            rows.sql.execute("UPDATE checkpoint_blobs SET type = 'msgpack', blob = %s", (call,))
            rows.sql.execute("UPDATE checkpoint_writes SET type = 'msgpack', blob = %s", (call,))

        databases.edit(attack, sealed=sealed, bare=not sealed)
    with databases.opened(sealed=False) as saver:
        saver.get_tuple(HERE)
    with databases.opened(sealed=True) as saver:
        assert refused(lambda: saver.get_tuple(HERE)) == "plaintext_refused"
    assert os.path.isdir(tmp_path / "made-by-bare")
    assert not os.path.exists(tmp_path / "made-by-sealed")


def test_pruned_parent_is_legal(databases: Databases) -> None:
    databases.edit(sql("UPDATE checkpoints SET parent_checkpoint_id = NULL"))
    with databases.opened(sealed=True) as saver:
        assert value("role", "guest of t1")(saver.get_tuple(HERE))


def test_shallow(make_backend: Any, keyring: Keyring) -> None:
    """One row per channel: an older value put back opens at no newer version, and the older version is not the manifest's."""
    backend = make_backend(ShallowPostgres)

    def read() -> Any:
        with backend.opened(wrap(keyring)) as saver:
            return saver.get_tuple(HERE)

    values = "SELECT channel, type, blob FROM checkpoint_blobs WHERE thread_id = 't1' AND checkpoint_ns = ''"
    over = "UPDATE checkpoint_blobs SET channel = %s, type = %s, blob = %s WHERE thread_id = 't1' AND checkpoint_ns = '' AND channel = %s"
    first = checkpoint(OLD, "admin", "1")
    second = checkpoint(NEW, "guest", "2")
    with (
        backend.opened(wrap(keyring)) as saver,
        psycopg.connect(backend.place, autocommit=True) as connection,
    ):
        saver.put(HERE, first, {"source": "loop", "step": 1, "parents": {}}, first["channel_versions"])
        old = {row[0]: row for row in connection.execute(values).fetchall()}
        saver.put(config("acme", "t1", "", OLD), second, {"source": "loop", "step": 2, "parents": {}}, {"role": "2", "branch:to:pay": "2"})
        assert read().checkpoint["channel_values"] == second["channel_values"]
        connection.execute(over, (*old["role"], "role"))
        assert refused(read) == "authentication_failed"
        connection.execute("UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_versions,role}', '\"1\"')")
        assert refused(read) == "authentication_failed"
        connection.execute("DELETE FROM checkpoint_blobs WHERE channel = 'role'")
        assert refused(read) == "authentication_failed"


def test_header_of_an_inline_envelope(databases: Databases) -> None:
    with psycopg.connect(databases.sealed.place) as connection:
        original, metadata = Rows(connection).read()
    codes = []
    for at in range(21):
        changed = retexted(original["channel_values"]["role"], lambda sealed, at=at: flipped(sealed, at))  # type: ignore[misc]
        found = {**original, "channel_values": {**original["channel_values"], "role": changed}}
        databases.edit(lambda rows, found=found: rows.store(found, metadata), bare=False)  # type: ignore[misc]
        with databases.opened(sealed=True) as saver:
            codes.append(refused(lambda saver=saver: saver.get_tuple(HERE)))  # type: ignore[misc]
    assert set(codes) <= {"malformed", "unsupported_version", "unsupported_suite", "key_not_found", "authentication_failed"}
