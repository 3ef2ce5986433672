"""Python and JavaScript on one real Postgres, with one key store: threads of either, read and verified by the other."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from graphs import CHAT_INPUT, asking, chat, delta, fan
from javascript import SECRET, node, threads
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.postgres import PostgresSaver
from support import refused

from sealpoint import Keyring
from sealpoint.langgraph import PlainCheckpoint, SealedSaver, fixed, read_checkpoint
from sealpoint.scan import scan

TENANT = "acme"
NAMES = {
    "thread_id": "threadId",
    "checkpoint_ns": "checkpointNs",
    "checkpoint_id": "checkpointId",
    "parent_id": "parentId",
    "pending_writes": "pendingWrites",
    "task_id": "taskId",
}


@pytest.fixture
def javascripts(postgres: str, keys: dict[str, str]) -> str:
    threads("postgres", postgres, **keys)
    return postgres


@pytest.fixture
def pythons(postgres: str, keyring: Keyring, keys: dict[str, str]) -> str:
    with PostgresSaver.from_conn_string(postgres) as inner:
        saver = SealedSaver(inner, keyring, tenant=fixed(TENANT))
        saver.setup()
        for thread, graph, given in (
            ("chat", chat(saver), CHAT_INPUT),
            ("asking", asking(saver), {"answers": []}),
            ("fan", fan(saver), {"items": ["a", SECRET]}),
        ):
            graph.invoke(given, {"configurable": {"thread_id": thread}, "metadata": {"customer": SECRET}}, durability="sync")
        for _ in range(3):
            delta(saver, parallel=False).invoke({"log": ["start"], "turn": 1}, {"configurable": {"thread_id": "delta"}})
    return postgres


def places(dsn: str) -> list[dict[str, str]]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints").fetchall()
    return [dict(zip(("thread_id", "checkpoint_ns", "checkpoint_id"), row, strict=True)) for row in rows]


def by_python(dsn: str, keyring: Keyring, **place: str) -> PlainCheckpoint:
    found = read_checkpoint(dsn, keyring, tenant=TENANT, **place)  # type: ignore[arg-type]
    assert found is not None
    return found


def by_javascript(dsn: str, keys: dict[str, str], *asks: dict[str, str], saver: bool = False) -> list[Any]:
    named = [{"tenant": TENANT, **{NAMES[name]: value for name, value in ask.items()}} for ask in asks]
    answers: list[Any] = json.loads(node("read.mjs", url=dsn, **keys, asks=named, saver=saver))
    return answers


def in_javascript(found: Any) -> Any:
    """A checkpoint as the other language's reader gives it."""
    given = json.loads(json.dumps(dataclasses.asdict(found)))
    renamed = {NAMES.get(name, name): value for name, value in given.items()}
    for part in ("pendingWrites", "unreadable"):
        renamed[part] = [
            {NAMES.get(name, name): NAMES.get(value, value) if name == "part" else value for name, value in one.items()}
            for one in renamed[part]
        ]
    return renamed


def edit(dsn: str, sql: str, *parameters: Any) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.execute(sql, parameters).rowcount > 0


def test_python_reads_what_javascript_sealed(javascripts: str, keyring: Keyring) -> None:
    for place in places(javascripts):
        assert by_python(javascripts, keyring, **place).unreadable == ()
    found = by_python(javascripts, keyring, thread_id="all")
    values = {name: value for name, value in found.values.items() if name in ("text", "number", "flag", "things", "inner")}
    assert values == {
        "text": SECRET,
        "number": 2.5,
        "flag": True,
        "inner": "1",
        "things": {"set": [7], "map": {"a": 1}, "pairs": [[1, "one"]], "raw": {"base64": "wQA="}, "none": None, "list": [1.5, None]},
    }
    assert [(message["type"], message["content"], message["id"]) for message in found.values["messages"]] == [
        ("human", SECRET, "m1"),
        ("ai", "so what?", "m2"),
    ]
    assert by_python(javascripts, keyring, thread_id="all", checkpoint_ns="sub").values["inner"] == "1"
    paused = by_python(javascripts, keyring, thread_id="asking")
    writes = {write.channel: write.value for write in paused.pending_writes}
    assert writes["answers"] == [SECRET]
    assert writes["__interrupt__"][0]["value"] == {"ask": SECRET}
    logs = [by_python(javascripts, keyring, **place).values.get("log") for place in places(javascripts) if place["thread_id"] == "delta"]
    assert any(log and log[0] == SECRET for log in logs), "a delta snapshot opened"


