"""SealedSaver: any LangGraph checkpoint saver, with nothing readable in its database."""

import inspect
from collections.abc import AsyncIterator, Collection, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any, Literal, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from sealpoint import Keyring
from sealpoint.errors import InvalidArgumentError, MalformedError
from sealpoint.langgraph.capabilities import class_for, link_history
from sealpoint.langgraph.configs import asked_of, stripped
from sealpoint.langgraph.container import legacy_storage_for, storage_for
from sealpoint.langgraph.layouts import layout_of
from sealpoint.langgraph.metadata import split
from sealpoint.langgraph.reuse import SealedValues
from sealpoint.langgraph.sealer import Sealer
from sealpoint.langgraph.setups import set_up
from sealpoint.langgraph.steps import arun, run
from sealpoint.migration import Migration, Window, check_mode
from sealpoint.tenants import TenantSource, check_source, resolve_tenant, returned_config, tenant_key


class SealedSaver(BaseCheckpointSaver[Any]):
    """Wraps a checkpoint saver: each value is sealed, bound to its tenant and its exact position, before the inner saver sees it.

    Args:
        inner: any `BaseCheckpointSaver`. Its serializer still decides how values are serialized.
        keyring: holds the tenants' keys.
        tenant: whose data it is: `from_config("workspace_id")`, `fixed("acme")` or a function of the config. A call without a tenant
            is refused before anything is written (`tenant_required`). Give graphs that run the tenant in their config: `tenant_scope`
            is for calls that have none, and LangGraph does not carry it to the writes of nodes that run in parallel threads.
        mode: `"strict"`: unsealed data is refused (`plaintext_refused`). `"migrating"`: what was stored before sealing is still read, for
            the tenants and the time that `migration` allows; what is written is sealed.
        migration: for whom and until when (`sealpoint.Migration`), and how much unsealed data was read.
        legacy_serde: LangGraph's `EncryptedSerializer` with its key, if it wrote the threads that migrate.
        strict_filters: refuse `list(filter=…)` on metadata that is sealed. Otherwise such filters are applied after opening, which reads
            and opens every checkpoint that the rest of the query selects.

    Each call raises `SealpointError` with a code of SPEC section 9. Row-level operations that need no key (`delete_thread`, `prune`,
    `delete_for_runs`) exist if the inner saver has them and go straight to it: sealing is not authorization.

    A node returns what it changes, as LangGraph asks: of a value of 16 KiB and more that it changed in place without returning it, the
    envelope of its version may be stored again, where a bare saver that writes every channel at each step would store the change.

    Configs that the saver returns carry the tenant's key again, so that a replay from a history config finds its tenant; their thread id
    carries it too, since LangGraph asks for a subgraph's state with nothing else. What is kept of such a config elsewhere (as JSON, say)
    names no tenant: put its key back, or call within `tenant_scope`.
    """

    def __new__(cls, inner: BaseCheckpointSaver[Any] | None = None, *_args: Any, **_kwargs: Any) -> "SealedSaver":
        return object.__new__(class_for(cls, type(inner)) if isinstance(inner, BaseCheckpointSaver) else cls)

    def __init__(
        self,
        inner: BaseCheckpointSaver[Any],
        keyring: Keyring,
        *,
        tenant: TenantSource,
        mode: Literal["strict", "migrating"] = "strict",
        migration: Migration | None = None,
        legacy_serde: SerializerProtocol | None = None,
        strict_filters: bool = False,
    ) -> None:
        if not isinstance(inner, BaseCheckpointSaver):
            raise InvalidArgumentError("invalid_argument", "inner must be a checkpoint saver (a BaseCheckpointSaver)")
        if isinstance(inner, SealedSaver):
            raise InvalidArgumentError("invalid_argument", "inner is a SealedSaver already")
        if not isinstance(keyring, Keyring):
            raise InvalidArgumentError("invalid_argument", "keyring must be a Keyring: make one with Keyring.connect(…)")
        self._migration = check_mode(mode, migration)
        if legacy_serde is not None and self._migration is None:
            raise InvalidArgumentError("invalid_argument", "legacy_serde= needs mode='migrating'")
        self._inner, self._keyring, self._source = inner, keyring, check_source(tenant)
        self._strict_filters = strict_filters
        self._legacy_serde = legacy_serde
        layout = layout_of(type(inner))
        self._storage = storage_for(inner, layout)
        self._legacy = legacy_storage_for(inner, layout, legacy_serde) if self._migration else self._storage
        self._sealer = Sealer(keyring, inner.serde, layout, SealedValues(), tenant_key(self._source))
        self._takes_task_path = {
            method: "task_path" in inspect.signature(getattr(inner, method)).parameters for method in ("put_writes", "aput_writes")
        }
        link_history(self)

    @property
    def inner(self) -> BaseCheckpointSaver[Any]:
        """The wrapped saver. What is read through it is sealed; what is written through it is not, and will be refused."""
        return self._inner

    def setup(self) -> Any:
        """Sets up the inner saver and the keyring. With an async inner saver this returns an awaitable, as that saver's own does."""
        return set_up(self._storage, self._keyring)

    # -- what LangGraph asks of every saver

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        tenant = resolve_tenant(self._source, config)
        sealed = run(self._sealer.put(tenant, config, checkpoint, metadata, new_versions), self._keyring)
        stored = self._storage.put(stripped(config), sealed.checkpoint, sealed.metadata, new_versions)
        self._sealer.stored(sealed)
        return returned_config(self._source, stored, tenant)

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        tenant = resolve_tenant(self._source, config)
        sealed = await arun(self._sealer.put(tenant, config, checkpoint, metadata, new_versions), self._keyring)
        stored = await self._storage.aput(stripped(config), sealed.checkpoint, sealed.metadata, new_versions)
        self._sealer.stored(sealed)
        return returned_config(self._source, stored, tenant)

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        tenant = resolve_tenant(self._source, config)
        sealed = run(self._sealer.writes(tenant, config, writes, task_id), self._keyring)
        self._storage.put_writes(stripped(config), sealed, task_id, *self._path("put_writes", task_path))

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        tenant = resolve_tenant(self._source, config)
        sealed = await arun(self._sealer.writes(tenant, config, writes, task_id), self._keyring)
        await self._storage.aput_writes(stripped(config), sealed, task_id, *self._path("aput_writes", task_path))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        tenant = resolve_tenant(self._source, config)
        storage, window = self._reading(tenant)
        inward = stripped(config)
        with Damage(inward) as damage:
            found = storage.get_tuple(inward)
        damage.refuse()
        if found is None:
            return None
        opened = run(self._sealer.open_tuple(tenant, found, asked_of(config, ns=""), window=window), self._keyring)
        return opened and self._outward(opened, tenant, config if found.config is inward else None)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        tenant = resolve_tenant(self._source, config)
        storage, window = self._reading(tenant)
        inward = stripped(config)
        with Damage(inward) as damage:
            found = await storage.aget_tuple(inward)
        damage.refuse()
        if found is None:
            return None
        opened = await arun(self._sealer.open_tuple(tenant, found, asked_of(config, ns=""), window=window), self._keyring)
        return opened and self._outward(opened, tenant, config if found.config is inward else None)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, newest first. Filters on sealed metadata are applied after opening (see `strict_filters`).

        Without a config this is every thread in the database: the tenant then comes from `tenant_scope`, `fixed` or the function, and
        a row of another tenant raises.
        """
        return self._list(self._plan(config, filter, before, limit))

    def _list(self, plan: "_ListPlan") -> Iterator[CheckpointTuple]:
        left = plan.limit
        if left is not None and left <= 0:
            return
        storage, window = self._reading(plan.tenant)
        with closing(_closable(storage.list(plan.config, **plan.arguments))) as rows:
            while True:
                with Damage(plan.config) as damage:
                    row = next(rows, None)
                damage.refuse()
                if row is None:
                    return
                steps = self._sealer.open_tuple(plan.tenant, row, plan.asked, wanted=plan.sealed_filter, window=window)
                found = run(steps, self._keyring)
                if found is None:
                    continue
                yield self._outward(found, plan.tenant)
                if left is not None and (left := left - 1) == 0:
                    return

    def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """`list` for async savers."""
        return self._alist(self._plan(config, filter, before, limit))

    async def _alist(self, plan: "_ListPlan") -> AsyncIterator[CheckpointTuple]:
        left = plan.limit
        if left is not None and left <= 0:
            return
        storage, window = self._reading(plan.tenant)
        async with aclosing(_aclosable(storage.alist(plan.config, **plan.arguments))) as rows:
            while True:
                with Damage(plan.config) as damage:
                    row: CheckpointTuple | None = await anext(rows, None)
                damage.refuse()
                if row is None:
                    return
                if self._sealer.layout.lists_summaries:
                    row = await storage.aget_tuple(stripped(self._sealer.as_put(row).config))
                    if row is None:
                        continue
                steps = self._sealer.open_tuple(plan.tenant, row, plan.asked, wanted=plan.sealed_filter, window=window)
                found = await arun(steps, self._keyring)
                if found is None:
                    continue
                yield self._outward(found, plan.tenant)
                if left is not None and (left := left - 1) == 0:
                    return

    # -- what is the inner saver's own

    @property
    def serde(self) -> SerializerProtocol:  # type: ignore[override]  # an attribute there; here it is the inner saver's, for reading
        """How values are serialized before they are sealed."""
        return self._sealer.serde

    @property
    def config_specs(self) -> Any:
        return self._inner.config_specs

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._inner.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> "SealedSaver":
        """A clone whose serializer also rebuilds these classes (LangGraph's strict msgpack mode)."""
        inner = self._inner.with_allowlist(extra_allowlist)
        if inner is self._inner:
            return self
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        clone._inner, clone._sealer = inner, self._sealer.with_serde(inner.serde)
        if self._storage is self._inner:
            clone._storage = inner
        link_history(clone)
        clone._legacy = legacy_storage_for(inner, self._sealer.layout, self._legacy_serde) if self._migration else clone._storage
        return clone

    # -- shared by the sync and the async halves

    def _reading(self, tenant: str) -> tuple[BaseCheckpointSaver[Any], Window | None]:
        """What reads this tenant's rows, and whether unsealed ones pass. Only while they do are classes built that a row names."""
        window = self._migration.window(tenant) if self._migration else None
        return (self._storage if window is None else self._legacy), window

    def _plan(
        self, config: RunnableConfig | None, filter: dict[str, Any] | None, before: RunnableConfig | None, limit: int | None
    ) -> "_ListPlan":
        tenant = resolve_tenant(self._source, config)
        clear, sealed = split(filter or {})
        if sealed and self._strict_filters:
            raise InvalidArgumentError(
                "invalid_argument",
                f"strict_filters: the metadata {', '.join(map(repr, sealed))} is sealed, so the database cannot filter on it",
            )
        arguments = {
            "filter": clear or None,
            "before": before and stripped(before),
            "limit": None if sealed else limit,
        }
        asked = asked_of(config)
        if asked.ns == "" and self._sealer.layout.lists_all_namespaces:
            asked = asked._replace(ns=None)
        return _ListPlan(tenant, config and stripped(config), arguments, asked, sealed, limit if sealed else None)

    def _plan_in(self, tenant: str, thread_id: str) -> "_ListPlan":
        """A whole thread, in a tenant that is known."""
        config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
        return _ListPlan(tenant, config, {}, asked_of(config), {}, None)

    def _path(self, method: str, task_path: str) -> tuple[str, ...]:
        """Savers from before `task_path` existed do not take it."""
        return (task_path,) if self._takes_task_path[method] else ()

    def _outward(self, found: CheckpointTuple, tenant: str, config: RunnableConfig | None = None) -> CheckpointTuple:
        """The row with configs for the caller. Savers that answer with the very config of the question get the caller's own back."""
        parent = found.parent_config
        return found._replace(
            config=returned_config(self._source, config or found.config, tenant),
            parent_config=parent and returned_config(self._source, parent, tenant),
        )


class _ListPlan(NamedTuple):
    tenant: str
    config: RunnableConfig | None
    arguments: dict[str, Any]
    asked: Any
    sealed_filter: dict[str, Any]
    limit: int | None
    """Counted here, because the inner saver cannot know which rows a sealed filter lets through."""


class Damage:
    """A row can be such that the saver's own code stumbles. Without a thread it is the question that is wrong, and the saver says so.

    `refuse` after the block, not in it: the saver's message may hold a value, and would be the new error's context.
    """

    def __init__(self, config: RunnableConfig | None) -> None:
        self._seen: str | None = None
        self._expected = config is None or "thread_id" in config.get("configurable", {})

    def __enter__(self) -> "Damage":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None or not self._expected or not issubclass(kind, (LookupError, TypeError, ValueError, AttributeError)):
            return False
        self._seen = kind.__name__
        return True

    def refuse(self) -> None:
        if self._seen:
            raise MalformedError(
                "malformed", f"the saver cannot read a stored checkpoint ({self._seen}): the row is damaged, or not LangGraph's"
            )


def _closable(rows: Iterator[CheckpointTuple]) -> Generator[CheckpointTuple, None, None]:
    """Leaving a loop early must end the inner cursor at once: some savers hold a lock until then."""
    if hasattr(rows, "close"):
        return cast(Generator[CheckpointTuple, None, None], rows)
    return (row for row in rows)


def _aclosable(rows: AsyncIterator[CheckpointTuple]) -> Any:
    return rows if hasattr(rows, "aclose") else (row async for row in rows)
