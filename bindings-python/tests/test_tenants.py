"""Who the data belongs to is always somebody's choice."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from typing import Any

import pytest
from support import OTHER_TENANT, TENANT, assert_error

from sealpoint import InvalidArgumentError, TenantRequiredError, fixed, from_config, tenant_scope
from sealpoint.tenants import OwnedThread, check_source, resolve_tenant, returned_config


def config(**configurable: Any) -> dict[str, Any]:
    return {"configurable": configurable, "tags": ["kept"]}


def test_from_the_config() -> None:
    assert resolve_tenant(from_config("workspace_id"), config(workspace_id=TENANT)) == TENANT


def test_the_config_comes_before_the_scope() -> None:
    with tenant_scope(OTHER_TENANT):
        assert resolve_tenant(from_config("workspace_id"), config(workspace_id=TENANT)) == TENANT


@pytest.mark.parametrize("given", [None, {}, {"configurable": None}, {"configurable": {}}, config(thread_id="t")])
def test_the_scope_where_the_config_says_nothing(given: Any) -> None:
    source = from_config("workspace_id")
    with pytest.raises(TenantRequiredError) as caught:
        resolve_tenant(source, given)
    assert_error(caught.value, "tenant_required", "workspace_id", "tenant_scope")
    with tenant_scope(TENANT):
        assert resolve_tenant(source, given) == TENANT
        with tenant_scope(OTHER_TENANT):
            assert resolve_tenant(source, given) == OTHER_TENANT
        assert resolve_tenant(source, given) == TENANT
    with pytest.raises(TenantRequiredError):
        resolve_tenant(source, given)


@pytest.mark.parametrize("value", [None, "", 7, b"acme", ["acme"]])
def test_a_config_that_holds_no_tenant_is_refused_even_within_a_scope(value: Any) -> None:
    with tenant_scope(TENANT), pytest.raises(TenantRequiredError) as caught:
        resolve_tenant(from_config("workspace_id"), config(workspace_id=value))
    assert_error(caught.value, "tenant_required", "workspace_id")


def test_scopes_of_concurrent_tasks_do_not_mix() -> None:
    async def task(tenant: str, entered: asyncio.Barrier) -> str:
        with tenant_scope(tenant):
            await entered.wait()
            return resolve_tenant(from_config("workspace_id"), None)

    async def both() -> list[str]:
        entered = asyncio.Barrier(2)
        return list(await asyncio.gather(task(TENANT, entered), task(OTHER_TENANT, entered)))

    assert asyncio.run(both()) == [TENANT, OTHER_TENANT]


def test_fixed_and_functions() -> None:
    assert resolve_tenant(fixed(TENANT), config(workspace_id=OTHER_TENANT)) == TENANT
    assert resolve_tenant(lambda given: (given or {})["tags"][0], config()) == "kept"
    assert TENANT not in repr(fixed(TENANT))


@pytest.mark.parametrize("value", [None, "", 7])
def test_a_function_that_names_no_tenant(value: Any) -> None:
    with tenant_scope(TENANT), pytest.raises(TenantRequiredError) as caught:
        resolve_tenant(lambda _: value, config())
    assert_error(caught.value, "tenant_required", "function")


@pytest.mark.parametrize("value", [None, "", 7])
def test_empty_tenants_are_refused_at_once(value: Any) -> None:
    with pytest.raises(TenantRequiredError):
        fixed(value)
    with pytest.raises(TenantRequiredError), tenant_scope(value):
        pass


async def _coroutine(_: object) -> str:
    return TENANT


@pytest.mark.parametrize(
    ("source", "word"), [(TENANT, "fixed("), (None, "from_config"), (7, "from_config"), (_coroutine, "plain function")]
)
def test_what_could_never_name_a_tenant(source: Any, word: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_source(source)
    assert_error(caught.value, "invalid_argument", word)


def test_sources_pass_the_check() -> None:
    for source in (from_config("workspace_id"), fixed(TENANT), lambda _: TENANT):
        assert check_source(source) is source


@pytest.mark.parametrize("key", ["", None, 7])
def test_from_config_takes_a_key(key: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        from_config(key)


def test_configs_that_go_back_carry_the_tenant() -> None:
    given = config(thread_id="t")
    back = returned_config(from_config("workspace_id"), given, TENANT)
    assert back == {"configurable": {"thread_id": "t", "workspace_id": TENANT}, "tags": ["kept"]}
    assert given == config(thread_id="t")
    assert returned_config(fixed(TENANT), given, TENANT) is given


def test_a_thread_id_that_went_back_names_its_tenant() -> None:
    """LangGraph asks for a subgraph's state with the thread's id, and nothing else of the config."""
    source = from_config("workspace_id")
    thread = returned_config(source, config(thread_id="t"), TENANT)["configurable"]["thread_id"]
    for same in (thread, str(thread), copy.deepcopy(thread), pickle.loads(pickle.dumps(thread))):  # noqa: S301
        assert same == "t"
        assert resolve_tenant(source, config(thread_id=same)) == TENANT
    assert (json.dumps([thread]), repr(thread), f"{thread!s}") == ('["t"]', "'t'", "t")
    assert resolve_tenant(source, config(thread_id=thread, workspace_id=OTHER_TENANT)) == OTHER_TENANT
    with tenant_scope(TENANT):
        assert resolve_tenant(source, config(thread_id=thread)) == TENANT
    with tenant_scope(OTHER_TENANT):
        assert resolve_tenant(source, config(thread_id="t")) == OTHER_TENANT
        with pytest.raises(TenantRequiredError) as caught:
            resolve_tenant(source, config(thread_id=thread))
        assert_error(caught.value, "tenant_required", "another tenant")


@pytest.mark.parametrize("source", [from_config("org"), fixed(OTHER_TENANT), lambda _: OTHER_TENANT])
def test_a_thread_id_names_no_tenant_to_another_source(source: Any) -> None:
    """Another key may name other tenants by the same words."""
    thread = returned_config(from_config("workspace_id"), config(thread_id="t"), TENANT)["configurable"]["thread_id"]
    with tenant_scope(OTHER_TENANT):
        assert resolve_tenant(source, config(thread_id=thread)) == OTHER_TENANT
    for plain in (thread[:], thread + "", "".join([thread])):
        assert not isinstance(plain, OwnedThread)


def test_a_thread_id_that_is_no_string_goes_back_as_it_is() -> None:
    assert returned_config(from_config("workspace_id"), config(thread_id=7), TENANT)["configurable"]["thread_id"] == 7
