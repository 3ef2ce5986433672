"""Walks over many checkpoints: the history of delta channels, and copies of threads."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, BaseCheckpointSaver, CheckpointTuple, DeltaChannelHistory, PendingWrite

from sealpoint.langgraph.configs import asked_of, stripped
from sealpoint.langgraph.sealer import Sealer
from sealpoint.langgraph.steps import Fetch, Steps
from sealpoint.migration import Window


def delta_history(
    sealer: Sealer, saver: BaseCheckpointSaver[Any], window: Window | None, tenant: str, config: RunnableConfig, channels: Sequence[str]
) -> Steps[Mapping[str, DeltaChannelHistory]]:
    """`BaseCheckpointSaver.get_delta_channel_history`, with each checkpoint on the way verified.

    The savers' own histories give writes without the checkpoint that they belong to, which is part of their position: so this walks the
    parents, and opens of each no more than the writes and the seeds of the channels that are asked for.
    """
    writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
    seeds: dict[str, Any] = {}
    remaining = set(channels)
    walked: set[str] = set()
    cursor: RunnableConfig | None = stripped(config)
    while cursor is not None and remaining:
        row: CheckpointTuple | None = yield Fetch(saver, cursor)
        if row is None:
            break
        # The writes stored at the target itself are pending, not history.
        is_target = not walked
        only = () if is_target else remaining
        found = yield from sealer.open_tuple(tenant, row, asked_of(cursor, ns=""), only=only, linked=True, window=window)
        if found is None or found.checkpoint["id"] in walked:
            break
        walked.add(found.checkpoint["id"])
        for write in reversed(found.pending_writes or ()):
            writes[write[1]].append(write)
        for channel in only:
            if channel in found.checkpoint["channel_values"]:
                seeds[channel] = found.checkpoint["channel_values"][channel]
        remaining -= seeds.keys()
        cursor = found.parent_config and stripped(found.parent_config)
    return {
        channel: cast(
            DeltaChannelHistory,
            {"writes": writes[channel][::-1], **({"seed": seeds[channel]} if channel in seeds else {})},
        )
        for channel in channels
    }


class Copy:
    """One checkpoint as it is put into another thread, and its pending writes in calls that keep their order."""

    __slots__ = ("config", "found", "writes", "writes_config")

    def __init__(self, found: CheckpointTuple, thread_id: str) -> None:
        conf = found.config["configurable"]
        place = {"thread_id": thread_id, "checkpoint_ns": conf.get("checkpoint_ns") or ""}
        parent = found.parent_config["configurable"].get("checkpoint_id") if found.parent_config else None
        self.found = found
        self.config: RunnableConfig = {"configurable": {**place, "checkpoint_id": parent} if parent else place}
        self.writes_config: RunnableConfig = {"configurable": {**place, "checkpoint_id": found.checkpoint["id"]}}
        self.writes = _calls(found.pending_writes or ())


def _calls(writes: Sequence[PendingWrite]) -> list[tuple[list[tuple[str, Any]], str, str]]:
    """Arguments of `put_writes`. A saver gives writes back in their order but without the task path that makes it: where the order is
    not that of the task ids, paths that count stand in for the lost ones."""
    tasks: dict[str, tuple[list[tuple[str, Any]], list[tuple[str, Any]]]] = {}
    for task_id, channel, value in writes:
        # Special writes have fixed indexes; in one call with the others they would shift theirs.
        tasks.setdefault(task_id, ([], []))[channel in WRITES_IDX_MAP].append((channel, value))
    ordered = list(tasks) == sorted(tasks)
    calls = []
    for number, (task_id, kinds) in enumerate(tasks.items()):
        path = "" if ordered else f"~{number:010d}"
        calls += [(kind, task_id, path) for kind in kinds if kind]
    return calls
