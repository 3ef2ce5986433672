"""`scan` on a real Redis: keys that real savers wrote, and each value that somebody unseals."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import CHAT_INPUT, asking, chat, delta
from langgraph.cache.redis import RedisCache
from langgraph.checkpoint.redis import RedisSaver, ShallowRedisSaver
from redis_server import Redis

from sealpoint import Context, Keyring, SealpointError
from sealpoint.langgraph import SealedSaver, fixed
from sealpoint.scan import Report, Verdict, scan

SECRET = "a diagnosis nobody may read"
CONTENT = {("checkpoint", "checkpoint.channel_values"), ("checkpoint_write", "blob")}


@pytest.fixture
def client(redis_server: Redis) -> Iterator[Any]:
    client = redis_server.client()
    client.flushall()
    yield client
    client.flushall()
    client.close()


def played(url: str, wrap: Callable[[Any], Any], kind: Any = RedisSaver) -> None:
    with kind.from_conn_string(url) as inner:
        inner.setup()
        saver = wrap(inner)
        for thread, graph in (("chat", chat(saver)), ("asking", asking(saver)), ("delta", delta(saver))):
            given: Any = {"chat": CHAT_INPUT, "asking": {"answers": []}, "delta": {"log": ["start"], "turn": 1}}[thread]
            config: Any = {"configurable": {"thread_id": thread, "note": SECRET}, "metadata": {"customer": SECRET}}
            for _ in range(2 if thread == "delta" else 1):
                graph.invoke(given, config, durability="sync")


def sealing(keyring: Keyring) -> Callable[[Any], Any]:
    return lambda inner: SealedSaver(inner, keyring, tenant=fixed("acme"))


@pytest.fixture
def sealed(client: Any, redis_server: Redis, keyring: Keyring) -> str:
    played(redis_server.url, sealing(keyring))
    return redis_server.url


def where(report: Report, verdict: Verdict = Verdict.UNSEALED) -> set[tuple[str, str]]:
    return {(finding.table, finding.column) for finding in report.of(verdict)}


def one(client: Any, pattern: str) -> bytes:
    return min(client.scan_iter(match=pattern, count=10_000))


def set_json(client: Any, pattern: str, path: str, value: Any) -> None:
    assert client.execute_command("JSON.SET", one(client, pattern), path, json.dumps(value))


@pytest.mark.parametrize("kind", [RedisSaver, ShallowRedisSaver])
def test_sealed_and_bare(client: Any, redis_server: Redis, keyring: Keyring, kind: Any) -> None:
    played(redis_server.url, sealing(keyring), kind)
    report = scan(redis_server.url)
    assert report.ok, report.to_text()
    assert where(report, Verdict.SEALED) == {*CONTENT, ("checkpoint", "metadata")}
    assert report.unknown == ()
    writes = next(finding.values for finding in report.sealed if finding.table == "checkpoint_write")
    assert writes == len(list(client.scan_iter(match="checkpoint_write:*", count=10_000))) > 10
    client.flushall()
    played(redis_server.url, lambda inner: inner, kind)
    report = scan(redis_server.url)
    assert where(report) >= {*CONTENT, ("checkpoint", "metadata")}
    assert report.sealed == ()
    assert SECRET not in report.to_text() + report.to_json()


UNSEALINGS: dict[str, tuple[str, str, Any, str, str]] = {
    "a channel": ("checkpoint:chat:*", "$.checkpoint.channel_values.new", SECRET, "checkpoint", "checkpoint.channel_values"),
    "a true": ("checkpoint:chat:*", "$.checkpoint.channel_values.new", True, "checkpoint", "checkpoint.channel_values"),
    "a delta snapshot": (
        "checkpoint:chat:*",
        "$.checkpoint.channel_values.new",
        {"__delta_snapshot__": True, "value": [SECRET]},
        "checkpoint",
        "checkpoint.channel_values",
    ),
    "pending sends": ("checkpoint:chat:*", "$.checkpoint.pending_sends", [SECRET], "checkpoint", "checkpoint.other fields"),
    "metadata": ("checkpoint:chat:*", "$.metadata", json.dumps({"source": "loop"}), "checkpoint", "metadata"),
    "a field of the document": ("checkpoint:chat:*", "$.score", SECRET, "checkpoint", "score"),
    "a write": ("checkpoint_write:chat:*", "$.blob", base64.b64encode(SECRET.encode()).decode(), "checkpoint_write", "blob"),
    "a write that JavaScript makes": ("checkpoint_write:chat:*", "$.value", SECRET, "checkpoint_write", "value"),
}


@pytest.mark.parametrize("name", UNSEALINGS)
def test_each_value_that_is_unsealed_is_found(sealed: str, client: Any, name: str) -> None:
    pattern, path, value, table, column = UNSEALINGS[name]
    set_json(client, pattern, path, value)
    report = scan(sealed)
    assert [(finding.table, finding.column, finding.values) for finding in report.unsealed] == [(table, column, 1)], report.to_text()
    assert "thread_id chat" in report.unsealed[0].examples[0]
    assert report.corrupt == ()
    assert SECRET not in report.to_text()


def test_what_is_damaged_is_reported_and_the_scan_goes_on(sealed: str, client: Any) -> None:
    set_json(client, "checkpoint_write:chat:*", "$.blob", base64.b64encode(b"\xc1" + SECRET.encode()).decode())
    set_json(client, "checkpoint:chat:*", "$.checkpoint", [1])
    client.set("checkpoint_latest:x", SECRET)
    report = scan(sealed)
    assert where(report, Verdict.CORRUPT) == {("checkpoint_write", "blob"), ("checkpoint", "checkpoint")}
    assert where(report) == {("checkpoint_latest", "points to")}
    assert len(report.sealed) == 3
    assert SECRET not in report.to_text()


def test_documents_of_the_javascript_saver(client: Any, redis_server: Redis, keyring: Keyring) -> None:
    """It keeps values as plain JSON, and each channel's a second time in a key of its own."""
    text = keyring.seal_text("x", Context(tenant="acme", purpose="field", document="d", path="/p"))

    def write(value: Any) -> None:
        place = {"thread_id": "t", "checkpoint_ns": "__empty__", "checkpoint_id": "c"}
        checkpoint = {"v": 4, "id": "c", "ts": "2026", "channel_values": {"a": value}, "channel_versions": {"a": 1}, "versions_seen": {}}
        metadata = {"source": "loop", "step": 1, "parents": {}, "sealpoint": text}
        documents = {
            "checkpoint:t::c": {**place, "checkpoint": checkpoint, "metadata": metadata, "checkpoint_ts": 1, "has_writes": "false"},
            "checkpoint_blob:t::a:1": {**place, "channel": "a", "version": "1", "type": "json", "value": value},
            "checkpoint_write:t::c:k:0": {
                **place,
                "task_id": "k",
                "idx": 0,
                "channel": "a",
                "type": "json",
                "value": value,
                "global_idx": 1,
            },
        }
        for key, document in documents.items():
            client.execute_command("JSON.SET", key, "$", json.dumps(document))

    write(text)
    report = scan(redis_server.url)
    assert report.ok, report.to_text()
    for value in (SECRET, {"lc": 1}, None, 5):
        write(value)
        assert where(scan(redis_server.url)) == {
            ("checkpoint", "checkpoint.channel_values"),
            ("checkpoint_blob", "value"),
            ("checkpoint_write", "value"),
        }


