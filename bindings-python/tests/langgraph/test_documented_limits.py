"""What somebody who writes the database can do unnoticed. docs/THREAT_MODEL.md lists it in bold; each test here shows one entry, so that a
limit which goes away, or a new one, is seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import redis
from backends import Postgres, ShallowPostgres, ShallowRedis
from graphs import delta
from langgraph.constants import TASKS
from test_attacks import NEW, OLD, checkpoint, config, refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, fixed

HERE = config("acme", "t1")
AT_NEW = config("acme", "t1", "", NEW)
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
METADATA = {"source": "loop", "step": 1, "parents": {}}


class Database:
    """A sealed saver on Postgres, and SQL beside it."""

    def __init__(self, saver: Any, sql: psycopg.Connection[Any]) -> None:
        self.saver, self.sql = saver, sql

    def fill(self) -> None:
        first, second = checkpoint(OLD, "admin", "1"), checkpoint(NEW, "guest", "2")
        self.saver.put(HERE, first, METADATA, first["channel_versions"])
        self.saver.put(config("acme", "t1", "", OLD), second, METADATA, {"role": "2", "branch:to:pay": "2"})

    def role(self) -> Any:
        return self.saver.get_tuple(HERE).checkpoint["channel_values"]["role"]

    def writes(self) -> list[Any]:
        return [(channel, value) for _, channel, value in self.saver.get_tuple(HERE).pending_writes]

    def rows(self) -> dict[str, list[Any]]:
        return {table: self.sql.execute(f"SELECT {table}::text FROM {table}").fetchall() for table in TABLES}  # type: ignore[call-overload]

    def put_back(self, rows: dict[str, list[Any]]) -> None:
        for table, found in rows.items():
            self.sql.execute(f"DELETE FROM {table}")  # type: ignore[call-overload]
            for (row,) in found:
                self.sql.execute(f"INSERT INTO {table} SELECT (%s::{table}).*", (row,))  # type: ignore[call-overload]


@contextmanager
def opened(backend: Any, keyring: Keyring) -> Iterator[Database]:
    with (
        backend.opened(lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))) as saver,
        psycopg.connect(backend.place, autocommit=True) as sql,
    ):
        yield Database(saver, sql)


@pytest.fixture
def database(make_backend: Any, keyring: Keyring) -> Iterator[Database]:
    with opened(make_backend(Postgres), keyring) as database:
        yield database


def test_the_newest_checkpoint_dropped(database: Database) -> None:
    database.fill()
    assert database.role() == "guest"
    database.sql.execute("DELETE FROM checkpoints WHERE checkpoint_id = %s", (NEW,))
    assert database.role() == "admin"


def test_a_whole_thread_put_back(database: Database) -> None:
    first = checkpoint(OLD, "admin", "1")
    database.saver.put(HERE, first, METADATA, first["channel_versions"])
    before = database.rows()
    database.fill()
    database.put_back(before)
    assert database.role() == "admin"


def test_pending_writes_dropped(database: Database) -> None:
    database.fill()
    database.saver.put_writes(AT_NEW, [("role", "denied"), ("other", 1)], "task")
    database.sql.execute("DELETE FROM checkpoint_writes WHERE channel = 'role'")
    assert database.writes() == [("other", 1)]


def test_an_older_write_of_the_same_task_put_back(database: Database) -> None:
    database.fill()
    database.saver.put_writes(AT_NEW, [("__resume__", "approved")], "task")
    before = database.rows()
    database.saver.put_writes(AT_NEW, [("__resume__", "denied")], "task")
    assert database.writes() == [("__resume__", "denied")]
    database.put_back(before)
    assert database.writes() == [("__resume__", "approved")]


def test_one_tasks_writes_to_one_channel_reordered(database: Database) -> None:
    database.fill()
    database.saver.put_writes(AT_NEW, [("log", "first"), ("log", "second")], "task")
    database.sql.execute("UPDATE checkpoint_writes SET idx = 9 WHERE idx = 0")
    assert database.writes() == [("log", "second"), ("log", "first")]


def test_a_send_replayed_in_another_checkpoint(database: Database) -> None:
    database.fill()
    database.saver.put_writes(config("acme", "t1", "", OLD), [(TASKS, {"pay": 100})], "task")
    database.sql.execute("UPDATE checkpoint_writes SET checkpoint_id = %s, task_id = 'another'", (NEW,))
    assert database.writes() == [(TASKS, {"pay": 100})]
    database.sql.execute("UPDATE checkpoint_writes SET channel = 'role'")
    assert refused(database.writes) == "authentication_failed"


def test_a_delta_snapshot_replayed_within_its_channel(database: Database) -> None:
    graph: Any = delta(database.saver)
    for turn in range(5):
        graph.invoke({"turn": turn, "log": [f"in{turn}"]}, HERE, durability="exit")
    logs = "SELECT version, blob FROM checkpoint_blobs WHERE channel = 'log' ORDER BY version"
    (first, *_, last) = database.sql.execute(logs).fetchall()
    whole = graph.get_state(HERE).values["log"]
    database.sql.execute("UPDATE checkpoint_blobs SET blob = %s WHERE channel = 'log' AND version = %s", (first[1], last[0]))
    replayed = graph.get_state(HERE).values["log"]
    assert replayed != whole
    assert replayed == whole[: len(replayed)]


def test_ancestors_of_a_delta_channel_dropped(database: Database) -> None:
    graph: Any = delta(database.saver)
    graph.invoke({"turn": 0, "log": ["in"]}, HERE, durability="sync")
    _, before, parent, *_ = graph.get_state_history(HERE)  # the newest has a snapshot
    assert before.values["log"] == ["in", "a0", "b0"]
    database.sql.execute("DELETE FROM checkpoints WHERE checkpoint_id < %s", (parent.config["configurable"]["checkpoint_id"],))
    assert graph.get_state(before.config).values["log"] == ["a0", "b0"]


def test_a_further_field_dropped(database: Database) -> None:
    first: Any = {**checkpoint(OLD, "admin", "1"), "v": 3, "pending_sends": ["pay"]}
    database.saver.put(HERE, first, METADATA, first["channel_versions"])
    assert database.saver.get_tuple(HERE).checkpoint["pending_sends"] == ["pay"]
    database.sql.execute("UPDATE checkpoints SET checkpoint = checkpoint - 'pending_sends'")
    assert "pending_sends" not in database.saver.get_tuple(HERE).checkpoint


def test_shallow_savers_give_back_every_send_of_a_namespace(make_backend: Any, keyring: Keyring) -> None:
    with opened(make_backend(ShallowPostgres), keyring) as database:
        first = checkpoint(OLD, "admin", "1")
        database.saver.put(HERE, first, METADATA, first["channel_versions"])
        database.saver.put_writes(config("acme", "t1", "", OLD), [(TASKS, {"pay": 100})], "task")
        database.sql.execute("UPDATE checkpoint_writes SET checkpoint_id = 'gone'")
        assert database.saver.get_tuple(HERE).checkpoint["pending_sends"] == [{"pay": 100}]


def test_shallow_redis_savers_tell_writes_apart_by_task_only(make_backend: Any, keyring: Keyring) -> None:
    backend = make_backend(ShallowRedis)
    with backend.opened(lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))) as saver:
        client = redis.Redis.from_url(backend.place, decode_responses=True)
        first, second = checkpoint(OLD, "admin", "1"), checkpoint(NEW, "guest", "2")
        saver.put(HERE, first, METADATA, first["channel_versions"])
        saver.put_writes(config("acme", "t1", "", OLD), [("role", "approved")], "task-1")
        saver.put(config("acme", "t1", "", OLD), second, METADATA, second["channel_versions"])
        # The saver itself gives a write of the older checkpoint with the newer one.
        assert saver.get_tuple(HERE).pending_writes == [("task-1", "role", "approved")]
        (key,) = client.keys("checkpoint_write:*")
        client.json().set(key, "$.task_id", "task-2")
        assert refused(lambda: saver.get_tuple(HERE)) == "authentication_failed"
