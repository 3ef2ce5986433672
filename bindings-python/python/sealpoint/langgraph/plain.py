"""Serialized values as plain JSON values, whichever language wrote them. Nothing that they name is imported, built or called.

docs/GUIDE.md ("Python and JavaScript on one database") has the mapping; `ts/langgraph/plain.ts` is its twin.
"""

import json
import math
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_METHOD_SINGLE_ARG,
    EXT_NUMPY_ARRAY,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
)

from sealpoint.errors import InternalError

_REASON = object()


class NoPlainForm(dict[Any, Any]):
    """Stands for a value that JSON cannot hold. A map, because the metadata of a checkpoint is merged as one."""

    def __init__(self, reason: str) -> None:
        super().__init__({_REASON: reason})


def reason_in(value: Any) -> str | None:
    """Why a value, or the map that it was merged into, has no plain form; None: it has one. Takes the mark away."""
    reason: str | None = value.pop(_REASON, None) if isinstance(value, dict) else None
    return reason


class PlainSerializer(SerializerProtocol):
    """Reads what LangGraph's serializers of either language wrote: a plain value, or `NoPlainForm`."""

    def dumps_typed(self, _obj: Any) -> tuple[str, bytes]:
        raise InternalError("internal", "plain values are only read")

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        kind, payload = data
        try:
            if kind == "null":
                return None
            if kind in ("bytes", "bytearray"):
                return _plain(bytes(payload))
            if kind == "msgpack":
                return _plain(_unpacked(payload))
            if kind == "json":
                return _plain(_revived(json.loads(payload)))
        except _NotPlainError as error:
            return NoPlainForm(error.reason)
        except (ValueError, RecursionError):
            return NoPlainForm(f"it does not parse as {kind}, or is nested too deeply")
        return NoPlainForm(f"its content type is {kind!r}, which is read by the serializer that wrote it alone")


class _NotPlainError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Left:
    """What an extension holds that has no plain form: raised by `_plain`, since an error in a hook would lose its reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        entries = {_key(key): _plain(entry) for key, entry in value.items()}
        if len(entries) < len(value):
            raise _NotPlainError("two keys of a map are one in JSON")
        return entries
    raise _NotPlainError(value.reason if isinstance(value, _Left) else "MessagePack of another kind than LangGraph's")


def _key(key: Any) -> str:
    """As `json.dumps` and JavaScript write keys that are no strings."""
    if isinstance(key, str):
        return key
    if isinstance(key, float) and math.isfinite(key):
        key = int(key) if key.is_integer() else key
    elif key is not None and not isinstance(key, (bool, int)):
        raise _NotPlainError("a map has keys that are no names")
    return json.dumps(key)


# -- Python's serializer


def _unpacked(data: bytes) -> Any:
    return ormsgpack.unpackb(data, ext_hook=_of_extension, option=ormsgpack.OPT_NON_STR_KEYS)


_CALLS = (
    *(EXT_CONSTRUCTOR_SINGLE_ARG, EXT_CONSTRUCTOR_POS_ARGS, EXT_CONSTRUCTOR_KW_ARGS, EXT_METHOD_SINGLE_ARG),
    *(EXT_PYDANTIC_V1, EXT_PYDANTIC_V2),
)


def _of_extension(code: int, data: bytes) -> Any:
    """An object by the arguments that it would be built with."""
    if code == EXT_NUMPY_ARRAY:
        return _Left("it holds a numpy array")
    if code != EXT_DELTA_SNAPSHOT and code not in _CALLS:
        return _Left(f"it holds MessagePack's extension type {code}, which is not LangGraph's")
    try:
        inner = _unpacked(data)
    except (ValueError, RecursionError):
        return _Left("an object in it does not parse, or is nested too deeply")
    if code == EXT_DELTA_SNAPSHOT:
        return inner
    if not isinstance(inner, list) or len(inner) < 3 or not isinstance(inner[0], str) or not isinstance(inner[1], str):
        return _Left("an object in it is none of LangGraph's")
    module, name, argument = inner[:3]
    shape = _SHAPES.get((module.partition(".")[0], name))
    try:
        return argument if shape is None else shape(argument)
    except (TypeError, ValueError, IndexError):
        return argument


def _uuid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _date(parts: Iterable[int]) -> str:
    year, month, day = parts
    return f"{year:04}-{month:02}-{day:02}"


def _path(parts: list[str]) -> str:
    """Posix; Windows' differ in what is between the parts."""
    return "/".join(parts)[1 if parts[:1] == ["/"] and len(parts) > 1 else 0 :] or "."


def _windows_path(parts: list[str]) -> str:
    return "\\".join(parts).replace("\\\\", "\\", 1) or "."


def _send(parts: list[Any]) -> dict[str, Any]:
    """As JavaScript writes it."""
    return dict(zip(("node", "args", "timeout"), parts, strict=False))


_SHAPES: dict[tuple[str, str], Any] = {
    ("uuid", "UUID"): _uuid,
    ("datetime", "date"): _date,
    ("pathlib", "PosixPath"): _path,
    ("pathlib", "WindowsPath"): _windows_path,
    ("langgraph", "Send"): _send,
}
"""Those whose arguments are less plain than what one would write, by top module and name."""


# -- JavaScript's serializer

_MESSAGES = {
    "HumanMessage": "human",
    "AIMessage": "ai",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
    "ChatMessage": "chat",
    "RemoveMessage": "remove",
}


def _revived(value: Any) -> Any:
    """JSON whose records of objects (`lc`) are replaced by what they hold."""
    if isinstance(value, list):
        return [_revived(item) for item in value]
    if not isinstance(value, dict):
        return value
    entries = {key: _revived(entry) for key, entry in value.items()}
    lc, kind, ids = entries.get("lc"), entries.get("type"), entries.get("id")
    if lc == 2 and kind == "undefined":
        return None
    if lc == 2 and kind == "delta_snapshot" and "value" in entries:
        return entries["value"]
    if lc in (1, 2) and kind == "constructor" and isinstance(ids, list) and ids and isinstance(ids[-1], str):
        return _of_constructor(ids[-1], entries)
    return entries


def _of_constructor(name: str, record: dict[str, Any]) -> Any:
    args, kwargs = record.get("args"), record.get("kwargs")
    if record["lc"] == 1:
        if not isinstance(kwargs, dict):
            return record
        message = _MESSAGES.get(name.removesuffix("Chunk"))
        return {"type": message, **kwargs} if message else kwargs
    if not isinstance(args, list):
        return record
    if len(args) != 1:
        return args
    if name == "Map":
        return _of_map(args[0])
    if name == "Uint8Array":
        try:
            return bytes(args[0])
        except (TypeError, ValueError):
            return record
    return args[0]


def _of_map(entries: Any) -> Any:
    """A map of names is an object, another one stays a list of pairs."""
    if isinstance(entries, list) and all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in entries):
        return dict(entries)
    return entries
