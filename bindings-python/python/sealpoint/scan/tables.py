"""The tables of LangGraph and sealpoint: of each column, why it is clear, or how its values are judged.

The reasons are those of "What stays visible" in docs/THREAT_MODEL.md; a test compares them. A column that is not here is not clear.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from .report import Tally, Verdict
from .values import (
    EMPTY,
    LOOKED_UP,
    NAMES,
    QUERIED,
    SNAPSHOTS,
    Spot,
    checkpoint,
    inline,
    item,
    metadata,
    pointer,
    serialized,
    size_of,
    vector,
    wrapped,
)

__all__ = ["POINTER", "TABLES", "judge_row"]

Rule: TypeAlias = "str | Callable[[Spot, Any], None]"
"""A text: clear by design, and why."""

TYPE = "what the serializer called the value"
TIME = "when a row was written, and when it expires"
MIGRATIONS = "which migrations have run"
KEYS = "names, ids, states and ages of keys: none opens anything without its KEK"
BOOKKEEPING = "SQLite's own bookkeeping"
UNKNOWN_COLUMN = "a column that is not LangGraph's: it cannot be judged"

POINTER = "points to"
"""Not a field: what a key of Redis holds that is no document."""

_ROW: dict[str, Rule] = {"thread_id": LOOKED_UP, "checkpoint_ns": LOOKED_UP}
_CHECKPOINT: dict[str, Rule] = {
    **_ROW,
    "_id": LOOKED_UP,
    "checkpoint_id": LOOKED_UP,
    "parent_checkpoint_id": LOOKED_UP,
    "created_at": TIME,
    "upserted_at": TIME,
    "type": TYPE,
    "checkpoint": checkpoint,
    "metadata": metadata,
    "metadata_search": metadata,
}
_WRITE: dict[str, Rule] = {
    **_ROW,
    "_id": LOOKED_UP,
    "checkpoint_id": LOOKED_UP,
    "created_at": TIME,
    "upserted_at": TIME,
    "task_id": LOOKED_UP,
    "task_path": NAMES,
    "idx": LOOKED_UP,
    "channel": NAMES,
    "type": TYPE,
}
_ITEM: dict[str, Rule] = {
    "prefix": LOOKED_UP,
    "namespace_path": LOOKED_UP,
    "key": LOOKED_UP,
    "created_at": TIME,
    "updated_at": TIME,
    "expires_at": TIME,
    "ttl_minutes": TIME,
    # MongoDB, in JavaScript
    **dict.fromkeys(("_id", "namespace", "namespaceStr", "namespacePath"), LOOKED_UP),
    **dict.fromkeys(("createdAt", "updatedAt", "expiresAt", "upserted_at"), TIME),
    "embedding": vector,
}
_MIGRATIONS: dict[str, Rule] = {"v": MIGRATIONS}

TABLES: Mapping[str, Mapping[str, Rule]] = {
    "checkpoints": _CHECKPOINT,
    "checkpoint_blobs": {**_ROW, "channel": NAMES, "version": NAMES, "type": TYPE, "blob": serialized},
    "checkpoint_writes": {**_WRITE, "blob": serialized, "value": serialized},
    "writes": {**_WRITE, "value": serialized},
    "checkpoint_migrations": _MIGRATIONS,
    "store": {**_ITEM, "value": item},
    "store_vectors": {**_ITEM, "field_name": NAMES, "field_path": NAMES, "embedding": vector, "text_content": vector},
    "store_migrations": _MIGRATIONS,
    "vector_migrations": _MIGRATIONS,
    "cache": {"ns": LOOKED_UP, "key": LOOKED_UP, "expiry": TIME, "encoding": TYPE, "val": serialized},
    # Redis: what a key begins with
    "checkpoint": {**_CHECKPOINT, **dict.fromkeys(("run_id", "source", "step", "has_writes"), QUERIED), "checkpoint_ts": TIME},
    "checkpoint_blob": {**_WRITE, "version": NAMES, "value": inline},
    "checkpoint_write": {**_WRITE, "global_idx": LOOKED_UP, "timestamp": TIME, "blob": serialized, "value": inline},
    "checkpoint_latest": {"key": LOOKED_UP, POINTER: pointer},
    "write_keys_zset": {"key": LOOKED_UP, POINTER: pointer},
    "write_registry": {"key": LOOKED_UP, POINTER: pointer},
    "sealpoint_tenants": dict.fromkeys(("tenant", "kek_uri", "created_at", "shredded_at"), KEYS),
    "sealpoint_deks": dict.fromkeys(
        (
            *("dek_id", "tenant", "purpose", "suite", "version", "state", "key_check"),
            *("created_at", "retired_at", "destroyed_at", "rotated_by"),
        ),
        KEYS,
    ),
    "sealpoint_wraps": {
        **dict.fromkeys(("dek_id", "kek_uri", "kek_version", "wrap_alg", "created_at", "verified_at"), KEYS),
        "wrapped": wrapped,
    },
    "sealpoint_settings": dict.fromkeys(("id", "schema_version", "max_ttl", "required_keks"), KEYS),
    "sealpoint_canaries": {"kek_uri": KEYS, "wrapped": wrapped},
    "sqlite_sequence": dict.fromkeys(("name", "seq"), BOOKKEEPING),
    "sqlite_stat1": dict.fromkeys(("tbl", "idx", "stat"), BOOKKEEPING),
}


def judge_row(
    tally: Tally, table: str, name: str, row: Mapping[str, Any], *, clear_fields: Collection[str] = (), clear_vectors: bool = False
) -> None:
    """Judges each column of a row of the known table `name`, which the report calls `table`."""
    rules = TABLES[name]
    for column, value in row.items():
        if column == SNAPSHOTS:
            continue
        rule = rules.get(column)
        if callable(rule):
            rule(Spot(tally, table, column, row, clear_fields, clear_vectors), value)
        elif value is None:
            tally.add(table, column, Verdict.CLEAR, EMPTY, 0)
        elif rule is not None:
            tally.add(table, column, Verdict.CLEAR, rule, size_of(value))
        else:
            Spot(tally, table, column, row).note(Verdict.UNSEALED, UNKNOWN_COLUMN, size_of(value))
