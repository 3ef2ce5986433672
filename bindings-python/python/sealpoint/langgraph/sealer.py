"""What a checkpoint looks like sealed (SPEC section 7): no I/O, and the only place that seals or opens one."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from sealpoint import Keyring
from sealpoint._native import Context, envelope_dek_id, is_sealed, manifest_open, manifest_payload
from sealpoint.errors import AuthenticationError, MalformedError, PlaintextRefusedError, SealpointError, error_for
from sealpoint.langgraph.container import unmark_snapshot
from sealpoint.langgraph.layouts import Layout
from sealpoint.langgraph.metadata import CLEAR, SEALED_KEY, matches, split
from sealpoint.langgraph.positions import TASKS, Position, position
from sealpoint.langgraph.reuse import Kept, Place, SealedValues, is_worth_keeping
from sealpoint.langgraph.steps import Item, Open, Seal, SealMany, Steps
from sealpoint.migration import Window

_KNOWN_FIELDS = frozenset({"v", "id", "ts", "channel_values", "channel_versions", "versions_seen", "updated_channels"})
_PAD_BELOW = 1024
_PAD_CHARACTERS = 256
_LARGE_CHARACTERS = 16 << 10
"""Of a string, from which on it is stored once, in the table of values, rather than with each checkpoint (SPEC section 7.1)."""


class Asked(NamedTuple):
    """What a row must turn out to be. None: whatever the saver says."""

    thread: str | None
    ns: str | None
    checkpoint: str | None


class Sealed(NamedTuple):
    """What the inner saver gets, and what to keep once it has it."""

    checkpoint: Checkpoint
    metadata: CheckpointMetadata
    place: Place
    kept: Mapping[str, Kept] | None
    """None: as before."""


class Sealer:
    def __init__(
        self, keyring: Keyring, serde: SerializerProtocol, layout: Layout, reuse: SealedValues, tenant_key: str | None = None
    ) -> None:
        self.keyring, self.serde, self.layout, self.reuse, self.tenant_key = keyring, serde, layout, reuse, tenant_key
        self._reuses = not layout.new_versions_only or layout.inline_primitives

    def with_serde(self, serde: SerializerProtocol) -> "Sealer":
        return Sealer(self.keyring, serde, self.layout, self.reuse, self.tenant_key)

    # -- sealing

    def put(
        self, tenant: str, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> Steps[Sealed]:
        """The checkpoint sealed. Call `stored` when the inner saver has it."""
        conf = config["configurable"]
        at = position(tenant, str(conf["thread_id"]), conf.get("checkpoint_ns") or "")
        before: str | None = conf.get("checkpoint_id")
        parent = None if self.layout.latest_only else before
        clear, rest = split(get_checkpoint_metadata(config, metadata))
        if self.layout.string_versions:
            versions = {channel: str(version) for channel, version in (checkpoint.get("channel_versions") or {}).items()}
            checkpoint = cast(Checkpoint, {**checkpoint, "channel_versions": versions})
        kind, payload = self.serde.dumps_typed(rest)
        reuse = True
        while True:
            sealed, listed, kept, reused = yield from self._seal_checkpoint(at, checkpoint, new_versions or {}, before is None, reuse)
            record = manifest_payload(_fields(checkpoint, clear), parent=parent, exact=self.layout.exact, channels=listed, metadata=payload)
            context = at.metadata.extend(checkpoint=checkpoint["id"])
            text = self.keyring._cache.seal(record, context, kind, True, True)
            if text is None:
                text = yield Seal(record, context, kind, True, True)
            # Whatever was just sealed names the active key: an envelope that was kept from before a rotation must not live on.
            if not reused or {entry.dek_id for entry in reused} == {envelope_dek_id(text)}:
                break
            reuse = False
        clear[SEALED_KEY] = text
        return Sealed(sealed, cast(CheckpointMetadata, clear), (at.tenant, at.thread, at.ns), kept)

    def stored(self, sealed: Sealed) -> None:
        """Not before: of what failed to be stored, the next checkpoint must hold it all."""
        if sealed.kept is not None:
            self.reuse.keep(sealed.place, sealed.kept)

    def writes(self, tenant: str, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str) -> Steps[list[tuple[str, Any]]]:
        conf, dumps = config["configurable"], self.serde.dumps_typed
        at = position(tenant, str(conf["thread_id"]), conf.get("checkpoint_ns") or "")
        place = ("checkpoint", "" if self.layout.mixes_writes else str(conf["checkpoint_id"]), "task", str(task_id), "channel")
        items: list[Item] = []
        tasks: list[Item] = []
        for channel, value in writes:
            kind, payload = dumps(value)
            pairs, of = (("channel", channel), tasks) if channel == TASKS else ((*place, channel), items)
            of.append((pairs, payload, kind, len(payload) <= _PAD_BELOW or _is_padded(value), False))
        sealed = yield from self._seal_many(at.write, items)
        if not tasks:
            return [(channel, envelope) for (channel, _), envelope in zip(writes, sealed, strict=True)]
        mixed = {True: iter((yield from self._seal_many(at.tasks, tasks))), False: iter(sealed)}
        return [(channel, next(mixed[channel == TASKS])) for channel, _ in writes]

    def _seal_checkpoint(
        self, at: Position, checkpoint: Checkpoint, new_versions: ChannelVersions, first: bool, reuse: bool
    ) -> Steps[tuple[Checkpoint, list[tuple[str, bytes | str | None]], Mapping[str, Kept] | None, list[Kept]]]:
        """The checkpoint as it is stored, the channels for its manifest, what to keep for the next one, and what was reused."""
        layout, dumps = self.layout, self.serde.dumps_typed
        exact, inline = layout.exact, layout.inline_primitives
        versions: Mapping[str, Any] = checkpoint.get("channel_versions") or {}
        apart = TASKS if _tasks_apart(checkpoint) else None
        kept = self.reuse.of((at.tenant, at.thread, at.ns)) if self._reuses else None
        keeping: dict[str, Kept] = {}
        values: dict[str, Any] = {}
        listed: list[tuple[str, bool]] = []
        items: list[Item] = []
        made: list[str] = []
        reused: list[Kept] = []
        channels = checkpoint.get("channel_values") or {}
        for name, value in channels.items():
            version, is_new, is_snapshot = versions.get(name), name in new_versions, isinstance(value, _DeltaSnapshot)
            entry = kept.get(name) if kept and not is_new else None
            if entry is not None and not (entry.holds(version, value) and (reuse or entry.envelope is None)):
                entry = None
            in_row = exact or (inline and is_primitive(value))
            if inline and in_row and name != apart:
                if is_new and _is_large(value) and type(version) is str and new_versions[name] == version:
                    in_row, keeping[name] = False, Kept(version, value, None)
                elif entry is not None and entry.envelope is None and not first:
                    in_row, keeping[name] = False, entry
            stored = in_row or is_new or not layout.new_versions_only
            # A saver with a table for values gives back only what has a version, and on a thread's first checkpoint only what is new.
            if name != apart and (in_row or (version is not None and (stored or not first))):
                # Of what is not new, such a table may have this version too, which then goes before what lies in the row.
                listed.append((name, in_row and not is_snapshot and (is_new or exact)))
            # Where primitives stay inline, a marker stays there for a snapshot, whatever `new_versions` says.
            if not stored and not (is_snapshot and inline):
                continue
            text = in_row and layout.json_row
            if is_snapshot:
                values[name] = _DeltaSnapshot((yield from self._seal_value(value.value, at.delta.extend(channel=name), text)))
            elif name == apart:
                values[name] = yield from self._seal_value(value, at.tasks.extend(channel=name), text)
            elif entry is not None and entry.envelope is not None:
                values[name] = entry.envelope
                keeping[name] = entry
                reused.append(entry)
            else:
                kind, payload = dumps(value)
                pairs = ("channel", name, "version", "" if version is None else version)
                items.append((pairs, payload, kind, len(payload) <= _PAD_BELOW or _is_padded(value), text))
                made.append(name)
                values[name] = None  # its place in the order
        values.update(zip(made, (yield from self._seal_many(at.channel, items)), strict=True))
        if kept is not None:
            for name in made:
                # What a step left as it was, the next one may leave too; what changes at each step is not worth the memory.
                if name not in new_versions and is_worth_keeping(value := channels[name], values[name]):
                    keeping[name] = Kept(versions.get(name), value, values[name])
        sealed: dict[str, Any] = {**checkpoint, "channel_values": values}
        for field in checkpoint.keys() - _KNOWN_FIELDS:
            if field in layout.own_fields:
                del sealed[field]
                continue
            context = at.field.extend(checkpoint=checkpoint["id"], field=field)
            sealed[field] = yield from self._seal_value(sealed[field], context, layout.json_row)
        manifest = [(name, values[name] if in_row else None) for name, in_row in listed]
        return cast(Checkpoint, sealed), manifest, keeping if keeping or kept else None, reused

    def value(self, at: Position, name: str, version: Any, value: Any) -> Steps[Any]:
        """One channel's value for a table of values."""
        if isinstance(value, _DeltaSnapshot):
            return _DeltaSnapshot((yield from self._seal_value(value.value, at.delta.extend(channel=name), False)))
        return (yield from self._seal_value(value, at.channel.extend(channel=name, version="" if version is None else version), False))

    def _is_stored_again(self, value: Any) -> bool:
        """With each checkpoint, although it did not change."""
        return not self.layout.new_versions_only or (self.layout.inline_primitives and is_primitive(value))

    def _seal_many(self, base: Context, items: list[Item]) -> Steps[list[Any]]:
        sealed: list[Any] | None = self.keyring._cache.seal_many(base, items) if items else []
        if sealed is None:
            sealed = yield SealMany(base, items)
        return sealed

    def _seal_value(self, value: Any, context: Context, text: bool) -> Steps[Any]:
        kind, payload = self.serde.dumps_typed(value)
        pad = len(payload) <= _PAD_BELOW or _is_padded(value)
        envelope = self.keyring._cache.seal(payload, context, kind, pad, text)
        if envelope is None:
            envelope = yield Seal(payload, context, kind, pad, text)
        return envelope

    # -- opening

    def open_tuple(
        self,
        tenant: str,
        found: CheckpointTuple,
        asked: Asked,
        *,
        wanted: Mapping[str, Any] | None = None,
        only: Collection[str] | None = None,
        linked: bool = False,
        window: Window | None = None,
    ) -> Steps[CheckpointTuple | None]:
        """The row, verified and opened; None if its metadata is not what is `wanted`. With `only`, just these channels are opened. With
        `linked`, a parent that it was sealed with must still be there: a walk along parents would end too early unnoticed. An open
        `window` lets unsealed data through where a migration leaves some."""
        try:
            return (yield from self._open_tuple(tenant, self.as_put(found), asked, wanted, only, linked, window))
        except SealpointError as error:
            thread = str(found.config["configurable"].get("thread_id"))
            raise error_for(error.code, f"thread {thread[:100]!r}: {error}") from None

    def _open_tuple(
        self,
        tenant: str,
        found: CheckpointTuple,
        asked: Asked,
        wanted: Mapping[str, Any] | None,
        only: Collection[str] | None,
        linked: bool,
        window: Window | None,
    ) -> Steps[CheckpointTuple | None]:
        at, checkpoint_id = self._placed(tenant, found, asked)
        checkpoint = cast(dict[str, Any], found.checkpoint)
        unsealed = window if SEALED_KEY not in found.metadata else None
        if unsealed is None:
            metadata = yield from self._open_metadata(at, checkpoint_id, found, linked, window)
        else:
            metadata = self._unsealed_metadata(tenant, found)
        if wanted and not matches(metadata, wanted, contained=self.layout.filters_contain):
            return None
        if unsealed is None:
            opened = {**checkpoint, "channel_values": (yield from self._open_values(at, checkpoint, only, window))}
            if only is None:
                yield from self._open_fields(at, checkpoint_id, opened)
        else:
            unsealed.let("checkpoints")
            opened = {**checkpoint}
        pending: list[PendingWrite] | None = None
        if found.pending_writes is not None:
            pending = yield from self._open_writes(at, checkpoint_id, found.pending_writes, only, window)
        return found._replace(checkpoint=cast(Checkpoint, opened), metadata=cast(CheckpointMetadata, metadata), pending_writes=pending)

    def _open_fields(self, at: Position, checkpoint_id: str, opened: dict[str, Any]) -> Steps[None]:
        """Opens, in place, what a checkpoint has beside the fields that every one has."""
        for field in opened.keys() - _KNOWN_FIELDS:
            if field in self.layout.own_fields:
                value = opened.pop(field)
                if field == "pending_sends":
                    opened[field] = yield from self._open_tasks(at, value)
                continue
            context = at.field.extend(checkpoint=checkpoint_id, field=field)
            opened[field] = yield from self._open_value(opened[field], context, f"the field {field!r} of a checkpoint")

    def as_put(self, found: CheckpointTuple) -> CheckpointTuple:
        """The row without what this saver makes of it on the way."""
        conf, checkpoint = found.config["configurable"], found.checkpoint
        if self.layout.root_namespace and conf.get("checkpoint_ns") == self.layout.root_namespace:
            found = found._replace(config={"configurable": {**conf, "checkpoint_ns": ""}})
        if self.layout.json_values and isinstance(checkpoint, dict) and isinstance(values := checkpoint.get("channel_values"), dict):
            unmarked = {name: unmark_snapshot(value) for name, value in values.items()}
            found = found._replace(checkpoint=cast(Checkpoint, {**checkpoint, "channel_values": unmarked}))
        return found

    def _placed(self, tenant: str, found: CheckpointTuple, asked: Asked) -> tuple[Position, str]:
        """Where the saver says that the row lies, after comparing it with what was asked for and with the checkpoint itself."""
        conf = found.config["configurable"]
        thread, ns, checkpoint_id = str(conf["thread_id"]), conf.get("checkpoint_ns") or "", str(conf["checkpoint_id"])
        if (
            (asked.thread is not None and thread != asked.thread)
            or (asked.ns is not None and ns != asked.ns)
            or (asked.checkpoint is not None and checkpoint_id != asked.checkpoint and not self.layout.latest_only)
        ):
            raise AuthenticationError("authentication_failed", "the saver returned a row of another place than was asked for")
        if not isinstance(found.checkpoint, dict) or not isinstance(found.checkpoint.get("channel_values") or {}, dict):
            raise MalformedError("malformed", "a stored checkpoint is not a map: the row is damaged")
        if not isinstance(found.metadata, dict):
            raise PlaintextRefusedError("plaintext_refused", _UNSEALED.format("the metadata of a checkpoint"))
        if found.checkpoint.get("id") != checkpoint_id:
            raise AuthenticationError("authentication_failed", "a checkpoint is not the one that its row is named after")
        parent = found.parent_config["configurable"] if found.parent_config else {}
        if str(parent.get("thread_id", thread)) != thread or (parent.get("checkpoint_ns", ns) or "") != ns:
            raise AuthenticationError("authentication_failed", "a checkpoint has a parent in another thread or namespace")
        return position(tenant, thread, ns), checkpoint_id

    def _unsealed_metadata(self, tenant: str, found: CheckpointTuple) -> dict[str, Any]:
        """Of a checkpoint from before sealing. LangGraph copied the config's scalars into it, the tenant's key among them."""
        metadata = cast(dict[str, Any], found.metadata)
        if self.tenant_key is not None and metadata.get(self.tenant_key, tenant) != tenant:
            raise AuthenticationError("authentication_failed", "a checkpoint from before sealing belongs to another tenant")
        for name, value in (found.checkpoint.get("channel_values") or {}).items():
            if not is_unsealed(value):
                raise AuthenticationError(
                    "authentication_failed",
                    f"channel {name!r} begins like an envelope in a checkpoint without a manifest: that was removed, or it is old data "
                    "that begins with the byte C1, which never passes as plaintext",
                )
        return metadata

    def _open_metadata(
        self, at: Position, checkpoint_id: str, found: CheckpointTuple, linked: bool, window: Window | None
    ) -> Steps[dict[str, Any]]:
        row = cast(dict[str, Any], found.metadata)
        checkpoint = cast(dict[str, Any], found.checkpoint)
        sealed = row.get(SEALED_KEY)
        if not isinstance(sealed, str):
            raise PlaintextRefusedError("plaintext_refused", _UNSEALED.format("the metadata of a checkpoint"))
        tasks_apart = _tasks_apart(checkpoint)
        channels: list[tuple[str, bytes | str | None]] = []
        for name, value in (checkpoint.get("channel_values") or {}).items():
            if isinstance(value, _DeltaSnapshot) or self._left_over(window, value):
                channels.append((name, None))
            elif not (tasks_apart and name == TASKS):
                channels.append((name, _envelope(value, name)))
        clear = {key: row[key] for key in CLEAR if key in row}
        try:
            kind, payload = yield from self._open(sealed, at.metadata.extend(checkpoint=checkpoint_id))
            parent = found.parent_config["configurable"].get("checkpoint_id") if found.parent_config else None
            rest, sealed_parent = manifest_open(payload, _fields(checkpoint, clear), parent=parent, channels=channels)
        except SealpointError as error:
            raise where(error, "a checkpoint's manifest or metadata") from None
        if linked and parent is None and sealed_parent is not None:
            raise AuthenticationError("authentication_failed", "a checkpoint's parent was removed: the history of its channels is cut")
        return {**clear, **self.serde.loads_typed((kind, rest))}

    def _left_over(self, window: Window | None, value: Any) -> bool:
        """A saver with a table for values still has those from before sealing, and a sealed checkpoint may name them."""
        return window is not None and not self.layout.exact and is_unsealed(value)

    def _open_values(
        self, at: Position, checkpoint: dict[str, Any], only: Collection[str] | None, window: Window | None
    ) -> Steps[dict[str, Any]]:
        open_, loads = self.keyring._cache.open, self.serde.loads_typed
        keeping: dict[str, Kept] = {}
        versions: Mapping[str, Any] = checkpoint.get("channel_versions") or {}
        tasks_apart = _tasks_apart(checkpoint)
        out: dict[str, Any] = {}
        for name, value in (checkpoint.get("channel_values") or {}).items():
            if only is not None and name not in only:
                continue
            if window is not None and self._left_over(window, value):
                window.let("values")
                out[name] = value
                continue
            if isinstance(value, _DeltaSnapshot):
                out[name] = _DeltaSnapshot((yield from self._open_value(value.value, at.delta.extend(channel=name), f"channel {name!r}")))
                continue
            if tasks_apart and name == TASKS:
                out[name] = yield from self._open_tasks(at, value)
                continue
            version = versions.get(name)
            context = at.channel.extend(channel=name, version="" if version is None else version)
            try:
                opened = open_(value, context)
                if opened is None:
                    opened = yield Open(value, context)
            except SealpointError as error:
                raise where(error, f"channel {name!r}") from None
            out[name] = loaded = loads(opened)
            if self._is_stored_again(loaded) and is_worth_keeping(loaded, value):
                # A row of JSON holds text: bytes come from the table.
                in_table = self.layout.inline_primitives and isinstance(value, bytes)
                keeping[name] = Kept(version, loaded, None if in_table else value)
        if keeping and only is None:
            self.reuse.keep((at.tenant, at.thread, at.ns), keeping)
        return out

    def _open_tasks(self, at: Position, value: Any) -> Steps[Any]:
        """Old checkpoints: the channel's own value, or the writes to it that some savers move there on reading."""
        context = at.tasks.extend(channel=TASKS)
        if not isinstance(value, (list, tuple)):
            return (yield from self._open_value(value, context, f"channel {TASKS!r}"))
        out = []
        for item in value:
            out.append((yield from self._open_value(item, context, f"channel {TASKS!r}")))
        return out

    def _open_writes(
        self, at: Position, checkpoint_id: str, writes: Sequence[PendingWrite], only: Collection[str] | None, window: Window | None
    ) -> Steps[list[PendingWrite]]:
        of_checkpoint = at.write.extend(checkpoint="" if self.layout.mixes_writes else checkpoint_id) if writes else at.write
        out: list[PendingWrite] = []
        for task_id, channel, value in writes:
            if only is not None and channel not in only:
                continue
            if window is not None and is_unsealed(value):
                window.let("writes")
                out.append((task_id, channel, value))
                continue
            base = at.tasks if channel == TASKS else of_checkpoint.extend(task=str(task_id))
            context = base.extend(channel=channel)
            out.append((task_id, channel, (yield from self._open_value(value, context, f"a pending write to channel {channel!r}"))))
        return out

    def _open_value(self, value: Any, context: Context, what: str) -> Steps[Any]:
        try:
            opened = yield from self._open(_envelope(value), context)
        except SealpointError as error:
            raise where(error, what) from None
        return self.serde.loads_typed(opened)

    def _open(self, sealed: bytes | str, context: Context) -> Steps[tuple[str, bytes]]:
        opened = self.keyring._cache.open(sealed, context)
        if opened is None:
            opened = yield Open(sealed, context)
        return opened


