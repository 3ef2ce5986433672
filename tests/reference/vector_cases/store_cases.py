"""store.json: SPEC section 7.3."""

import json
from typing import Any

from sealpoint_ref import store
from sealpoint_ref.store import Position

from .build import File, Json, data_key, derived, key_form, salt_for

KEY = data_key("main")
AT = Position("acme", ["users", "u-1"], "prefs")
CLEAR: Json = {"kind": "note", "rank": 3}
APART: Json = {"text": "hello", "tags": ["a", "b"]}
REST: Json = {"card": "4111", "n": 7}
FAILED = "authentication_failed"


def build() -> File:
    """The file."""
    file = File("store", "Items of a store: sealed, opened, refused.")
    _ok(file)
    _moved(file)
    _changed(file)
    _unsealed(file)
    _malformed(file)
    return file


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _place(at: Position) -> Json:
    return {"key": key_form(KEY), "tenant": at.tenant, "ns": list(at.ns), "item": at.key}


def _salt(id_: str, name: str) -> bytes:
    return derived("salt", f"{id_}/{name}", 24)


def _seal(id_: str, at: Position, clear: Json, apart: Json, rest: Any) -> Json:
    """What is stored, each payload from its JSON."""
    fields = {name: store.seal_text(KEY, at.field(name), _compact(value).encode(), _salt(id_, name)) for name, value in apart.items()}
    whole = store.payload(clear, fields, _compact(rest).encode())
    return {**clear, **fields, "sealpoint": store.seal_text(KEY, at.item(), whole, salt_for(id_))}


def _good(version: str = "typical") -> Json:
    """The item of store-typical, or the same again with other salts."""
    return _seal(f"store-{version}", AT, CLEAR, APART, REST)


def _ok(file: File) -> None:
    names = {"a/b": 1, "c~d": 2, "": 3, "caf\u00e9 \U0001f512": 4, "__pregel_tasks": 5}
    clear = {"none": None, "yes": True, "half": 0.5, "list": [1, {"b": 2, "a": [-1]}], "text": "sealpoin", "limit": 2**53}
    cases: list[tuple[str, Position, Json, Json, Json, str]] = [
        ("typical", AT, CLEAR, APART, REST, ""),
        ("whole", AT, {}, {}, REST, ""),
        ("empty", AT, {}, {}, {}, "An empty object."),
        ("clear-only", AT, CLEAR, {}, {}, ""),
        ("fields-only", AT, {}, APART, {}, ""),
        ("field-names", AT, {}, names, {}, "Paths are escaped; no name is exempt; order is that of UTF-8."),
        ("clear-kinds", AT, clear, {}, {}, ""),
        ("named-sealpoint", AT, {}, {}, {"sealpoint": {"mine": 1}}, "A field of that name is part of the rest."),
        ("no-namespace", Position("acme", [], "k"), {}, {}, REST, ""),
        (
            "text-utf8",
            Position("caf\u00e9", ["\U0001f512"], "cl\u00e9"),
            {"\uff5e": "\u00e9"},
            {"\U0001f512": "\u00e9"},
            {"z": "\u00e9"},
            "",
        ),
        ("sealed-prefix", AT, {}, {"a": "sealpoint:v1:AAAA"}, {"b": "sealpoint:v1:AAAA"}, "Sealed text may look like an envelope."),
    ]
    for name, at, clear_, apart, rest, comment in cases:
        id_ = f"store-{name}"
        fields: Json = {"op": "seal-open", **_place(at), "clear": clear_}
        fields["apart"] = {field: _compact(value) for field, value in apart.items()}
        fields |= {"rest": _compact(rest), "salt": salt_for(id_).hex(), "salts": {field: _salt(id_, field).hex() for field in apart}}
        fields |= {"stored": _seal(id_, at, clear_, apart, rest), "value": {**clear_, **apart, **rest}}
        file.add(id_, "ok", fields, comment=comment)


def _bad(file: File, name: str, code: str, stored: Json, at: Position = AT, comment: str = "") -> None:
    file.add(f"store-{name}", code, {"op": "open", **_place(at), "stored": stored}, comment=comment)


