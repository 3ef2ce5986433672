"""Sealing and opening are pure until a key is missing. They are written once, as generators that yield what they need done; these two
loops do it, blocking or not."""

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore, Op

from sealpoint import Keyring
from sealpoint._native import Context

T = TypeVar("T")
Item = tuple[tuple[Any, ...], Any, str, bool, bool]
"""One value for `DekCache.seal_many`: pairs that extend its context, payload, content type, whether to pad, whether as text."""


class Need(Protocol):
    """What a generator yields: something that blocks, and its asynchronous twin."""

    def now(self, keyring: Keyring, /) -> Any: ...
    async def later(self, keyring: Keyring, /) -> Any: ...


class Seal:
    """A value whose tenant's active key is not in memory: the keyring loads it, then seals."""

    __slots__ = ("args", "content_type", "pad", "text")

    def __init__(self, payload: Any, context: Context, content_type: str, pad: bool, text: bool) -> None:
        self.args, self.content_type, self.pad, self.text = (payload, context), content_type, pad, text

    def now(self, keyring: Keyring, /) -> Any:
        seal = keyring.seal_text if self.text else keyring.seal
        return seal(*self.args, content_type=self.content_type, pad=self.pad)

    async def later(self, keyring: Keyring, /) -> Any:
        seal = keyring.aseal_text if self.text else keyring.aseal
        return await seal(*self.args, content_type=self.content_type, pad=self.pad)


class SealMany:
    """Values of one tenant whose active key is not in memory. The first of them loads it."""

    __slots__ = ("base", "items")

    def __init__(self, base: Context, items: Sequence[Item]) -> None:
        self.base, self.items = base, items

    def now(self, keyring: Keyring, /) -> Any:
        return [one.now(keyring) for one in self._each()]

    async def later(self, keyring: Keyring, /) -> Any:
        return [await one.later(keyring) for one in self._each()]

    def _each(self) -> Iterator[Seal]:
        for pairs, payload, content_type, pad, text in self.items:
            context = self.base.extend(**dict(zip(pairs[::2], pairs[1::2], strict=True)))
            yield Seal(payload, context, content_type, pad, text)


class Open:
    """An envelope whose key is not in memory."""

    __slots__ = ("args",)

    def __init__(self, sealed: bytes | str, context: Context) -> None:
        self.args = (sealed, context)

    def now(self, keyring: Keyring, /) -> Any:
        return keyring.open_typed(*self.args)

    async def later(self, keyring: Keyring, /) -> Any:
        return await keyring.aopen_typed(*self.args)


class Fetch:
    """A row of the inner saver."""

    __slots__ = ("config", "saver")

    def __init__(self, saver: BaseCheckpointSaver[Any], config: RunnableConfig) -> None:
        self.saver, self.config = saver, config

    def now(self, _keyring: Keyring, /) -> Any:
        return self.saver.get_tuple(self.config)

    async def later(self, _keyring: Keyring, /) -> Any:
        return await self.saver.aget_tuple(self.config)


class Batch:
    """Operations on the inner store."""

    __slots__ = ("ops", "store")

    def __init__(self, store: BaseStore, ops: Sequence[Op]) -> None:
        self.store, self.ops = store, ops

    def now(self, _keyring: Keyring, /) -> Any:
        return self.store.batch(self.ops)

    async def later(self, _keyring: Keyring, /) -> Any:
        return await self.store.abatch(self.ops)


Steps = Generator[Need, Any, T]


def run(steps: Steps[T], keyring: Keyring) -> T:
    try:
        need = next(steps)
        while True:
            try:
                done = need.now(keyring)
            except Exception as error:  # noqa: BLE001  # the steps say which value it was about
                need = steps.throw(error)
            else:
                need = steps.send(done)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun(steps: Steps[T], keyring: Keyring) -> T:
    try:
        need = next(steps)
        while True:
            try:
                done = await need.later(keyring)
            except Exception as error:  # noqa: BLE001  # the steps say which value it was about
                need = steps.throw(error)
            else:
                need = steps.send(done)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
