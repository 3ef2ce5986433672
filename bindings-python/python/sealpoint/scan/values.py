"""Judging one value, without a key: an envelope, clear by design, or data that is not sealed.

"Sealed" means well-formed: magic, version, suite, encoding and a valid chunking (SPEC section 8, steps 1 to 6). A first byte alone proves
nothing. That an envelope also opens, only its key can prove.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .._native import CLEAR_METADATA, LocalKek, envelope_dek_id, is_sealed
from ..errors import SealpointError
from .plain import DELTA_SNAPSHOT, Ext, Pairs, from_json, from_msgpack
from .report import Tally, Verdict, printable

__all__ = [
    "SEALED_KEY",
    "SNAPSHOTS",
    "Spot",
    "checkpoint",
    "inline",
    "item",
    "metadata",
    "pointer",
    "position",
    "serialized",
    "vector",
    "wrapped",
]

SEALED_KEY = "sealpoint"
"""The key of a metadata or store map under which its envelope lies (SPEC section 7.1)."""

SNAPSHOTS = "sealpoint: snapshots"
"""Not a column: the channels of a checkpoint row whose delta snapshot lies in a table of its own, as the reader found out."""

ENVELOPE = "envelope"
WRAP = "DEK wrapped by a KEK"
LOOKED_UP = "savers and LangGraph look rows up by it"
NAMES = "names in code and versions, not data: Pregel schedules by them"
QUERIED = "savers query and prune by it"
EMPTY = "no value"
CHOSEN = "left in the clear by choice"
PLAIN = "data that is not sealed"
ELSEWHERE = "encrypted by something else{}: not sealed by sealpoint"
NO_ENVELOPE = "no envelope: not written by a Sealed… wrapper"
BESIDE = "entries beside the envelope"
UNFIT = "something else than LangGraph keeps there"
VECTOR = "derived from plaintext: it tells what the text was about"
BARE_KEY = "a key that is not wrapped"
NOT_WELL_FORMED = "begins like an envelope and is none ({})"
UNPARSED = "does not parse"

_POSITION = ("prefix", "namespace_path", "ns", "key", "thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx", "channel", "version")
_ENCRYPTED = re.compile(r"[a-z0-9]{1,16}\+[a-z0-9_-]{1,32}")
_SHORTEST_WRAP = 48
"""Bytes: a key of 32 and a tag of 16."""

_LOCAL_WRAP = b"\xc1\x57\x01\x01\x00"
_LOCAL_WRAP_LEN = 125

_FIELDS = ("v", "id", "ts", "channel_versions", "versions_seen", "updated_channels", "type")


@dataclass(slots=True)
class Spot:
    """One column of one row: where a judgement is noted."""

    tally: Tally
    table: str
    column: str
    row: Mapping[str, Any]
    clear_fields: Collection[str] = ()
    clear_vectors: bool = False

    @property
    def kind(self) -> str:
        """What the serializer called the value of this row."""
        kind = self.row.get("type", self.row.get("encoding"))
        return kind if isinstance(kind, str) else ""

    def note(self, verdict: Verdict, reason: str, size: int, part: str = "", name: object = None) -> None:
        """`part` is a part of the column, `name` what it is called there (a channel)."""
        column = f"{self.column}.{part}" if part else self.column
        self.tally.add(self.table, column, verdict, reason, size, lambda: self._at(name))

    def leaf(self, value: Any, part: str = "", name: object = None) -> None:
        """A value that must be an envelope, or a delta snapshot of one."""
        if isinstance(value, Ext) and value.code == DELTA_SNAPSHOT:
            try:
                value = from_msgpack(value.data)
            except ValueError:
                self.note(Verdict.CORRUPT, UNPARSED, size_of(value), part, name)
                return
        elif isinstance(value, Pairs):
            value = _in_snapshot(value)
        if not self.envelope(value, part, name):
            self.note(Verdict.UNSEALED, PLAIN, size_of(value), part, name)

    def envelope(self, value: Any, part: str = "", name: object = None) -> bool:
        """Notes a value that is an envelope, or pretends to be one. False: it is none."""
        if not isinstance(value, (bytes, str)) or not is_sealed(value):
            return False
        try:
            dek_id = envelope_dek_id(value)
        except SealpointError as error:
            self.note(Verdict.CORRUPT, NOT_WELL_FORMED.format(error.code), size_of(value), part, name)
        else:
            self.tally.envelope(dek_id, lambda: f"{self.table}, {self._at(name)}")
            self.note(Verdict.SEALED, ENVELOPE, size_of(value), part, name)
        return True

    def elsewhere(self, value: Any) -> bool:
        """Notes what LangGraph's `EncryptedSerializer`, or one like it, wrote. False: it is none."""
        if "+" not in self.kind:
            return False
        name = f" ({self.kind})" if _ENCRYPTED.fullmatch(self.kind) else ""
        self.note(Verdict.UNSEALED, ELSEWHERE.format(name), size_of(value))
        return True

    def _at(self, name: object) -> str:
        return position(self.row) if name is None else f"{position(self.row)}, {printable(str(name))}"


