"""Semantic search on real stores with a deterministic embedding: the embedder sees the text, the rows do not."""

from typing import Any

import pytest
from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore
from store_backends import Letters, Sqlite, StoreBackend
from support import refused

from sealpoint import Keyring
from sealpoint.errors import SealpointError
from sealpoint.langgraph import SealedStore, fixed
from sealpoint.langgraph.embedder import Embedder

NS = ("docs",)
TEXTS = {"apples": "aaa apples", "bees": "bbb bees", "cats": "ccc cats"}


def indexed(letters: Letters) -> Any:
    return {"index": {"dims": letters.dims, "embed": letters, "fields": ["text"], "text_fields": ["text"]}}


def test_it_finds_what_a_bare_store_finds(stores: StoreBackend, keyring: Keyring) -> None:
    letters = Letters()
    with stores.opened(lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"), embed=("text",)), **indexed(letters)) as store:
        for key, text in TEXTS.items():
            stores.call(store, "put", NS, key, {"text": text, "n": len(text), "note": "unseen"})
        assert sorted(letters.seen) == sorted(TEXTS.values())
        assert all(stores.read(NS, key).keys() == {"text", "sealpoint"} for key in TEXTS)
        for key in TEXTS:
            first, *others = stores.call(store, "search", NS, query=key[0] * 3)
            assert first.key == key
            assert first.value["text"] == TEXTS[key]
            assert first.score > max(other.score for other in others)
        (found,) = stores.call(store, "search", NS, query="bbb", filter={"n": len(TEXTS["cats"])}, limit=1)
        assert found.key in ("bees", "cats")
        found = stores.call(store, "search", NS, query="bbb", filter={"note": "unseen"}, limit=2, offset=1)
        assert len(found) == 2
        assert "bees" not in [item.key for item in found]
    expected = {}
    bare = InMemoryStore(index=indexed(Letters())["index"])
    for key, text in TEXTS.items():
        bare.put(NS, key, {"text": text})
    for key in TEXTS:
        expected[key] = bare.search(NS, query=key[0] * 3)[0].key
    assert expected == {key: key for key in TEXTS}


def test_only_what_is_named_is_embedded(stores: StoreBackend, keyring: Keyring) -> None:
    letters = Letters()
    with stores.opened(
        lambda inner: SealedStore(inner, keyring, tenant=fixed("acme"), embed=("text", "title"), seal="fields"), **indexed(letters)
    ) as store:
        value = {"text": "one", "title": "two", "note": "three"}
        for index, seen in ((None, ["one", "two"]), (False, []), (["title"], ["two"]), ([], [])):
            letters.seen.clear()
            stores.call(store, "put", NS, f"k{index}", value, index=index)
            assert letters.seen == seen
        letters.seen.clear()
        stores.call(store, "put", NS, "other", {"text": None, "title": 5, "note": "x"})
        assert letters.seen == ["5"]
        for index in (["note"], ["text.a"], ["$"]):
            refused(lambda index=index: stores.call(store, "put", NS, "k", value, index=index), "invalid_argument", "embed=", "index=False")
        assert not store._embedder._texts


def test_without_embed_nothing_is_embedded_and_a_query_is_refused(stores: StoreBackend, keyring: Keyring) -> None:
    letters = Letters()
    with stores.opened(lambda inner: SealedStore(inner, keyring, tenant=fixed("acme")), **indexed(letters)) as store:
        stores.call(store, "put", NS, "k", {"text": "secret"})
        assert letters.seen == []
        refused(lambda: stores.call(store, "search", NS, query="secret"), "invalid_argument", "embed=")
        refused(lambda: stores.call(store, "put", NS, "k", {"text": "secret"}, index=["text"]), "invalid_argument", "embed=")
        assert [item.key for item in stores.call(store, "search", NS)] == ["k"]
        assert letters.seen == []


def test_a_query_on_a_store_without_an_index_lists_as_on_a_bare_one(keyring: Keyring) -> None:
    store = SealedStore(InMemoryStore(), keyring, tenant=fixed("acme"))
    store.put(NS, "k", {"a": 1})
    assert [item.value for item in store.search(NS, query="anything")] == [{"a": 1}]


def test_the_inner_store_is_left_as_it_was(tmp_path: Any, keyring: Keyring) -> None:
    letters = Letters()
    with Sqlite(tmp_path / "store.db", None).opened(lambda inner: inner, **indexed(letters)) as inner:
        store = SealedStore(inner, keyring, tenant=fixed("acme"), embed=("text",))
        assert inner.embeddings is letters
        assert type(store._storage).__name__ == "SqliteStore"
        store.setup()
        del store
        inner.put(("bare",), "k", {"text": "bare"})  # its connection is still open
        assert letters.seen == ["bare"]


def test_fields_to_embed_are_names_of_sealed_fields(keyring: Keyring) -> None:
    inner = InMemoryStore(**indexed(Letters()))
    for name in ("a.b", "a[0]", "$", "*"):
        refused(lambda name=name: SealedStore(inner, keyring, tenant=fixed("a"), embed=(name,)), "invalid_argument", "embed=")
    refused(lambda: SealedStore(inner, keyring, tenant=fixed("a"), embed=("a",), clear_fields=("a",)), "invalid_argument", "clear_fields")


def test_a_query_that_looks_like_an_envelope_is_refused(keyring: Keyring) -> None:
    store = SealedStore(InMemoryStore(**indexed(Letters())), keyring, tenant=fixed("a"), embed=("text",))
    refused(lambda: store.search(NS, query="sealpoint:v1:AAAA"), "invalid_argument", "query")


def test_an_envelope_is_never_embedded_itself() -> None:
    letters = Letters()
    embedder = Embedder(letters)
    with embedder.lent({"sealpoint:v1:AA": "text"}):
        assert embedder.embed_documents(["sealpoint:v1:AA"]) == letters.embed_documents(["text"])
    letters.seen.clear()
    with pytest.raises(SealpointError) as caught:
        embedder.embed_documents(["sealpoint:v1:AA"])
    assert caught.value.code == "internal"
    assert letters.seen == []


def test_a_failing_embedder_leaves_nothing_written_and_nothing_lent(keyring: Keyring) -> None:
    class Failing(Letters):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise OSError("down")

    store = SealedStore(InMemoryStore(**indexed(Failing())), keyring, tenant=fixed("a"), embed=("text",))
    with pytest.raises(OSError, match="down"):
        store.batch([PutOp(NS, "k", {"text": "x"})])
    assert store.get(NS, "k") is None
    assert store._embedder is not None
    assert not store._embedder._texts
