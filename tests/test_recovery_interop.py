"""Recovery wraps made by sealpoint open in an independent implementation of HPKE: the vectors show the other direction only."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "reference"))

from sealpoint._native import RecoveryKey, RecoveryPublicKey, SecretKey, wrap_context
from sealpoint_ref import recovery, wrap
from sealpoint_ref.errors import SealpointError


@pytest.mark.parametrize("tenant", ["acme", "caf\u00e9", "t" * 1024])
def test_the_reference_opens_what_the_core_wraps(tenant: str) -> None:
    key, dek, dek_id = RecoveryKey.generate(), SecretKey.generate(), bytes(range(16))
    wrapped = key.public.wrap(dek, wrap_context(tenant=tenant, dek_id=dek_id, dek_purpose=1, suite=1))
    secret = recovery.import_secret(key.to_text())
    assert recovery.unwrap(secret, wrap.wrap_context(dek_id, "data", tenant), wrapped) == dek.expose()
    with pytest.raises(SealpointError):
        recovery.unwrap(secret, wrap.wrap_context(dek_id, "data", "other"), wrapped)


def test_both_make_the_same_texts_of_a_key() -> None:
    key = RecoveryKey.generate()
    secret = recovery.import_secret(key.to_text())
    assert recovery.secret_text(secret) == key.to_text()
    assert recovery.public_text(secret) == key.public.to_text()
    assert RecoveryPublicKey.from_text(recovery.public_text(secret)).recovery_id == key.public.recovery_id
