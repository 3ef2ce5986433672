"""`mode="migrating"` over stores: items from before sealing are read, and sealed when they are put again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from store_backends import StoreBackend

from sealpoint import Keyring, Migration, SealpointError
from sealpoint.langgraph import SealedStore, fixed

FUTURE = datetime.now(UTC) + timedelta(days=30)
PAST = datetime.now(UTC) - timedelta(seconds=1)
NS = ("users", "u-1")
OLD = {"kind": "note", "text": "written before sealing"}


def wrapped(keyring: Keyring, migration: Migration | None = None, **options: Any) -> Any:
    mode = "strict" if migration is None else "migrating"
    return lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"), mode=mode, migration=migration, **options)


def with_old_item(stores: StoreBackend) -> None:
    with stores.opened(lambda inner: inner) as bare:
        stores.call(bare, "put", NS, "old", OLD)


def test_old_items_are_read_and_sealed_when_put_again(stores: StoreBackend, keyring: Keyring) -> None:
    with_old_item(stores)
    migration = Migration(FUTURE)
    with stores.opened(wrapped(keyring, migration, clear_fields=("kind",))) as store:
        assert stores.call(store, "get", NS, "old").value == OLD
        stores.call(store, "put", NS, "new", {"kind": "note", "text": "sealed"})
        for wanted in ({"kind": "note"}, {"kind": "note", "text": {"$ne": ""}}):
            found = stores.call(store, "search", NS, filter=wanted)
            assert {item.key for item in found} == {"old", "new"}
        assert migration.counts() == {"acme": {"items": 3}}
        stores.call(store, "put", NS, "old", stores.call(store, "get", NS, "old").value)
        assert "written" not in str(stores.read(NS, "old"))
    with stores.opened(wrapped(keyring, clear_fields=("kind",))) as strict:
        assert stores.call(strict, "get", NS, "old").value == OLD


@pytest.mark.parametrize("until", [PAST, {"globex": FUTURE}], ids=["ended", "another tenant's"])
def test_outside_its_window_it_is_strict(stores: StoreBackend, keyring: Keyring, until: Any) -> None:
    with_old_item(stores)
    with stores.opened(wrapped(keyring, Migration(until))) as store:
        for method, *arguments in (("get", NS, "old"), ("search", NS)):
            with pytest.raises(SealpointError, match="migrating") as caught:
                stores.call(store, method, *arguments)
            assert caught.value.code == "plaintext_refused"


def test_a_sealed_item_without_its_manifest_is_no_old_one(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(wrapped(keyring, seal="fields")) as store:
        stores.call(store, "put", NS, "k", OLD)
    row = stores.read(NS, "k")
    del row["sealpoint"]
    stores.write(NS, "k", row)
    with stores.opened(wrapped(keyring, Migration(FUTURE))) as store:
        with pytest.raises(SealpointError) as caught:
            stores.call(store, "get", NS, "k")
        assert caught.value.code == "authentication_failed"


def test_what_a_caller_changes_stays_its_own(keyring: Keyring, stores: StoreBackend) -> None:
    with_old_item(stores)
    with stores.opened(wrapped(keyring, Migration(FUTURE))) as store:
        stores.call(store, "get", NS, "old").value["text"] = "changed"
        assert stores.call(store, "get", NS, "old").value == OLD