def position(row: Mapping[str, Any]) -> str:
    """Where a row of a known table belongs, by the ids and names in it, which are clear by design."""
    return ", ".join(f"{column} {printable(str(row[column]))}" for column in _POSITION if row.get(column) not in (None, ""))


def serialized(spot: Spot, value: Any) -> None:
    """What a serializer made of one value, beside its type."""
    if value is None:
        spot.note(Verdict.CLEAR, EMPTY, 0)
    elif spot.elsewhere(value) or spot.envelope(value):
        pass
    elif isinstance(value, str) or (isinstance(value, bytes) and spot.kind in ("msgpack", "json")):
        try:
            spot.leaf(_decoded(spot, value))
        except ValueError:
            spot.note(Verdict.CORRUPT, UNPARSED, size_of(value))
    else:
        spot.note(Verdict.UNSEALED, PLAIN, size_of(value))


def inline(spot: Spot, value: Any) -> None:
    """One value as it is, without a serializer."""
    spot.leaf(value)


def checkpoint(spot: Spot, value: Any) -> None:
    """A checkpoint: the values of its channels must be envelopes, its known fields are clear (SPEC section 7.1)."""
    if spot.elsewhere(value) or spot.envelope(value):
        return
    try:
        entries = _decoded(spot, value)
    except ValueError:
        entries = None
    if not isinstance(entries, Pairs):
        spot.note(Verdict.CORRUPT, UNPARSED, size_of(value))
        return
    marked = spot.row.get(SNAPSHOTS, ())
    for field, entry in entries:
        if field == "channel_values" and isinstance(entry, Pairs):
            for name, channel_value in entry:
                if channel_value is True and name in marked:
                    spot.note(Verdict.CLEAR, NAMES, 1, "channel_values")
                else:
                    spot.leaf(channel_value, "channel_values", f"channel {name}")
        elif field in _FIELDS:
            _fitting(spot, field, entry, NAMES, part=field)
        elif entry == []:
            spot.note(Verdict.CLEAR, EMPTY, 0, "other fields")
        else:
            spot.leaf(entry, "other fields")


def metadata(spot: Spot, value: Any) -> None:
    """Metadata of a checkpoint: clear entries and one envelope (SPEC section 7.1)."""
    if spot.envelope(value):
        return
    entries = _map(spot, value)
    if entries is None:
        return
    sealed = False
    for key, entry in entries:
        if key == SEALED_KEY:
            sealed = True
            spot.leaf(entry)
        elif key in CLEAR_METADATA:
            _fitting(spot, key, entry, QUERIED)
        else:
            spot.note(Verdict.UNSEALED, BESIDE, size_of(entry))
    if not sealed:
        spot.note(Verdict.UNSEALED, NO_ENVELOPE, size_of(value))


def item(spot: Spot, value: Any) -> None:
    """An item of a store: an envelope under its key, fields that are envelopes, and those that were left in the clear by choice."""
    entries = _map(spot, value)
    if entries is None:
        return
    sealed = False
    for key, entry in entries:
        if key == SEALED_KEY:
            sealed = True
            spot.leaf(entry)
        elif spot.envelope(entry):
            pass
        elif key in spot.clear_fields:
            spot.note(Verdict.CLEAR, CHOSEN, size_of(entry))
        else:
            spot.note(Verdict.UNSEALED, BESIDE, size_of(entry))
    if not sealed:
        spot.note(Verdict.UNSEALED, NO_ENVELOPE, size_of(value))


