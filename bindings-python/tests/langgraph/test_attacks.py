"""Somebody without a key edits the database. Each edit is also made to a bare saver's database, where it goes through."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from backends import database
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_POS_ARGS, EXT_DELTA_SNAPSHOT
from langgraph.checkpoint.sqlite import SqliteSaver

from sealpoint import Keyring
from sealpoint.errors import SealpointError
from sealpoint.langgraph import SealedSaver, from_config

PLACES = [("acme", "t1", ""), ("acme", "t1", "sub"), ("acme", "t2", ""), ("globex", "g1", "")]
OLD, NEW = "00000000-0000-6000-8000-000000000001", "00000000-0000-6000-8000-000000000002"


def config(tenant: str, thread: str, ns: str = "", checkpoint: str | None = None) -> Any:
    conf = {"thread_id": thread, "checkpoint_ns": ns, "workspace_id": tenant}
    return {"configurable": conf if checkpoint is None else {**conf, "checkpoint_id": checkpoint}}


def checkpoint(checkpoint_id: str, role: str, version: str) -> Any:
    return {
        "v": 4,
        "id": checkpoint_id,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {"role": role, "note": ["n"], "branch:to:pay": None},
        "channel_versions": {"role": version, "note": "1", "branch:to:pay": version},
        "versions_seen": {"pay": {"branch:to:pay": "0"}},
        "updated_channels": ["role"],
    }


def fill(saver: Any) -> None:
    """In each place: an older checkpoint with the role `admin of …`, a newer one with `guest of …`, and two tasks' writes."""
    for tenant, thread, ns in PLACES:
        first = checkpoint(OLD, f"admin of {thread}{ns}", "1")
        second = checkpoint(NEW, f"guest of {thread}{ns}", "2")
        metadata = {"source": "loop", "step": 1, "parents": {}}
        saver.put(config(tenant, thread, ns), first, metadata, first["channel_versions"])
        saver.put(config(tenant, thread, ns, OLD), second, {**metadata, "step": 2}, {"role": "2", "branch:to:pay": "2"})
        for checkpoint_id in (OLD, NEW):
            for task in ("task-1", "task-2"):
                writes = [("role", f"{task} {checkpoint_id[-1]} {thread}{ns}"), ("other", "o")]
                saver.put_writes(config(tenant, thread, ns, checkpoint_id), writes, task, "~path")


