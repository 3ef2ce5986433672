"""What all builders share: the file, keys and salts derived from names, and the contexts used throughout."""

import hashlib
from typing import Any

from sealpoint_ref import context, derive
from sealpoint_ref.envelope import DataKey

from . import jsonform as jf

Json = dict[str, Any]
Pairs = list[list[Any]]


class File:
    """One file of vectors, in order."""

    def __init__(self, name: str, comment: str) -> None:
        self.name = name
        self.comment = comment
        self.vectors: list[Json] = []

    def add(self, id_: str, expect: str, fields: Json, *, comment: str = "", flags: tuple[str, ...] = ()) -> Json:
        """Adds a vector: id, comment, flags, inputs, then what is expected."""
        vector: Json = {"id": id_}
        if comment:
            vector["comment"] = comment
        vector["flags"] = list(flags)
        vector.update(fields)
        vector["expect"] = expect
        self.vectors.append(vector)
        return vector

    def content(self) -> Json:
        """The file as JSON."""
        return {
            "$schema": f"schema/{self.name}.schema.json",
            "format": "sealpoint-vectors/1",
            "comment": self.comment,
            "vectors": self.vectors,
        }


def derived(what: str, name: str, length: int) -> bytes:
    """README, keys and salts: the first bytes of SHA-256 over `sealpoint vectors/WHAT/NAME`."""
    return hashlib.sha256(f"sealpoint vectors/{what}/{name}".encode()).digest()[:length]


def salt_for(id_: str) -> bytes:
    """README, keys and salts: the salt of a vector."""
    return derived("salt", id_, 24)


def data_key(name: str, purpose: str = "data") -> DataKey:
    """README, keys and salts: a DEK and its id."""
    return DataKey(derived("dek", name, 32), derived("dek_id", name, 16), purpose)


def key_form(key: DataKey) -> Json:
    """README, envelopes: the key."""
    return {"dek": key.secret.hex(), "dek_id": key.key_id.hex(), "purpose": key.purpose}


def text_pairs(**pairs: str) -> Pairs:
    """Pairs whose values are all plain strings."""
    return [[key, {"text": value}] for key, value in pairs.items()]


def canonical(pairs: Pairs) -> bytes:
    """SPEC section 3, from the language-neutral form."""
    return context.canonical(jf.read_pairs(pairs))


NOTE = text_pairs(tenant="acme", purpose="app.note", note="n-1")
CHANNEL: Pairs = [
    *text_pairs(tenant="acme", purpose="langgraph.channel", thread="t-1", ns="", channel="messages"),
    ["version", {"int": "3"}],
]
KEK = derived("kek", "local", 32)
OTHER_KEK = derived("kek", "other", 32)
KEK_ID = derive.kek_id(KEK)
