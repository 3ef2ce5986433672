"""A checkpoint saver of nobody's: one file, written by the documentation of `BaseCheckpointSaver` alone. No layout names it."""

import pickle
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
)


class UnseenSaver(BaseCheckpointSaver[str]):
    """Values lie beside the checkpoints, by channel and version, as many a saver has it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.lock = Path(path), threading.RLock()

    @classmethod
    @contextmanager
    def opened(cls, path: str) -> Iterator["UnseenSaver"]:
        yield cls(path)

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        conf = config["configurable"]
        thread, ns = conf["thread_id"], conf["checkpoint_ns"]
        values = checkpoint["channel_values"]
        rest = {key: value for key, value in checkpoint.items() if key != "channel_values"}
        row = (self.serde.dumps_typed(rest), self.serde.dumps_typed(get_checkpoint_metadata(config, metadata)), conf.get("checkpoint_id"))
        with self._changed() as data:
            for channel, version in new_versions.items():
                if channel in values:
                    data["values"][thread, ns, channel, version] = self.serde.dumps_typed(values[channel])
            data["rows"][thread, ns, checkpoint["id"]] = row
        return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint["id"]}}

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        conf = config["configurable"]
        at = (conf["thread_id"], conf["checkpoint_ns"], conf["checkpoint_id"], task_path, task_id)
        with self._changed() as data:
            for number, (channel, value) in enumerate(writes):
                place = (*at, WRITES_IDX_MAP.get(channel, number))
                if place[-1] < 0 or place not in data["writes"]:
                    data["writes"][place] = (channel, self.serde.dumps_typed(value))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return next(self._list(config["configurable"], ns=config["configurable"].get("checkpoint_ns", "")), None)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        conf = config["configurable"] if config else {}
        for found in self._list(conf, ns=conf.get("checkpoint_ns"), before=before["configurable"]["checkpoint_id"] if before else None):
            if filter and any(found.metadata.get(key) != value for key, value in filter.items()):
                continue
            if limit is not None:
                if limit <= 0:
                    return
                limit -= 1
            yield found

    def delete_thread(self, thread_id: str) -> None:
        with self._changed() as data:
            for of in data.values():
                for place in [place for place in of if place[0] == thread_id]:
                    del of[place]

    async def aput(self, *args: Any) -> RunnableConfig:
        return self.put(*args)

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        self.put_writes(config, writes, task_id, task_path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self.get_tuple(config)

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        for found in self.list(config, **options):
            yield found

    async def adelete_thread(self, thread_id: str) -> None:
        self.delete_thread(thread_id)

    def get_next_version(self, current: str | None, channel: None) -> str:
        return f"{int(current or 0) + 1:08}"

    def _list(self, conf: dict[str, Any], *, ns: str | None, before: str | None = None) -> Iterator[CheckpointTuple]:
        data = self._read()
        for place in sorted(data["rows"], key=lambda place: str(place[2]), reverse=True):
            thread, at_ns, checkpoint_id = place
            if conf.get("thread_id", thread) != thread or (ns is not None and at_ns != ns):
                continue
            if (conf.get("checkpoint_id") or checkpoint_id) != checkpoint_id or (before is not None and checkpoint_id >= before):
                continue
            rest, metadata, parent = data["rows"][place]
            checkpoint = self.serde.loads_typed(rest)
            checkpoint["channel_values"] = {
                channel: self.serde.loads_typed(data["values"][thread, at_ns, channel, version])
                for channel, version in checkpoint["channel_versions"].items()
                if (thread, at_ns, channel, version) in data["values"]
            }
            here = {"thread_id": thread, "checkpoint_ns": at_ns}
            yield CheckpointTuple(
                {"configurable": {**here, "checkpoint_id": checkpoint_id}},
                checkpoint,
                self.serde.loads_typed(metadata),
                {"configurable": {**here, "checkpoint_id": parent}} if parent else None,
                [
                    (write[4], channel, self.serde.loads_typed(value))
                    for write, (channel, value) in sorted(data["writes"].items())
                    if write[:3] == place
                ],
            )

    def _read(self) -> dict[str, dict[Any, Any]]:
        with self.lock:
            if not self.path.exists():
                return {"rows": {}, "values": {}, "writes": {}}
            return pickle.loads(self.path.read_bytes())  # noqa: S301  # a test's own file

    @contextmanager
    def _changed(self) -> Iterator[dict[str, dict[Any, Any]]]:
        with self.lock:
            yield (data := self._read())
            self.path.write_bytes(pickle.dumps(data))
