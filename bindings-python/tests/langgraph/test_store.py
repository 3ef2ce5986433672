"""SealedStore gives what the bare store gives, on every real store, sync and async."""

import asyncio
import dataclasses
import datetime
import threading
from typing import Any
from uuid import UUID

import pytest
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, ListNamespacesOp, PutOp, SearchOp
from langgraph.store.base.batch import AsyncBatchedBaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import AsyncSqliteStore, SqliteStore
from store_backends import Memory, StoreBackend
from support import FakeKms, ready, refused

from sealpoint import Keyring, Migration
from sealpoint.errors import SealpointError
from sealpoint.langgraph import SealedStore, fixed, from_config, tenant_scope

NS = ("users", "u-1")
VALUE: dict[str, Any] = {
    "kind": "note",
    "rank": 3,
    "text": "héllo 🔒",
    "null": None,
    "yes": True,
    "half": 0.5,
    "large": 2**63,
    "nested": {"a": [1, {"b": "c"}], "sealpoint": 1},
    "empty": {},
    "a/b~c": "pointer",
    "sealpoint": {"mine": True},
    "looks": "sealpoint:v1:AAAA",
}


def sealed(keyring: Keyring, **options: Any) -> Any:
    options.setdefault("tenant", fixed("acme"))
    return lambda inner: SealedStore(inner, keyring, **options)


def items(found: Any) -> list[Any]:
    return [(item.namespace, item.key, item.value) for item in found]


@pytest.mark.parametrize(
    "options", [{}, {"seal": "fields"}, {"clear_fields": ("kind", "rank")}, {"seal": "fields", "clear_fields": ["kind"]}]
)
def test_an_item_comes_back_as_it_was(stores: StoreBackend, keyring: Keyring, options: Any) -> None:
    with stores.opened(sealed(keyring, **options)) as store:
        stores.call(store, "put", NS, "k", VALUE)
        item = stores.call(store, "get", NS, "k")
        assert (item.value, item.namespace, item.key) == (VALUE, NS, "k")
        inner = stores.call(store.inner, "get", NS, "k")
        assert (item.created_at, item.updated_at) == (inner.created_at, inner.updated_at)
        clear = set(options.get("clear_fields", ()))
        names = VALUE.keys() if "seal" in options else clear
        raw = stores.read(NS, "k")
        assert raw.keys() == names | {"sealpoint"}
        assert {name: value for name, value in raw.items() if not str(value).startswith("sealpoint:v1:")} == {
            name: VALUE[name] for name in clear
        }
        assert stores.call(store, "get", NS, "none") is None
    with stores.opened(sealed(keyring)) as other:  # a reader goes by what is stored
        assert items(stores.call(other, "search", NS)) == [(NS, "k", VALUE)]