class Rows:
    """The attacker's hands: SQL, MessagePack and JSON, no key."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self.sql = sql

    def read(self, thread: str = "t1", ns: str = "", checkpoint_id: str = NEW) -> tuple[Any, Any]:
        row = self.sql.execute(
            "SELECT checkpoint, metadata FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?",
            (thread, ns, checkpoint_id),
        ).fetchone()
        return ormsgpack.unpackb(row[0]), json.loads(row[1])

    def store(self, found: Any, metadata: Any) -> None:
        self.sql.execute(
            "UPDATE checkpoints SET checkpoint = ?, metadata = ? WHERE thread_id = 't1' AND checkpoint_ns = '' AND checkpoint_id = ?",
            (ormsgpack.packb(found), json.dumps(metadata).encode(), NEW),
        )

    @contextmanager
    def edited(self) -> Iterator[tuple[Any, Any]]:
        """The newest checkpoint of t1 and its metadata."""
        found, metadata = self.read()
        yield found, metadata
        self.store(found, metadata)


Attack = Callable[[Rows], object]


def edit(path: Path, attack: Attack) -> Any:
    with closing(database(path)) as connection:
        return attack(Rows(connection))


@dataclass(frozen=True)
class Case:
    attack: Attack
    code: str
    goes_through: Callable[[Any], bool]
    """What a bare saver then gives for t1."""


def role_from(*place: Any) -> Attack:
    def attack(rows: Rows) -> None:
        stolen = rows.read(*place)[0]["channel_values"]["role"]
        with rows.edited() as (found, _):
            found["channel_values"]["role"] = stolen

    return attack


def value(change: Callable[[Any], Any]) -> Attack:
    def attack(rows: Rows) -> None:
        with rows.edited() as (found, _):
            found["channel_values"]["role"] = change(found["channel_values"]["role"])

    return attack


def field(change: Callable[[Any, Any], object]) -> Attack:
    def attack(rows: Rows) -> None:
        with rows.edited() as row:
            change(*row)

    return attack


def sql(statement: str, *parameters: Any) -> Attack:
    return lambda rows: rows.sql.execute(statement, parameters)


def older_value_with_version(rows: Rows) -> None:
    older = rows.read(checkpoint_id=OLD)[0]
    with rows.edited() as (found, _):
        found["channel_values"]["role"] = older["channel_values"]["role"]
        found["channel_versions"]["role"] = older["channel_versions"]["role"]


def older_row(rows: Rows) -> None:
    older, metadata = rows.read(checkpoint_id=OLD)
    rows.store(older, metadata)


def older_row_renamed(rows: Rows) -> None:
    older, metadata = rows.read(checkpoint_id=OLD)
    rows.store({**older, "id": NEW}, metadata)


def older_metadata(rows: Rows) -> None:
    older = rows.read(checkpoint_id=OLD)[1]
    found, _ = rows.read()
    rows.store(found, older)


def swapped_channels(rows: Rows) -> None:
    with rows.edited() as (found, _):
        values = found["channel_values"]
        values["role"], values["note"] = values["note"], values["role"]


def role(expected: str) -> Callable[[Any], bool]:
    return lambda found: found.checkpoint["channel_values"].get("role") == expected


def flipped(envelope: Any, at: int = -1) -> Any:
    changed = bytearray(envelope if isinstance(envelope, bytes) else envelope.encode())
    changed[at] ^= 1
    return bytes(changed) if isinstance(envelope, bytes) else changed.decode()


anything = lambda found: found is not None  # noqa: E731

CASES = {
    "value of another tenant": Case(role_from("g1"), "authentication_failed", role("guest of g1")),
    "value of another thread": Case(role_from("t2"), "authentication_failed", role("guest of t2")),
    "value of another namespace": Case(role_from("t1", "sub"), "authentication_failed", role("guest of t1sub")),
    "value of an older checkpoint": Case(role_from("t1", "", OLD), "authentication_failed", role("admin of t1")),
    "older value with its version": Case(older_value_with_version, "authentication_failed", role("admin of t1")),
    "older checkpoint in the row": Case(older_row, "authentication_failed", role("admin of t1")),
    "older checkpoint renamed": Case(older_row_renamed, "authentication_failed", role("admin of t1")),
    "older metadata": Case(older_metadata, "authentication_failed", lambda found: found.metadata["step"] == 1),
    "values of two channels swapped": Case(swapped_channels, "authentication_failed", role(["n"])),  # type: ignore[arg-type]
    "channel dropped": Case(field(lambda c, m: c["channel_values"].pop("role")), "authentication_failed", role(None)),  # type: ignore[arg-type]
    "channel added": Case(
        field(lambda c, m: c["channel_values"].update(more=c["channel_values"]["role"])),
        "authentication_failed",
        lambda found: "more" in found.checkpoint["channel_values"],
    ),
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
    "updated channels changed": Case(
        field(lambda c, m: c.update(updated_channels=[])), "authentication_failed", lambda found: found.checkpoint["updated_channels"] == []
    ),
    "time changed": Case(field(lambda c, m: c.update(ts="2030")), "authentication_failed", lambda found: found.checkpoint["ts"] == "2030"),
    "parent changed": Case(
        sql("UPDATE checkpoints SET parent_checkpoint_id = ? WHERE thread_id = 't1' AND checkpoint_id = ?", NEW, NEW),
        "authentication_failed",
        lambda found: found.parent_config["configurable"]["checkpoint_id"] == NEW,
    ),
    "step changed": Case(field(lambda c, m: m.update(step=9)), "authentication_failed", lambda found: found.metadata["step"] == 9),
    "source changed": Case(
        field(lambda c, m: m.update(source="fork")), "authentication_failed", lambda found: found.metadata["source"] == "fork"
    ),
    "clear metadata added": Case(
        field(lambda c, m: m.update(run_id="r")), "authentication_failed", lambda found: found.metadata["run_id"] == "r"
    ),
    "clear metadata removed": Case(field(lambda c, m: m.pop("step")), "authentication_failed", lambda found: "step" not in found.metadata),
    "row moved to another thread": Case(
        lambda rows: (
            rows.sql.execute("DELETE FROM checkpoints WHERE thread_id = 't1'"),
            rows.sql.execute("UPDATE checkpoints SET thread_id = 't1' WHERE thread_id = 't2'"),
        ),
        "authentication_failed",
        role("guest of t2"),
    ),
    "row moved to another tenant": Case(
        lambda rows: (
            rows.sql.execute("DELETE FROM checkpoints WHERE thread_id = 't1'"),
            rows.sql.execute("UPDATE checkpoints SET thread_id = 't1' WHERE thread_id = 'g1'"),
        ),
        "authentication_failed",
        role("guest of g1"),
    ),
    "row moved to another namespace": Case(
        lambda rows: (
            rows.sql.execute("DELETE FROM checkpoints WHERE checkpoint_ns = ''"),
            rows.sql.execute("UPDATE checkpoints SET checkpoint_ns = '' WHERE checkpoint_ns = 'sub'"),
        ),
        "authentication_failed",
        role("guest of t1sub"),
    ),
    "plaintext value": Case(value(lambda _: "admin"), "plaintext_refused", role("admin")),
    "plaintext bytes": Case(value(lambda _: b"admin"), "plaintext_refused", role(b"admin")),  # type: ignore[arg-type]
    "no value": Case(value(lambda _: None), "plaintext_refused", role(None)),  # type: ignore[arg-type]
    "value in a list": Case(
        value(lambda old: [old]), "plaintext_refused", lambda found: isinstance(found.checkpoint["channel_values"]["role"], list)
    ),
    "manifest removed": Case(field(lambda c, m: m.pop("sealpoint", None)), "plaintext_refused", anything),
    "manifest is no text": Case(field(lambda c, m: m.update(sealpoint=1)), "plaintext_refused", anything),
    "manifest is plain text": Case(field(lambda c, m: m.update(sealpoint="{}")), "plaintext_refused", anything),
    "no metadata": Case(sql("UPDATE checkpoints SET metadata = NULL"), "plaintext_refused", anything),
    "metadata is a list": Case(sql("UPDATE checkpoints SET metadata = ?", b"[]"), "plaintext_refused", anything),
    "unsealed field added": Case(
        field(lambda c, m: c.update(extra="x")), "plaintext_refused", lambda found: found.checkpoint["extra"] == "x"
    ),
}


@contextmanager
def opened(path: Path, keyring: Keyring | None) -> Iterator[Any]:
    with SqliteSaver.from_conn_string(str(path)) as inner:
        yield inner if keyring is None else SealedSaver(inner, keyring, tenant=from_config("workspace_id"))


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(SealpointError) as caught:
        call()
    assert "acme" not in str(caught.value)
    assert "t1" not in str(caught.value).removeprefix("thread 't1': ")
    return caught.value.code


@pytest.fixture
def paths(tmp_path: Path, keyring: Keyring) -> dict[str, Path]:
    paths = {"bare": tmp_path / "bare.db", "sealed": tmp_path / "sealed.db"}
    for name, path in paths.items():
        with opened(path, keyring if name == "sealed" else None) as saver:
            fill(saver)
    return paths


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_edited_checkpoint(case: Case, paths: dict[str, Path], keyring: Keyring) -> None:
    here = config("acme", "t1")
    with opened(paths["sealed"], keyring) as saver:
        assert role("guest of t1")(saver.get_tuple(here)), "before the attack it reads"
    for path in paths.values():
        edit(path, case.attack)
    with opened(paths["bare"], None) as saver:
        assert case.goes_through(saver.get_tuple(here))
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(here)) == case.code
        assert refused(lambda: list(saver.list(here))) == case.code


ENVELOPE_EDITS = {
    "last byte flipped": (lambda sealed: flipped(sealed), "authentication_failed"),
    "salt flipped": (lambda sealed: flipped(sealed, 21), "authentication_failed"),
    "commitment flipped": (lambda sealed: flipped(sealed, 45), "authentication_failed"),
    "first byte of the body flipped": (lambda sealed: flipped(sealed, 77), "authentication_failed"),
    "truncated by a byte": (lambda sealed: sealed[:-1], "authentication_failed"),
    "a byte longer": (lambda sealed: sealed + b"\0", "authentication_failed"),
    "padding declared away": (lambda sealed: flipped(sealed, 4), "authentication_failed"),
}


@pytest.mark.parametrize(("change", "code"), ENVELOPE_EDITS.values(), ids=ENVELOPE_EDITS)
def test_edited_envelope(change: Callable[[bytes], bytes], code: str, paths: dict[str, Path], keyring: Keyring) -> None:
    edit(paths["sealed"], value(change))
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == code


def test_every_part_of_the_header_is_refused(paths: dict[str, Path], keyring: Keyring) -> None:
    untouched = edit(paths["sealed"], lambda rows: rows.read())
    codes = []
    for at in range(21):
        edit(paths["sealed"], lambda rows: rows.store(*untouched))
        edit(paths["sealed"], value(lambda sealed, at=at: flipped(sealed, at)))  # type: ignore[misc]
        with opened(paths["sealed"], keyring) as saver:
            codes.append(refused(lambda saver=saver: saver.get_tuple(config("acme", "t1"))))  # type: ignore[misc]
    assert codes[0] == "plaintext_refused"
    assert set(codes[1:]) <= {"malformed", "unsupported_version", "unsupported_suite", "key_not_found", "authentication_failed"}


def relabelled(kind: str) -> Attack:
    return sql("UPDATE checkpoints SET type = ? WHERE thread_id = 't1'", kind)


@pytest.mark.parametrize(
    ("kind", "code"), [("pickle", "plaintext_refused"), ("json", "malformed"), ("empty", "plaintext_refused"), ("bytes", "malformed")]
)
def test_relabelled_row(kind: str, code: str, paths: dict[str, Path], keyring: Keyring) -> None:
    edit(paths["sealed"], relabelled(kind))
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == code


def test_a_damaged_row_is_malformed(paths: dict[str, Path], keyring: Keyring) -> None:
    edit(paths["sealed"], sql("UPDATE checkpoints SET checkpoint = substr(checkpoint, 1, 100)"))
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == "malformed"


def test_a_value_relabelled_as_snapshot(paths: dict[str, Path], keyring: Keyring) -> None:
    edit(paths["sealed"], value(lambda sealed: ormsgpack.Ext(EXT_DELTA_SNAPSHOT, ormsgpack.packb(sealed))))
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == "authentication_failed"


def test_a_row_of_a_bare_saver(paths: dict[str, Path], keyring: Keyring) -> None:
    with opened(paths["sealed"], None) as saver:
        fill(saver)
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == "plaintext_refused"


@pytest.mark.filterwarnings("ignore")
def test_a_row_cannot_run_code(paths: dict[str, Path], keyring: Keyring, tmp_path: Path) -> None:
    """LangGraph's serializer calls what a row names. A row is read before it can be authenticated, so the wrapper must not."""
    for name, path in paths.items():
        call = ormsgpack.Ext(EXT_CONSTRUCTOR_POS_ARGS, ormsgpack.packb(("os", "mkdir", (str(tmp_path / f"made-by-{name}"),))))
        edit(path, value(lambda _, call=call: call))  # type: ignore[misc]
        edit(path, sql("UPDATE writes SET type = 'msgpack', value = ?", ormsgpack.packb(call)))
    with opened(paths["bare"], None) as saver:
        saver.get_tuple(config("acme", "t1"))
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == "plaintext_refused"
    assert os.path.isdir(tmp_path / "made-by-bare")
    assert not os.path.exists(tmp_path / "made-by-sealed")


