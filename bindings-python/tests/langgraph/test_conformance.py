"""LangGraph's own conformance suite, wrapped against bare, test by test."""

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import ProgressCallbacks
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from sealpoint import Keyring
from sealpoint.langgraph import SealedSaver, fixed


class WholeMemorySaver(InMemorySaver):
    """An in-memory saver with the optional capabilities too."""

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self.storage[target_thread_id] = copy.deepcopy(self.storage[source_thread_id])
        for place, value in [(place, value) for place, value in self.blobs.items() if place[0] == source_thread_id]:
            self.blobs[(target_thread_id, *place[1:])] = value
        for at, writes in [(at, writes) for at, writes in self.writes.items() if at[0] == source_thread_id]:
            self.writes[(target_thread_id, *at[1:])] = dict(writes)

    async def adelete_for_runs(self, run_ids: Any) -> None:
        for thread_id, namespaces in self.storage.items():
            for ns, rows in namespaces.items():
                for checkpoint_id in [key for key, row in rows.items() if self.serde.loads_typed(row[1]).get("run_id") in run_ids]:
                    del rows[checkpoint_id]
                    self.writes.pop((thread_id, ns, checkpoint_id), None)

    async def aprune(self, thread_ids: Any, *, strategy: str = "keep_latest") -> None:
        for thread_id in thread_ids:
            if strategy == "delete":
                await self.adelete_thread(thread_id)
                continue
            for ns, rows in self.storage.get(thread_id, {}).items():
                for checkpoint_id in sorted(rows)[:-1]:
                    del rows[checkpoint_id]
                    self.writes.pop((thread_id, ns, checkpoint_id), None)
                rows.update({key: (*row[:2], None) for key, row in rows.items()})


Saver = BaseCheckpointSaver[Any]


@asynccontextmanager
async def memory(path: Path) -> AsyncIterator[Saver]:
    yield InMemorySaver()


@asynccontextmanager
async def whole_memory(path: Path) -> AsyncIterator[Saver]:
    yield WholeMemorySaver()


@asynccontextmanager
async def sqlite(path: Path) -> AsyncIterator[Saver]:
    path.unlink(missing_ok=True)
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        yield saver


def outcomes(opened: Any, path: Path, wrap: Callable[[Saver], Saver]) -> dict[str, tuple[bool, int, int, list[str]]]:
    tests: dict[str, bool] = {}

    @checkpointer_test(name="saver")
    async def factory() -> AsyncGenerator[Saver, None]:
        async with opened(path) as saver:
            yield wrap(saver)

    def remember(capability: str, name: str, passed: bool, *_: object) -> None:
        tests[f"{capability}:{name}"] = passed

    report = asyncio.run(validate(factory, progress=ProgressCallbacks(on_test_result=remember)))
    found: dict[str, Any] = {name: (result.detected, result.tests_passed, result.tests_failed) for name, result in report.results.items()}
    return {**found, **tests}


@pytest.mark.parametrize(("opened", "least"), [(memory, 50), (whole_memory, 60), (sqlite, 50)], ids=["memory", "whole_memory", "sqlite"])
def test_wrapped_conforms_like_bare(opened: Any, least: int, keyring: Keyring, tmp_path: Path) -> None:
    bare = outcomes(opened, tmp_path / "bare.db", lambda saver: saver)
    wrapped = outcomes(opened, tmp_path / "sealed.db", lambda saver: SealedSaver(saver, keyring, tenant=fixed("acme")))
    assert sum(value is True for value in bare.values()) >= least
    assert wrapped == bare