def _moved(file: File) -> None:
    for name, at in (
        ("tenant-other", Position("umbrella", AT.ns, AT.key)),
        ("ns-other", Position(AT.tenant, ["users", "u-2"], AT.key)),
        ("ns-parent", Position(AT.tenant, ["users"], AT.key)),
        ("ns-joined", Position(AT.tenant, ["users.u-1"], AT.key)),
        ("ns-key-shifted", Position(AT.tenant, ["users"], "u-1")),
        ("key-other", Position(AT.tenant, AT.ns, "prefs2")),
    ):
        _bad(file, name, FAILED, _good(), at)


def _changed(file: File) -> None:
    good, again = _good(), _good("again")

    def bad(name: str, comment: str = "", **changes: Any) -> None:
        stored = {field: value for field, value in {**good, **changes}.items() if value is not ...}
        _bad(file, name, FAILED, stored, comment=comment)

    bad("clear-changed", kind="memo")
    bad("clear-dropped", kind=...)
    bad("clear-added", extra=1)
    bad("clear-null", kind=None)
    bad("clear-type", '3 and "3" differ.', rank="3")
    bad("field-dropped", text=...)
    bad("field-added", "Another field's envelope under a new name.", more=good["text"])
    bad("field-plaintext", "Unsealed data in place of a field is a clear field that was not there.", text="hello")
    bad("field-of-another-version", text=again["text"])
    bad("fields-swapped", text=good["tags"], tags=good["text"])
    bad("rest-of-another-version", sealpoint=again["sealpoint"])
    bad("clear-replaced-by-envelope", kind=good["text"])
    bad("rest-in-place-of-field", text=good["sealpoint"])
    bad("field-in-place-of-rest", sealpoint=good["text"])
    fields = {"text": store.seal_text(KEY, AT.field("other"), b'"hello"', salt_for("store-field-path-other"))}
    whole = store.payload({}, fields, b"{}")
    item = {**fields, "sealpoint": store.seal_text(KEY, AT.item(), whole, salt_for("store-field-path-other-item"))}
    _bad(file, "field-path-other", FAILED, item, comment="Listed, but sealed at another path.")


def _unsealed(file: File) -> None:
    for name, stored in (
        ("without-envelope", {"kind": "note"}),
        ("no-fields", {}),
        ("envelope-null", {**CLEAR, "sealpoint": None}),
        ("envelope-object", {"sealpoint": {"a": 1}}),
        ("envelope-plaintext", {"sealpoint": "hello"}),
        ("envelope-empty", {"sealpoint": ""}),
    ):
        _bad(file, name, "plaintext_refused", stored)


def _malformed(file: File) -> None:
    def sealed(name: str, payload: bytes, content_type: bytes = b"json") -> Json:
        return {"sealpoint": store.seal_text(KEY, AT.item(), payload, salt_for(f"store-{name}"), content_type)}

    good = store.payload({}, {}, b"{}")
    for name, payload, comment in (
        ("no-record", b"", ""),
        ("record-cut-off", good[:20], ""),
        ("rest-cut-off", good[:-1], ""),
        ("rest-no-bytes", good[:-2], ""),
        ("rest-list", good[:-2] + b"[]", ""),
        ("rest-null", good[:-2] + b"null", ""),
        ("rest-nan", good[:-2] + b'{"a":NaN}', "Not JSON, though some parsers take it."),
        ("rest-not-utf8", good[:-2] + b'{"a":"\xff"}', ""),
    ):
        _bad(file, name, "malformed", sealed(name, payload), comment=comment)
    _bad(file, "content-type-other", "malformed", sealed("content-type-other", good, b"msgpack"))
    _bad(file, "envelope-cut-off", "malformed", {"sealpoint": _good()["sealpoint"][:100]})
    _bad(file, "envelope-prefix-only", "malformed", {"sealpoint": "sealpoint:v1:"})
    _bad(file, "envelope-version-2", "unsupported_version", {"sealpoint": "sealpoint:v2:AAAA"})
    _bad(file, "field-cut-off", "malformed", {**_good(), "text": "sealpoint:v1:wVMBAQ"})
    whole = store.payload({"a": 1}, {}, b'{"a":2}')
    _bad(file, "field-twice", "malformed", {"a": 1, **sealed("field-twice", whole)}, comment="Clear, and in the rest.")
    fields = {"text": store.seal_text(KEY, AT.field("text"), b"hello", salt_for("store-field-not-json"))}
    whole = store.payload({}, fields, b"{}")
    _bad(file, "field-not-json", "malformed", {**fields, **sealed("field-not-json-item", whole)})