def test_python_scans_what_javascript_sealed(javascripts: str, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text(SECRET)
    report = scan(javascripts, expect=words)
    assert report.ok, report.to_text()
    assert {(finding.table, finding.column) for finding in report.sealed} == {
        ("checkpoints", "metadata"),
        ("checkpoint_blobs", "blob"),
        ("checkpoint_writes", "blob"),
    }


@pytest.mark.parametrize("writer", ["pythons", "javascripts"])
def test_both_languages_read_the_same(writer: str, request: pytest.FixtureRequest, keyring: Keyring, keys: dict[str, str]) -> None:
    dsn = request.getfixturevalue(writer)
    asks = places(dsn)
    for ask, answer in zip(asks, by_javascript(dsn, keys, *asks), strict=True):
        assert answer == {"found": in_javascript(by_python(dsn, keyring, **ask))}


def test_javascript_reads_what_python_sealed(pythons: str, keys: dict[str, str]) -> None:
    asks = [place for place in places(pythons) if place["thread_id"] == "delta"]
    none, paused, *logs = [
        answer["found"] for answer in by_javascript(pythons, keys, {"thread_id": "none"}, {"thread_id": "asking"}, *asks)
    ]
    assert none is None
    assert {write["channel"] for write in paused["pendingWrites"]} >= {"answers", "__interrupt__"}
    assert paused["metadata"]["customer"] == SECRET
    assert any(log["values"].get("log", [])[:1] == ["start"] for log in logs), "a delta snapshot opened"


def test_javascripts_saver_refuses_a_thread_of_pythons_and_names_the_reader(pythons: str, keys: dict[str, str]) -> None:
    *answers, none = by_javascript(pythons, keys, {"thread_id": "chat"}, {"thread_id": "asking"}, {"thread_id": "none"}, saver=True)
    for answer in answers:
        assert answer["code"] == "invalid_argument", answer
        assert "readCheckpoint" in answer["message"]
        assert SECRET not in answer["message"]
    assert none == {"found": None}


def test_pythons_saver_reads_a_thread_of_javascripts(javascripts: str, keyring: Keyring) -> None:
    with PostgresSaver.from_conn_string(javascripts) as inner:
        inner.setup()
        saver = SealedSaver(inner, keyring, tenant=fixed(TENANT))
        found = saver.get_tuple({"configurable": {"thread_id": "all"}})
        assert found is not None
        values = found.checkpoint["channel_values"]
        assert (values["text"], values["number"], values["flag"]) == (SECRET, 2.5, True)
        assert isinstance(values["messages"][0], HumanMessage)
        state = asking(saver).get_state({"configurable": {"thread_id": "asking"}})
        assert state.values == {"answers": []}


CHANGES = {
    "a value moved to another channel": "UPDATE checkpoint_blobs SET blob = (SELECT blob FROM checkpoint_blobs "
    "WHERE channel = '{other}' AND type <> 'empty' LIMIT 1) WHERE channel = '{channel}' AND type <> 'empty'",
    "a value lost": "DELETE FROM checkpoint_blobs WHERE channel = '{channel}'",
    "a version put back": "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{{channel_versions,{channel}}}', "
    "(SELECT b.checkpoint #> '{{channel_versions,{channel}}}' FROM checkpoints b WHERE b.thread_id = checkpoints.thread_id "
    "AND b.checkpoint_ns = checkpoints.checkpoint_ns AND b.checkpoint -> 'channel_versions' ? '{channel}' "
    "ORDER BY b.checkpoint_id LIMIT 1)) "
    "WHERE checkpoint -> 'channel_versions' ? '{channel}'",
    "a channel dropped": "UPDATE checkpoints SET checkpoint = checkpoint #- '{{channel_versions,{channel}}}'",
    "a write of another task": "UPDATE checkpoint_writes SET task_id = 'x' || task_id",
    "the source of a step": "UPDATE checkpoints SET metadata = jsonb_set(metadata, '{{source}}', '\"fork\"')",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_refused_by_the_other_language(
    change: str, request: pytest.FixtureRequest, keyring: Keyring, keys: dict[str, str]
) -> None:
    thread = "asking" if "write" in change else "all"
    dsn = request.getfixturevalue("javascripts")
    edit(dsn, CHANGES[change].format(channel="messages", other="things"))
    refused(lambda: by_python(dsn, keyring, thread_id=thread), "authentication_failed")


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_of_pythons_is_refused_in_javascript(change: str, pythons: str, keys: dict[str, str]) -> None:
    edit(pythons, CHANGES[change].format(channel="messages", other="items"))
    (answer,) = by_javascript(pythons, keys, {"thread_id": "asking" if "write" in change else "chat"})
    assert answer["code"] == "authentication_failed", answer


def test_unsealed_threads_are_refused_in_both(postgres: str, keyring: Keyring, keys: dict[str, str]) -> None:
    threads("postgres", postgres, threads=["all"])
    refused(lambda: by_python(postgres, keyring, thread_id="all"), "plaintext_refused")
    (answer,) = by_javascript(postgres, keys, {"thread_id": "all"})
    assert answer["code"] == "plaintext_refused"
