"""Client keys: exported for a place without a KEK, and never taken for keys that did not leave."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support import (
    CONTEXT,
    KEK_TEXT,
    OTHER_KEK_TEXT,
    OTHER_TENANT,
    PLAINTEXT,
    TENANT,
    FakeKms,
    in_threads,
    lose,
    query,
    ready,
    refused,
)

from sealpoint import Keyring, SealpointError
from sealpoint._native import DataKey, SecretKey, envelope_dek_id, export_key, is_sealed

REASON = "browser session of a test"
VECTORS = json.loads((Path(__file__).parents[2] / "tests" / "vectors" / "exported-key.json").read_text())["vectors"]
CLIENT: dict[str, Any] = {"dek_purpose": "client"}


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


def openers(keyring: Keyring, sealed: bytes | str, **options: Any) -> list[Callable[[], object]]:
    """Every way to open, blocking and not."""

    def run(call: Callable[..., Awaitable[object]]) -> Callable[[], object]:
        async def once() -> object:
            return await call(sealed, CONTEXT, **options)

        return lambda: asyncio.run(once())

    blocking: list[Callable[..., object]] = [keyring.open, keyring.open_typed, keyring.open_text]
    twins: list[Callable[..., Awaitable[object]]] = [keyring.aopen, keyring.aopen_typed, keyring.aopen_text]
    return [*(lambda call=call: call(sealed, CONTEXT, **options) for call in blocking), *map(run, twins)]  # type: ignore[misc]


def sealers(keyring: Keyring, **options: Any) -> list[Callable[[], Any]]:
    """Every way to seal, and to load what seals."""

    async def aload() -> None:
        await keyring.aload(TENANT, **options)

    async def aseal() -> bytes:
        return await keyring.aseal(PLAINTEXT, CONTEXT, **options)

    async def aseal_text() -> str:
        return await keyring.aseal_text(PLAINTEXT, CONTEXT, **options)

    return [
        lambda: keyring.load(TENANT, **options),
        lambda: asyncio.run(aload()),
        lambda: keyring.seal(PLAINTEXT, CONTEXT, **options),
        lambda: keyring.seal_text(PLAINTEXT, CONTEXT, **options),
        lambda: asyncio.run(aseal()),
        lambda: asyncio.run(aseal_text()),
    ]


# what an exported key is for


def test_an_exported_key_opens_what_the_keyring_sealed_and_the_other_way_round(keyring: Keyring) -> None:
    key = DataKey.from_exported(keyring.export_data_key(TENANT, reason=REASON))
    assert (key.tenant, key.dek_purpose, key.suite, key.version) == (TENANT, 3, 1, 1)
    assert key.open_typed(keyring.seal(PLAINTEXT, CONTEXT, content_type="t", **CLIENT), CONTEXT) == ("t", PLAINTEXT)
    assert key.open(keyring.seal_text("grün", CONTEXT, **CLIENT), CONTEXT) == "grün".encode()
    for sealed in (key.seal(PLAINTEXT, CONTEXT), key.seal_text(PLAINTEXT, CONTEXT)):
        for cold in (False, True):
            for opener in openers(keyring, sealed, **CLIENT):
                if cold:
                    keyring._cache.clear()
                assert opener() in (PLAINTEXT, ("", PLAINTEXT), PLAINTEXT.decode())


def test_async_twins(url: str, kms: FakeKms) -> None:
    async def main() -> None:
        async with await Keyring.aconnect(url, kek=kms) as keyring:
            await keyring.asetup()
            await keyring.aload(TENANT, **CLIENT)
            kms.fail("kms_unavailable")
            await keyring.aseal(PLAINTEXT, CONTEXT, **CLIENT)
            kms.fail(None)
            key = DataKey.from_exported(await keyring.aexport_data_key(TENANT, reason=REASON))
            assert key.open(await keyring.aseal(PLAINTEXT, CONTEXT, **CLIENT), CONTEXT) == PLAINTEXT
            keyring._cache.clear()
            assert key.open(await keyring.aseal_text(PLAINTEXT, CONTEXT, **CLIENT), CONTEXT) == PLAINTEXT
            assert await keyring.aopen_text(key.seal(PLAINTEXT, CONTEXT), CONTEXT, **CLIENT) == PLAINTEXT.decode()
            keyring._cache.clear()
            assert await keyring.aopen(key.seal(PLAINTEXT, CONTEXT), CONTEXT, **CLIENT) == PLAINTEXT

    asyncio.run(main())


def test_a_tenant_has_a_key_for_each_purpose(url: str, keyring: Keyring) -> None:
    for seal in sealers(keyring, **CLIENT):
        seal()
    client, data = keyring.seal(PLAINTEXT, CONTEXT, **CLIENT), keyring.seal(PLAINTEXT, CONTEXT)
    assert envelope_dek_id(client) != envelope_dek_id(data)
    rows = query(url, "SELECT tenant, purpose, version, state FROM sealpoint_deks ORDER BY purpose")
    assert rows == [(TENANT, 1, 1, "active"), (TENANT, 3, 1, "active")]
    assert keyring.open(client, CONTEXT, **CLIENT) == keyring.open(data, CONTEXT) == PLAINTEXT


# what an exported key may have made passes as nothing else


@pytest.mark.parametrize("cold", [False, True])
def test_what_a_client_key_sealed_is_not_opened_as_data(cold: bool, keyring: Keyring, kms: FakeKms) -> None:
    key = DataKey.from_exported(keyring.export_data_key(TENANT, reason=REASON))
    for forged in (key.seal(PLAINTEXT, CONTEXT), key.seal_text(PLAINTEXT, CONTEXT), keyring.seal(PLAINTEXT, CONTEXT, **CLIENT)):
        for opener in openers(keyring, forged):
            if cold:
                keyring._cache.clear()
            kms.calls.clear()
            refused(opener, "authentication_failed")
            assert kms.calls == {}, "refused before any KEK is used"


@pytest.mark.parametrize("cold", [False, True])
def test_data_is_not_opened_as_what_a_client_may_see(cold: bool, keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    for opener in openers(keyring, sealed, **CLIENT):
        if cold:
            keyring._cache.clear()
        kms.calls.clear()
        refused(opener, "authentication_failed")
        assert kms.calls == {}


@pytest.mark.parametrize("twin", [False, True])
def test_nobody_boards_the_flight_of_another_purpose(twin: bool, keyring: Keyring, kms: FakeKms) -> None:
    """While a client key is being unwrapped, who asks for it as data is refused, and does not get it when it comes."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT, **CLIENT)
    keyring._cache.clear()
    entered, proceed = kms.hold_up()

    async def both() -> bytes:
        client = asyncio.create_task(keyring.aopen(sealed, CONTEXT, **CLIENT))
        while not (entered.is_set() or client.done()):
            await asyncio.sleep(0)
        with pytest.raises(SealpointError) as caught:
            await keyring.aopen(sealed, CONTEXT)
        assert caught.value.code == "authentication_failed"
        proceed.set()
        return await client

    if twin:
        assert asyncio.run(both()) == PLAINTEXT
        return
    opened: list[bytes] = []
    opening = threading.Thread(target=lambda: opened.append(keyring.open(sealed, CONTEXT, **CLIENT)))
    opening.start()
    assert entered.wait(30)
    refused(lambda: keyring.open(sealed, CONTEXT), "authentication_failed")
    proceed.set()
    opening.join(30)
    assert opened == [PLAINTEXT]