# -- pending writes are not in the manifest: here the position alone must do

WRITE = "SELECT type, value FROM writes WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? AND task_id = ? AND channel = ?"
OVER = (
    "UPDATE writes SET type = ?, value = ? WHERE thread_id = 't1' AND checkpoint_ns = '' "
    f"AND checkpoint_id = '{NEW}' AND task_id = 'task-1' AND channel = 'role'"
)
WRITE_SOURCES = {
    "another tenant": ("g1", "", NEW, "task-1", "role"),
    "another thread": ("t2", "", NEW, "task-1", "role"),
    "another namespace": ("t1", "sub", NEW, "task-1", "role"),
    "another checkpoint": ("t1", "", OLD, "task-1", "role"),
    "another task": ("t1", "", NEW, "task-2", "role"),
    "another channel": ("t1", "", NEW, "task-1", "other"),
}


@pytest.mark.parametrize("source", WRITE_SOURCES.values(), ids=WRITE_SOURCES)
def test_moved_write(source: tuple[str, ...], paths: dict[str, Path], keyring: Keyring) -> None:
    moved = {}
    for name, path in paths.items():
        edit(path, lambda rows: rows.sql.execute(OVER, rows.sql.execute(WRITE, source).fetchone()))
        moved[name] = path
    with opened(moved["bare"], None) as saver:
        writes = {(task, channel): value for task, channel, value in saver.get_tuple(config("acme", "t1")).pending_writes}
        assert writes["task-1", "role"] != "task-1 2 t1"
    with opened(moved["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == "authentication_failed"


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("msgpack", ormsgpack.packb("approve")), ("null", b""), ("bytes", b"approve"), ("json", b'"approve"')],
    ids=["msgpack", "null", "bytes", "json"],
)
def test_plaintext_write(kind: str, stored: bytes, paths: dict[str, Path], keyring: Keyring) -> None:
    for path in paths.values():
        edit(path, sql(OVER, kind, stored))
    with opened(paths["bare"], None) as saver:
        assert saver.get_tuple(config("acme", "t1")).pending_writes[0][2] in ("approve", None, b"approve")
    with opened(paths["sealed"], keyring) as saver:
        assert refused(lambda: saver.get_tuple(config("acme", "t1"))) == "plaintext_refused"


