"""Optional methods of a saver. LangGraph and its servers look at the class to see what a saver can do: a method that overrides the base
class's is a promise. So the wrapper's class has exactly those that the inner saver's class has."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from types import MethodType
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, DeltaChannelHistory

from sealpoint.langgraph.history import Copy, delta_history
from sealpoint.langgraph.steps import arun, run
from sealpoint.tenants import resolve_tenant

if TYPE_CHECKING:
    from sealpoint.langgraph.saver import SealedSaver


def class_for(cls: "type[SealedSaver]", inner: type[BaseCheckpointSaver[Any]]) -> "type[SealedSaver]":
    """The subclass of `cls` with the optional methods of `inner`'s class."""
    with _lock:
        if (cls, inner) not in _classes:
            _classes[cls, inner] = _make_class(cls, inner)
        return _classes[cls, inner]


def _make_class(cls: "type[SealedSaver]", inner: type[BaseCheckpointSaver[Any]]) -> "type[SealedSaver]":
    own = {
        name: method
        for name, method in _OPTIONAL.items()
        if getattr(inner, name) is not getattr(BaseCheckpointSaver, name) and getattr(cls, name) is getattr(BaseCheckpointSaver, name)
    }
    if not own:
        return cls
    return type(cls.__name__, (cls,), {**own, "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__})


def delete_thread(self: "SealedSaver", thread_id: str) -> None:
    self._storage.delete_thread(thread_id)


async def adelete_thread(self: "SealedSaver", thread_id: str) -> None:
    await self._storage.adelete_thread(thread_id)


def delete_for_runs(self: "SealedSaver", run_ids: Sequence[str]) -> None:
    self._storage.delete_for_runs(run_ids)


async def adelete_for_runs(self: "SealedSaver", run_ids: Sequence[str]) -> None:
    await self._storage.adelete_for_runs(run_ids)


def prune(self: "SealedSaver", thread_ids: Sequence[str], *, strategy: str = "keep_latest", **options: Any) -> None:
    self._storage.prune(thread_ids, strategy=strategy, **options)


async def aprune(self: "SealedSaver", thread_ids: Sequence[str], *, strategy: str = "keep_latest", **options: Any) -> None:
    await self._storage.aprune(thread_ids, strategy=strategy, **options)


def copy_thread(self: "SealedSaver", source_thread_id: str, target_thread_id: str) -> None:
    """Opens each checkpoint of the source and seals it at the target, oldest first: a copied row would not open there.

    There is no config here: the tenant comes from `tenant_scope`, `fixed` or the function.
    """
    tenant = resolve_tenant(self._source, None)
    found = list(self._list(self._plan_in(tenant, source_thread_id)))
    for copy in (Copy(row, target_thread_id) for row in reversed(found)):
        checkpoint = copy.found.checkpoint
        versions = checkpoint["channel_versions"]
        sealed = run(self._sealer.put(tenant, copy.config, checkpoint, copy.found.metadata, versions), self._keyring)
        self._storage.put(copy.config, sealed.checkpoint, sealed.metadata, versions)
        for writes, task_id, path in copy.writes:
            sealed_writes = run(self._sealer.writes(tenant, copy.writes_config, writes, task_id), self._keyring)
            self._storage.put_writes(copy.writes_config, sealed_writes, task_id, *self._path("put_writes", path))


async def acopy_thread(self: "SealedSaver", source_thread_id: str, target_thread_id: str) -> None:
    """`copy_thread` for async savers."""
    tenant = resolve_tenant(self._source, None)
    found = [row async for row in self._alist(self._plan_in(tenant, source_thread_id))]
    for copy in (Copy(row, target_thread_id) for row in reversed(found)):
        checkpoint = copy.found.checkpoint
        versions = checkpoint["channel_versions"]
        sealed = await arun(self._sealer.put(tenant, copy.config, checkpoint, copy.found.metadata, versions), self._keyring)
        await self._storage.aput(copy.config, sealed.checkpoint, sealed.metadata, versions)
        for writes, task_id, path in copy.writes:
            sealed_writes = await arun(self._sealer.writes(tenant, copy.writes_config, writes, task_id), self._keyring)
            await self._storage.aput_writes(copy.writes_config, sealed_writes, task_id, *self._path("aput_writes", path))


def get_delta_channel_history(self: "SealedSaver", *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
    tenant = resolve_tenant(self._source, config)
    return run(delta_history(self._sealer, *self._reading(tenant), tenant, config, channels), self._keyring)


async def aget_delta_channel_history(
    self: "SealedSaver", *, config: RunnableConfig, channels: Sequence[str]
) -> Mapping[str, DeltaChannelHistory]:
    tenant = resolve_tenant(self._source, config)
    return await arun(delta_history(self._sealer, *self._reading(tenant), tenant, config, channels), self._keyring)


def link_history(saver: "SealedSaver") -> None:
    """A walk of the wrapper's own also where the class promises none: that of the base class does not see that a parent was removed."""
    for method in (get_delta_channel_history, aget_delta_channel_history):
        name = method.__name__
        if getattr(type(saver), name) is getattr(BaseCheckpointSaver, name):
            setattr(saver, name, MethodType(method, saver))


_classes: "dict[tuple[type[SealedSaver], type[BaseCheckpointSaver[Any]]], type[SealedSaver]]" = {}
_lock = Lock()
_OPTIONAL: dict[str, Callable[..., Any]] = {
    method.__name__: method
    for method in (
        delete_thread,
        adelete_thread,
        delete_for_runs,
        adelete_for_runs,
        prune,
        aprune,
        copy_thread,
        acopy_thread,
        get_delta_channel_history,
        aget_delta_channel_history,
    )
}
