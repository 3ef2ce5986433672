"""Threads that begin without sealing and go on with it: each step of a graph in a new saver, wrapped as the test says."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from backends import AsyncBackend, Backend
from graphs import CHAT_INPUT, afunctional, asking, delta, fan, functional, view
from graphs import chat as chat_with
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command

from sealpoint import Keyring, Migration
from sealpoint.langgraph import SealedSaver, from_config

OLD, NEW = "written before sealing", "written after sealing began"
FUTURE = datetime.now(UTC) + timedelta(days=30)
Saver = BaseCheckpointSaver[Any]


def chat(saver: Saver) -> Any:
    return chat_with(saver, b"\x00raw")


def config(thread: str = "t", tenant: str = "acme") -> Any:
    return {"configurable": {"thread_id": thread, "workspace_id": tenant}}


def bare(inner: Saver) -> Saver:
    return inner


def sealed(keyring: Keyring, **options: Any) -> Callable[[Saver], Saver]:
    return lambda inner: SealedSaver(inner, keyring, tenant=from_config("workspace_id"), **options)


def migrating(keyring: Keyring, until: Any = FUTURE, **options: Any) -> Callable[[Saver], Saver]:
    return sealed(keyring, mode="migrating", migration=Migration(until), **options)


def encrypted(serde: Any) -> Callable[[Saver], Saver]:
    def wrap(inner: Saver) -> Saver:
        inner.serde = serde
        return inner

    return wrap


def plain_again(serde: Any, wrap: Callable[[Saver], Saver]) -> Callable[[Saver], Saver]:
    """The application gives the saver its default serializer back when it starts to seal."""

    def wrapped(inner: Saver) -> Saver:
        inner.serde = serde
        return wrap(inner)

    return wrapped


class Run:
    """A thread of each graph, one step per saver: `wraps` says which saver takes which step."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def steps(self, make: Any, inputs: list[Any], wraps: list[Any], *, last: Any = None) -> Any:
        """What each step gave, and the history as the last saver, or `last`, tells it."""
        results = []
        for value, wrap in zip(inputs, wraps, strict=True):
            with self.backend.opened(wrap) as saver:
                result = _comparable(self.backend.invoke(make(saver), value, config()))
                results.append((result, view([self._clean(self.backend.state(make(saver), config()))])))
        with self.backend.opened(last or wraps[-1]) as saver:
            return results, view([self._clean(state) for state in self.backend.history(make(saver), config())])

    @staticmethod
    def _clean(state: Any) -> Any:
        return state._replace(values=_comparable(state.values))


def _comparable(values: Any) -> Any:
    """Without the ids that differ from run to run."""
    if not isinstance(values, dict):
        return values
    values = dict(values)
    pauses = [pause.value for pause in values.pop("__interrupt__", ())]
    if "messages" in values:
        values["messages"] = [(message.type, message.content) for message in values["messages"]]
    return values, pauses


GRAPHS: dict[str, tuple[Any, list[Any]]] = {
    "chat": (chat, [CHAT_INPUT, {"seen": ["two"]}, {"seen": ["three"]}, {"messages": [("user", "again")]}]),
    "fan": (fan, [{"items": ["x", "y"], "inner": ""}] * 4),
    "asking": (asking, [{"answers": ["start"]}, Command(resume="one"), Command(resume="two"), Command(resume="yes")]),
    "functional": (functional, [[1, 2, 3], Command(resume="fine"), [4, 5], Command(resume="again")]),
    "delta": (delta, [{"log": ["you"], "turn": turn} for turn in range(4)]),
}


def plan(name: str, kind: type[Backend]) -> tuple[Any, list[Any]]:
    make, inputs = GRAPHS[name]
    return (afunctional if name == "functional" and issubclass(kind, AsyncBackend) else make), inputs
