"""The example application without any sealing: it replays faithfully, resumes, and leaks."""

import asyncio
import itertools
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from sealpoint.scan import scan
from support_agent import aplay, build_graph, distinctive_words, load_conversation, play

ACME = load_conversation("acme")
GLOBEX = load_conversation("globex")


def test_long_case_is_long() -> None:
    size = sum(len(line["content"].encode()) for line in ACME.lines)
    assert len(ACME.lines) >= 160
    assert size >= 210 * 1024


def test_replay_ends_in_the_recorded_case_and_its_words_are_in_the_clear(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with SqliteSaver.from_conn_string(str(file)) as saver:
        graph = build_graph().compile(checkpointer=saver)
        config = GLOBEX.config("case")
        for _ in play(graph, config, GLOBEX.turns):
            pass
        values = graph.get_state(config).values
    assert [(m.id, m.text) for m in values["messages"]] == [(m.id, m.text) for m in GLOBEX.messages]
    assert values["turn"] == len(GLOBEX.turns)
    assert values["escalated"] is False
    assert values["refund_total"] == 1002.0
    assert len(distinctive_words("acme", "globex")) > 1000
    words = distinctive_words("globex")
    secret = tmp_path / "words.txt"
    secret.write_text("\n".join(words), encoding="utf-8")
    assert len({hit.line for hit in scan(file, expect=secret).hits}) > 0.99 * len(words) > 200
    with sqlite3.connect(file) as database:
        (metadata,) = database.execute("SELECT metadata FROM checkpoints LIMIT 1").fetchone()
    assert GLOBEX.requester.encode() in bytes(metadata)


def test_each_turn_of_the_long_case_goes_as_recorded() -> None:
    """Each on a thread of its own, after an abridged history: the whole case in a fraction of the time."""
    graph = build_graph().compile(checkpointer=InMemorySaver())
    paid = 0.0
    for turn in ACME.turns:
        config = ACME.config(f"turn {turn.number}")
        begin = ACME.messages.index(turn.message)
        before = [type(m)("", id=m.id) for m in ACME.messages[:begin] if not isinstance(m, ToolMessage)]
        if before:
            graph.update_state(config, {"messages": before}, as_node="agent")
        list(play(graph, config, [turn]))
        values = graph.get_state(config).values
        said = [(m.id, m.text) for m in values["messages"][len(before) :]]
        assert said == [(m.id, m.text) for m in ACME.messages[begin : begin + len(said)]]
        assert begin + len(said) == (
            ACME.messages.index(ACME.turns[turn.number].message) if turn is not ACME.turns[-1] else len(ACME.lines)
        )
        refund = values.get("refund_total", 0.0)
        if turn.decisions:
            (decision,) = turn.decisions.values()
            assert values["case_note"].startswith("refund refused") or decision["approved"]
            assert (refund > 0) is decision["approved"]
        paid += refund
    assert paid == pytest.approx(5351.75)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_run_can_be_left_after_any_step(tmp_path: Path, steps: int) -> None:
    config = GLOBEX.config("case")
    while True:
        with SqliteSaver.from_conn_string(str(tmp_path / "state.db")) as saver:
            graph = build_graph().compile(checkpointer=saver)
            if not list(itertools.islice(play(graph, config, GLOBEX.turns), steps)):
                values = graph.get_state(config).values
                break
    assert [m.id for m in values["messages"]] == [m.id for m in GLOBEX.messages]
    assert values["refund_total"] == 1002.0


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    file = str(tmp_path / "state.db")
    code, killed = KILLED, -1
    while code == KILLED:
        code = subprocess.run([sys.executable, __file__, file, "17"], timeout=60).returncode
        killed += 1
    assert killed > 0
    assert code == 0
    with SqliteSaver.from_conn_string(file) as saver:
        values = build_graph().compile(checkpointer=saver).get_state(GLOBEX.config("case")).values
    assert [m.id for m in values["messages"]] == [m.id for m in GLOBEX.messages]
    assert values["turn"] == len(GLOBEX.turns)
    assert values["refund_total"] == 1002.0


KILLED = 9


def _run(file: str, steps: int) -> None:
    """Play until so many steps were reported, then die without closing anything."""
    with SqliteSaver.from_conn_string(file) as saver:
        graph = build_graph().compile(checkpointer=saver)
        for n, _ in enumerate(play(graph, GLOBEX.config("case"), GLOBEX.turns), start=1):
            if n == steps:
                os._exit(KILLED)


def test_async_replay_is_the_same(tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "state.db")) as saver:
            graph = build_graph().compile(checkpointer=saver)
            config = GLOBEX.config("case")
            async for _ in aplay(graph, config, GLOBEX.turns):
                pass
            return [m.id for m in (await graph.aget_state(config)).values["messages"]]

    assert asyncio.run(run()) == [m.id for m in GLOBEX.messages]


if __name__ == "__main__":
    _run(sys.argv[1], int(sys.argv[2]))