@pytest.mark.parametrize("name", ["index", "audit", "Data", "DATA", "", "client ", None, 1, 3, b"client", ["client"], True])
def test_another_purpose_is_refused(name: object, url: str, keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    kms.calls.clear()
    for call in [*sealers(keyring, dek_purpose=name), *openers(keyring, sealed, dek_purpose=name)]:
        refused(call, "invalid_argument", "dek_purpose")
    assert kms.calls == {}
    assert query(url, "SELECT purpose FROM sealpoint_deks") == [(1,)]


# exporting


def test_each_export_is_unwrapped_anew_and_held_nowhere(keyring: Keyring, kms: FakeKms) -> None:
    first = keyring.export_data_key(TENANT, reason=REASON)
    assert kms.calls == {"wrap": 1, "unwrap": 2}  # made and verified, as by a seal; then unwrapped
    keyring.load(TENANT, **CLIENT)
    kms.calls.clear()
    assert keyring.export_data_key(TENANT, reason=REASON) == first
    assert kms.calls == {"unwrap": 1}
    keyring._cache.clear()
    keyring.export_data_key(TENANT, reason=REASON)
    assert len(keyring._cache) == 0


@pytest.mark.parametrize("code", ["kms_unavailable", "kms_throttled", "kms_denied"])
def test_a_held_key_is_not_exported_while_no_kek_answers(code: str, keyring: Keyring, kms: FakeKms) -> None:
    keyring.load(TENANT, **CLIENT)
    kms.fail(code)
    keyring.seal(PLAINTEXT, CONTEXT, **CLIENT)
    refused(lambda: keyring.export_data_key(TENANT, reason=REASON), code)


def test_what_anyone_could_have_minted_is_not_exported(url: str) -> None:
    first, recovery = FakeKms("fake:one"), FakeKms("fake:two", OTHER_KEK_TEXT, authenticates=False)
    with ready(url, [first, recovery]) as keyring:
        keyring.export_data_key(TENANT, reason=REASON)
        first.fail("kms_unavailable")
        refused(lambda: keyring.export_data_key(TENANT, reason=REASON), "kms_unavailable")


def test_many_at_once_export_one_key(url: str, keyring: Keyring) -> None:
    assert len(set(in_threads(8, lambda _: keyring.export_data_key(TENANT, reason=REASON)))) == 1
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(1,)]