def test_cache_values(client: Any, redis_server: Redis) -> None:
    RedisCache(client).set({(("node",), "k"): (SECRET, None)})
    report = scan(redis_server.url)
    assert where(report) == {("cache", "val")}
    assert SECRET not in report.to_text()


def test_other_keys_are_named_and_searched(sealed: str, client: Any, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text(
        "\n".join(f"geheim-{kind}-ü" for kind in ("string", "hash", "list", "set", "zset", "stream", "json")), encoding="utf-8"
    )
    client.set("session:alice", "geheim-string-ü")
    client.hset("user:alice", mapping={"note": "geheim-hash-ü"})
    client.rpush("list:alice", "x" * 1000, "geheim-list-ü")
    client.sadd("set:alice", "geheim-set-ü")
    client.zadd("zset:alice", {"geheim-zset-ü": 1})
    client.xadd("stream:alice", {"note": "geheim-stream-ü"})
    client.execute_command("JSON.SET", "json:alice", "$", json.dumps({"a": ["geheim-json-ü"]}))
    report = scan(sealed)
    assert [finding.table for finding in report.unknown] == ["(other keys)"]
    assert report.ok
    assert not scan(sealed, strict=True).ok
    assert "alice" not in report.to_text(), "names of other keys can be data"
    report = scan(sealed, expect=words)
    assert {hit.line for hit in report.hits} == set(range(1, 8))
    assert all(hit.where.startswith("(other keys).") for hit in report.hits)
    assert "alice" not in report.to_text()


def test_only_commands_that_read(sealed: str, client: Any) -> None:
    before = {key: client.dump(key) for key in client.scan_iter(count=10_000)}
    client.config_resetstat()
    scan(sealed)
    used = {name.removeprefix("cmdstat_").lower() for name in client.info("commandstats")}
    assert {key: client.dump(key) for key in client.scan_iter(count=10_000)} == before
    allowed = {"scan", "type", "json.get", "get", "zrange", "info", "hello", "auth", "client|setinfo", "client|setname", "select"}
    assert used - allowed - {"config|resetstat", "client"} == set()


def test_other_databases_are_mentioned(sealed: str, redis_server: Redis, client: Any) -> None:
    assert not any("other databases" in note for note in scan(sealed).notes)
    other = redis_server.client()
    other.execute_command("SELECT", 3)
    other.connection_pool.disconnect()
    client.execute_command("COPY", one(client, "checkpoint_latest:*"), "copied", "DB", 3)
    assert any("db3" in note for note in scan(sealed).notes)


def test_an_empty_server_proves_nothing(client: Any, redis_server: Redis) -> None:
    with pytest.raises(SealpointError) as caught:
        scan(redis_server.url)
    assert caught.value.code == "invalid_argument"
    assert "Nothing was proven" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("redis://:hunter2-password@127.0.0.1:1/0", "store_unavailable"),
        ("unix:///nonexistent?password=hunter2-password", "store_unavailable"),
        ("redis://:hunter2-password@h/?socket_timeout=hunter2-password", "invalid_argument"),
    ],
)
def test_a_server_that_does_not_answer_and_no_password_is_said(url: str, code: str) -> None:
    with pytest.raises(SealpointError) as caught:
        scan(url)
    assert caught.value.code == code
    assert "hunter2" not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
