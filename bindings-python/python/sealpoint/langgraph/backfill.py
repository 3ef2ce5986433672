"""Sealing what a database holds from before sealing, in place (backfill), so that strict mode can follow."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from sealpoint import Keyring
from sealpoint._native import envelope_dek_id
from sealpoint.errors import InvalidArgumentError, KeyNotFoundError, SealpointError
from sealpoint.langgraph.backfill_rows import Rows, opened
from sealpoint.langgraph.configs import asked_of
from sealpoint.langgraph.metadata import SEALED_KEY
from sealpoint.langgraph.positions import position
from sealpoint.langgraph.saver import Damage, SealedSaver
from sealpoint.langgraph.sealer import is_primitive, is_unsealed
from sealpoint.langgraph.steps import run
from sealpoint.migration import Migration
from sealpoint.tenants import Config, TenantSource, check_source, resolve_tenant

__all__ = ["BackfillReport", "FailedThread", "backfill"]

_NOW_AND_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class FailedThread:
    """A thread that was left exactly as it was."""

    thread_id: str
    code: str
    message: str


@dataclass(frozen=True)
class BackfillReport:
    """What was sealed, or with `dry_run` would be."""

    threads: int
    """All that were looked at."""
    checkpoints: int
    values: int
    """In tables of their own (Postgres)."""
    writes: int
    failed: tuple[FailedThread, ...]
    left_behind: str
    """Where copies of what was sealed may still lie, and how to get rid of them. Empty: nowhere in the database's own files."""


