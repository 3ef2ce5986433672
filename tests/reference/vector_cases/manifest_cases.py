"""manifest.json: SPEC section 7.2."""

from typing import Any

from sealpoint_ref import cbor, manifest

from . import jsonform as jf
from .build import File, Json, derived

C16 = {name: derived("commitment", name, 16).hex() for name in ("messages", "aa", "b", "role", "other")}
CHECKPOINT: Json = {
    "v": 4,
    "id": "1f0c1d6e-0000-6000-8000-000000000003",
    "ts": "2026-01-02T03:04:05.678901+00:00",
    "channel_versions": {
        "messages": "00000003.0.25",
        "aa": "00000002.0.5",
        "b": "00000002.0.75",
        "__start__": "00000001.0.5",
    },
    "versions_seen": {"__input__": {}, "agent": {"messages": "00000002.0.125"}},
    "updated_channels": ["aa", "messages"],
}
METADATA: Json = {"source": "loop", "step": 1, "parents": {}, "run_id": "r-1"}
CHANNELS: Json = {"messages": C16["messages"], "aa": C16["aa"], "b": C16["b"]}
PARENT = "1f0c1d6e-0000-6000-8000-000000000002"
FAILED = "authentication_failed"


def build() -> File:
    """The file."""
    file = File("manifest", "The manifest of a checkpoint: built, split off its payload, verified.")
    _build(file)
    _build_refused(file)
    _split(file)
    _verify_ok(file)
    _verify_refused(file)
    _records_refused(file)
    return file


def _changed(base: Json, **changes: Any) -> Json:
    return {key: value for key, value in {**base, **changes}.items() if value is not ...}


def _record(checkpoint: Json, metadata: Json, exact: bool, parent: str | None, channels: Json) -> bytes:
    zero = bytes(manifest.COMMITMENT_LEN)
    commitments = {name: zero if c16 is None else bytes.fromhex(c16) for name, c16 in channels.items()}
    return manifest.build_record(jf.read_tree(checkpoint), jf.read_tree(metadata), exact, parent, commitments)


def _build(file: File) -> None:
    js = _changed(CHECKPOINT, channel_versions={"messages": 3, "b": 2}, versions_seen={"agent": {"messages": 2}})
    half = jf.float_form(1.5)
    old = _changed(CHECKPOINT, v=3, updated_channels=...)
    counters = {"counters_since_delta_snapshot": {"messages": [3, 1]}, "delta_writes_versioned": True}
    cases: list[tuple[str, Json, Json, bool, str | None, Json, str]] = [
        ("typical", CHECKPOINT, METADATA, True, PARENT, CHANNELS, "Channels are in UTF-8 order, map keys by encoding."),
        ("blob-table", CHECKPOINT, METADATA, False, PARENT, dict.fromkeys(CHANNELS), "Null: 16 zero bytes."),
        ("first", CHECKPOINT, {"source": "input", "step": -1, "parents": {}}, True, None, {},
         "No parent, no channels."),
        ("empty-metadata", CHECKPOINT, {}, True, None, CHANNELS, ""),
        ("sealed-metadata-left-out", CHECKPOINT, {**METADATA, "user": "u-1", "writes": None, "score": 2}, True, PARENT,
         CHANNELS, "Only clear metadata counts: the record is that of manifest-build-typical."),
        ("counters", CHECKPOINT, {**METADATA, **counters}, True, PARENT, CHANNELS, ""),
        ("parents", CHECKPOINT, {**METADATA, "parents": {"": "p-1", "sub:1": "p-2"}}, True, PARENT, CHANNELS, ""),
        ("updated-channels-null", _changed(CHECKPOINT, updated_channels=None), METADATA, True, PARENT, CHANNELS, ""),
        ("updated-channels-absent", _changed(CHECKPOINT, updated_channels=...), METADATA, True, PARENT, CHANNELS,
         "The same as null."),
        ("updated-channels-empty", _changed(CHECKPOINT, updated_channels=[]), METADATA, True, PARENT, CHANNELS,
         "Not the same as null."),
        ("updated-channels-order", _changed(CHECKPOINT, updated_channels=["messages", "aa"]), METADATA, True, PARENT,
         CHANNELS, "A list keeps its order."),
        ("versions-integers", js, METADATA, True, PARENT, CHANNELS, ""),
        ("versions-integral-floats", _changed(js, channel_versions={"messages": jf.float_form(3.0), "b": 2}), METADATA,
         True, PARENT, CHANNELS, "The same as manifest-build-versions-integers."),
        ("versions-floats", _changed(js, channel_versions={"messages": half, "b": jf.float_form(0.1)}), METADATA, True,
         PARENT, CHANNELS, ""),
        ("versions-large", _changed(js, channel_versions={"messages": {"int": str(2**64 - 1)}}), METADATA, True, PARENT,
         CHANNELS, ""),
        ("v3-tasks-left-out", old, METADATA, True, PARENT, {**CHANNELS, "__pregel_tasks": C16["other"]}, ""),
        ("v4-tasks-listed", CHECKPOINT, METADATA, True, PARENT, {**CHANNELS, "__pregel_tasks": C16["other"]}, ""),
        ("channel-order-utf8", CHECKPOINT, METADATA, True, PARENT,
         {"\U0001f512": C16["aa"], "\uff5e": C16["b"], "z": C16["role"], "Z": C16["other"], "zz": C16["messages"]},
         "UTF-8 order, not UTF-16."),
        ("delta-snapshot", CHECKPOINT, METADATA, True, PARENT, {**CHANNELS, "messages": None}, "Zero for one channel."),
        ("names-multi-byte", _changed(CHECKPOINT, channel_versions={"caf\u00e9": 1, "cafe\u0301": 2}), METADATA, True,
         PARENT, {"caf\u00e9": C16["aa"], "cafe\u0301": C16["b"]}, "Not normalised."),
    ]  # fmt: skip
    for name, checkpoint, metadata, exact, parent, channels, comment in cases:
        fields = {"op": "build", "checkpoint": checkpoint, "metadata": metadata, "exact": exact}
        fields |= {"parent": parent, "channels": channels}
        vector = file.add(f"manifest-build-{name}", "ok", fields, comment=comment)
        data = manifest.manifest_bytes(jf.read_tree(checkpoint), jf.read_tree(metadata))
        vector["manifest_hex"], vector["digest"] = data.hex(), manifest.digest(data).hex()
        vector["record_hex"] = _record(checkpoint, metadata, exact, parent, channels).hex()


