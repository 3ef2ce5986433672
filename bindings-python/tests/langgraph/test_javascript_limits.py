"""What LangGraph itself cannot read across languages, sealed or not: the table of docs/GUIDE.md. A test that fails here is good news."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from graphs import asking
from javascript import SECRET, node, threads
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.store.postgres import PostgresStore
from langgraph.types import Command

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, fixed

CONFIG: Any = {"configurable": {"thread_id": "asking"}}


def test_javascript_reads_no_thread_of_pythons(postgres: str) -> None:
    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
        asking(saver).invoke({"answers": []}, CONFIG)
    said = json.loads(node("limits.mjs", url=postgres, thread="asking"))
    assert "Unknown serialization type: msgpack" in said["read"]
    assert "override this method to use string versions" in said["version"]


@pytest.mark.parametrize("sealed", [False, True])
def test_python_resumes_no_interrupt_of_javascripts(postgres: str, keyring: Keyring, keys: dict[str, str], sealed: bool) -> None:
    threads("postgres", postgres, threads=["asking"], **(keys if sealed else {}))
    with PostgresSaver.from_conn_string(postgres) as inner:
        inner.setup()
        saver: Any = SealedSaver(inner, keyring, tenant=fixed("acme")) if sealed else inner
        with pytest.raises(AttributeError, match="'dict' object has no attribute 'id'"):
            asking(saver).invoke(Command(resume="yes"), CONFIG)


def test_primitives_of_pythons_are_not_in_the_table_that_javascript_reads(postgres: str) -> None:
    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
        saver.put(
            {"configurable": {"thread_id": "t", "checkpoint_ns": ""}},
            {"v": 4, "id": "1", "ts": "", "channel_values": {"flag": True}, "channel_versions": {"flag": "1"}, "versions_seen": {}},  # type: ignore[typeddict-item]
            {},
            {"flag": "1"},
        )
    said = json.loads(node("limits.mjs", url=postgres, thread="t"))
    assert said["read"]["checkpoint"]["channel_values"] == {}, "no error, and no value"


def test_the_tables_of_the_stores_exclude_each_other(postgres: str) -> None:
    node("items.mjs", url=postgres, secret=SECRET)
    with PostgresStore.from_conn_string(postgres) as store:
        store.setup()  # it takes the other's migrations for its own
        with pytest.raises(psycopg.Error, match="prefix"):
            store.put(("users",), "u-1", {"a": 1})


def test_the_guide_names_each_limit() -> None:
    page = (Path(__file__).parents[3] / "docs" / "GUIDE.md").read_text(encoding="utf-8")
    section = page.partition("## Python and JavaScript on one database")[2].partition("\n## ")[0]
    for word in ("msgpack", "string versions", "inline", "has no attribute 'id'", "namespace_path", "read_checkpoint", "readCheckpoint"):
        assert word in section, word