@pytest.mark.parametrize("reason", ["", "  \n\t", None, 5, True, b"because", "\ud800", "why \udfff"])
def test_without_a_reason_nothing_leaves(reason: Any, url: str, keyring: Keyring, kms: FakeKms) -> None:
    async def aexport() -> str:
        return await keyring.aexport_data_key(TENANT, reason=reason)

    for call in (lambda: keyring.export_data_key(TENANT, reason=reason), lambda: asyncio.run(aexport())):
        refused(call, "invalid_argument")
    with pytest.raises(TypeError):
        keyring.export_data_key(TENANT)  # type: ignore[call-arg]
    assert kms.calls == {}
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(0,)]


@pytest.mark.parametrize(("tenant", "code"), [("", "tenant_required"), ("t" * 1025, "invalid_context"), (None, "invalid_argument")])
def test_what_is_no_tenant_is_refused(tenant: Any, code: str, url: str, keyring: Keyring) -> None:
    refused(lambda: keyring.export_data_key(tenant, reason=REASON), code)
    assert query(url, "SELECT count(*) FROM sealpoint_tenants") == [(0,)]


def test_create_tenants_off(url: str, kms: FakeKms, keyring: Keyring) -> None:
    with ready(url, kms, create_tenants=False) as strict:
        refused(lambda: strict.export_data_key(TENANT, reason=REASON), "key_not_found", "create_tenants")
        keyring.load(TENANT)  # registers the tenant; its client key is another one
        assert DataKey.from_exported(strict.export_data_key(TENANT, reason=REASON)).tenant == TENANT


def test_the_active_key_is_exported(url: str, keyring: Keyring) -> None:
    old = keyring.export_data_key(TENANT, reason=REASON)
    query(url, "UPDATE sealpoint_deks SET state = 'retired'")
    new = keyring.export_data_key(TENANT, reason=REASON)
    assert [DataKey.from_exported(text).version for text in (old, new)] == [1, 2]
    # What left is not called back: the retired key still opens, and so do the envelopes that somebody makes with it.
    assert keyring.open(DataKey.from_exported(old).seal(PLAINTEXT, CONTEXT), CONTEXT, **CLIENT) == PLAINTEXT


def test_a_shredded_tenant_exports_nothing(url: str, keyring: Keyring, kms: FakeKms) -> None:
    keyring.export_data_key(TENANT, reason=REASON)
    query(url, "UPDATE sealpoint_tenants SET shredded_at = 1")
    kms.calls.clear()
    refused(lambda: keyring.export_data_key(TENANT, reason=REASON), "key_destroyed")
    assert kms.calls == {}


def test_a_row_that_calls_a_data_key_a_clients_does_not_get_it_exported(url: str, keyring: Keyring) -> None:
    """Who writes the key store would have the application hand out the key of everything: the wrap is bound to the purpose."""
    keyring.load(TENANT)
    query(url, "UPDATE sealpoint_deks SET purpose = 3")
    refused(lambda: keyring.export_data_key(TENANT, reason=REASON), "authentication_failed")