def _build_refused(file: File) -> None:
    def add(name: str, code: str, checkpoint: Json, metadata: Json = METADATA, flags: tuple[str, ...] = ()) -> None:
        fields = {"op": "build", "checkpoint": checkpoint, "metadata": metadata, "exact": True}
        file.add(f"manifest-build-{name}", code, {**fields, "parent": PARENT, "channels": CHANNELS}, flags=flags)

    nan, infinity = {"float": "7ff8000000000000"}, {"float": "7ff0000000000000"}
    add("version-nan", "invalid_argument", _changed(CHECKPOINT, channel_versions={"a": nan}))
    add("version-infinity", "invalid_argument", _changed(CHECKPOINT, channel_versions={"a": infinity}))
    add("version-too-large", "invalid_argument", _changed(CHECKPOINT, channel_versions={"a": {"int": str(2**64)}}))
    add("channel-not-text", "invalid_argument", _changed(CHECKPOINT, channel_versions={"map": [[1, 1]]}))
    add("channel-surrogate", "invalid_argument", _changed(CHECKPOINT, updated_channels=[{"utf8_hex": "eda080"}]))
    add("step-nan", "invalid_argument", CHECKPOINT, {**METADATA, "step": nan})
    add("parents-too-deep", "limit_exceeded", CHECKPOINT, {**METADATA, "parents": {"nested": 18}})
    long_ = {"repeat": {"text": "t", "count": 1 << 24}}
    add("too-long", "limit_exceeded", _changed(CHECKPOINT, ts=long_), flags=("large",))


def _split(file: File) -> None:
    record = _record(CHECKPOINT, METADATA, True, PARENT, {})
    for name, metadata in (("typical", b"\x81\xa4user\xa3u-1"), ("no-metadata", b"")):
        payload = manifest.join_payload(record, metadata)
        vector = file.add(f"manifest-split-{name}", "ok", {"op": "split", "payload_hex": payload.hex()})
        vector["record_hex"], vector["metadata_hex"] = record.hex(), metadata.hex()
    good = manifest.join_payload(record, b"")
    for name, payload in (
        ("no-bytes", b""),
        ("three-bytes", good[:3]),
        ("length-only", good[:4]),
        ("one-short", good[:-1]),
        ("length-one-more", (len(record) + 1).to_bytes(4, "big") + record),
        ("length-huge", b"\xff\xff\xff\xff" + record),
        ("length-little-endian", len(record).to_bytes(4, "little") + record),
    ):
        file.add(f"manifest-split-{name}", "malformed", {"op": "split", "payload_hex": payload.hex()})