_UNSEALED = "{} is not sealed: it was stored without SealedSaver (migrate it: mode='migrating'), or was replaced"
_REMEDIES = {
    "plaintext_refused": "it was stored without SealedSaver (migrate it: mode='migrating'), or was replaced",
    "authentication_failed": "it was changed or moved in the database, or belongs to another tenant",
    "key_not_found": "its key is not in this key store, or belongs to another tenant",
}


def _fields(checkpoint: Mapping[str, Any], clear: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
    get = checkpoint.get
    versions = get("channel_versions")
    if _tasks_apart(checkpoint) and isinstance(versions, dict) and TASKS in versions:
        versions = {name: version for name, version in versions.items() if name != TASKS}
    return get("v"), get("id"), get("ts"), versions, get("versions_seen"), get("updated_channels"), clear


def _tasks_apart(checkpoint: Mapping[str, Any]) -> bool:
    """Before version 4, savers may rebuild `__pregel_tasks` from writes: it has no version and is outside the manifest."""
    v = checkpoint.get("v")
    return not isinstance(v, int) or v < 4


def is_primitive(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _is_large(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= _LARGE_CHARACTERS


def _is_padded(value: Any) -> bool:
    """Lengths tell "approved" from "denied" (SPEC section 4.1)."""
    return is_primitive(value) and (not isinstance(value, str) or len(value) <= _PAD_CHARACTERS)


def is_unsealed(value: Any) -> bool:
    """Whether a stored value, or what a stored snapshot holds, is no envelope."""
    return not _is_envelope(value.value if isinstance(value, _DeltaSnapshot) else value)


def _is_envelope(value: Any) -> bool:
    return isinstance(value, (bytes, str)) and is_sealed(value)


def _envelope(value: Any, channel: str | None = None) -> bytes | str:
    if _is_envelope(value):
        return cast(bytes | str, value)
    what = "a stored value" if channel is None else f"channel {channel!r}"
    raise PlaintextRefusedError("plaintext_refused", _UNSEALED.format(what))


def where(error: SealpointError, what: str) -> SealpointError:
    """The same error, saying which value it was about."""
    remedy = _REMEDIES.get(error.code)
    told = remedy is None or "tenant" in str(error) or "key store" in str(error)
    return error_for(error.code, f"{what}: {error}" + ("" if told else f" ({remedy})"))
