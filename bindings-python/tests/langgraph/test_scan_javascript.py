"""`scan` on what LangGraph JS writes: real savers on real databases; MongoDB's over a stub of its driver, read from a fake database."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson.json_util
import mongomock
import psycopg
import pymongo
import pytest
from javascript import SECRET, node, threads
from redis_server import Redis

from sealpoint.cli import main
from sealpoint.scan import Report, Verdict, scan

CONTENT = {
    "postgres": {("checkpoint_blobs", "blob"), ("checkpoint_writes", "blob")},
    "sqlite": {("checkpoints", "checkpoint.channel_values"), ("writes", "value")},
    "redis": {("checkpoint", "checkpoint.channel_values"), ("checkpoint_blob", "value"), ("checkpoint_write", "value")},
    "shallow": {("checkpoint", "checkpoint.channel_values"), ("checkpoint_write", "value")},
    "mongo": {("checkpoints", "checkpoint.channel_values"), ("checkpoint_writes", "value")},
}
METADATA = {
    "redis": {("checkpoint", "metadata")},
    "shallow": {("checkpoint", "metadata")},
    "mongo": {("checkpoints", "metadata"), ("checkpoints", "metadata_search")},
}
MONGO_URL = "mongodb://localhost/test"
Play = Callable[..., str]


@pytest.fixture
def play(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Has a saver's threads written, and returns what `scan` reads."""
    clients: list[Any] = []

    def play(saver: str, **options: Any) -> str:
        if saver == "mongo":
            written = bson.json_util.loads(threads(saver, "", **options, threads=["all", "asking"]))
            fake: Any = mongomock.MongoClient()
            for collection, documents in written.items():
                fake["test"][collection].insert_many(documents)
            monkeypatch.setattr(fake, "close", lambda: None)
            monkeypatch.setattr(fake, "get_default_database", lambda default: fake["test"])
            monkeypatch.setattr(pymongo, "MongoClient", lambda *_, **__: fake)
            return MONGO_URL
        if saver in ("redis", "shallow"):
            server: Redis = request.getfixturevalue("redis_server")
            clients.append(server.client())
            clients[-1].flushall()
            url = server.url
        else:
            url = request.getfixturevalue("postgres") if saver == "postgres" else str(tmp_path / "state.db")
        threads(saver, url, **options)
        return url

    yield play
    for client in clients:
        client.flushall()
        client.close()


def where(report: Report, verdict: Verdict = Verdict.UNSEALED) -> set[tuple[str, str]]:
    return {(finding.table, finding.column) for finding in report.of(verdict)}


def content(saver: str) -> set[tuple[str, str]]:
    return CONTENT[saver] | METADATA.get(saver, {("checkpoints", "metadata")})


def words(tmp_path: Path) -> str:
    path = tmp_path / "words"
    path.write_text(SECRET)
    return str(path)


@pytest.mark.parametrize("saver", CONTENT)
def test_bare_rows_are_unsealed(saver: str, play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = play(saver)
    report = scan(url)
    assert where(report) == content(saver), report.to_text()
    assert (report.sealed, report.corrupt, report.unknown) == ((), (), ())
    assert SECRET not in report.to_text() + report.to_json()
    assert main(["scan", url, "--expect", words(tmp_path)]) == 3
    printed = capsys.readouterr().out
    assert "line 1" in printed
    assert SECRET not in printed


@pytest.mark.parametrize("saver", CONTENT)
def test_sealed_rows_are_sealed(saver: str, play: Play, keys: dict[str, str], tmp_path: Path) -> None:
    report = scan(play(saver, **keys), expect=words(tmp_path))
    assert report.ok, report.to_text()
    assert where(report, Verdict.SEALED) == content(saver), report.to_text()
    assert (report.corrupt, report.unknown, report.hits) == ((), (), ())


def test_the_tables_of_the_store(postgres: str, tmp_path: Path) -> None:
    node("items.mjs", url=postgres, secret=SECRET)
    report = scan(postgres)
    assert where(report) == {("store", "value")}
    assert report.unknown == ()
    assert ("store", "namespace_path") in where(report, Verdict.CLEAR)
    assert scan(postgres, clear_fields=["note"], expect=words(tmp_path)).hits != ()


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ("UPDATE checkpoint_writes SET type = 'json', blob = '\"x\"'", ("checkpoint_writes", "blob")),
        ('UPDATE checkpoint_blobs SET type = \'json\', blob = \'{"lc":2,"type":"undefined"}\'', ("checkpoint_blobs", "blob")),
        (
            'UPDATE checkpoint_blobs SET blob = \'{"lc":2,"type":"delta_snapshot","value":[1]}\' WHERE type = \'json\'',
            ("checkpoint_blobs", "blob"),
        ),
        ('UPDATE checkpoints SET metadata = metadata || \'{"customer": "x"}\'', ("checkpoints", "metadata")),
    ],
)
def test_each_value_that_is_unsealed_is_found(change: str, column: tuple[str, str], postgres: str, keys: dict[str, str]) -> None:
    threads("postgres", postgres, **keys, threads=["asking", "delta"])
    with psycopg.connect(postgres) as connection:
        assert connection.execute(change).rowcount > 0
    assert where(scan(postgres)) == {column}
