"""The Postgres key store: DSNs, schemas, set-up, races. Also: test_postgres_pools, _outages, _privileges."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from postgres import new_database, with_options
from psycopg import sql
from support import CONTEXT, KEK, PLAINTEXT, TENANT, assert_error, in_threads, query, ready, refused
from test_fork import in_child
from test_stores import DEK_ID, dek

from sealpoint import Keyring, SealpointError
from sealpoint.stores import DekRecord, StoreSettings, _connections, postgres
from sealpoint.stores.postgres import PostgresStore

TABLES = ["canaries", "deks", "settings", "tenants", "wraps"]


@pytest.fixture
def url(postgres_schema: str) -> str:
    """With a name by which the test's connections are told from others."""
    return with_options(postgres_schema, application_name=f"test-{os.urandom(6).hex()}")


def tables(dsn: str, schema: str) -> list[str]:
    rows = query(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = ? ORDER BY 1", schema)
    return [name.removeprefix("sealpoint_") for (name,) in rows]


def schema_of(url: str) -> str:
    return str(query(url, "SELECT current_schema")[0][0])


# where the tables are


def test_the_tables(url: str) -> None:
    ready(url).close()
    assert tables(url, schema_of(url)) == TABLES
    columns = query(
        url,
        "SELECT column_name, data_type, is_nullable, collation_name FROM information_schema.columns "
        "WHERE table_name = 'sealpoint_deks' AND table_schema = current_schema ORDER BY ordinal_position",
    )
    assert columns == [
        ("dek_id", "bytea", "NO", None),
        ("tenant", "text", "NO", "C"),
        ("purpose", "smallint", "NO", None),
        ("suite", "smallint", "NO", None),
        ("version", "bigint", "NO", None),
        ("state", "text", "NO", None),
        ("key_check", "bytea", "NO", None),
        ("created_at", "bigint", "NO", None),
        ("retired_at", "bigint", "YES", None),
        ("destroyed_at", "bigint", "YES", None),
        ("rotated_by", "text", "YES", None),
    ]


@pytest.mark.parametrize(
    "values",
    [
        (bytes(16), 1, 1, 3, "active", bytes(32)),  # a second active one
        (bytes(16), 1, 1, 1, "retired", bytes(32)),  # its version
        (DEK_ID, 1, 1, 3, "retired", bytes(32)),
        (bytes(15), 1, 1, 3, "retired", bytes(32)),
        (bytes(16), 5, 1, 3, "retired", bytes(32)),
        (bytes(16), 1, 0, 3, "retired", bytes(32)),
        (bytes(16), 1, 1, 2**32, "retired", bytes(32)),
        (bytes(16), 1, 1, 3, "sleeping", bytes(32)),
        (bytes(16), 1, 1, 3, "retired", bytes(31)),
        (bytes(16), 1, 1, 3, "retired", None),
    ],
)
def test_what_the_database_refuses_itself(values: tuple[object, ...], url: str) -> None:
    with PostgresStore(url) as store:
        store.setup(3600)
        store.create_dek(dek())
        insert = "INSERT INTO sealpoint_deks (dek_id, tenant, purpose, suite, version, state, key_check, created_at) VALUES "
        with pytest.raises(psycopg.IntegrityError):
            query(url, insert + f"(?, '{TENANT}', ?, ?, ?, ?, ?, 0)", *values)
        query(url, insert + f"(?, '{TENANT}', 1, 1, 2, 'retired', ?, 0)", bytes(16), bytes(32))


@pytest.mark.parametrize("schema", ["keys", 'Wei"rd; DROP schema', "ünï" * 12, "%s{x}"])
def test_a_schema_of_any_name(schema: str, postgres: str) -> None:
    with PostgresStore(postgres, schema=schema) as store, Keyring.connect(store, kek=KEK) as keyring:
        assert store.settings() is None
        keyring.setup()
        keyring.setup()
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache.clear()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        assert tables(postgres, schema) == TABLES
        assert tables(postgres, "public") == []
        with PostgresStore(postgres, schema="other") as other:
            other.setup(3600)
            assert other.active_dek(TENANT, 1) is None
        assert schema in repr(store) or '"' in schema


@pytest.mark.parametrize("schema", ["", "x" * 64, "ü" * 32, "nul\0", 7, b"keys"])
def test_what_is_no_schema(schema: Any) -> None:
    refused(lambda: PostgresStore("postgresql://host/db", schema=schema), "invalid_argument", "schema")


def test_a_search_path_without_a_schema(postgres: str) -> None:
    with Keyring.connect(with_options(postgres, options="-csearch_path=absent"), kek=KEK) as keyring:
        refused(keyring.setup, "store_invalid", "schema")


def test_a_connection_string_that_is_no_url(url: str) -> None:
    parameters = psycopg.conninfo.conninfo_to_dict(url)
    with PostgresStore(psycopg.conninfo.make_conninfo(**parameters)) as store:
        store.setup(3600)
        assert tables(url, schema_of(url)) == TABLES
    with Keyring.connect("postgres" + url.removeprefix("postgresql"), kek=KEK) as keyring:
        assert keyring._store.settings() == StoreSettings(2, 3600)


@pytest.mark.parametrize("dsn", ["host=h passwort=hunter2", "host=h hunter2", "postgresql://u:hunter2@h/d?x=1", "host=h\0", "host=\ud800"])
def test_no_connection_string(dsn: str) -> None:
    error = refused(lambda: PostgresStore(dsn), "invalid_argument", "libpq")
    assert "hunter2" not in f"{error!r}{error.__context__!r}{error.__cause__!r}"


def test_nothing_shows_the_connection_string() -> None:
    store = PostgresStore("postgresql://someone:hunter2@127.0.0.1:1/db?connect_timeout=2")
    error = refused(store.settings, "store_unavailable", "cannot be reached")
    for shown in (repr(store), str(error), repr(error), repr(error.__context__), repr(error.__cause__)):
        assert "hunter2" not in shown
        assert "someone" not in shown
    assert error.retryable


@pytest.mark.parametrize("source", [None, 7, b"postgresql://host/db", Path("x"), object()])
def test_what_is_no_source(source: Any) -> None:
    refused(lambda: PostgresStore(source), "invalid_argument", "DSN")


# set-up


def setup_in_a_process(url: str, start: Barrier, results: Any) -> None:
    os.environ["SEALPOINT_KEK"] = KEK_FOR_PROCESSES
    start.wait(60)
    try:
        with Keyring.connect(url, kek=KEK) as keyring:
            keyring.setup()
            results.put(keyring.health().status)
    except SealpointError as error:
        results.put(f"{error.code}: {error}")


def create_in_a_process(url: str, number: int, start: Barrier, results: Any) -> None:
    with PostgresStore(url) as store:
        start.wait(60)
        try:
            results.put(store.create_dek(dek(bytes([number]) * 16)).dek_id)
        except SealpointError as error:
            results.put(f"{error.code}: {error}")


KEK_FOR_PROCESSES = "7sPazxTa4Ip+THz1+IWURrAWmkTnRM38uEnz0eNoE0k="


def in_processes(count: int, work: Callable[..., None], arguments: Callable[[int], tuple[object, ...]]) -> list[Any]:
    """Starts them all at once; what each put into the queue that it gets as its last argument."""
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(count), spawn.Queue()
    processes = [spawn.Process(target=work, args=(*arguments(number), start, results)) for number in range(count)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    return found


def test_setup_by_many_processes_at_once(url: str) -> None:
    assert in_processes(8, setup_in_a_process, lambda _: (url,)) == ["ok"] * 8
    assert query(url, "SELECT id, schema_version, max_ttl FROM sealpoint_settings") == [(1, 2, 3600)]
    assert len(query(url, "SELECT kek_uri FROM sealpoint_canaries")) == 1


def test_twenty_processes_create_one_dek(url: str) -> None:
    ready(url).close()
    winners = in_processes(20, create_in_a_process, lambda number: (url, number))
    assert len(set(winners)) == 1, winners
    assert query(url, "SELECT dek_id FROM sealpoint_deks") == [(winners[0],)]
    assert query(url, "SELECT DISTINCT dek_id FROM sealpoint_wraps") == [(winners[0],)]
    assert query(url, "SELECT count(*) FROM sealpoint_tenants") == [(1,)]


@pytest.mark.parametrize("damage", [f"DROP TABLE sealpoint_{table}" for table in TABLES] + ["DELETE FROM sealpoint_settings"])
def test_half_of_the_tables_are_repaired_by_setup(damage: str, url: str) -> None:
    ready(url).close()
    query(url, damage)
    if "canaries" in damage or "settings" in damage:
        refused(lambda: Keyring.connect(url, kek=KEK), "store_invalid", "setup()")
    with PostgresStore(url) as store:
        store.setup(3600)
        assert store.settings() == StoreSettings(2, 3600)
    with ready(url) as keyring:
        assert keyring.open(keyring.seal(PLAINTEXT, CONTEXT), CONTEXT) == PLAINTEXT


def test_a_newer_schema(url: str) -> None:
    ready(url).close()
    query(url, "UPDATE sealpoint_settings SET schema_version = 3")
    with PostgresStore(url) as store:
        refused(store.settings, "store_invalid", "upgrade")
        refused(lambda: store.setup(3600), "store_invalid", "upgrade")
    refused(lambda: Keyring.connect(url, kek=KEK), "store_invalid", "upgrade")


def test_a_migration_runs_once_and_whole_or_not_at_all(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(url).seal(PLAINTEXT, CONTEXT)
    monkeypatch.setattr(postgres, "SCHEMA_VERSION", 3)
    monkeypatch.setattr("sealpoint.stores.SCHEMA_VERSION", 3)
    known = postgres._MIGRATIONS
    with PostgresStore(url) as store:
        monkeypatch.setattr(postgres, "_MIGRATIONS", (*known, ("ALTER TABLE {deks} ADD note text", "SELECT 1 / 0")))
        refused(lambda: store.setup(3600), "store_invalid", "22012")
        assert store.settings() == StoreSettings(2, 3600)
        assert (
            "note" not in query(url, "SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = 'sealpoint_deks'::regclass")[0][0]
        )
        monkeypatch.setattr(postgres, "_MIGRATIONS", (*[("SELECT 1 / 0",)] * 2, ("ALTER TABLE {deks} ADD note text",)))
        assert in_threads(6, lambda _: store.setup(9999)) == [None] * 6
        assert store.settings() == StoreSettings(3, 3600)
        assert store.active_dek(TENANT, 1) is not None
        assert query(url, "SELECT note FROM sealpoint_deks") == [(None,)]


def test_a_database_of_another_encoding(postgres_admin: str) -> None:
    with new_database(postgres_admin) as dsn:
        name = f"{urlsplit(dsn).path[1:]}_latin"
        with psycopg.connect(postgres_admin, autocommit=True) as admin:
            identifier = sql.Identifier(name)
            admin.execute(sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").format(identifier))
            try:
                store = PostgresStore(dsn.replace(name.removesuffix("_latin"), name))
                refused(lambda: store.setup(3600), "store_invalid", "UTF8")
                store.close()
            finally:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def test_a_client_of_another_encoding(url: str) -> None:
    with PostgresStore(with_options(url, client_encoding="LATIN1")) as store:
        store.setup(3600)
        store.create_dek(dek(tenant="日本"))
        found = store.active_dek("日本", 1)
        assert found is not None
        assert found.tenant == "日本"


# races


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_the_databases_default_isolation_does_not_matter(isolation: str, url: str) -> None:
    escaped = isolation.replace(" ", r"\ ")
    options = f"-csearch_path={schema_of(url)} -cdefault_transaction_isolation={escaped}"
    strict = psycopg.conninfo.make_conninfo(url, options=options)
    with psycopg.connect(strict) as connection:
        assert connection.execute("SHOW transaction_isolation").fetchone() == (isolation,)
    with PostgresStore(strict) as store:
        store.setup(3600)
        winners = in_threads(8, lambda number: store.create_dek(dek(bytes([number]) * 16)).dek_id)
    assert len(set(winners)) == 1, winners


def waiting(url: str) -> bool:
    return bool(query(url, "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"))


def test_a_tombstone_that_is_being_set_is_waited_for(url: str) -> None:
    """Nobody makes a DEK for a tenant that is being shredded at that moment."""
    outcome: list[object] = []

    def create() -> None:
        try:
            outcome.append(store.create_dek(dek(bytes(16), version=2)))
        except SealpointError as error:
            outcome.append(error)

    with PostgresStore(url) as store:
        store.setup(3600)
        store.create_dek(dek(state="retired"))
        with psycopg.connect(url) as shredding:
            shredding.execute("UPDATE sealpoint_tenants SET shredded_at = 1")
            creating = threading.Thread(target=create)
            creating.start()
            while not waiting(url):
                assert creating.is_alive()
            shredding.commit()
        creating.join(30)
    (error,) = outcome
    assert isinstance(error, SealpointError), error
    assert_error(error, "key_destroyed")


def test_while_a_dek_is_made_no_tombstone_is_set(url: str) -> None:
    """From when the tombstone was looked for until the commit."""

    def watched() -> _connections.Steps[DekRecord]:
        steps = store._create(dek())
        query, looked = next(steps), False
        try:
            while True:
                rows = yield query
                looked = looked or "shredded_at" in query[0]
                if looked:
                    with psycopg.connect(url) as shredding:
                        shredding.execute("SET lock_timeout = 20")
                        with pytest.raises(psycopg.errors.LockNotAvailable):
                            shredding.execute("UPDATE sealpoint_tenants SET shredded_at = 1")
                query = steps.send(rows)
        except StopIteration as done:
            assert looked
            return done.value  # type: ignore[no-any-return]

    with PostgresStore(url) as store:
        store.setup(3600)
        store.create_dek(dek(state="retired", version=7, purpose=2, dek_id=bytes(16)))  # the tenant's row is there
        assert store._connections.run(watched).dek_id == DEK_ID


def test_a_dek_that_is_made_without_the_lock(url: str) -> None:
    """The index admits one only; whoever comes second is told to try again, and then finds it."""
    outcome: list[object] = []

    def create() -> None:
        try:
            outcome.append(store.create_dek(dek()))
        except SealpointError as error:
            outcome.append(error)

    with PostgresStore(url) as store:
        store.setup(3600)
        with psycopg.connect(url) as rude:
            rude.execute("INSERT INTO sealpoint_deks VALUES (%s, %s, 1, 1, 7, 'active', %s, 0)", (bytes(16), TENANT, bytes(32)))
            creating = threading.Thread(target=create)
            creating.start()
            while not waiting(url):
                assert creating.is_alive()
            rude.commit()
        creating.join(30)
        (error,) = outcome
        assert isinstance(error, SealpointError), error
        assert_error(error, "store_unavailable", "same moment")
        assert store.create_dek(dek()).dek_id == bytes(16)
    assert query(url, "SELECT dek_id FROM sealpoint_deks") == [(bytes(16),)]


# connections


def ended(url: str, left: int = 0) -> bool:
    """Whether so many connections by this DSN are left; a server process needs a moment to end."""
    name = psycopg.conninfo.conninfo_to_dict(url)["application_name"]
    with psycopg.connect(url, autocommit=True, application_name="watching") as watching:
        for _ in range(500):
            count = watching.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name]).fetchone()
            if count == (left,):
                return True
            watching.execute("SELECT pg_sleep(0.01)")
    return False


def test_few_connections_stay_open_and_close_ends_them(url: str) -> None:
    with ready(url) as keyring:
        in_threads(8, lambda number: keyring.load(f"tenant {number}"))
        assert 1 <= len(keyring._store._connections._idle) <= 2  # type: ignore[attr-defined]
        assert ended(url, len(keyring._store._connections._idle))  # type: ignore[attr-defined]
    assert ended(url)


def test_a_failed_connect_leaves_no_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(url).close()
    monkeypatch.setenv("SEALPOINT_KEK", os.environ["OTHER_KEK"])
    refused(lambda: Keyring.connect(url, kek=KEK), "authentication_failed")
    assert ended(url)


def test_a_store_that_was_passed_in_stays_its_owners(url: str) -> None:
    with PostgresStore(url) as store:
        with Keyring.connect(store, kek=KEK) as keyring:
            keyring.setup()
        assert len(store._connections._idle) == 1  # type: ignore[attr-defined]
        assert store.settings() == StoreSettings(2, 3600)
    assert ended(url)


def test_an_idle_connection_is_not_used_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with PostgresStore(url) as store:
        store.settings()
        ((_, first),) = store._connections._idle  # type: ignore[attr-defined]
        store.settings()
        assert store._connections._idle[0][1] is first  # type: ignore[attr-defined]
        monkeypatch.setattr("sealpoint.stores._connections.IDLE_S", 0)
        store.settings()
        assert store._connections._idle[0][1] is not first  # type: ignore[attr-defined]
        assert first.closed


def test_a_broken_connection_is_not_kept(url: str) -> None:
    with PostgresStore(url) as store:
        own = store._connections
        assert isinstance(own, _connections.OwnConnections)
        for spoil in (lambda c: c.close(), lambda c: c.execute("BEGIN"), lambda c: c.pgconn.send_query(b"SELECT pg_sleep(60)")):
            with own._connection() as connection:
                spoil(connection)
            assert own._idle == []
            assert connection.closed
        assert store.settings() is None


def test_an_error_leaves_the_connection_usable(url: str) -> None:
    with PostgresStore(url) as store:
        refused(store.canaries, "store_invalid", "setup()")
        store.setup(3600)
        assert store.canaries() == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_shares_no_connection(url: str) -> None:
    with PostgresStore(url) as store:
        store.setup(3600)
        own = store._connections
        ((_, mine),) = own._idle  # type: ignore[attr-defined]

        def child() -> bool:
            settings = store.settings()
            ((_, theirs),) = own._idle  # type: ignore[attr-defined]
            pid = theirs.info.backend_pid
            store.close()
            return settings is not None and pid != mine.info.backend_pid and not mine.closed

        with own._lock:  # type: ignore[attr-defined]
            assert in_child(child)
        assert store.settings() == StoreSettings(2, 3600)
        assert own._idle[0][1] is mine  # type: ignore[attr-defined]


# the packages


def test_importing_sealpoint_imports_no_psycopg() -> None:
    program = "import sys, sealpoint, sealpoint.cli, sealpoint.langgraph; print([m for m in sys.modules if 'psycopg' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("absent", ["psycopg", "psycopg_pool"])
@pytest.mark.parametrize("call", ["Keyring.connect('postgresql://host/db', kek='env:SEALPOINT_KEK')", "import sealpoint.stores.postgres"])
def test_without_psycopg_the_error_names_the_remedy(call: str, absent: str) -> None:
    program = f"""
import sys
from sealpoint import Keyring
sys.modules[{absent!r}] = None  # what a failed import leaves: the next one fails too
try:
    {call}
except ImportError as error:
    print(type(error).__name__, error.code, error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingDependencyError missing_dependency")
    assert "pip install 'sealpoint[postgres]'" in run.stdout