def test_put_replaces_and_delete_removes(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(sealed(keyring)) as store:
        stores.call(store, "put", NS, "k", {"a": 1})
        stores.call(store, "put", NS, "k", {"b": (1, 2)})
        assert stores.call(store, "get", NS, "k").value == {"b": [1, 2]}
        stores.call(store, "delete", NS, "k")
        assert stores.call(store, "get", NS, "k") is None


def test_namespaces_and_pages_are_those_of_the_inner_store(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(sealed(keyring)) as store:
        for number in range(7):
            stores.call(store, "put", ("users", f"u-{number % 2}"), f"k{number}", {"n": number})
        stores.call(store, "put", ("usersX",), "k", {"n": 99})
        assert stores.call(store, "list_namespaces", prefix=("users",)) == [("users", "u-0"), ("users", "u-1")]
        inner = stores.call(store.inner, "search", ("users",), limit=3, offset=2)
        found = stores.call(store, "search", ("users",), limit=3, offset=2)
        assert [(item.namespace, item.key) for item in found] == [(item.namespace, item.key) for item in inner]
        assert all(item.value == {"n": int(item.key[1:])} for item in found)
        assert {item.value["n"] for item in stores.call(store, "search", ("users",))} == set(range(7))


def test_a_batch_answers_in_order(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(sealed(keyring)) as store:
        stores.call(store, "put", NS, "old", {"n": 1})
        ops = [
            PutOp(NS, "new", {"n": 2}),
            GetOp(NS, "old"),
            SearchOp(NS, filter={"n": 1}),
            PutOp(NS, "new", {"n": 3}),
            ListNamespacesOp(),
            GetOp(NS, "none"),
            SearchOp(NS),
            PutOp(NS, "gone", None),
        ]
        one, two, three, four, five, six, seven, eight = stores.call(store, "batch", ops)
        assert (one, four, six, eight) == (None, None, None, None)
        assert two.value == {"n": 1}
        assert items(three) == items(seven) == [(NS, "old", {"n": 1})]
        assert five == [NS]
        assert stores.call(store, "get", NS, "new").value == {"n": 3}
        assert stores.call(store, "batch", []) == []


# Filters

FILTERS: list[dict[str, Any]] = [
    {"n": 3},
    {"n": 3.0},
    {"n": {"$eq": 3}},
    {"n": {"$ne": 3}},
    {"n": {"$gt": 3}},
    {"n": {"$gte": 3, "$lt": 5}},
    {"n": {"$lte": "3"}},
    {"kind": "a"},
    {"kind": {"$ne": "a"}},
    {"kind": "a", "n": {"$gte": 2}},
    {"missing": None},
    {"n": None},
    {"tags": ["x", 1]},
    {"tags": ["x"]},
    {"deep": {"a": {"b": 1}}},
    {"deep": {"a": {"b": {"$gt": 0}}}},
    {"deep": 1},
    {"flag": True},
    {"half": 0.5},
]


def rows() -> list[dict[str, Any]]:
    return [
        {"n": n, "kind": "ab"[n % 2], "tags": ["x", n], "deep": {"a": {"b": n}, "c": 0}, "flag": n == 2, "half": n / 2} for n in range(6)
    ]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_a_filter_on_sealed_fields_finds_what_a_store_in_memory_finds(keyring: Keyring, wanted: dict[str, Any]) -> None:
    bare = InMemoryStore()
    stores = [bare] + [SealedStore(InMemoryStore(), keyring, tenant=fixed("a"), clear_fields=clear) for clear in ((), ("kind",), ("n",))]
    for store in stores:
        for number, value in enumerate(rows()):
            store.put(NS, f"k{number}", value)
    expected = items(bare.search(NS, filter=wanted))
    for store in stores[1:]:
        assert items(store.search(NS, filter=wanted)) == expected


def test_where_the_store_in_memory_raises_nothing_but_text_compares(keyring: Keyring) -> None:
    store = SealedStore(InMemoryStore(), keyring, tenant=fixed("a"))
    for key, when in (("k1", "2026-01-02"), ("k2", "2026-03-04"), ("k3", None), ("k4", ["2027"])):
        store.put(NS, key, {"when": when})
    assert [item.key for item in store.search(NS, filter={"when": {"$gte": "2026-02-01"}})] == ["k2"]
    assert [item.key for item in store.search(NS, filter={"when": {"$lt": "2026-02-01"}})] == ["k1"]
    assert store.search(NS, filter={"when": {"$gt": 3}}) == []


def test_filters_on_every_store(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(sealed(keyring, clear_fields=("kind",))) as store:
        for number, value in enumerate(rows()):
            stores.call(store, "put", NS, f"k{number}", value)
        for wanted, keys in (
            ({"kind": "a"}, {"k0", "k2", "k4"}),
            ({"n": {"$gt": 3}}, {"k4", "k5"}),
            ({"kind": "a", "n": {"$gt": 3}}, {"k4"}),
            ({"kind": "a", "deep": {"a": {"b": 2}}}, {"k2"}),
            ({"kind": "c"}, set()),
        ):
            assert {item.key for item in stores.call(store, "search", NS, filter=wanted)} == keys, wanted
        assert all(item.value == rows()[int(item.key[1])] for item in stores.call(store, "search", NS, filter={"n": {"$gte": 0}}))


class Counting(InMemoryStore):
    """Counts the searches that reach it, with their filter and limit."""

    searches: list[SearchOp]

    def batch(self, ops: Any) -> Any:
        self.searches += [op for op in ops if isinstance(op, SearchOp)]
        return super().batch(ops)


def test_a_sealed_filter_reads_no_more_than_it_must_and_honours_limit_and_offset(keyring: Keyring) -> None:
    inner = Counting()
    inner.searches = []
    store = SealedStore(inner, keyring, tenant=fixed("a"), clear_fields=("kind",))
    for number in range(300):
        store.put(NS, f"{number:03}", {"n": number, "kind": "ab"[number % 2]})
    assert [item.value["n"] for item in store.search(NS, filter={"n": {"$gte": 5}}, limit=3)] == [5, 6, 7]
    assert [(op.limit, op.offset, op.filter) for op in inner.searches] == [(64, 0, None)]
    inner.searches.clear()
    assert [item.value["n"] for item in store.search(NS, filter={"n": {"$gte": 200}, "kind": "a"}, limit=4, offset=3)] == [
        206,
        208,
        210,
        212,
    ]
    assert [(op.limit, op.offset, op.filter) for op in inner.searches] == [(64, 0, {"kind": "a"}), (128, 0, {"kind": "a"})]
    assert [item.value["n"] for item in store.search(NS, filter={"n": {"$gte": 298}}, limit=10)] == [298, 299]
    assert store.search(NS, filter={"n": -1}, limit=10) == []
    assert store.search(NS, filter={"n": {"$gte": 0}}, limit=0) == []
    assert len(store.search(NS, filter={"n": {"$gte": 0}}, limit=1000)) == 300


def test_what_a_filter_cannot_mean_is_refused(keyring: Keyring) -> None:
    strict = SealedStore(InMemoryStore(), keyring, tenant=fixed("a"), clear_fields=("kind",), strict_filters=True)
    strict.put(NS, "k", {"kind": "a", "n": 1})
    refused(lambda: strict.search(NS, filter={"n": 1}), "invalid_argument", "clear_fields")
    assert items(strict.search(NS, filter={"kind": "a"})) == [(NS, "k", {"kind": "a", "n": 1})]
    store = SealedStore(strict.inner, keyring, tenant=fixed("a"))
    for wanted in ({"n": {"$in": [1]}}, {"n": {"$gt": 1, "a": 2}}, {"n": {"a": {"$or": 1}}}, {"n": [{"$x": 1}]}):
        refused(lambda wanted=wanted: store.search(NS, filter=wanted), "invalid_argument", "$gte")
    refused(lambda: store.search(NS, filter={"n": 1}, limit=-1), "invalid_argument", "negative")


# Values and batches


@dataclasses.dataclass
class Data:
    a: int = 1


FOREIGN = {
    "bytes": b"x",
    "nan": float("nan"),
    "infinity": float("-inf"),
    "datetime": datetime.datetime(2026, 1, 1),
    "uuid": UUID(int=1),
    "set": {1},
    "dataclass": Data(),
    "key": {1: 2},
    "nested": {"a": [{"b": {None: 1}}]},
    "surrogate": "plaintext \ud800",
    "surrogate key": {"\udfff": 1},
    "digits": 10**5000,
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("options", [{}, {"seal": "fields"}, {"clear_fields": ("field",)}], ids=str)
def test_what_json_cannot_hold_is_refused_and_nothing_written(keyring: Keyring, name: str, options: Any) -> None:
    store = SealedStore(InMemoryStore(), keyring, tenant=fixed("a"), **options)
    error = refused(
        lambda: store.batch([PutOp(NS, "good", {"a": 1}), PutOp(NS, "bad", {"field": FOREIGN[name]})]), "invalid_argument", "item"
    )
    assert "plaintext" not in repr((error, error.__context__, error.__cause__))
    assert store.search(NS) == []


def test_what_contains_itself_or_is_no_dict_is_refused(keyring: Keyring) -> None:
    store: Any = SealedStore(InMemoryStore(), keyring, tenant=fixed("a"))
    loop: list[Any] = []
    loop.append(loop)
    refused(lambda: store.put(NS, "k", {"a": loop}), "invalid_argument", "nested")
    refused(lambda: store.put(NS, "k", [1]), "invalid_argument", "dict")
    refused(lambda: store.put(NS, "k", {1: 2}), "invalid_argument", "keys")
    refused(lambda: store.batch([("get", NS)]), "invalid_argument", "operation")
    with pytest.raises(InvalidNamespaceError):
        store.batch([PutOp(("a.b",), "k", {"a": 1})])


def test_a_clear_field_holds_what_every_database_gives_back(keyring: Keyring) -> None:
    store = SealedStore(InMemoryStore(), keyring, tenant=fixed("a"), clear_fields=("a",))
    for value in (2**53 + 1, 1e17, [{"b": -(2**60)}]):
        refused(lambda value=value: store.put(NS, "k", {"a": value}), "invalid_argument", "2^53")
    refused(lambda: store.put(NS, "k", {"a": "sealpoint:v1:x"}), "invalid_argument", "envelope")
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    refused(lambda: store.put(NS, "k", {"a": deep}), "limit_exceeded", "clear fields")


def test_clear_numbers_survive_every_database(stores: StoreBackend, keyring: Keyring) -> None:
    numbers = [0, -0.0, 1.0, 2**53, -(2**53), 0.1, 1e-7, 5e-324, 123456789.125, True, 1 / 3]
    with stores.opened(sealed(keyring, clear_fields=("numbers",))) as store:
        stores.call(store, "put", NS, "k", {"numbers": numbers})
        assert stores.call(store, "get", NS, "k").value == {"numbers": numbers}


def test_a_store_in_memory_shares_no_object_with_the_caller(keyring: Keyring) -> None:
    store = SealedStore(InMemoryStore(), keyring, tenant=fixed("a"), clear_fields=("tags",))
    value = {"tags": ["x"]}
    store.put(NS, "k", value)
    value["tags"].append("changed")
    store.get(NS, "k").value["tags"].append("changed")  # type: ignore[union-attr]
    assert store.get(NS, "k").value == {"tags": ["x"]}  # type: ignore[union-attr]


def test_a_read_that_fails_leaves_the_batch_unwritten(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(sealed(keyring)) as store:
        stores.call(store, "put", NS, "k", {"a": 1})
        stores.write(NS, "k", {"a": 2})
        for read in (GetOp(NS, "k"), SearchOp(NS), SearchOp(NS, filter={"a": 2})):
            refused(lambda read=read: stores.call(store, "batch", [PutOp(NS, "new", {"b": 1}), read]), "plaintext_refused")
        assert stores.call(store.inner, "get", NS, "new") is None


def test_keys_are_loaded_before_anything_is_written(stores: StoreBackend, kms: FakeKms) -> None:
    with ready("memory:", kms) as ring, stores.opened(sealed(ring)) as store:
        kms.fail("kms_unavailable")
        refused(lambda: stores.call(store, "put", NS, "k", {"a": 1}), "kms_unavailable")
        assert stores.call(store.inner, "get", NS, "k") is None


# The inner store's own


def test_ttl_follows_the_inner_store(tmp_path: Any, keyring: Keyring) -> None:
    bare = SealedStore(InMemoryStore(), keyring, tenant=fixed("a"))
    assert not bare.supports_ttl
    assert bare.ttl_config is None
    assert not hasattr(bare, "sweep_ttl")
    with pytest.raises(NotImplementedError):
        bare.put(NS, "k", {"a": 1}, ttl=1)
    with SqliteStore.from_conn_string(str(tmp_path / "ttl.db"), ttl={"default_ttl": 10, "refresh_on_read": True}) as inner:
        store = SealedStore(inner, keyring, tenant=fixed("a"))
        store.setup()
        assert store.supports_ttl
        assert store.ttl_config == {"default_ttl": 10, "refresh_on_read": True}
        for key, ttl in (("dead", -1.0), ("k1", 5.0), ("k2", 5.0)):
            store.put(NS, key, {"a": key}, ttl=ttl)
        assert store.sweep_ttl() == 1
        inner.conn.execute("UPDATE store SET expires_at = 'soon'")
        store.search(NS, filter={"a": "k1"})
        expiry = dict(inner.conn.execute("SELECT key, expires_at FROM store").fetchall())
        assert expiry["k2"] == "soon"  # only what was found is refreshed
        assert expiry["k1"] != "soon"
        store.get(NS, "k2", refresh_ttl=False)
        assert inner.conn.execute("SELECT expires_at FROM store WHERE key = 'k2'").fetchone() == ("soon",)
        assert store.stop_ttl_sweeper()


def test_setup_sets_up_both(stores: StoreBackend, tmp_path: Any) -> None:
    with (
        Keyring.connect(f"sqlite:///{tmp_path / 'other-keys.db'}", kek="env:SEALPOINT_KEK") as ring,
        stores.opened(sealed(ring)) as store,
    ):
        refused(lambda: stores.call(store, "put", NS, "k", {"a": 1}), "store_invalid", "setup()")
        stores.run(store.setup())
        stores.call(store, "put", NS, "k", {"a": 1})
        assert stores.call(store, "get", NS, "k").value == {"a": 1}


def test_what_could_never_work_is_refused_at_once(keyring: Keyring) -> None:
    store: Any = SealedStore
    inner = InMemoryStore()
    for call in (
        lambda: store(object(), keyring, tenant=fixed("a")),
        lambda: store(store(inner, keyring, tenant=fixed("a")), keyring, tenant=fixed("a")),
        lambda: store(inner, object(), tenant=fixed("a")),
        lambda: store(inner, keyring, tenant="a"),
        lambda: store(inner, keyring, tenant=fixed("a"), seal="none"),
        lambda: store(inner, keyring, tenant=fixed("a"), mode="migrating"),
        lambda: store(inner, keyring, tenant=fixed("a"), migration=Migration(datetime.datetime.now(datetime.UTC))),
        lambda: store(inner, keyring, tenant=fixed("a"), mode="loose"),
        lambda: store(inner, keyring, tenant=fixed("a"), clear_fields="kind"),
        lambda: store(inner, keyring, tenant=fixed("a"), clear_fields=(1,)),
        lambda: store(inner, keyring, tenant=fixed("a"), clear_fields=("",)),
        lambda: store(inner, keyring, tenant=fixed("a"), clear_fields=("sealpoint",)),
        lambda: store(inner, keyring, tenant=fixed("a"), embed="text"),
        lambda: store(inner, keyring, tenant=fixed("a"), embed=("text",)),
    ):
        refused(call, "invalid_argument")
    with pytest.raises(TypeError):
        store(inner, keyring, tenant=fixed("a"), unknown=1)
    with pytest.raises(AttributeError):
        store(inner, keyring, tenant=fixed("a")).no_such_method  # noqa: B018


# Many tenants, many threads, cold keys


def test_without_a_tenant_nothing_is_read_or_written(keyring: Keyring) -> None:
    store = SealedStore(InMemoryStore(), keyring, tenant=from_config("workspace_id"))
    for call in (lambda: store.put(NS, "k", {"a": 1}), lambda: store.get(NS, "k"), lambda: store.search(NS)):
        refused(call, "tenant_required", "workspace_id")
    assert store.inner.search(()) == []
    store.delete(NS, "k")
    assert store.list_namespaces() == [] or store.list_namespaces() == [NS]
    with tenant_scope("acme"):
        store.put(NS, "k", {"a": 1})
        assert store.get(NS, "k").value == {"a": 1}  # type: ignore[union-attr]


def test_rows_of_another_tenant_raise(stores: StoreBackend, keyring: Keyring) -> None:
    with stores.opened(sealed(keyring, tenant=from_config("workspace_id"))) as store:
        with tenant_scope("acme"):
            stores.call(store, "put", NS, "k1", {"a": 1})
        with tenant_scope("globex"):
            stores.call(store, "put", NS, "k2", {"a": 2})
            assert stores.call(store, "get", NS, "k2").value == {"a": 2}
            for call in (("get", NS, "k1"), ("search", NS), ("search", ())):
                refused(lambda call=call: stores.call(store, *call), "authentication_failed", "another tenant")
            refused(lambda: stores.call(store, "search", NS, filter={"a": 2}), "authentication_failed")


def test_tenants_in_threads_and_tasks_keep_apart(stores: StoreBackend, keyring: Keyring) -> None:
    def work(store: BaseStore, tenant: str) -> None:
        with tenant_scope(tenant):
            for number in range(10):
                store.put((tenant, "notes"), f"k{number}", {"of": tenant, "n": number})
            assert [item.value["of"] for item in store.search((tenant,), filter={"n": {"$gte": 0}})] == [tenant] * 10

    async def awork(store: BaseStore, tenant: str) -> None:
        with tenant_scope(tenant):
            await asyncio.gather(*(store.aput((tenant, "notes"), f"k{number}", {"of": tenant, "n": number}) for number in range(10)))
            assert [item.value["of"] for item in await store.asearch((tenant,), filter={"n": {"$gte": 0}})] == [tenant] * 10

    tenants = [f"tenant-{number}" for number in range(8)]
    with stores.opened(sealed(keyring, tenant=from_config("workspace_id"))) as store:
        if hasattr(stores, "loop"):

            async def everybody() -> None:
                await asyncio.gather(*(awork(store, tenant) for tenant in tenants))

            stores.run(everybody())
        else:
            errors: list[BaseException] = []

            def guarded(tenant: str) -> None:
                try:
                    work(store, tenant)
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=guarded, args=(tenant,)) for tenant in tenants]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert errors == []


async def test_a_cold_key_does_not_block_the_loop(kms: FakeKms) -> None:
    ring = ready("memory:", kms)
    async with AsyncSqliteStore.from_conn_string(":memory:") as inner:
        await inner.setup()
        store = SealedStore(inner, ring, tenant=fixed("acme"), seal="fields")
        await store.aput(NS, "k", {"a": 1})
        for call in (lambda: store.aput(NS, "k", {"a": 2}), lambda: store.aget(NS, "k"), lambda: store.asearch(NS, filter={"a": 2})):
            ring._cache.clear()
            entered, proceed = kms.hold_up()
            task = asyncio.create_task(call())
            while not entered.is_set():  # the loop runs: the key is being unwrapped in another thread
                await asyncio.sleep(0)
            assert not task.done()
            proceed.set()
            await task
    ring.close()


class Batched(AsyncBatchedBaseStore):
    """A store around SealedStore: the wrong way round."""

    def __init__(self, store: SealedStore) -> None:
        super().__init__()
        self.store = store

    async def abatch(self, ops: Any) -> Any:
        return await self.store.abatch(ops)


async def test_behind_a_background_task_it_refuses_to_guess(keyring: Keyring) -> None:
    inner = InMemoryStore()
    with tenant_scope("acme"):
        outer = Batched(SealedStore(inner, keyring, tenant=from_config("workspace_id")))  # its task has this scope for good
    with tenant_scope("globex"), pytest.raises(SealpointError) as caught:
        await outer.aput(NS, "k", {"a": 1})
    assert caught.value.code == "invalid_argument"
    assert inner.search(()) == []
    outer = Batched(SealedStore(inner, keyring, tenant=fixed("acme")))
    await outer.aput(NS, "k", {"a": 1})
    assert (await outer.aget(NS, "k")).value == {"a": 1}  # type: ignore[union-attr]


def test_the_error_of_an_item_names_no_value(keyring: Keyring) -> None:
    backend = Memory(None, None)  # type: ignore[arg-type]
    with backend.opened(sealed(keyring)) as store:
        store.put(("secret-namespace",), "secret-key", {"secret-field": "secret-value"})
        backend.write(("secret-namespace",), "other", backend.read(("secret-namespace",), "secret-key"))
        with pytest.raises(SealpointError) as caught:
            store.get(("secret-namespace",), "other")
    assert caught.value.code == "authentication_failed"
    assert "secret" not in str(caught.value) + repr(caught.value) + repr(caught.value.__context__)
