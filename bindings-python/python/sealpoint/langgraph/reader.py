"""Reading one sealed checkpoint of Python or JavaScript from Postgres, as plain JSON values and without a saver of LangGraph's."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from sealpoint import Keyring
from sealpoint.errors import InvalidArgumentError, MalformedError, MissingDependencyError, SealpointError, StoreError
from sealpoint.langgraph.container import ContainerSerializer
from sealpoint.langgraph.layouts import Layout
from sealpoint.langgraph.plain import PlainSerializer, reason_in
from sealpoint.langgraph.reuse import SealedValues
from sealpoint.langgraph.sealer import Asked, Sealer
from sealpoint.langgraph.steps import Steps, arun, run

__all__ = ["PlainCheckpoint", "PlainWrite", "Unreadable", "aread_checkpoint", "read_checkpoint"]


@dataclass(frozen=True, slots=True)
class PlainWrite:
    """A pending write: what a task has written that no checkpoint holds yet."""

    task_id: str
    channel: str
    value: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What opened, and is genuine, but has no plain form."""

    part: Literal["values", "metadata", "pending_writes", "fields"]
    name: str
    """The channel; for metadata `sealpoint`, for a field that only older checkpoints have its name."""
    reason: str


@dataclass(frozen=True, slots=True)
class PlainCheckpoint:
    """One checkpoint as plain JSON values: None, booleans, numbers, strings, lists, and dicts with string keys."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    parent_id: str | None
    ts: str
    values: dict[str, Any] = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)
    pending_writes: tuple[PlainWrite, ...]
    """By task, then in the order in which the task wrote them."""
    unreadable: tuple[Unreadable, ...]


def read_checkpoint(
    source: Any,
    keyring: Keyring,
    *,
    tenant: str,
    thread_id: str,
    checkpoint_ns: str = "",
    checkpoint_id: str | None = None,
    schema: str | None = None,
) -> PlainCheckpoint | None:
    """Reads one sealed checkpoint that `SealedSaver` of either language stored through LangGraph's PostgresSaver. None: there is none.

    Its manifest is verified and each envelope opened as `SealedSaver` does it in strict mode (SPEC section 7.2). docs/GUIDE.md ("Python
    and JavaScript on one database") says what becomes of each kind of value; no class that the data names is imported or built.

    Args:
        source: a Postgres DSN, or a `psycopg_pool.ConnectionPool`.
        keyring: the application's; of another language too, on the same key store.
        tenant: whose thread it is.
        checkpoint_id: which; the newest without it.
        schema: of the tables, if not the connection's own.

    Raises: `plaintext_refused` (something of it is not sealed), `authentication_failed`, `malformed`, `invalid_argument`,
    `missing_dependency`, `store_unavailable`, `store_invalid` (no tables of LangGraph's), and what opening raises (`key_not_found`, …).
    """
    wanted = _Wanted(keyring, tenant, thread_id, checkpoint_ns, checkpoint_id, schema)
    row = _row(source, wanted)
    return None if row is None else run(wanted.read(row), keyring)


async def aread_checkpoint(
    source: Any,
    keyring: Keyring,
    *,
    tenant: str,
    thread_id: str,
    checkpoint_ns: str = "",
    checkpoint_id: str | None = None,
    schema: str | None = None,
) -> PlainCheckpoint | None:
    """`read_checkpoint` for event loops. `source`: a Postgres DSN, or a `psycopg_pool.AsyncConnectionPool`."""
    wanted = _Wanted(keyring, tenant, thread_id, checkpoint_ns, checkpoint_id, schema)
    row = await _arow(source, wanted)
    return None if row is None else await arun(wanted.read(row), keyring)


# Of one statement, so that checkpoint, values and writes are of one moment. JSON and bytes as they are: what a pool's owner does to the
# connection must not decide how a row is read.
_SELECT = """
SELECT c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint::text, c.metadata::text,
    (SELECT array_agg(ARRAY[convert_to(b.channel, 'UTF8'), convert_to(b.type, 'UTF8'), b.blob])
     FROM jsonb_each_text(c.checkpoint -> 'channel_versions') v JOIN {blobs} b
        ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns AND b.channel = v.key AND b.version = v.value),
    (SELECT array_agg(ARRAY[convert_to(w.task_id, 'UTF8'), convert_to(w.channel, 'UTF8'), convert_to(w.type, 'UTF8'), w.blob]
        ORDER BY w.task_id, w.idx)
     FROM {writes} w WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id)
FROM {checkpoints} c WHERE c.thread_id = %s AND c.checkpoint_ns = %s AND (%s::text IS NULL OR c.checkpoint_id = %s)
ORDER BY c.checkpoint_id DESC LIMIT 1
"""

_PLACES = frozenset({"v", "id", "ts", "channel_values", "channel_versions", "versions_seen", "updated_channels"})


class _Wanted:
    """The question, checked, and what its answer goes through."""

    def __init__(self, keyring: Keyring, tenant: str, thread_id: str, ns: str, checkpoint_id: str | None, schema: str | None) -> None:
        if not isinstance(keyring, Keyring):
            raise InvalidArgumentError("invalid_argument", "keyring must be a Keyring: make one with Keyring.connect(…)")
        for name, given in (
            *(("tenant", tenant), ("thread_id", thread_id), ("checkpoint_ns", ns)),
            *(("checkpoint_id", "" if checkpoint_id is None else checkpoint_id), ("schema", "" if schema is None else schema)),
        ):
            if not isinstance(given, str) or "\0" in given:
                raise InvalidArgumentError("invalid_argument", f"{name} is a string without NUL")
        self.tenant, self.asked, self.schema = tenant, Asked(str.__str__(thread_id), ns, checkpoint_id), schema
        # Both savers keep values in a table of their own. What one of them does beyond that matters when writing only.
        self._sealer = Sealer(keyring, PlainSerializer(), Layout(new_versions_only=True, json_row=True), SealedValues())

    def query(self) -> tuple[Any, tuple[Any, ...]]:
        """For a cursor."""
        from psycopg.sql import SQL, Identifier

        tables = {
            name: Identifier(*([self.schema] if self.schema else []), table)
            for name, table in (("checkpoints", "checkpoints"), ("blobs", "checkpoint_blobs"), ("writes", "checkpoint_writes"))
        }
        thread, ns, checkpoint_id = self.asked
        return SQL(_SELECT).format(**tables), (thread, ns, checkpoint_id, checkpoint_id)

    def read(self, row: tuple[Any, ...]) -> Steps[PlainCheckpoint]:
        """The row, as the savers give theirs to `SealedSaver`, verified and opened. Raises: `malformed`."""
        checkpoint_id, parent_id, raw_checkpoint, raw_metadata, blobs, writes = row
        checkpoint, metadata = json.loads(raw_checkpoint), json.loads(raw_metadata)
        if not isinstance(checkpoint, dict) or not isinstance(values := checkpoint.get("channel_values") or {}, dict):
            raise MalformedError("malformed", "a stored checkpoint is not a map: the row is damaged")
        values = {**values, **{_text(name): _stored(kind, blob) for name, kind, blob in blobs or () if kind != b"empty"}}
        found = CheckpointTuple(
            self._place(checkpoint_id),
            cast(Checkpoint, {**checkpoint, "channel_values": values}),
            cast(CheckpointMetadata, metadata),
            self._place(parent_id) if parent_id is not None else None,
            [(_text(task), _text(channel), _stored(kind, blob)) for task, channel, kind, blob in writes or ()],
        )
        return self._plain(cast(CheckpointTuple, (yield from self._sealer.open_tuple(self.tenant, found, self.asked))))

    def _place(self, checkpoint_id: str) -> RunnableConfig:
        return {"configurable": {"thread_id": self.asked.thread, "checkpoint_ns": self.asked.ns, "checkpoint_id": checkpoint_id}}

    def _plain(self, opened: CheckpointTuple) -> PlainCheckpoint:
        """What is plain of it, and what is not."""
        checkpoint, metadata = cast(dict[str, Any], opened.checkpoint), cast(dict[str, Any], opened.metadata)
        left: list[Unreadable] = []

        def fits(part: Literal["values", "metadata", "pending_writes"], name: str, value: Any) -> bool:
            if reason := reason_in(value):
                left.append(Unreadable(part, name, reason))
            return not reason

        values = {
            name: value.value if isinstance(value, _DeltaSnapshot) else value
            for name, value in checkpoint["channel_values"].items()
            if fits("values", name, value.value if isinstance(value, _DeltaSnapshot) else value)
        }
        fits("metadata", "sealpoint", metadata)
        pending = tuple(PlainWrite(*write) for write in opened.pending_writes or () if fits("pending_writes", write[1], write[2]))
        left += [Unreadable("fields", name, "a field of older checkpoints") for name in sorted(checkpoint.keys() - _PLACES)]
        parent = opened.parent_config["configurable"]["checkpoint_id"] if opened.parent_config else None
        place = opened.config["configurable"]
        return PlainCheckpoint(
            place["thread_id"],
            place["checkpoint_ns"],
            place["checkpoint_id"],
            parent,
            str(checkpoint.get("ts")),
            values,
            metadata,
            pending,
            tuple(left),
        )


def _stored(kind: bytes, blob: bytes | None) -> Any:
    """An envelope, or a delta snapshot of one, from the table of either language. What is neither the sealer refuses."""
    stored = ContainerSerializer().loads_typed((_text(kind), blob or b""))
    if isinstance(stored, dict) and stored.get("lc") == 2 and stored.get("type") == "delta_snapshot":
        stored = _DeltaSnapshot(stored.get("value"))
    return stored


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode()


def _row(source: Any, wanted: _Wanted) -> tuple[Any, ...] | None:
    psycopg, pools, rows = _clients()
    try:
        if isinstance(source, str):
            opened = psycopg.connect(source, autocommit=True, prepare_threshold=None)
        elif isinstance(source, pools.ConnectionPool):
            opened = source.connection()
        else:
            raise InvalidArgumentError("invalid_argument", "a checkpoint is read from a DSN or a psycopg_pool.ConnectionPool")
        with opened as connection, connection.cursor(row_factory=rows.tuple_row) as cursor:
            row: tuple[Any, ...] | None = cursor.execute(*wanted.query()).fetchone()
            return row
    except psycopg.Error as error:
        failure = _typed(error)
    raise failure  # here, where it has no context: that would be Postgres' own text


async def _arow(source: Any, wanted: _Wanted) -> tuple[Any, ...] | None:
    psycopg, pools, rows = _clients()
    try:
        if isinstance(source, str):
            opened = await psycopg.AsyncConnection.connect(source, autocommit=True, prepare_threshold=None)
        elif isinstance(source, pools.AsyncConnectionPool):
            opened = source.connection()
        else:
            raise InvalidArgumentError("invalid_argument", "a checkpoint is read from a DSN or a psycopg_pool.AsyncConnectionPool")
        async with opened as connection, connection.cursor(row_factory=rows.tuple_row) as cursor:
            row: tuple[Any, ...] | None = await (await cursor.execute(*wanted.query())).fetchone()
            return row
    except psycopg.Error as error:
        failure = _typed(error)
    raise failure


def _clients() -> tuple[Any, Any, Any]:
    try:
        import psycopg
        import psycopg.rows
        import psycopg_pool
    except ImportError as error:
        raise MissingDependencyError("missing_dependency", "reading Postgres needs psycopg: pip install 'sealpoint[postgres]'") from error
    return psycopg, psycopg_pool, psycopg.rows


def _typed(error: Any) -> SealpointError:
    """Without the server's own text: it can quote a value or the DSN."""
    from psycopg import OperationalError, ProgrammingError

    state = error.sqlstate or type(error).__name__
    if isinstance(error, OperationalError):
        return StoreError("store_unavailable", f"the database cannot be reached ({state}): check the DSN, and whether the server runs")
    if isinstance(error, ProgrammingError) and error.sqlstate is None:
        return InvalidArgumentError("invalid_argument", "this is no Postgres DSN: postgresql://user@host/database")
    return StoreError(
        "store_invalid", f"the database cannot be read ({state}): does this schema hold the tables of LangGraph's PostgresSaver?"
    )