def _verify(
    file: File,
    name: str,
    code: str,
    comment: str = "",
    *,
    record: bytes | None = None,
    row_id: str = CHECKPOINT["id"],
    checkpoint: Json = CHECKPOINT,
    metadata: Json = METADATA,
    parent: str | None = PARENT,
    channels: Json = CHANNELS,
) -> None:
    if record is None:
        record = _record(CHECKPOINT, METADATA, True, PARENT, CHANNELS)
    fields: Json = {"op": "verify", "record_hex": record.hex(), "row_id": row_id, "checkpoint": checkpoint}
    fields |= {"metadata": metadata, "parent": parent, "channels": channels}
    file.add(f"manifest-verify-{name}", code, fields, comment=comment)


OLD = _changed(CHECKPOINT, v=3)
IN_TABLE = dict.fromkeys(CHANNELS)
TABLE_RECORD = _record(CHECKPOINT, METADATA, False, PARENT, IN_TABLE)


def _verify_ok(file: File) -> None:
    _verify(file, "typical", "ok")
    _verify(file, "parent-absent", "ok", "Pruning removes it; shallow savers don't store it.", parent=None)
    extra = {**METADATA, "user": "u-1", "sealpoint": "sealpoint:v1:AAAA"}
    _verify(file, "metadata-more", "ok", "Only clear metadata counts.", metadata=extra)
    _verify(file, "versions-reordered", "ok", checkpoint=_changed(
        CHECKPOINT, channel_versions=dict(reversed(CHECKPOINT["channel_versions"].items()))))  # fmt: skip
    _verify(file, "blob-table", "ok", "Zero commitments: presence decides.", record=TABLE_RECORD)
    more = {**CHANNELS, "role": C16["role"]}
    comment = "Not exact: the saver may give back more."
    _verify(file, "blob-table-more-channels", "ok", comment, record=TABLE_RECORD, channels=more)
    record = _record(CHECKPOINT, METADATA, True, PARENT, {**CHANNELS, "messages": None})
    comment = "A delta snapshot has no commitment."
    _verify(file, "delta-snapshot", "ok", comment, record=record, channels={**CHANNELS, "messages": None})
    record = _record(OLD, METADATA, True, PARENT, CHANNELS)
    tasks = {**CHANNELS, "__pregel_tasks": None}
    _verify(file, "v3-tasks-exempt", "ok", record=record, checkpoint=OLD, channels=tasks)