def test_a_row_that_calls_another_tenants_key_this_ones(url: str, keyring: Keyring) -> None:
    keyring.export_data_key(OTHER_TENANT, reason=REASON)
    query(url, "UPDATE sealpoint_deks SET tenant = ?", TENANT)
    refused(lambda: keyring.export_data_key(TENANT, reason=REASON), "authentication_failed")


def test_a_key_store_that_is_gone(url: str, keyring: Keyring) -> None:
    keyring.load(TENANT, **CLIENT)
    lose(url)
    refused(lambda: keyring.export_data_key(TENANT, reason=REASON), "store_invalid")


def test_a_closed_keyring_exports_nothing(keyring: Keyring) -> None:
    async def aexport() -> str:
        return await keyring.aexport_data_key(TENANT, reason=REASON)

    keyring.close()
    for call in (lambda: keyring.export_data_key(TENANT, reason=REASON), lambda: asyncio.run(aexport())):
        refused(call, "invalid_argument", "closed")


def test_nothing_secret_is_shown(keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text = keyring.export_data_key(TENANT, reason=REASON)
    key = DataKey.from_exported(text)
    shown = [repr(keyring), repr(keyring._cache), repr(key), caplog.text]
    for damaged in (text[:-1], text[:100], text[:-1] + "*", text.replace("v1", "v2"), text.replace("-key", ""), text + text):
        with pytest.raises(SealpointError) as caught:
            DataKey.from_exported(damaged)
        shown += [str(caught.value), repr(caught.value), repr(caught.value.__context__)]
    for secret in (TENANT, KEK_TEXT, *(text[at : at + 8] for at in range(20, len(text) - 8))):
        assert not [line for line in shown if secret in line]
    assert REASON not in caplog.text


# the text


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vectors(vector: dict[str, Any]) -> None:
    def run() -> DataKey:
        if vector["op"] == "import":
            return DataKey.from_exported(vector["text"])
        fields = {"tenant": vector["tenant"], "version": vector["version"], "dek_id": bytes.fromhex(vector["dek_id"])}
        number = {"data": 1, "index": 2, "client": 3, "audit": 4}[vector["dek_purpose"]]
        text = export_key(SecretKey.from_bytes(bytes.fromhex(vector["dek"])), dek_purpose=number, suite=1, **fields)
        assert text == vector["text"]
        key = DataKey.from_exported(text)
        assert {name: getattr(key, name) for name in fields} == fields
        return key

    if vector["expect"] == "ok":
        assert run().dek_purpose == 3
    else:
        with pytest.raises(SealpointError) as caught:
            run()
        assert caught.value.code == vector["expect"]


@pytest.mark.parametrize("value", [b"sealpoint-key:v1:AAAA", bytearray(b"sealpoint-key:v1:AAAA"), None, 5, ["sealpoint-key:v1:AAAA"]])
def test_a_key_is_imported_from_a_string_only(value: Any) -> None:
    refused(lambda: DataKey.from_exported(value), "invalid_argument", "sealpoint-key:")


def test_a_key_in_the_place_of_an_envelope_is_refused(keyring: Keyring) -> None:
    text = keyring.export_data_key(TENANT, reason=REASON)
    assert is_sealed(text)
    for value in (text, text.encode()):
        for options in ({}, CLIENT):
            refused(lambda value=value, options=options: keyring.open(value, CONTEXT, **options), "malformed")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dek_purpose": 1}, "invalid_argument"),
        ({"dek_purpose": 9}, "invalid_argument"),
        ({"dek_id": bytes(15)}, "invalid_argument"),
        ({"version": 0}, "invalid_argument"),
        ({"suite": 2}, "unsupported_suite"),
        ({"tenant": ""}, "tenant_required"),
    ],
)
def test_what_the_core_does_not_export(change: dict[str, Any], code: str) -> None:
    fields = {"dek_id": bytes(16), "tenant": TENANT, "dek_purpose": 3, "version": 1, "suite": 1} | change
    refused(lambda: export_key(SecretKey.generate(), **fields), code)