def vector(spot: Spot, value: Any) -> None:
    """An embedding, or the text that it was made of."""
    if value is None:
        spot.note(Verdict.CLEAR, EMPTY, 0)
    elif spot.clear_vectors:
        spot.note(Verdict.CLEAR, CHOSEN, size_of(value))
    else:
        spot.note(Verdict.UNSEALED, VECTOR, size_of(value))


def pointer(spot: Spot, value: Any) -> None:
    """Names of other keys."""
    keys = value if isinstance(value, list) else [value]
    for key in keys:
        if isinstance(key, str) and key.startswith("checkpoint"):
            spot.note(Verdict.CLEAR, LOOKED_UP, size_of(key))
        else:
            spot.note(Verdict.UNSEALED, UNFIT, size_of(key))


def wrapped(spot: Spot, value: Any) -> None:
    """A DEK, or a canary, under a KEK. What a key service wrapped has that service's own form; what would serve as a key has not."""
    if not isinstance(value, bytes) or len(value) < _SHORTEST_WRAP or _is_key(value):
        spot.note(Verdict.UNSEALED, BARE_KEY, size_of(value))
    elif value[:1] == _LOCAL_WRAP[:1] and not (value.startswith(_LOCAL_WRAP) and len(value) == _LOCAL_WRAP_LEN):
        spot.note(Verdict.CORRUPT, NOT_WELL_FORMED.format("malformed"), len(value))
    else:
        spot.note(Verdict.SEALED, WRAP, len(value))


def _is_key(value: bytes) -> bool:
    try:
        LocalKek.parse(value)
    except SealpointError:
        return False
    return True


def size_of(value: Any) -> int:
    """Bytes, about as they are stored."""
    if isinstance(value, Ext):
        return len(value.data)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return len(value)
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (list, tuple)):
        return sum(map(size_of, value))
    return len(str(value))


def _in_snapshot(value: Pairs) -> Any:
    """What a delta snapshot in JSON holds, as Python's Redis savers or JavaScript's serializer write one. Another map is its own."""
    names, rest = [key for key, _ in value], value[:-1]
    if names == ["__delta_snapshot__", "value"] or (names == ["lc", "type", "value"] and rest == [("lc", 2), ("type", "delta_snapshot")]):
        return value[-1][1]
    return value


def _decoded(spot: Spot, value: Any) -> Any:
    """Raises: `ValueError`."""
    if isinstance(value, Pairs):
        return value
    if isinstance(value, str) or (isinstance(value, bytes) and spot.kind == "json"):
        return from_json(value)
    if isinstance(value, bytes):
        return from_msgpack(value)
    raise ValueError("neither text nor bytes")


def _map(spot: Spot, value: Any) -> Pairs | None:
    """A JSON map; None: it is none, which was noted."""
    try:
        entries = from_json(value) if isinstance(value, (str, bytes)) else value
    except ValueError:
        entries = None
    if isinstance(entries, Pairs):
        return entries
    spot.note(Verdict.CORRUPT, UNPARSED, size_of(value))
    return None


def _fitting(spot: Spot, name: str, entry: Any, reason: str, *, part: str = "") -> None:
    if _SHAPES[name](entry):
        spot.note(Verdict.CLEAR, reason, size_of(entry), part)
    else:
        spot.note(Verdict.UNSEALED, UNFIT, size_of(entry), part, name)


def _text(entry: Any) -> bool:
    return entry is None or isinstance(entry, str)


def _number(entry: Any) -> bool:
    return isinstance(entry, (int, float))


def _scalar(entry: Any) -> bool:
    return _text(entry) or _number(entry)


def _scalars(entry: Any) -> bool:
    """A list of names, or a map of names to versions."""
    if isinstance(entry, Pairs):
        return all(_scalar(key) and _scalar(value) for key, value in entry)
    return entry is None or (isinstance(entry, list) and all(map(_scalar, entry)))


def _nested(entry: Any) -> bool:
    """A map of names to maps or lists of versions."""
    return isinstance(entry, Pairs) and all(_scalar(key) and (_scalar(value) or _scalars(value)) for key, value in entry)


_SHAPES = {
    "v": _number,
    "type": _text,
    "id": _text,
    "ts": _text,
    "channel_versions": _scalars,
    "versions_seen": _nested,
    "updated_channels": _scalars,
    "source": _text,
    "step": _number,
    "parents": _scalars,
    "run_id": _text,
    "counters_since_delta_snapshot": _nested,
    "delta_writes_versioned": _scalar,
}