# -- a saver with a table of values: the manifest knows no commitments there, so position, version and presence must do

BLOB_SOURCES = {
    "another tenant": ("g1", "", "role", "2"),
    "another thread": ("t2", "", "role", "2"),
    "another namespace": ("t1", "sub", "role", "2"),
    "another channel": ("t1", "", "note", "1"),
    "another version": ("t1", "", "role", "1"),
}


def filled_memory(keyring: Keyring) -> tuple[InMemorySaver, SealedSaver, InMemorySaver]:
    inner, bare = InMemorySaver(), InMemorySaver()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    fill(saver)
    fill(bare)
    return inner, saver, bare


@pytest.mark.parametrize("source", BLOB_SOURCES.values(), ids=BLOB_SOURCES)
def test_moved_blob(source: tuple[str, ...], keyring: Keyring) -> None:
    inner, saver, bare = filled_memory(keyring)
    here = config("acme", "t1")
    for memory in (inner, bare):
        memory.blobs["t1", "", "role", "2"] = memory.blobs[source]  # type: ignore[index]
    assert not role("guest of t1")(bare.get_tuple(here))
    assert refused(lambda: saver.get_tuple(here)) == "authentication_failed"


def test_blob_emptied_or_removed(keyring: Keyring) -> None:
    inner, saver, bare = filled_memory(keyring)
    here = config("acme", "t1")
    for memory in (inner, bare):
        memory.blobs["t1", "", "role", "2"] = ("empty", b"")
    assert role(None)(bare.get_tuple(here))  # type: ignore[arg-type]
    assert refused(lambda: saver.get_tuple(here)) == "authentication_failed"
    del inner.blobs["t1", "", "role", "2"]
    assert refused(lambda: saver.get_tuple(here)) == "authentication_failed"


def test_pruned_parent_is_legal(paths: dict[str, Path], keyring: Keyring) -> None:
    edit(paths["sealed"], sql("UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE checkpoint_id = ?", NEW))
    with opened(paths["sealed"], keyring) as saver:
        assert role("guest of t1")(saver.get_tuple(config("acme", "t1")))
