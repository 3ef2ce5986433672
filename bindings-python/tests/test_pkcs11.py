"""PKCS#11 by python-pkcs11 on SoftHSM2: a real token, whose keys cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass
from softhsm import LIBRARY, PIN, TOKEN, SoftHsm, uri
from support import CONTEXT, PLAINTEXT, TENANT, in_threads, query, ready, refused
from test_fork import in_child

from sealpoint import KeyManagementProvider, Keyring, SecretKey, WrappedKey
from sealpoint._native import secrets_equal, wrap_context
from sealpoint.kms import pkcs11 as module
from sealpoint.kms import provider_from_uri
from sealpoint.kms.pkcs11 import Pkcs11Provider

WRAP = wrap_context(tenant=TENANT, dek_id=bytes(16), dek_purpose=1, suite=1)
OTHER_WRAP = wrap_context(tenant=TENANT, dek_id=bytes(15) + b"x", dek_purpose=1, suite=1)


@pytest.fixture(scope="module")
def token() -> Iterator[SoftHsm]:
    token = SoftHsm()
    kept = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(token.conf)
    try:
        yield token
    finally:
        pkcs11.unload(str(LIBRARY))
        os.environ.pop("SOFTHSM2_CONF")
        if kept is not None:
            os.environ["SOFTHSM2_CONF"] = kept
        token.close()


@pytest.fixture
def make(token: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Makes keys on the token."""
    monkeypatch.setenv("SOFTHSM_PIN", PIN)
    with pkcs11.lib(str(LIBRARY)).get_token(token_label=TOKEN).open(rw=True, user_pin=PIN) as session:
        yield lambda label, bits=256, **more: session.generate_key(KeyType.AES, bits, label=label, store=True, **more)
        for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY}):
            key.destroy()


@pytest.fixture
def provider(make: Callable[..., Any]) -> Pkcs11Provider:
    make("kek")
    return Pkcs11Provider(uri("kek"))


def test_a_uri_is_all_that_it_takes(url: str, make: Callable[..., Any]) -> None:
    make("kek")
    with ready(url, uri("kek")) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    with Keyring.connect(url, kek=uri("kek")) as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        assert (keyring.health().status, keyring.health().keks[0].scheme) == ("ok", "pkcs11")
    ((name, algorithm, wrapped),) = query(url, "SELECT kek_uri, wrap_alg, wrapped FROM sealpoint_wraps")
    assert (name, algorithm, len(wrapped)) == ("pkcs11:token=sealpoint%20tests;object=kek;type=secret-key", "CKM_AES_GCM", 60)


def test_it_is_an_ordinary_provider(provider: Pkcs11Provider) -> None:
    assert isinstance(provider, KeyManagementProvider)
    assert not provider.capabilities.binds_context  # before anything is known
    secret = SecretKey.generate()
    wrapped = provider.wrap(secret, WRAP)
    assert secrets_equal(provider.unwrap(wrapped, WRAP), secret)
    assert provider.wrap(secret, WRAP).wrapped != wrapped.wrapped
    assert (provider.capabilities.binds_context, provider.capabilities.authenticates) == (True, True)


def test_another_context_another_key_or_changed_bytes_do_not_open(provider: Pkcs11Provider, make: Callable[..., Any]) -> None:
    make("other")
    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    refused(lambda: provider.unwrap(wrapped, OTHER_WRAP), "authentication_failed")
    refused(lambda: Pkcs11Provider(uri("other")).unwrap(wrapped, WRAP), "authentication_failed")
    for at in (0, 12, 59):
        changed = bytearray(wrapped.wrapped)
        changed[at] ^= 1
        refused(lambda changed=changed: provider.unwrap(WrappedKey(bytes(changed)), WRAP), "authentication_failed")
    for length in (0, 39, 59, 61):
        refused(lambda length=length: provider.unwrap(WrappedKey(bytes(length)), WRAP), "store_invalid")


def test_many_threads_share_a_session(provider: Pkcs11Provider) -> None:
    def work(_: int) -> bool:
        secret = SecretKey.generate()
        return all(secrets_equal(provider.unwrap(provider.wrap(secret, WRAP), WRAP), secret) for _ in range(20))

    assert in_threads(16, work) == [True] * 16


def test_a_lost_session_is_replaced(provider: Pkcs11Provider) -> None:
    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    provider._token.get()._session.close()
    provider.unwrap(wrapped, WRAP)


def test_a_key_that_was_destroyed(url: str, provider: Pkcs11Provider, make: Callable[..., Any]) -> None:
    with ready(url, provider) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        keyring._cache.clear()
        make("spare").session.get_key(label="kek").destroy()
        refused(lambda: keyring.open(sealed, CONTEXT), "key_not_found", "object=")
        assert len(keyring._cache) == 0


