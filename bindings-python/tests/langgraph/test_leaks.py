"""Every byte of the database files is searched for what the application put in."""

import struct
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from backends import AsyncBackend, AsyncSqlite, Backend, Sqlite, stored_bytes
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, from_config

TEXT = [
    "CANARY-channel",
    "CANARY-message",
    "CANARY-nested",
    "CANARY-bytes",
    "CANARY-metadata",
    "CANARY-configurable",
    "CANARY-update",
    "CANARY-interrupt",
    "CANARY-resume",
    "CANARY-write",
    "CANARY-send",
    "CANARY-delta",
    "CANARY-task",
    "CANARY-entry",
    "CANARY-result",
    "CANARY-saved",
    "CANARY-error",
]
INTEGER, CONFIGURED_INTEGER = 0x1CED_C0FF_EE15_900D, 7_263_548_190_273
FLOAT = -123456.789012345
CANARIES: dict[str, list[bytes]] = {
    **{text: [text.encode(), text.encode("utf-16-le")] for text in TEXT},
    "integer": [struct.pack(">q", INTEGER), str(INTEGER).encode()],
    "configured integer": [struct.pack(">q", CONFIGURED_INTEGER), str(CONFIGURED_INTEGER).encode()],
    "float": [struct.pack(">d", FLOAT), repr(FLOAT).encode()],
}


class State(TypedDict, total=False):
    text: str
    integer: int
    number: float
    flag: bool
    messages: Annotated[list[AnyMessage], add_messages]
    nested: dict[str, Any]
    data: bytes
    log: Annotated[
        list[str], DeltaChannel(lambda state, writes: [*(state or []), *(item for write in writes for item in write)], snapshot_frequency=2)
    ]


def graph(saver: Any) -> Any:
    def first(state: State) -> Any:
        return {"messages": [AIMessage("CANARY-message", id="m")], "nested": {"a": ["CANARY-nested"]}, "log": ["CANARY-delta"]}

    def second(state: State) -> Any:
        return {"text": "CANARY-write " + interrupt({"question": "CANARY-interrupt"}), "log": ["CANARY-delta"]}

    def failing(state: State) -> Any:
        raise ValueError("CANARY-error")

    builder = StateGraph(State)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_node("sent", lambda state: {})
    builder.add_node("failing", failing)
    builder.add_edge(START, "first")
    builder.add_conditional_edges("first", lambda state: [Send("sent", {"text": "CANARY-send"}), "second"], ["sent", "second"])
    builder.add_edge("second", "failing")
    return builder.compile(checkpointer=saver)


def workflow(saver: Any, asynchronous: bool) -> Any:
    @task
    def work(text: str) -> str:
        return f"CANARY-task {text}"

    @entrypoint(checkpointer=saver)
    def run(text: str) -> Any:
        return entrypoint.final(value="CANARY-result" + work(text).result(), save="CANARY-saved")

    @task
    async def awork(text: str) -> str:
        return f"CANARY-task {text}"

    @entrypoint(checkpointer=saver)
    async def arun(text: str) -> Any:
        return entrypoint.final(value="CANARY-result" + await awork(text), save="CANARY-saved")

    return arun if asynchronous else run


def exercise(backend: Backend, wrap: Any) -> None:
    configurable = {"workspace_id": "acme", "api_token": "CANARY-configurable", "account": CONFIGURED_INTEGER}

    def config(thread: str) -> Any:
        return {"configurable": {"thread_id": thread, **configurable}, "metadata": {"customer": "CANARY-metadata"}}

    with backend.opened(wrap) as saver:
        compiled = graph(saver)
        given = {"text": "CANARY-channel", "integer": INTEGER, "number": FLOAT, "flag": True, "data": b"CANARY-bytes", "log": []}
        backend.invoke(compiled, given, config("t"))
        with pytest.raises(ValueError):
            backend.invoke(compiled, Command(resume="CANARY-resume"), config("t"))
        backend.update(compiled, config("t"), {"text": "CANARY-update"}, as_node="first")
        backend.invoke(workflow(saver, isinstance(backend, AsyncBackend)), "CANARY-entry", config("f"))


@pytest.mark.parametrize("kind", [Sqlite, AsyncSqlite], ids=lambda cls: cls.__name__)
def test_no_canary_is_stored(kind: type[Backend], keyring: Keyring, tmp_path: Path) -> None:
    bare, sealed = kind(tmp_path / "bare.db"), kind(tmp_path / "sealed.db")
    exercise(bare, lambda inner: inner)
    exercise(sealed, lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id")))
    bare.close()
    sealed.close()

    def found(path: Path) -> set[str]:
        stored = stored_bytes(path)
        return {name for name, forms in CANARIES.items() if any(form in stored for form in forms)}

    assert found(bare.path) == set(CANARIES), "the search itself finds them where they are"
    assert found(sealed.path) == set()
    assert b"acme" not in stored_bytes(sealed.path)


def test_lengths_of_primitives_do_not_tell(keyring: Keyring, tmp_path: Path) -> None:
    """'approved' and 'denied' look the same, and so do true and 12345."""
    from langgraph.checkpoint.memory import InMemorySaver

    inner = InMemorySaver()
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c", "workspace_id": "acme"}}
    lengths = set()
    for value in (None, True, 12345, 0.5, "approved", "denied", ""):
        saver.put_writes(config, [("decision", value)], f"task of {value}")
    for _, _, (_, stored), _ in inner.writes["t", "", "c"].values():
        lengths.add(len(stored))
    assert len(inner.writes["t", "", "c"]) == 7
    assert len(lengths) == 1