def _verify_refused(file: File) -> None:
    def changed(name: str, comment: str = "", **changes: Any) -> None:
        _verify(file, name, FAILED, comment, checkpoint=_changed(CHECKPOINT, **changes))

    versions, seen = CHECKPOINT["channel_versions"], CHECKPOINT["versions_seen"]
    _verify(file, "row-id-other", FAILED, "Another row.", row_id=PARENT)
    other = _changed(CHECKPOINT, id=PARENT)
    _verify(
        file,
        "checkpoint-id-other",
        FAILED,
        "The id inside was changed, the row's too.",
        row_id=PARENT,
        checkpoint=other,
    )
    changed("v-changed", v=5)
    changed("ts-changed", ts="2026-01-02T03:04:05.678902+00:00")
    changed("version-rolled-back", channel_versions={**versions, "messages": "00000002.0.125"})
    changed("version-removed", channel_versions={key: value for key, value in versions.items() if key != "b"})
    changed("version-added", channel_versions={**versions, "role": "00000001.0.5"})
    changed("version-type", '3 and "3" differ.', channel_versions={**versions, "messages": 3})
    changed("version-swapped", channel_versions={**versions, "aa": versions["b"], "b": versions["aa"]})
    changed("seen-changed", "Would skip a pending node.", versions_seen={**seen, "agent": {"messages": "00000003.0.25"}})
    changed("seen-node-removed", versions_seen={"__input__": {}})
    changed("seen-node-added", versions_seen={**seen, "tool": {}})
    changed("updated-channels-changed", updated_channels=["messages"])
    changed("updated-channels-reordered", updated_channels=["messages", "aa"])
    changed("updated-channels-null", updated_channels=None)
    changed("updated-channels-absent", updated_channels=...)
    changed("updated-channels-empty", updated_channels=[])
    for name, metadata in (
        ("source-changed", {**METADATA, "source": "update"}),
        ("step-changed", {**METADATA, "step": 2}),
        ("step-removed", _changed(METADATA, step=...)),
        ("parents-changed", {**METADATA, "parents": {"": "p-1"}}),
        ("run-id-changed", {**METADATA, "run_id": "r-2"}),
        ("run-id-removed", _changed(METADATA, run_id=...)),
        ("run-id-null", {**METADATA, "run_id": None}),
        ("counters-added", {**METADATA, "counters_since_delta_snapshot": {}}),
        ("delta-writes-added", {**METADATA, "delta_writes_versioned": True}),
    ):
        _verify(file, name, FAILED, metadata=metadata)
    _verify(file, "parent-other", FAILED, parent=CHECKPOINT["id"])
    _verify(file, "parent-empty", FAILED, "An empty string is a parent, not none.", parent="")
    first = _record(CHECKPOINT, METADATA, True, None, CHANNELS)
    _verify(file, "parent-where-none", FAILED, "The record says null.", record=first)
    missing = _changed(CHANNELS, b=...)
    _verify(file, "channel-missing", FAILED, channels=missing)
    _verify(file, "blob-table-channel-missing", FAILED, record=TABLE_RECORD, channels=missing)
    _verify(file, "channels-all-missing", FAILED, channels={})
    _verify(file, "commitment-other", FAILED, channels={**CHANNELS, "messages": C16["other"]})
    last = C16["messages"][:-2] + ("00" if C16["messages"][-2:] != "00" else "01")
    _verify(file, "commitment-last-byte", FAILED, channels={**CHANNELS, "messages": last})
    _verify(file, "commitments-swapped", FAILED, channels={**CHANNELS, "aa": C16["b"], "b": C16["aa"]})
    _verify(file, "commitment-none", FAILED, "No envelope where one is listed.", channels={**CHANNELS, "b": None})
    _verify(file, "commitment-zero", FAILED, "Only a listed zero is no commitment.", channels={**CHANNELS, "b": "00" * 16})
    _verify(file, "channel-unlisted", FAILED, channels={**CHANNELS, "role": C16["role"]})
    _verify(file, "channel-unlisted-without-envelope", FAILED, channels={**CHANNELS, "role": None})
    _verify(file, "v4-tasks-unlisted", FAILED, channels={**CHANNELS, "__pregel_tasks": None})
    tasks = {**CHANNELS, "__pregel_tasks": C16["other"]}
    record = _record(CHECKPOINT, METADATA, True, PARENT, tasks)
    _verify(file, "v4-tasks-missing", FAILED, record=record)


def _records_refused(file: File) -> None:
    good = _record(CHECKPOINT, METADATA, True, PARENT, CHANNELS)
    version, exact, digest, parent, channels = cbor.decode(good)
    fields = [version, exact, digest, parent, channels]

    def put(at: int, value: object) -> bytes:
        return cbor.encode([*fields[:at], value, *fields[at + 1 :]])

    c16 = channels[0][1]
    for name, record in (
        ("no-bytes", b""),
        ("cut", good[:-1]),
        ("trailing-byte", good + b"\0"),
        ("indefinite", b"\x9f" + good[1:] + b"\xff"),
        ("tagged", b"\xd9\xd9\xf7" + good),
        ("map", cbor.encode({"v": 1})),
        ("array-of-four", cbor.encode(fields[:4])),
        ("array-of-six", cbor.encode([*fields, None])),
        ("exact-integer", put(1, 1)),
        ("exact-null", put(1, None)),
        ("digest-31", put(2, digest[:31])),
        ("digest-33", put(2, digest + b"\0")),
        ("digest-text", put(2, digest.hex())),
        ("digest-null", put(2, None)),
        ("parent-integer", put(3, 2)),
        ("parent-bytes", put(3, b"x")),
        ("channels-null", put(4, None)),
        ("channels-map", put(4, dict(channels))),
        ("entry-of-one", put(4, [["aa"], *channels[1:]])),
        ("entry-of-three", put(4, [["aa", c16, 0], *channels[1:]])),
        ("entry-name-bytes", put(4, [[b"aa", c16], *channels[1:]])),
        ("commitment-15", put(4, [["aa", c16[:15]], *channels[1:]])),
        ("commitment-17", put(4, [["aa", c16 + b"\0"], *channels[1:]])),
        ("commitment-32", put(4, [["aa", c16 * 2], *channels[1:]])),
        ("commitment-null", put(4, [["aa", None], *channels[1:]])),
        ("channels-unsorted", put(4, [channels[1], channels[0], channels[2]])),
        ("channels-duplicate", put(4, [channels[0], *channels])),
    ):
        _verify(file, f"record-{name}", "malformed", record=record)
    _verify(file, "record-version-2", "unsupported_version", record=put(0, 2))
