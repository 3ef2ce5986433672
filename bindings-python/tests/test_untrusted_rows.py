"""Rows of the key store of other sizes and types than sealpoint writes, and the ends of a key. For others see `test_planted_rows.py`."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable

import pytest
from support import (
    CONTEXT,
    KEK_TEXT,
    OTHER_CONTEXT,
    PLAINTEXT,
    TENANT,
    FakeKms,
    lift_constraints,
    query,
    ready,
    refused,
)

from sealpoint import Context, Keyring, SecretKey, WrappedKey
from sealpoint._native import LocalKek, canary_secret, wrap_context
from sealpoint.kms import ProviderCapabilities


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


# rows are not trusted


@pytest.fixture
def tampered(keyring: Keyring, kms: FakeKms) -> Callable[[], object]:
    """Seals for both tenants; afterwards opens the first one's envelope with an empty cache."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring.seal(PLAINTEXT, OTHER_CONTEXT)
    kms.calls.clear()

    def reopen() -> object:
        keyring._cache.clear()
        return keyring.open(sealed, CONTEXT)

    return reopen


def test_a_canary_in_place_of_a_wrap(url: str) -> None:
    """A KEK that does not bind the context (PKCS#11's key wrap) opens it, and its 32 bytes, hence a fitting key check, are known to all."""
    kek = LocalKek.parse(KEK_TEXT)
    anywhere = wrap_context(tenant=TENANT, dek_id=bytes(16), dek_purpose=1, suite=1)

    class Unbound(FakeKms):
        def wrap(self, secret: SecretKey, _: Context, /) -> WrappedKey:
            return WrappedKey(kek.wrap(secret, anywhere), "unbound", "v1")

        def unwrap(self, wrapped: WrappedKey, _: Context, /) -> SecretKey:
            return kek.unwrap(wrapped.wrapped, anywhere)

    unbound = Unbound()
    unbound.capabilities = ProviderCapabilities(binds_context=False, authenticates=True)
    with ready(url, unbound) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache.clear()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        query(url, "UPDATE sealpoint_wraps SET wrapped = (SELECT wrapped FROM sealpoint_canaries)")
        info = (
            b"sealpoint/v1/key-check\0\x01\x01" + sealed[5:21] + (1).to_bytes(4, "big") + len(TENANT).to_bytes(2, "big") + TENANT.encode()
        )
        check = hmac.digest(bytes(canary_secret(unbound.uri).expose()), info + b"\x01", "sha512")[:32]
        query(url, "UPDATE sealpoint_deks SET key_check = ?", check)
        keyring._cache.clear()
        refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "authentication_failed", "canary")
        refused(lambda: keyring.open(sealed, CONTEXT), "authentication_failed", "canary")


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("deks SET key_check = ?", (bytes(31),)),
        ("wraps SET wrapped = ?", (b"",)),
        ("wraps SET wrapped = ?", (bytes(125),)),
        ("wraps SET wrapped = substr(wrapped, 1, 124)", ()),
        ("wraps SET wrapped = wrapped || ?", (b"\0",)),
    ],
)
def test_rows_of_other_sizes(change: str, values: tuple[object, ...], url: str, tampered: Callable[[], object]) -> None:
    lift_constraints(url)
    query(url, f"UPDATE sealpoint_{change}", *values)
    refused(tampered, "store_invalid")


OTHER_TYPES = {
    "sqlite": [
        "UPDATE sealpoint_deks SET suite = 'one'",
        "UPDATE sealpoint_deks SET version = 'one'",
        "UPDATE sealpoint_deks SET created_at = 'x'",
        "UPDATE sealpoint_wraps SET wrapped = 'x'",
        "UPDATE sealpoint_wraps SET kek_version = x'00'",
        "UPDATE sealpoint_tenants SET shredded_at = 'x'",
    ],
    "postgresql": [
        "ALTER TABLE sealpoint_deks ALTER suite TYPE text",
        "ALTER TABLE sealpoint_deks ALTER version TYPE numeric",
        "ALTER TABLE sealpoint_deks ALTER created_at TYPE timestamptz USING to_timestamp(created_at / 1e6)",
        "ALTER TABLE sealpoint_wraps ALTER wrapped TYPE text USING encode(wrapped, 'hex')",
        "ALTER TABLE sealpoint_wraps ALTER kek_version TYPE json USING to_json(1)",
        "ALTER TABLE sealpoint_tenants ALTER shredded_at TYPE text USING 'x'",
        "ALTER TABLE sealpoint_tenants ALTER tenant TYPE bytea USING tenant::bytea",
        "ALTER TABLE sealpoint_deks DROP created_at",
    ],
}


@pytest.mark.parametrize("number", range(8))
def test_rows_of_other_types(number: int, url: str, tampered: Callable[[], object]) -> None:
    for change in OTHER_TYPES[url.partition(":")[0]][number : number + 1]:
        lift_constraints(url)
        query(url, change)
        refused(tampered, "store_invalid")


def test_another_tenants_envelope_while_its_key_is_being_loaded(keyring: Keyring, kms: FakeKms) -> None:
    """Who asks for another tenant's DEK does not board the flight that loads it."""
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    entered, proceed = kms.hold_up()
    loading = threading.Thread(target=keyring.open, args=(sealed, CONTEXT))
    loading.start()
    assert entered.wait(30)
    refused(lambda: keyring.open(sealed, OTHER_CONTEXT), "authentication_failed", "another tenant")
    proceed.set()
    loading.join(30)


# the ends of a key


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("deks SET state = 'retired'", None),
        ("deks SET state = 'pending_destroy'", "key_disabled"),
        ("deks SET state = 'destroyed'", "key_destroyed"),
        ("tenants SET shredded_at = 1", "key_destroyed"),
    ],
)
def test_states(url: str, change: str, code: str | None, keyring: Keyring, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    query(url, f"UPDATE sealpoint_{change}")
    keyring._cache.clear()
    kms.calls.clear()
    if code is None:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    else:
        refused(lambda: keyring.open(sealed, CONTEXT), code)
        assert kms.calls == {}


@pytest.mark.parametrize("destroyed", [True, False])
def test_a_shredded_tenant_gets_no_new_key(url: str, destroyed: bool, keyring: Keyring) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    query(url, "UPDATE sealpoint_tenants SET shredded_at = 1")
    if destroyed:
        query(url, "UPDATE sealpoint_deks SET state = 'destroyed'")
    keyring._cache._advance(61)
    for call in (
        lambda: keyring.seal(PLAINTEXT, CONTEXT),
        lambda: keyring.load(TENANT),
        lambda: keyring.load(TENANT, create=False),
    ):
        refused(call, "key_destroyed")
    assert len(keyring._cache) == 0
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(1,)]