def test_no_such_key_or_token(provider: Pkcs11Provider, make: Callable[..., Any]) -> None:
    refused(lambda: Pkcs11Provider(uri("nothing")).wrap(SecretKey.generate(), WRAP), "key_not_found", "object=")
    error = refused(lambda: Pkcs11Provider(uri("kek", token="nothing")).wrap(SecretKey.generate(), WRAP), "kms_unavailable", "token=")
    assert error.retryable
    make("kek")
    refused(lambda: Pkcs11Provider(uri("kek")).wrap(SecretKey.generate(), WRAP), "invalid_argument", "several")


def test_an_id_chooses_among_keys_of_one_label(make: Callable[..., Any]) -> None:
    make("twin", id=b"\x01\xff")
    make("twin", id=b"\x02")
    chosen = Pkcs11Provider(uri("twin", id="%01%FF"))
    assert chosen.uri == "pkcs11:token=sealpoint%20tests;object=twin;id=%01%FF;type=secret-key"
    wrapped = chosen.wrap(SecretKey.generate(), WRAP)
    refused(lambda: Pkcs11Provider(uri("twin", id="%02")).unwrap(wrapped, WRAP), "authentication_failed")


def test_a_shorter_key_or_one_without_rights(make: Callable[..., Any]) -> None:
    make("short", bits=128)
    refused(lambda: Pkcs11Provider(uri("short")).wrap(SecretKey.generate(), WRAP), "invalid_argument", "256")
    make("useless", template=dict.fromkeys((Attribute.ENCRYPT, Attribute.WRAP), False))
    refused(lambda: Pkcs11Provider(uri("useless")).wrap(SecretKey.generate(), WRAP), "invalid_argument", "neither")


def test_a_module_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.so", Path(__file__)):
        made = Pkcs11Provider(uri("kek", module_path=str(path)))
        refused(lambda made=made: made.wrap(SecretKey.generate(), WRAP), "invalid_argument", "module-path")


def test_the_pin_may_lie_in_a_file(make: Callable[..., Any], tmp_path: Path) -> None:
    make("kek")
    place = tmp_path / "pin"
    place.write_text(f"{PIN}\n")
    made = Pkcs11Provider(uri("kek", pin_source=f"file:{place}"))
    place.chmod(0o644)
    refused(lambda: made.wrap(SecretKey.generate(), WRAP), "invalid_argument", "chmod 600")
    place.chmod(0o600)
    assert made.wrap(SecretKey.generate(), WRAP).wrap_alg == "CKM_AES_GCM"
    gone = Pkcs11Provider(uri("kek", pin_source="file:/nothing/here"))
    refused(lambda: gone.wrap(SecretKey.generate(), WRAP), "invalid_argument", "PIN")
    unset = Pkcs11Provider(uri("kek", pin_source="env:NO_KEK"))
    refused(lambda: unset.wrap(SecretKey.generate(), WRAP), "invalid_argument", "NO_KEK")


def test_nothing_secret_is_shown(provider: Pkcs11Provider) -> None:
    for hidden in (PIN, "SOFTHSM_PIN", str(LIBRARY)):
        assert hidden not in repr(provider) + provider.uri + repr(provider._parsed)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_logs_in_anew(url: str, provider: Pkcs11Provider) -> None:
    with ready(url, provider) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
        inherited = provider._token.get()
        with provider._module.lock:
            assert in_child(lambda: keyring.open(sealed, CONTEXT) == PLAINTEXT and provider._token.get() is not inherited)
        keyring._cache.clear()
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT


def run(token: SoftHsm, script: str, *arguments: str) -> str:
    """In a process of its own, where nobody is logged in."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], env=token.env, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout


WRONG_PIN = """
import os, sys, threading
from sealpoint import SealpointError, SecretKey
from sealpoint._native import wrap_context
from sealpoint.kms import pkcs11 as module, provider_from_uri
CONTEXT = wrap_context(tenant="t", dek_id=bytes(16), dek_purpose=1, suite=1)
right, os.environ["SOFTHSM_PIN"] = os.environ["SOFTHSM_PIN"], "a-wrong-pin"
provider = provider_from_uri(sys.argv[1])
logins, log_in = [], module._Module.log_in
module._Module.log_in = lambda *args: logins.append(1) or log_in(*args)
start, said = threading.Barrier(8), set()
def wrap():
    start.wait()
    try:
        provider.wrap(SecretKey.generate(), CONTEXT)
    except SealpointError as error:
        said.add(f"{error.code} {error}")
