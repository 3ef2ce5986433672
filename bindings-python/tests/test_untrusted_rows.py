"""Rows of the key store are not trusted, and keys have an end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support import (
    CONTEXT,
    KEK_TEXT,
    OTHER_CONTEXT,
    OTHER_TENANT,
    PLAINTEXT,
    TENANT,
    FakeKms,
    query,
    refused,
)

from sealpoint import Keyring, SecretKey
from sealpoint._native import LocalKek, wrap_context

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


def test_another_tenants_row_is_refused_before_any_unwrap(tampered: Callable[[], object], path: Path, kms: FakeKms) -> None:
    query(path, "UPDATE sealpoint_deks SET tenant = 'third', version = 7 WHERE tenant = ?", TENANT)
    refused(tampered, "authentication_failed", "another tenant")
    assert kms.calls == {}


def test_another_purposes_row_is_refused_before_any_unwrap(tampered: Callable[[], object], path: Path, kms: FakeKms) -> None:
    query(path, "UPDATE sealpoint_deks SET purpose = 3 WHERE tenant = ?", TENANT)
    refused(tampered, "authentication_failed", "another tenant or purpose")
    assert kms.calls == {}


def test_the_wrap_of_another_tenants_key(tampered: Callable[[], object], path: Path) -> None:
    other = "SELECT wrapped FROM sealpoint_wraps w JOIN sealpoint_deks d ON d.dek_id = w.dek_id WHERE tenant = ?"
    query(path, f"UPDATE sealpoint_wraps SET wrapped = ({other})", OTHER_TENANT)
    refused(tampered, "authentication_failed")


def test_a_planted_dek_with_a_genuine_wrap_of_another_key(keyring: Keyring, path: Path, tampered: Callable[[], object]) -> None:
    """Even who can wrap under the KEK cannot put another key behind a dek_id: the key check differs."""
    ((dek_id,),) = query(path, "SELECT dek_id FROM sealpoint_deks WHERE tenant = ?", TENANT)
    context = wrap_context(tenant=TENANT, dek_id=dek_id, dek_purpose=1, suite=1)
    forged = LocalKek.parse(KEK_TEXT).wrap(SecretKey.generate(), context)
    query(path, "UPDATE sealpoint_wraps SET wrapped = ? WHERE dek_id = ?", forged, dek_id)
    refused(tampered, "authentication_failed")


@pytest.mark.parametrize("change", ["version = 9", "key_check = zeroblob(32)"])
def test_a_row_that_does_not_fit_its_key_check(change: str, tampered: Callable[[], object], path: Path) -> None:
    query(path, f"UPDATE sealpoint_deks SET {change} WHERE tenant = ?", TENANT)
    refused(tampered, "authentication_failed")


def test_an_absent_key_check(tampered: Callable[[], object], path: Path, kms: FakeKms) -> None:
    query(path, "PRAGMA user_version")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'key_check BLOB NOT NULL', 'key_check BLOB')")
    query(path, "UPDATE sealpoint_deks SET key_check = NULL WHERE tenant = ?", TENANT)
    refused(tampered, "store_invalid")
    assert kms.calls == {}


@pytest.mark.parametrize(
    "change",
    [
        "deks SET suite = 'one'",
        "deks SET version = 'one'",
        "deks SET key_check = zeroblob(31)",
        "deks SET created_at = 'x'",
        "wraps SET wrapped = 'x'",
        "wraps SET wrapped = zeroblob(0)",
        "wraps SET wrapped = zeroblob(125)",
        "wraps SET wrapped = substr(wrapped, 1, 124)",
        "wraps SET wrapped = wrapped || x'00'",
        "wraps SET kek_version = x'00'",
        "tenants SET shredded_at = 'x'",
    ],
)
def test_rows_of_other_types_and_sizes(change: str, tampered: Callable[[], object], path: Path) -> None:
    query(path, f"UPDATE sealpoint_{change}")
    refused(tampered, "store_invalid")


def test_a_suite_that_this_release_does_not_know(tampered: Callable[[], object], path: Path) -> None:
    query(path, "UPDATE sealpoint_deks SET suite = 2")
    refused(tampered, "unsupported_suite")


def test_no_wraps(tampered: Callable[[], object], path: Path) -> None:
    query(path, "DELETE FROM sealpoint_wraps")
    refused(tampered, "key_not_found", "kek=")


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
def test_states(change: str, code: str | None, keyring: Keyring, path: Path, kms: FakeKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    query(path, f"UPDATE sealpoint_{change}")
    keyring._cache.clear()
    kms.calls.clear()
    if code is None:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
    else:
        refused(lambda: keyring.open(sealed, CONTEXT), code)
        assert kms.calls == {}


@pytest.mark.parametrize("destroyed", [True, False])
def test_a_shredded_tenant_gets_no_new_key(destroyed: bool, keyring: Keyring, path: Path) -> None:
    keyring.seal(PLAINTEXT, CONTEXT)
    query(path, "UPDATE sealpoint_tenants SET shredded_at = 1")
    if destroyed:
        query(path, "UPDATE sealpoint_deks SET state = 'destroyed'")
    keyring._cache._advance(61)
    for call in (
        lambda: keyring.seal(PLAINTEXT, CONTEXT),
        lambda: keyring.load(TENANT),
        lambda: keyring.load(TENANT, create=False),
    ):
        refused(call, "key_destroyed")
    assert len(keyring._cache) == 0
    assert query(path, "SELECT count(*) FROM sealpoint_deks") == [(1,)]
