"""SealedStore: any LangGraph store, with the values of its items sealed."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Literal, cast

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    tokenize_path,
    validate_op_namespace,
)
from langgraph.store.base import batch as batched

from sealpoint import Keyring, is_sealed
from sealpoint.errors import AuthenticationError, InvalidArgumentError
from sealpoint.langgraph.borrowed import borrowed
from sealpoint.langgraph.embedder import Embedder
from sealpoint.langgraph.filters import check_filter, matches
from sealpoint.langgraph.items import ItemSealer
from sealpoint.langgraph.metadata import SEALED_KEY
from sealpoint.langgraph.setups import set_up
from sealpoint.langgraph.steps import Batch, Steps, arun, run
from sealpoint.migration import Migration, check_mode
from sealpoint.tenants import Fixed, TenantSource, check_source, resolve_tenant

_BACKGROUND = batched._run.__code__
_FIRST_PAGE = 64
_TTL_METHODS = frozenset({"sweep_ttl", "start_ttl_sweeper", "stop_ttl_sweeper"})


class SealedStore(BaseStore):
    """Wraps a store: each value is sealed, bound to its tenant, namespace and key, before the inner store sees it.

    Args:
        inner: any `BaseStore`: in memory, SQLite, Postgres, their async forms, or another.
        keyring: holds the tenants' keys.
        tenant: whose data it is: `from_config("workspace_id")`, `fixed("acme")` or a function of the config. Store calls carry no config:
            within a run the config is that of the node (or tool) that calls; outside, `from_config` needs `tenant_scope`. A call without
            a tenant is refused before anything is read or written (`tenant_required`).
        clear_fields: names of top-level fields that stay readable, so that the database can filter on them. They are authenticated: a
            changed one is refused when the item is read. Items keep the form that they were stored in until they are put again.
        seal: `"whole"`: one envelope for all fields that are not clear. `"fields"`: one for each, which shows their names and sizes.
        embed: names of top-level fields for semantic search, whose text the inner store's embedder gets to see. **A vector gives its text
            away**: inversion attacks recover much of it, and vectors are stored unsealed and unauthenticated: who writes the database
            decides what a search finds, and in what order. Without `embed` nothing is embedded, and a query on a store with an
            index is refused.
        strict_filters: refuse `search(filter=…)` on sealed fields. Otherwise such filters are applied after opening, which reads and
            opens items of the namespace until enough match: all of it, if need be.
        mode: `"strict"`: unsealed items are refused (`plaintext_refused`). `"migrating"`: they are still read, for the tenants and the time
            that `migration` allows, and sealed when they are put again.
        migration: for whom and until when (`sealpoint.Migration`), and how many unsealed items were read.

    Values are what JSON can hold; anything else is refused (`invalid_argument`). Each call raises `SealpointError` with a code of SPEC
    section 9, or what the inner store raises. One item that does not open fails the call: nothing is left out of a result. In a batch
    everything is sealed first, then its reads are done, then its writes: an operation that fails before that leaves nothing written.

    Namespaces, keys, timestamps and expiry stay readable. Deleting, and listing namespaces, need no key: sealing is not authorization.
    """

    def __init__(
        self,
        inner: BaseStore,
        keyring: Keyring,
        *,
        tenant: TenantSource,
        clear_fields: Collection[str] = (),
        seal: Literal["whole", "fields"] = "whole",
        embed: Collection[str] = (),
        strict_filters: bool = False,
        mode: Literal["strict", "migrating"] = "strict",
        migration: Migration | None = None,
    ) -> None:
        if not isinstance(inner, BaseStore):
            raise InvalidArgumentError("invalid_argument", "inner must be a store (a BaseStore)")
        if isinstance(inner, SealedStore):
            raise InvalidArgumentError("invalid_argument", "inner is a SealedStore already")
        if not isinstance(keyring, Keyring):
            raise InvalidArgumentError("invalid_argument", "keyring must be a Keyring: make one with Keyring.connect(…)")
        if seal not in ("whole", "fields"):
            raise InvalidArgumentError("invalid_argument", "seal must be 'whole' or 'fields'")
        self._migration = check_mode(mode, migration)
        self._inner, self._keyring, self._source = inner, keyring, check_source(tenant)
        self._strict_filters = strict_filters
        self._clear, self._embed = _names("clear_fields", clear_fields), _names("embed", embed)
        self._indexed = getattr(inner, "index_config", None) is not None
        self._embedder: Embedder | None = None
        self._storage = inner
        if self._embed:
            self._embedder = self._check_embed()
            self._storage = borrowed(inner, embeddings=self._embedder)
        self._sealer = ItemSealer(keyring, self._clear, self._embed if seal == "whole" else None)

    @property
    def inner(self) -> BaseStore:
        """The wrapped store. What is read through it is sealed; what is written through it is not, and will be refused."""
        return self._inner

    def setup(self) -> Any:
        """Sets up the inner store and the keyring. With an async inner store this returns an awaitable, as that store's own does."""
        return set_up(self._storage, self._keyring)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        return run(self._batch(self._tenant(ops), ops), self._keyring)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        if _in_background() and not isinstance(self._source, Fixed):
            raise InvalidArgumentError(
                "invalid_argument",
                "SealedStore was called from the background task of a store around it, which works in the context of whoever came first, "
                "and would mix tenants: wrap that store with SealedStore instead",
            )
        return await arun(self._batch(self._tenant(ops), ops), self._keyring)

    # -- what is the inner store's own

    @property
    def supports_ttl(self) -> bool:  # type: ignore[override]  # an attribute there
        return self._inner.supports_ttl

    @property
    def ttl_config(self) -> TTLConfig | None:  # type: ignore[override]  # an attribute there
        return self._inner.ttl_config

    def __getattr__(self, name: str) -> Any:
        """`sweep_ttl`, `start_ttl_sweeper`, `stop_ttl_sweeper` exist if the inner store has them."""
        if name in _TTL_METHODS:
            return getattr(self._inner, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # -- one batch

    def _tenant(self, ops: Sequence[Op]) -> str:
        """Read here, in the caller's own call: no other task or thread has its config. Empty if no operation needs a key."""
        if not any(isinstance(op, (GetOp, SearchOp)) or (isinstance(op, PutOp) and op.value is not None) for op in ops):
            return ""
        return resolve_tenant(self._source, var_child_runnable_config.get())

    def _batch(self, tenant: str, ops: Sequence[Op]) -> Steps[list[Result]]:
        texts: dict[str, str] = {}
        writes: list[PutOp] = []
        reads: dict[int, Op] = {}
        searches: dict[int, tuple[SearchOp, dict[str, Any]]] = {}
        for at, op in enumerate(ops):
            validate_op_namespace(op)
            if isinstance(op, PutOp):
                writes.append((yield from self._sealed(tenant, op, texts)))
            elif isinstance(op, SearchOp):
                reads[at], sealed_filter = self._planned(op)
                if sealed_filter:
                    searches[at] = (cast(SearchOp, reads.pop(at)), sealed_filter)
            elif isinstance(op, (GetOp, ListNamespacesOp)):
                reads[at] = op
            else:
                raise InvalidArgumentError("invalid_argument", f"SealedStore does not know the operation {type(op).__name__}")
        results: list[Result] = [None] * len(ops)
        if reads:
            found = yield Batch(self._storage, list(reads.values()))
            for (at, op), result in zip(reads.items(), found, strict=True):
                results[at] = yield from self._opened(tenant, op, result)
        for at, (search, sealed_filter) in searches.items():
            results[at] = yield from self._search(tenant, search, sealed_filter)
        if writes:
            with self._embedder.lent(texts) if self._embedder else nullcontext():
                yield Batch(self._storage, writes)
        return results

    def _sealed(self, tenant: str, op: PutOp, texts: dict[str, str]) -> Steps[PutOp]:
        """The operation for the inner store. What its embedder will be asked for is added to `texts`."""
        if op.value is None:
            return op
        index = self._embed if op.index is None else op.index or ()
        if not set(index) <= set(self._embed):
            raise InvalidArgumentError(
                "invalid_argument",
                "index names a field that is not in embed=: name it there if its vector may reveal it, or pass index=False",
            )
        stored = yield from self._sealer.seal(tenant, op.namespace, op.key, op.value)
        embedded = [(field, text) for field in index for text in get_text_at_path(op.value, [field])]
        texts.update((stored[field], text) for field, text in embedded)
        return op._replace(value=stored, index=[field for field, _ in embedded] or False)

    def _planned(self, op: SearchOp) -> tuple[SearchOp, dict[str, Any]]:
        """What the inner store can answer, and the part of the filter that only opened items can."""
        if op.query and self._indexed:
            if not self._embed:
                raise InvalidArgumentError(
                    "invalid_argument", "nothing is embedded, so a query would find nothing: name the fields to search in embed="
                )
            if is_sealed(op.query):
                raise InvalidArgumentError("invalid_argument", "a query starts like an envelope, which no text to search for does")
        wanted = op.filter or {}
        clear = {name: condition for name, condition in wanted.items() if name in self._clear}
        sealed = {name: condition for name, condition in wanted.items() if name not in self._clear}
        if not sealed:
            return op, {}
        if self._strict_filters:
            raise InvalidArgumentError(
                "invalid_argument", "strict_filters: the database cannot filter on a sealed field: name it in clear_fields"
            )
        check_filter(sealed)
        if op.limit < 0 or op.offset < 0:
            raise InvalidArgumentError("invalid_argument", "limit and offset of a filter on sealed fields are not negative")
        return op._replace(filter=clear or None), sealed

    def _search(self, tenant: str, op: SearchOp, wanted: dict[str, Any]) -> Steps[list[SearchItem]]:
        """Pages that start at the beginning and double: with an offset, what others write meanwhile would be seen twice or never. At most
        twice as much is opened."""
        need, limit, before = op.offset + op.limit, max(2 * (op.offset + op.limit), _FIRST_PAGE), -1
        while True:
            page = op._replace(limit=limit, offset=0, refresh_ttl=False)
            rows: list[SearchItem] = (yield Batch(self._storage, [page]))[0]
            found: list[SearchItem] = []
            for row in rows:
                if len(found) == need:
                    break
                item = yield from self._open_found(tenant, op, row)
                if matches(item.value, wanted):
                    found.append(item)
            # A ranked search may give fewer rows than there are: it has come to its end when a longer page has no more.
            if len(found) == need or (len(rows) < limit and (not op.query or len(rows) == before)):
                break
            before, limit = len(rows), 2 * limit
        found = found[op.offset :]
        if found and op.refresh_ttl and self._inner.ttl_config:
            yield Batch(self._storage, [GetOp(item.namespace, item.key, refresh_ttl=True) for item in found])
        return found

    def _opened(self, tenant: str, op: Op, result: Any) -> Steps[Any]:
        """The result as the caller gets it. An item is opened at the position that was asked for."""
        if isinstance(op, GetOp) and result is not None:
            value = yield from self._open(tenant, op.namespace, op.key, result.value)
            return Item(value=value, key=op.key, namespace=op.namespace, created_at=result.created_at, updated_at=result.updated_at)
        if isinstance(op, SearchOp):
            items = []
            for row in result:
                items.append((yield from self._open_found(tenant, op, row)))
            return items
        return result

    def _open_found(self, tenant: str, op: SearchOp, row: SearchItem) -> Steps[SearchItem]:
        if row.namespace[: len(op.namespace_prefix)] != tuple(op.namespace_prefix):
            raise AuthenticationError("authentication_failed", "the store found an item outside the namespace that was searched")
        value = yield from self._open(tenant, row.namespace, row.key, row.value)
        return SearchItem(row.namespace, row.key, value, row.created_at, row.updated_at, row.score)

    def _open(self, tenant: str, namespace: tuple[str, ...], key: str, stored: object) -> Steps[dict[str, Any]]:
        window = self._migration.window(tenant) if self._migration else None
        return (yield from self._sealer.open(tenant, namespace, key, stored, window))

    # -- semantic search

    def _check_embed(self) -> Embedder:
        if any(tokenize_path(name) != [name] or name in ("*", "$") for name in self._embed):
            raise InvalidArgumentError("invalid_argument", "embed= takes names of top-level fields, not paths")
        if set(self._embed) & set(self._clear):
            raise InvalidArgumentError("invalid_argument", "a field in embed= is sealed: take it out of clear_fields")
        embeddings = getattr(self._inner, "embeddings", None)
        if not self._indexed or embeddings is None:
            raise InvalidArgumentError("invalid_argument", "embed= needs an inner store with an index: make it with index={…}")
        return Embedder(embeddings)


def _in_background() -> bool:
    """Whether this task is the one in which an `AsyncBatchedBaseStore` does everybody's operations."""
    task = asyncio.current_task()
    return task is not None and getattr(task.get_coro(), "cr_code", None) is _BACKGROUND


def _names(what: str, names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(name, str) and name for name in names):
        raise InvalidArgumentError("invalid_argument", f"{what} is a collection of field names, such as ('kind',)")
    if SEALED_KEY in names:
        raise InvalidArgumentError("invalid_argument", f"{what} cannot name {SEALED_KEY!r}: the envelope is kept under it")
    return tuple(dict.fromkeys(names))
