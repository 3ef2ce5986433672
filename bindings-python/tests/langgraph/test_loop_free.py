"""No async call blocks the event loop, however slow the key store and the KMS are: each of their calls waits for something that only the
loop can do, so one that came from the loop's own thread would never end."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from backends import AsyncBackend, AsyncMemory, AsyncPostgres, AsyncSqlite
from graphs import CHAT_INPUT, afunctional, asking, chat, delta, fan
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy, Command
from same import config
from support import FakeKms, ready, refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedCache, SealedSaver, SealedStore, fixed
from sealpoint.stores.memory import MemoryStore


class Loop:
    """What a slow service waits for: that the loop runs."""

    def __init__(self, patience_s: float = 30) -> None:
        self.patience_s, self.loop, self.calls = patience_s, None, Counter[str]()

    loop: asyncio.AbstractEventLoop | None

    def wait(self, call: str) -> None:
        if self.loop is None:
            return
        ran = threading.Event()
        self.loop.call_soon_threadsafe(ran.set)
        self.calls[call] += 1
        if not ran.wait(self.patience_s):
            raise TimeoutError(f"{call} blocked the event loop")

    @asynccontextmanager
    async def always_cold(self, keyring: Keyring) -> AsyncIterator[None]:
        """Whenever the loop runs, no key is in memory."""

        async def forget() -> None:
            while True:
                keyring._cache.clear()
                await asyncio.sleep(0)

        self.loop = asyncio.get_running_loop()
        forgetting = asyncio.create_task(forget())
        try:
            yield
        finally:
            forgetting.cancel()
            self.loop = None


class SlowStore(MemoryStore):
    """A key store whose reads and writes of keys wait for the loop."""

    def __init__(self, loop: Loop) -> None:
        self.slow = loop
        super().__init__()

    def __getattribute__(self, name: str) -> Any:
        if name in ("tenant", "dek", "active_dek", "next_version", "create_dek"):
            self.slow.wait("store")
        return super().__getattribute__(name)


@pytest.fixture
def slow() -> Loop:
    return Loop()


@pytest.fixture
def ring(slow: Loop, kms: FakeKms) -> Iterator[Keyring]:
    kms.before = slow.wait
    with ready(SlowStore(slow), kms) as keyring:  # type: ignore[arg-type]
        yield keyring


async def run_chat(saver: Any) -> None:
    graph = chat(saver)
    for _ in range(2):
        result = await graph.ainvoke(CHAT_INPUT, config())
    assert result["count"] == 7
    states = [state async for state in graph.aget_state_history(config(), filter={"locale": "canary locale"})]
    fork = await graph.aupdate_state(states[1].config, {"note": "fork"}, as_node="join")
    assert (await graph.aget_state(fork)).values["note"] == "fork"


async def run_fan(saver: Any) -> None:
    result = await fan(saver).ainvoke({"items": ["x", "y", "z"], "inner": ""}, config())
    assert result["done"] == ["X", "Y", "Z"]


async def run_asking(saver: Any) -> None:
    graph = asking(saver)
    for step in ({"answers": []}, Command(resume="1"), Command(resume="2"), Command(resume="3")):
        result = await graph.ainvoke(step, config())
    assert result["answers"] == ["1", "2", "beside", "3"]


async def run_delta(saver: Any) -> None:
    for turn in range(4):
        result = await delta(saver).ainvoke({"turn": turn, "log": []}, config())
    assert len(result["log"]) == 12


async def run_functional(saver: Any) -> None:
    workflow = afunctional(saver)
    await workflow.ainvoke([1, 2, 3], config())
    assert (await workflow.ainvoke(Command(resume="fine"), config()))["answer"] == "fine"


RUNS = [run_chat, run_fan, run_asking, run_delta, run_functional]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__.removeprefix("run_"))
@pytest.mark.parametrize("kind", [AsyncMemory, AsyncSqlite, AsyncPostgres])
def test_savers(kind: type[AsyncBackend], run: Callable[[Any], Any], ring: Keyring, slow: Loop, kms: FakeKms, make_backend: Any) -> None:
    backend = make_backend(kind)

    async def cold(saver: Any) -> None:
        async with slow.always_cold(ring):
            await run(saver)

    with backend.opened(lambda inner: SealedSaver(inner, ring, tenant=fixed("acme"))) as saver:
        backend.loop.run_until_complete(cold(saver))
    assert slow.calls["wrap"] == 1
    assert min(slow.calls["unwrap"], slow.calls["store"]) > 5


async def test_stores_and_caches(ring: Keyring, slow: Loop) -> None:
    store = SealedStore(InMemoryStore(), ring, tenant=fixed("acme"), seal="fields")
    cache: Any = SealedCache(InMemoryCache(), ring, tenant=fixed("acme"))
    ran: list[str] = []

    async def remember(state: dict[str, Any], runtime: Runtime[None]) -> Any:
        assert runtime.store is not None
        ran.append("remember")
        await runtime.store.aput(("facts",), state["fact"], {"fact": state["fact"], "kind": "x"})
        found = await runtime.store.asearch(("facts",), filter={"kind": "x"})
        return {"fact": f"{state['fact']} of {len(found)}"}

    builder = StateGraph(dict)
    builder.add_node("remember", remember, cache_policy=CachePolicy())
    builder.add_edge(START, "remember")
    graph = builder.compile(store=store, cache=cache)
    async with slow.always_cold(ring):
        results = [await graph.ainvoke({"fact": "one"}) for _ in range(2)]
    assert results == [{"fact": "one of 1"}] * 2
    assert ran == ["remember"]
    assert min(slow.calls["unwrap"], slow.calls["store"]) > 3


async def test_a_call_that_does_block_the_loop_is_noticed(kms: FakeKms) -> None:
    slow = Loop(patience_s=0.1)
    kms.before = slow.wait
    with ready("memory:", kms) as keyring:
        saver = SealedSaver(InMemorySaver(), keyring, tenant=fixed("acme"))
        writes: Any = ({"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}, [("a", 1)], "task")
        async with slow.always_cold(keyring):
            await saver.aput_writes(*writes)
            keyring._cache.clear()
            refused(lambda: saver.put_writes(*writes), "kms_unavailable", "TimeoutError")
