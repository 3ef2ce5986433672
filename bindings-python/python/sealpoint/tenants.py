"""Who the data belongs to: where a wrapper finds the tenant of a call. There is no default tenant."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from .errors import InvalidArgumentError, TenantRequiredError

Config: TypeAlias = Mapping[str, Any]
"""A LangGraph config: `{"configurable": {…}, …}`."""

_AnyConfig = TypeVar("_AnyConfig", bound=Mapping[str, Any])
_scope: ContextVar[str | None] = ContextVar("sealpoint_tenant", default=None)


@dataclass(frozen=True)
class FromConfig:
    """The tenant is `config["configurable"][key]`; if the config has no such key, the one of `tenant_scope`."""

    key: str


@dataclass(frozen=True)
class Fixed:
    """The tenant is always this one."""

    tenant: str = field(repr=False)


TenantSource: TypeAlias = FromConfig | Fixed | Callable[[Config | None], str]


def from_config(key: str) -> FromConfig:
    """The tenant is what the caller put into `config["configurable"][key]`. Raises: `invalid_argument`."""
    if not isinstance(key, str) or not key:
        raise InvalidArgumentError(
            "invalid_argument", "from_config takes the name of a key in config['configurable'], such as 'workspace_id'"
        )
    return FromConfig(key)


def fixed(tenant: str) -> Fixed:
    """One tenant for everything that this wrapper seals. Raises: `tenant_required` (empty)."""
    return Fixed(_checked(tenant, "fixed() takes a tenant: a string that is not empty"))


@contextmanager
def tenant_scope(tenant: str) -> Iterator[None]:
    """Within the block (and the tasks started in it) this is the tenant of every config that names none.

    Raises: `tenant_required` (empty).
    """
    token = _scope.set(_checked(tenant, "tenant_scope() takes a tenant: a string that is not empty"))
    try:
        yield
    finally:
        _scope.reset(token)


def check_source(source: object) -> TenantSource:
    """Refuses, when a wrapper is made, what could never name a tenant. Raises: `invalid_argument`."""
    if isinstance(source, str):
        raise InvalidArgumentError(
            "invalid_argument",
            "tenant= was given a bare string, which could be a key of the config or a tenant's name, and a guess would pool tenants: "
            "write from_config(…) or fixed(…)",
        )
    if isinstance(source, (FromConfig, Fixed)):
        return source
    if not callable(source) or inspect.iscoroutinefunction(source):
        raise InvalidArgumentError("invalid_argument", "tenant= takes from_config(…), fixed(…) or a plain function of the config")
    return source


def resolve_tenant(source: TenantSource, config: Config | None) -> str:
    """The tenant of one call: from the config (its key, else a thread id that a wrapper returned), else from `tenant_scope`.

    A key that is there but holds no tenant (None, a number, an empty string) is refused, never replaced by the scope's.
    Raises: `tenant_required`.
    """
    if isinstance(source, Fixed):
        return source.tenant
    if isinstance(source, FromConfig):
        configurable = (config or {}).get("configurable") or {}
        if source.key in configurable:
            tenant = configurable[source.key]
            if not isinstance(tenant, str) or not tenant:
                raise TenantRequiredError(
                    "tenant_required", f"config['configurable'][{source.key!r}] is no tenant: a string that is not empty is needed"
                )
            return tenant
        scoped = _scope.get()
        thread = configurable.get("thread_id")
        if isinstance(thread, OwnedThread) and thread.source == source:
            if scoped not in (None, thread.tenant):
                raise TenantRequiredError(
                    "tenant_required",
                    "tenant_scope names another tenant than the config that this thread id is from: "
                    f"set config['configurable'][{source.key!r}]",
                )
            return thread.tenant
        if scoped is None:
            raise TenantRequiredError(
                "tenant_required",
                f"no tenant: set config['configurable'][{source.key!r}], or call within tenant_scope(…)",
            )
        return scoped
    return _checked(source(config), "the function given as tenant= returned no tenant: a string that is not empty is needed")


def tenant_key(source: TenantSource) -> str | None:
    """The key of a config that names the tenant, if it is one."""
    return source.key if isinstance(source, FromConfig) else None


class OwnedThread(str):
    """The thread id in a config that goes back to the caller: the same string, which knows whose thread it is.

    LangGraph asks for the state of a subgraph (`get_state(…, subgraphs=True)`, or the config in a task's `state`) with the thread's id and
    a namespace, and nothing else of the config that it was asked with. Only this object gets there.
    """

    __slots__ = ("source", "tenant")
    source: FromConfig
    tenant: str

    def __str__(self) -> str:  # LangGraph calls it on its way
        return self


def returned_config(source: TenantSource, config: _AnyConfig, tenant: str) -> _AnyConfig:
    """A config that goes back to the caller, with the tenant's key in it, so that a replay from it finds the tenant again."""
    if not isinstance(source, FromConfig):
        return config
    configurable = {**(config.get("configurable") or {}), source.key: tenant}
    if isinstance(thread := configurable.get("thread_id"), str):
        owned = OwnedThread(thread)
        owned.source, owned.tenant = source, tenant
        configurable["thread_id"] = owned
    return {**config, "configurable": configurable}  # type: ignore[return-value]  # still the caller's TypedDict


def _checked(tenant: object, message: str) -> str:
    if not isinstance(tenant, str) or not tenant:
        raise TenantRequiredError("tenant_required", message)
    return tenant
