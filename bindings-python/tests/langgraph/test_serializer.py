"""SealedSerializer: a tenant, no position."""

from typing import Any

import pytest
from graphs import CHAT_INPUT, chat
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from sealpoint import Keyring
from sealpoint.errors import AuthenticationError, InvalidArgumentError, PlaintextRefusedError, SealpointError, TenantRequiredError
from sealpoint.langgraph import SealedSerializer, fixed, from_config

VALUES: list[Any] = [None, True, 7, 0.5, "text", b"bytes", bytearray(b"more"), [1, {"a": "b"}], HumanMessage("hi", id="1"), "long " * 5000]


@pytest.fixture
def serde(keyring: Keyring) -> SealedSerializer:
    return SealedSerializer(keyring, tenant=fixed("acme"))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value: Any, serde: SealedSerializer) -> None:
    kind, sealed = serde.dumps_typed(value)
    assert kind == "sealpoint"
    assert sealed[0] == 0xC1
    assert b"long long" not in sealed
    opened = serde.loads_typed((kind, sealed))
    assert opened == value
    assert type(opened) is type(value)


@pytest.mark.parametrize("kind", ["msgpack", "null", "bytes", "json", "msgpack+aes", "empty", "sealpoint2", ""])
def test_other_types_are_refused(kind: str, serde: SealedSerializer) -> None:
    _, sealed = serde.dumps_typed("secret")
    for payload in (sealed, JsonPlusSerializer().dumps_typed("x")[1]):
        with pytest.raises(PlaintextRefusedError):
            serde.loads_typed((kind, payload))


def test_plaintext_with_the_right_type_is_refused(serde: SealedSerializer) -> None:
    with pytest.raises(PlaintextRefusedError):
        serde.loads_typed(("sealpoint", JsonPlusSerializer().dumps_typed("x")[1]))


def test_another_tenant_cannot_open(keyring: Keyring, serde: SealedSerializer) -> None:
    other = SealedSerializer(keyring, tenant=fixed("globex"))
    other.dumps_typed("so that this tenant has a key")
    with pytest.raises(SealpointError) as caught:
        other.loads_typed(serde.dumps_typed("secret"))
    assert caught.value.code == "authentication_failed"


def test_tampering(serde: SealedSerializer) -> None:
    kind, sealed = serde.dumps_typed("secret")
    with pytest.raises(AuthenticationError):
        serde.loads_typed((kind, sealed[:-1] + bytes([sealed[-1] ^ 1])))


def test_tenant_sources(keyring: Keyring) -> None:
    with pytest.raises(InvalidArgumentError, match="sees no config"):
        SealedSerializer(keyring, tenant=from_config("workspace_id"))
    with pytest.raises(InvalidArgumentError):
        SealedSerializer(keyring, tenant="acme")  # type: ignore[arg-type]
    nobody = SealedSerializer(keyring, tenant=lambda config: "")
    with pytest.raises(TenantRequiredError):
        nobody.dumps_typed(1)


def test_in_a_graph(keyring: Keyring) -> None:
    inner = InMemorySaver(serde=SealedSerializer(keyring, tenant=fixed("acme")))
    graph = chat(inner)
    here: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke(CHAT_INPUT, here)
    assert graph.get_state(here).values["count"] == 7
    assert {kind for kind, _ in inner.blobs.values()} <= {"sealpoint", "empty"}


def test_an_allowlist_keeps_it_sealed(keyring: Keyring) -> None:
    strict = JsonPlusSerializer(allowed_msgpack_modules=None)
    for inner in (strict, EncryptedSerializer.from_pycryptodome_aes(strict, key=b"k" * 16)):
        serde = SealedSerializer(keyring, tenant=fixed("acme"), inner=inner)
        widened = serde.with_msgpack_allowlist([("some.module", "Name")])
        assert type(widened) is SealedSerializer
        assert widened is not serde
        assert widened.dumps_typed("x")[0] == "sealpoint"
        assert widened.loads_typed(serde.dumps_typed("x")) == "x"
    assert SealedSerializer(keyring, tenant=fixed("acme"), inner=strict).with_msgpack_allowlist([]) is not None


def test_what_it_leaves_open(serde: SealedSerializer, keyring: Keyring) -> None:
    """Said in its documentation: a value opens anywhere in its tenant. SealedSaver is for those who need more."""
    memory = InMemorySaver(serde=serde)
    for thread, role in (("a", "admin"), ("b", "guest")):
        checkpoint: Any = {
            "v": 4,
            "id": "1",
            "ts": "",
            "channel_values": {"role": role},
            "channel_versions": {"role": "1"},
            "versions_seen": {},
        }
        memory.put({"configurable": {"thread_id": thread, "checkpoint_ns": ""}}, checkpoint, {}, {"role": "1"})
    memory.blobs["b", "", "role", "1"] = memory.blobs["a", "", "role", "1"]
    found = memory.get_tuple({"configurable": {"thread_id": "b", "checkpoint_ns": ""}})
    assert found is not None
    assert found.checkpoint["channel_values"]["role"] == "admin"