def backfill(
    database: str | Path,
    keyring: Keyring,
    *,
    tenant: TenantSource,
    legacy_serde: SerializerProtocol | None = None,
    threads: Iterable[str] | None = None,
    schema: str | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BackfillReport:
    """Seals the checkpoints and writes that LangGraph's SqliteSaver or PostgresSaver stored without sealpoint, where they lie.

    Each thread is one transaction: read, sealed, opened again strictly, committed; one that fails is left as it was and reported. So it may
    be stopped at any point and started again, and run beside an application in `mode="migrating"`.

    Args:
        database: the path of an SQLite file, or a Postgres DSN.
        keyring: the application's.
        tenant: the application's. The config that it is asked about is rebuilt from what LangGraph copied into the metadata: the thread's
            id and each string, number and boolean of `configurable`. A thread whose tenant is not found there fails (`tenant_required`),
            unless `tenant_scope` names one.
        legacy_serde: LangGraph's `EncryptedSerializer` with its key, if it wrote some.
        threads: only these thread ids.
        schema: of a Postgres database, if not the DSN's own.
        dry_run: do all but commit.
        progress: called with the number of threads that are done, and of all.

    Raises: `invalid_argument`, `missing_dependency`, `store_unavailable` (the database cannot be reached), `store_invalid` (it is none of
    LangGraph's); what belongs to one thread is reported instead.
    """
    source = check_source(tenant)
    with opened(database, schema) as rows:
        saver = SealedSaver(
            rows.saver, keyring, tenant=source, mode="migrating", migration=Migration(_NOW_AND_EVER), legacy_serde=legacy_serde
        )
        names = rows.threads()
        wanted = names if threads is None else sorted(set(threads))
        counts = [0, 0, 0]
        failed: list[FailedThread] = []
        for number, thread in enumerate(wanted):
            if progress is not None:
                progress(number, len(wanted))
            try:
                if thread not in names:
                    raise InvalidArgumentError("invalid_argument", "there is no such thread")
                with rows.transaction(thread, commit=not dry_run):
                    sealed = _Thread(rows, saver, thread).seal()
            except SealpointError as error:
                failed.append(FailedThread(thread, error.code, str(error)))
            else:
                counts = [count + more for count, more in zip(counts, sealed, strict=True)]
        if progress is not None:
            progress(len(wanted), len(wanted))
        left_behind = rows.clean() if any(counts) and not dry_run else ""
    checkpoints, values, writes = counts
    return BackfillReport(len(wanted), checkpoints, values, writes, tuple(failed), left_behind)


class _Thread:
    """One thread, within one transaction."""

    def __init__(self, rows: Rows, saver: SealedSaver, thread: str) -> None:
        self._rows, self._saver, self._thread = rows, saver, thread
        self._config: RunnableConfig = {"configurable": {"thread_id": thread}}
        self._dumps = saver._storage.serde.dumps_typed
        self._loads = saver._legacy.serde.loads_typed

    def seal(self) -> tuple[int, int, int]:
        with Damage(self._config) as damage:
            found = sorted(self._saver._legacy.list(self._config), key=lambda row: row.checkpoint["id"])
        damage.refuse()
        self._tenant = self._tenant_of(found)
        done = self._checkpoints(found), self._values(found), self._writes()
        if any(done):
            self._verify()
        return done

    def _tenant_of(self, found: list[CheckpointTuple]) -> str:
        source, tenants = self._saver._source, set()
        for row in found:
            metadata = cast(dict[str, Any], row.metadata)
            sealed = metadata.get(SEALED_KEY)
            if sealed is None:
                conf = {key: value for key, value in metadata.items() if isinstance(value, (str, int, float, bool))}
                tenants.add(resolve_tenant(source, cast(Config, {"configurable": {**conf, "thread_id": self._thread}})))
            elif record := self._saver._keyring._store.dek(envelope_dek_id(sealed)):
                tenants.add(record.tenant)
            else:
                raise KeyNotFoundError("key_not_found", "the key store does not hold the key of the thread's sealed checkpoints")
        if len(tenants) > 1:
            raise InvalidArgumentError("invalid_argument", "the thread's checkpoints belong to several tenants")
        return tenants.pop() if tenants else resolve_tenant(source, cast(Config, self._config))

    def _checkpoints(self, found: list[CheckpointTuple]) -> int:
        count = 0
        for row in found:
            if SEALED_KEY in row.metadata:
                continue
            window = Migration(_NOW_AND_EVER).window(self._tenant)
            steps = self._saver._sealer.open_tuple(self._tenant, row, asked_of(self._config), window=window)
            old = cast(CheckpointTuple, run(steps, self._saver._keyring))
            conf = row.config["configurable"]
            ns, parent = conf.get("checkpoint_ns") or "", row.parent_config["configurable"]["checkpoint_id"] if row.parent_config else None
            place: RunnableConfig = {"configurable": {"thread_id": self._thread, "checkpoint_ns": ns}}
            if parent:
                place["configurable"]["checkpoint_id"] = parent
            values = old.checkpoint["channel_values"]
            # A primitive stays where it lies, in the row or in the table of values: it is not new.
            versions = {name: at for name, at in old.checkpoint["channel_versions"].items() if not is_primitive(values.get(name))}
            sealing = self._saver._sealer.put(self._tenant, place, old.checkpoint, old.metadata, versions)
            sealed = run(sealing, self._saver._keyring)
            self._rows.put(self._thread, ns, cast(dict[str, Any], sealed.checkpoint), cast(dict[str, Any], sealed.metadata), self._dumps)
            count += 1
        return count

    def _values(self, found: list[CheckpointTuple]) -> int:
        versions: dict[tuple[str, str, str], Any] = {}
        for row in found:
            ns = row.config["configurable"].get("checkpoint_ns") or ""
            for channel, version in row.checkpoint["channel_versions"].items():
                versions[ns, channel, str(version)] = version
        count = 0
        for ns, channel, version, kind, blob in self._rows.values(self._thread):
            value = self._loads((kind, blob))
            if not is_unsealed(value):
                continue
            at = position(self._tenant, self._thread, ns)
            steps = self._saver._sealer.value(at, channel, versions.get((ns, channel, version), version), value)
            self._rows.put_value(self._thread, ns, channel, version, *self._dumps(run(steps, self._saver._keyring)))
            count += 1
        return count

    def _writes(self) -> int:
        count = 0
        for ns, checkpoint, task, index, channel, kind, blob in self._rows.writes(self._thread):
            value = self._loads((kind, blob))
            if not is_unsealed(value):
                continue
            place: RunnableConfig = {"configurable": {"thread_id": self._thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint}}
            steps = self._saver._sealer.writes(self._tenant, place, [(channel, value)], task)
            [(_, sealed)] = run(steps, self._saver._keyring)
            self._rows.put_write(self._thread, ns, checkpoint, task, index, *self._dumps(sealed))
            count += 1
        return count

    def _verify(self) -> None:
        """Nothing is committed that would not open in strict mode."""
        for row in self._saver._storage.list(self._config):
            run(self._saver._sealer.open_tuple(self._tenant, row, asked_of(self._config)), self._saver._keyring)
