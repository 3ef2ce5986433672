"""Somebody without a key edits the rows of a store. Each edit is also made to a bare store's rows, where it goes through."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from store_backends import AsyncMemory, StoreBackend
from support import refused

from sealpoint import Keyring
from sealpoint.langgraph import SealedStore, fixed, from_config, tenant_scope

NS, OTHER_NS = ("users", "u-1"), ("users", "u-2")
OLD = {"kind": "admin", "rank": 1, "text": "old", "tags": ["old"], "card": "1111"}
NEW = {"kind": "guest", "rank": 2, "text": "new", "tags": ["new"], "card": "2222"}
CLEAR = ("kind", "rank")
EMBED_LIKE = {"seal": "fields", "clear_fields": CLEAR}


@dataclass(frozen=True)
class Case:
    edit: Callable[[dict[str, Any], dict[str, Any]], object]
    """Changes the newer row in place; the second is an older version of the same item."""
    code: str = "authentication_failed"


def swap(row: dict[str, Any], _: Any) -> None:
    row["text"], row["tags"] = row["tags"], row["text"]


CASES = {
    "a clear field changed": Case(lambda row, _: row.update(kind="admin")),
    "a clear field put back": Case(lambda row, old: row.update(kind=old["kind"])),
    "a clear field dropped": Case(lambda row, _: row.pop("kind")),
    "a clear field added": Case(lambda row, _: row.update(superuser=True)),
    "a clear number made text": Case(lambda row, _: row.update(rank="2")),
    "a field put back": Case(lambda row, old: row.update(text=old["text"])),
    "a field dropped": Case(lambda row, _: row.pop("text")),
    "a field added": Case(lambda row, _: row.update(more=row["text"])),
    "two fields swapped": Case(swap),
    "a field in plaintext": Case(lambda row, _: row.update(text="new")),
    "a field's envelope cut": Case(lambda row, _: row.update(text=row["text"][:60]), "malformed"),
    "a flipped bit in a field": Case(lambda row, _: row.update(text=flipped(row["text"]))),
    "a flipped bit in the item": Case(lambda row, _: row.update(sealpoint=flipped(row["sealpoint"]))),
    "the item's envelope put back": Case(lambda row, old: row.update(sealpoint=old["sealpoint"])),
    "the item's envelope dropped": Case(lambda row, _: row.pop("sealpoint"), "plaintext_refused"),
    "the item's envelope null": Case(lambda row, _: row.update(sealpoint=None), "plaintext_refused"),
    "the item's envelope in plaintext": Case(lambda row, _: row.update(sealpoint="{}"), "plaintext_refused"),
    "the item's envelope of another format": Case(lambda row, _: row.update(sealpoint="sealpoint:v9:AAAA"), "unsupported_version"),
    "a whole plaintext item": Case(lambda row, _: (row.clear(), row.update(NEW)), "plaintext_refused"),
    "an empty item": Case(lambda row, _: row.clear(), "plaintext_refused"),
}


def flipped(text: str) -> str:
    at = len(text) - 10
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def put_both(stores: StoreBackend, store: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of both versions; the newer one is stored."""
    stores.call(store, "put", NS, "k", OLD)
    old = stores.read(NS, "k")
    stores.call(store, "put", NS, "k", NEW)
    return stores.read(NS, "k"), old


@pytest.mark.parametrize("name", CASES)
def test_an_edited_item_does_not_open(stores: StoreBackend, keyring: Keyring, name: str) -> None:
    case = CASES[name]
    with stores.opened(lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"), **EMBED_LIKE)) as store:  # type: ignore[arg-type]
        row, old = put_both(stores, store)
        edited = copy.deepcopy(row)
        case.edit(edited, old)
        assert edited != row
        stores.write(NS, "k", edited)
        for call in (("get", NS, "k"), ("search", NS), ("search", ("users",))):
            refused(lambda call=call: stores.call(store, *call), case.code, "item of the store")
        refused(lambda: stores.call(store, "search", NS, filter={"card": "2222"}), case.code)
        assert stores.call(store.inner, "get", NS, "k").value == edited  # a bare store takes it as it is
        stores.write(NS, "k", row)
        assert stores.call(store, "get", NS, "k").value == NEW


@pytest.mark.parametrize(("namespace", "key"), [(OTHER_NS, "k"), (NS, "other"), (("users",), "k"), (("users", "u-1", "sub"), "k")])
def test_a_moved_item_does_not_open(stores: StoreBackend, keyring: Keyring, namespace: tuple[str, ...], key: str) -> None:
    with stores.opened(lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"))) as store:
        stores.call(store, "put", NS, "k", NEW)
        stores.move(NS, "k", namespace, key)
        refused(lambda: stores.call(store, "get", namespace, key), "authentication_failed", "moved")
        refused(lambda: stores.call(store, "search", ("users",)), "authentication_failed")
        assert stores.call(store, "get", NS, "k").value == NEW


def test_an_item_does_not_open_for_another_tenant(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(lambda inner: SealedStore(inner, keyring, tenant=from_config("workspace_id"))) as store:
        with tenant_scope("acme"):
            stores.call(store, "put", NS, "k", NEW)
        with tenant_scope("globex"):
            stores.call(store, "put", OTHER_NS, "k", OLD)
            stores.move(NS, "k", OTHER_NS, "k")
            refused(lambda: stores.call(store, "get", OTHER_NS, "k"), "authentication_failed", "another tenant")


def test_an_older_version_as_a_whole_opens(stores: StoreBackend, keyring: Keyring) -> None:
    """The threat model says so: an item carries no version."""
    with stores.opened(lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"), **EMBED_LIKE)) as store:  # type: ignore[arg-type]
        _, old = put_both(stores, store)
        stores.write(NS, "k", old)
        assert stores.call(store, "get", NS, "k").value == OLD


@pytest.mark.parametrize("value", [[1], "text", 3, None, {"sealpoint": ["sealpoint:v1:x"]}, {"sealpoint": {"a": 1}}], ids=str)
def test_rows_of_any_shape_are_refused(tmp_path: Path, keyring: Keyring, value: Any) -> None:
    backend = AsyncMemory(tmp_path / "none", None)
    with backend.opened(lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"))) as store:
        backend.call(store, "put", NS, "k", NEW)
        backend.write(NS, "k", value)
        refused(lambda: backend.call(store, "get", NS, "k"), "plaintext_refused", "not sealed")
    backend.close()


def test_a_store_that_answers_from_elsewhere_is_refused(tmp_path: Path, keyring: Keyring) -> None:
    backend = AsyncMemory(tmp_path / "none", None)
    with backend.opened(lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"))) as store:
        backend.call(store, "put", OTHER_NS, "k", NEW)
        data = store.inner._data
        data[NS]["k"] = data[OTHER_NS]["k"]  # the item still says that it is in OTHER_NS
        refused(lambda: backend.call(store, "search", NS), "authentication_failed", "outside")
    backend.close()