threads = [threading.Thread(target=wrap) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
os.environ["SOFTHSM_PIN"] = right
start = threading.Barrier(1)
wrap()
print(*said)
print(len(logins))
print(len(provider_from_uri(sys.argv[1]).wrap(SecretKey.generate(), CONTEXT).wrapped))
"""


def test_a_wrong_pin_is_tried_once(token: SoftHsm, make: Callable[..., Any]) -> None:
    """However many ask at once: a token locks itself after a few. The last call here would have the right one."""
    make("kek")
    first, logins, wrapped = run(token, WRONG_PIN, uri("kek")).splitlines()
    assert (first.split()[0], logins, wrapped) == ("kms_denied", "1", "60")
    assert "pin" not in first.lower().replace("the pin:", "").replace("pinincorrect", "")


LOGGED_OUT = """
import sys
import pkcs11
from pkcs11 import KeyType
from sealpoint import SecretKey
from sealpoint._native import wrap_context
from sealpoint.kms import provider_from_uri
library, one, two, pin = sys.argv[1:]
CONTEXT = wrap_context(tenant="t", dek_id=bytes(16), dek_purpose=1, suite=1)
providers = [provider_from_uri(one), provider_from_uri(two)]
wrapped = [provider.wrap(SecretKey.generate(), CONTEXT) for provider in providers]
providers[0]._token.get()._session.close()
(login,) = providers[0]._module._logins.values()
login.close()
for provider, key in zip(providers, wrapped):
    provider.unwrap(key, CONTEXT)
print("opened")
"""


def test_two_keys_of_one_token_share_a_login_and_survive_its_end(token: SoftHsm, make: Callable[..., Any]) -> None:
    make("kek")
    make("other")
    assert run(token, LOGGED_OUT, str(LIBRARY), uri("kek"), uri("other"), PIN) == "opened\n"


WITHOUT_GCM = """
import sys
import pkcs11
from pkcs11 import KeyType
from sealpoint import SealpointError, SecretKey, WrappedKey
from sealpoint._native import secrets_equal, wrap_context
from sealpoint.kms import provider_from_uri
library, uri, pin = sys.argv[1:]
with pkcs11.lib(library).get_token(token_label="sealpoint tests").open(rw=True, user_pin=pin) as session:
    session.generate_key(KeyType.AES, 256, label="kek", store=True)
CONTEXT = wrap_context(tenant="t", dek_id=bytes(16), dek_purpose=1, suite=1)
provider, secret = provider_from_uri(uri), SecretKey.generate()
wrapped = provider.wrap(secret, CONTEXT)
print(wrapped.wrap_alg, len(wrapped.wrapped), secrets_equal(provider.unwrap(wrapped, CONTEXT), secret), provider.capabilities.binds_context)
changed = bytearray(wrapped.wrapped)
changed[7] ^= 1
try:
    provider.unwrap(WrappedKey(bytes(changed)), CONTEXT)
except SealpointError as error:
    print(error.code)
"""


def test_a_token_without_gcm_wraps_by_key_wrap_and_says_so() -> None:
    plain = SoftHsm("slots.mechanisms = CKM_AES_KEY_GEN,CKM_AES_KEY_WRAP_PAD")
    try:
        answer = run(plain, WITHOUT_GCM, str(LIBRARY), uri("kek"), PIN)
    finally:
        plain.close()
    assert answer.splitlines() == ["CKM_AES_KEY_WRAP_PAD 40 True False", "authentication_failed"]


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ("pkcs11:", "token="),
        (uri("kek", token=""), "token="),
        (uri(""), "object="),
        (uri("kek", module_path=""), "module-path"),
        (uri("kek", module_path="libsofthsm2.so"), "absolute"),
        (uri("kek", pin_source=""), "pin-source"),
        (uri("kek", pin_source="1234"), "pin-source"),
        (uri("kek") + "&pin-value=pin-nobody-may-see", "pin-source"),
        (uri("kek", pin_value=PIN), "pin-source"),
        (uri("kek") + "&module-name=x", "module-path"),
        (uri("kek") + "&pin-source=env:A", "once"),
        (uri("kek", slot_id="0"), "once"),
        (uri("kek", type="public"), "secret-key"),
        (uri("k%ZZ"), "%XX"),
        (uri("k%ff"), "UTF-8"),
        (uri("kek") + "#x", "%XX"),
    ],
)
def test_no_uri(bad: str, word: str) -> None:
    error = refused(lambda: provider_from_uri(bad), "invalid_argument", word)
    assert PIN not in str(error)


def test_one_name_for_one_key() -> None:
    way = f"module-path={LIBRARY}&pin-source=env:SOFTHSM_PIN"
    names = {
        Pkcs11Provider(f"pkcs11:{path}?{way}").uri
        for path in ("token=a;object=%6B", "object=k;token=%61", "object=k;type=secret-key;token=a")
    }
    assert names == {"pkcs11:token=a;object=k;type=secret-key"}


def test_without_python_pkcs11() -> None:
    code = "import sys; sys.modules['pkcs11'] = None\nfrom sealpoint.kms import provider_from_uri\n" + (
        "try: provider_from_uri('pkcs11:x')\nexcept Exception as error: print(type(error).__name__, error.code, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingDependencyError missing_dependency")
    assert "pip install 'sealpoint[pkcs11]'" in done.stdout


def test_errors_of_the_token_are_known() -> None:
    """Each class of errors belongs to one answer."""
    listed = [kind for kinds in module._ANSWERS.values() for kind in kinds]
    assert len(set(listed)) == len(listed)
