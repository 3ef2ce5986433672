"""SPEC section 7.2: the manifest of a checkpoint."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import cbor
from .errors import SealpointError

MAX_MANIFEST_LEN = 1 << 24
CLEAR_METADATA = ("source", "step", "parents", "run_id", "counters_since_delta_snapshot", "delta_writes_versioned")
TASKS = "__pregel_tasks"
COMMITMENT_LEN = 16


@dataclass(frozen=True)
class Record:
    """SPEC section 7.2: the manifest record."""

    exact: bool
    digest: bytes
    parent: str | None
    channels: list[tuple[str, bytes]]


def manifest_bytes(checkpoint: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    """SPEC section 7.2: `M`."""
    clear = {key: metadata[key] for key in CLEAR_METADATA if key in metadata}
    fields = [checkpoint[name] for name in ("v", "id", "ts", "channel_versions", "versions_seen")]
    data = cbor.encode([*fields, checkpoint.get("updated_channels"), clear])
    if len(data) > MAX_MANIFEST_LEN:
        raise SealpointError("limit_exceeded", "manifest too long")
    return data


def digest(manifest: bytes) -> bytes:
    """SPEC section 7.2: `digest`."""
    return hashlib.sha256(b"sealpoint/v1/manifest\0" + manifest).digest()


def build_record(
    checkpoint: Mapping[str, Any],
    metadata: Mapping[str, Any],
    exact: bool,
    parent: str | None,
    channels: Mapping[str, bytes],
) -> bytes:
    """SPEC section 7.2: the record; `channels` has 16 bytes for each entry of `channel_values`."""
    listed = sorted(((name, c16) for name, c16 in channels.items() if not _exempt(checkpoint, name)), key=_by_name)
    body = [1, exact, digest(manifest_bytes(checkpoint, metadata)), parent, [list(entry) for entry in listed]]
    data = cbor.encode(body)
    if len(data) > MAX_MANIFEST_LEN:
        raise SealpointError("limit_exceeded", "record too long")
    return data


def parse_record(data: bytes) -> Record:
    """SPEC section 7.2: a record, or `malformed`."""
    if len(data) > MAX_MANIFEST_LEN:
        raise SealpointError("limit_exceeded", "record too long")
    value = cbor.decode(data)
    if not isinstance(value, list) or len(value) != 5:
        raise SealpointError("malformed", "not an array of five")
    version, exact, found, parent, channels = value
    if not isinstance(version, int) or isinstance(version, bool):
        raise SealpointError("malformed", "version")
    if version != 1:
        raise SealpointError("unsupported_version", "not record version 1")
    if not isinstance(exact, bool) or not isinstance(found, bytes) or len(found) != 32:
        raise SealpointError("malformed", "exact or digest")
    if not (parent is None or isinstance(parent, str)) or not isinstance(channels, list):
        raise SealpointError("malformed", "parent or channels")
    entries: list[tuple[str, bytes]] = []
    for entry in channels:
        if not isinstance(entry, list) or len(entry) != 2:
            raise SealpointError("malformed", "channel entry")
        name, c16 = entry
        if not isinstance(name, str) or not isinstance(c16, bytes) or len(c16) != COMMITMENT_LEN:
            raise SealpointError("malformed", "channel entry")
        if entries and entries[-1][0].encode() >= name.encode():
            raise SealpointError("malformed", "channels not strictly increasing")
        entries.append((name, c16))
    return Record(exact, found, parent, entries)


def join_payload(record: bytes, metadata: bytes) -> bytes:
    """SPEC section 7.2: the payload of the metadata envelope."""
    return len(record).to_bytes(4, "big") + record + metadata


def split_payload(payload: bytes) -> tuple[bytes, bytes]:
    """SPEC section 7.2: record and serialized metadata, or `malformed`."""
    end = 4 + int.from_bytes(payload[:4], "big")
    if len(payload) < 4 or len(payload) < end:
        raise SealpointError("malformed", "record does not fit")
    return payload[4:end], payload[end:]


def verify(
    record: bytes,
    row_id: str,
    checkpoint: Mapping[str, Any],
    metadata: Mapping[str, Any],
    parent: str | None,
    channels: Mapping[str, bytes | None],
) -> None:
    """SPEC section 7.2, steps 1 to 5; `channels` has what is present, None where it carries no commitment."""
    known = parse_record(record)
    if row_id != checkpoint["id"]:
        raise SealpointError("authentication_failed", "row and checkpoint ids differ")
    if not hmac.compare_digest(digest(manifest_bytes(checkpoint, metadata)), known.digest):
        raise SealpointError("authentication_failed", "digest")
    if parent is not None and parent != known.parent:
        raise SealpointError("authentication_failed", "parent")
    for name, c16 in known.channels:
        if name not in channels:
            raise SealpointError("authentication_failed", "listed channel is missing")
        if any(c16) and channels[name] != c16:
            raise SealpointError("authentication_failed", "channel's commitment")
    listed = {name for name, _ in known.channels}
    if known.exact and any(name not in listed and not _exempt(checkpoint, name) for name in channels):
        raise SealpointError("authentication_failed", "unlisted channel")


def _exempt(checkpoint: Mapping[str, Any], name: str) -> bool:
    return name == TASKS and bool(checkpoint["v"] < 4)


def _by_name(entry: tuple[str, bytes]) -> bytes:
    return entry[0].encode()
