"""Google Cloud KMS by the official client, against a fake of the service: each answer has its code, and fails closed."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
import google_crc32c
import pytest
from gcp_kms import FakeGcpKms, Fault, flip
from google.auth.exceptions import DefaultCredentialsError
from grpc import StatusCode
from support import CONTEXT, PLAINTEXT, TENANT, in_threads, query, ready, refused

from sealpoint import KeyManagementProvider, Keyring, SealpointError, SecretKey, WrappedKey
from sealpoint._native import secrets_equal, wrap_context
from sealpoint.errors import ERRORS
from sealpoint.kms import provider_from_uri
from sealpoint.kms.gcp import GcpKmsProvider

NAME = "projects/p-1/locations/europe-west3/keyRings/ring/cryptoKeys/kek"
WRAP = wrap_context(tenant=TENANT, dek_id=bytes(16), dek_purpose=1, suite=1)
OTHER_WRAP = wrap_context(tenant=TENANT, dek_id=bytes(15) + b"x", dek_purpose=1, suite=1)
DEADLINE_S = 6.0

FAULTS: list[tuple[Fault, str, int]] = [
    ((StatusCode.RESOURCE_EXHAUSTED, ""), "kms_throttled", 3),
    ((StatusCode.UNAVAILABLE, ""), "kms_unavailable", 3),
    ((StatusCode.INTERNAL, ""), "kms_unavailable", 3),
    ((StatusCode.UNKNOWN, ""), "kms_unavailable", 3),
    ((StatusCode.DEADLINE_EXCEEDED, ""), "kms_unavailable", 3),
    ((StatusCode.ABORTED, ""), "kms_unavailable", 3),
    ("hang", "kms_unavailable", 3),
    ((StatusCode.PERMISSION_DENIED, ""), "kms_denied", 1),
    ((StatusCode.UNAUTHENTICATED, ""), "kms_denied", 1),
    ((StatusCode.NOT_FOUND, ""), "key_not_found", 1),
    ((StatusCode.FAILED_PRECONDITION, "DISABLED"), "key_disabled", 1),
    ((StatusCode.FAILED_PRECONDITION, "DESTROY_SCHEDULED"), "key_disabled", 1),
    ((StatusCode.FAILED_PRECONDITION, "DESTROYED"), "key_destroyed", 1),
    ((StatusCode.OUT_OF_RANGE, ""), "invalid_argument", 1),
    ((StatusCode.DATA_LOSS, ""), "kms_unavailable", 3),
]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGcpKms]:
    fake = FakeGcpKms()
    try:
        yield fake
    finally:
        fake.close()


@pytest.fixture
def gcp(server: FakeGcpKms) -> Iterator[FakeGcpKms]:
    server.reset()
    server.key(NAME)
    yield server
    server.hanging.set()


@pytest.fixture
def provider(gcp: FakeGcpKms) -> GcpKmsProvider:
    return GcpKmsProvider(NAME, client=gcp.client(), deadline=DEADLINE_S)


@pytest.fixture
def keyring(url: str, provider: GcpKmsProvider, gcp: FakeGcpKms) -> Iterator[Keyring]:
    with ready(url, provider) as keyring:
        gcp.reset()
        yield keyring


def test_what_is_sealed_opens_elsewhere(url: str, keyring: Keyring, gcp: FakeGcpKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    with Keyring.connect(url, kek=GcpKmsProvider(NAME, client=gcp.client())) as other:
        assert other.open(sealed, CONTEXT) == PLAINTEXT
        assert (other.health().status, other.health().keks[0].scheme) == ("ok", "gcp-kms")
    assert query(url, "SELECT kek_uri, kek_version, wrap_alg FROM sealpoint_wraps") == [
        (f"gcp-kms://{NAME}", "1", "GOOGLE_SYMMETRIC_ENCRYPTION")
    ]


def test_a_uri_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the client waits until it is needed, so that a URI alone asks for no credentials."""
    made = provider_from_uri(f"gcp-kms://{NAME}")
    assert isinstance(made, KeyManagementProvider)
    assert (made.uri, made.capabilities.binds_context, made.capabilities.authenticates) == (f"gcp-kms://{NAME}", True, True)
    assert repr(made) == f"GcpKmsProvider({NAME!r})"

    def none(*_: object, **__: object) -> None:
        raise DefaultCredentialsError

    monkeypatch.setattr(google.auth, "default", none)
    refused(lambda: made.wrap(SecretKey.generate(), WRAP), "kms_denied", "credentials")


def test_every_call_names_the_key_the_context_and_both_checksums(provider: GcpKmsProvider, gcp: FakeGcpKms) -> None:
    secret = SecretKey.generate()
    assert secrets_equal(provider.unwrap(provider.wrap(secret, WRAP), WRAP), secret)
    assert gcp.calls == {"Encrypt": 1, "Decrypt": 1}
    for request in gcp.requests:
        assert (request.name, request.additional_authenticated_data) == (NAME, WRAP.canonical)
        assert request.additional_authenticated_data_crc32c == google_crc32c.value(WRAP.canonical)
    encrypt, decrypt = gcp.requests
    assert encrypt.plaintext_crc32c == google_crc32c.value(bytes(secret.expose()))
    assert decrypt.ciphertext_crc32c == google_crc32c.value(decrypt.ciphertext)


@pytest.mark.parametrize(("fault", "code", "calls"), FAULTS, ids=str)
def test_a_fault_when_opening(fault: Fault, code: str, calls: int, keyring: Keyring, gcp: FakeGcpKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    gcp.reset()
    gcp.fault = fault
    error = refused(lambda: keyring.open(sealed, CONTEXT), code, "Google")
    assert (error.retryable, gcp.calls, len(keyring._cache)) == (ERRORS[code][1], {"Decrypt": calls}, 0)
    assert (error.__cause__, error.__context__) == (None, None)
    gcp.fault = None
    gcp.hanging.set()
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT


@pytest.mark.parametrize(("fault", "code", "calls"), FAULTS, ids=str)
def test_a_fault_when_sealing_for_a_new_tenant(fault: Fault, code: str, calls: int, keyring: Keyring, gcp: FakeGcpKms, url: str) -> None:
    gcp.fault = fault
    error = refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), code, "Google")
    assert (error.retryable, gcp.calls, len(keyring._cache)) == (ERRORS[code][1], {"Encrypt": calls}, 0)
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == query(url, "SELECT count(*) FROM sealpoint_wraps") == [(0,)]


def test_an_outage_is_not_waited_out(gcp: FakeGcpKms) -> None:
    """The client's own retry would go on for a minute; ours ends within the deadline, and the test with it."""
    gone = FakeGcpKms()
    provider = GcpKmsProvider(NAME, client=gone.client(), deadline=1)
    gone.close()
    assert refused(lambda: provider.wrap(SecretKey.generate(), WRAP), "kms_unavailable").retryable


def test_a_fault_that_passes_is_not_noticed(provider: GcpKmsProvider, gcp: FakeGcpKms) -> None:
    gcp.faults = [(StatusCode.UNAVAILABLE, ""), (StatusCode.RESOURCE_EXHAUSTED, "")]
    assert provider.wrap(SecretKey.generate(), WRAP).kek_version == "1"
    assert gcp.calls == {"Encrypt": 3}


def test_another_context_another_key_or_changed_bytes_do_not_open(provider: GcpKmsProvider, gcp: FakeGcpKms) -> None:
    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    other = GcpKmsProvider(gcp.key(f"{NAME}-2"), client=gcp.client())
    changed = WrappedKey(wrapped.wrapped[:-1] + bytes([wrapped.wrapped[-1] ^ 1]))
    refused(lambda: provider.unwrap(wrapped, OTHER_WRAP), "authentication_failed")
    refused(lambda: other.unwrap(wrapped, WRAP), "authentication_failed")
    refused(lambda: provider.unwrap(changed, WRAP), "authentication_failed")


@pytest.mark.parametrize(
    ("field", "operation"),
    [
        ("ciphertext", "Encrypt"),
        ("verified_plaintext_crc32c", "Encrypt"),
        ("verified_additional_authenticated_data_crc32c", "Encrypt"),
        ("plaintext", "Decrypt"),
    ],
)
def test_what_is_damaged_on_the_way_is_asked_for_again(field: str, operation: str, provider: GcpKmsProvider, gcp: FakeGcpKms) -> None:
    secret = SecretKey.generate()
    wrapped = provider.wrap(secret, WRAP)
    gcp.reset()
    gcp.faults = [flip(field)]
    if operation == "Encrypt":
        wrapped = provider.wrap(secret, WRAP)
    assert secrets_equal(provider.unwrap(wrapped, WRAP), secret)
    assert gcp.calls[operation] == 2
    gcp.fault = flip(field)
    call = {"Encrypt": lambda: provider.wrap(secret, WRAP), "Decrypt": lambda: provider.unwrap(wrapped, WRAP)}[operation]
    refused(call, "kms_unavailable", "damaged")


def test_an_answer_by_another_key_is_refused(provider: GcpKmsProvider, gcp: FakeGcpKms) -> None:
    def other(answer: Any) -> None:
        answer.name = f"{NAME}-2/cryptoKeyVersions/1"

    gcp.fault = other
    refused(lambda: provider.wrap(SecretKey.generate(), WRAP), "authentication_failed", "another key")


def test_an_answer_that_is_no_key(provider: GcpKmsProvider, gcp: FakeGcpKms) -> None:
    def short(answer: Any) -> None:
        answer.plaintext, answer.plaintext_crc32c = b"short", google_crc32c.value(b"short")

    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    gcp.fault = short
    refused(lambda: provider.unwrap(wrapped, WRAP), "authentication_failed", "no key")


def test_a_thousand_threads_need_one_call(keyring: Keyring, gcp: FakeGcpKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    gcp.reset()
    assert in_threads(1000, lambda _: keyring.open(sealed, CONTEXT)) == [PLAINTEXT] * 1000
    assert gcp.calls == {"Decrypt": 1}


def test_nothing_secret_is_logged(server: FakeGcpKms, gcp: FakeGcpKms, caplog: pytest.LogCaptureFixture) -> None:
    """Google's client logs requests and answers, plaintext included, where its own logging is turned on."""
    loud = logging.getLogger("google.cloud.kms_v1.services.key_management_service.transports.grpc")
    top = logging.getLogger("google")
    kept = top.propagate, loud.level
    top.propagate = True
    try:
        caplog.set_level(logging.DEBUG, loud.name)
        client = gcp.client()
        provider = GcpKmsProvider(NAME, client=client)
        top.propagate = True  # a client that is made resets it
        secret = SecretKey.generate()
        provider.unwrap(provider.wrap(secret, WRAP), WRAP)
        assert not [record for record in caplog.records if record.name == loud.name]
        client.encrypt(name=NAME, plaintext=b"not ours")
        assert [record for record in caplog.records if record.name == loud.name]
    finally:
        top.propagate = kept[0]
        loud.setLevel(kept[1])
    assert base64.b64encode(bytes(secret.expose())).decode() not in caplog.text


SERVE = """
import sys
from gcp_kms import FakeGcpKms
fake = FakeGcpKms()
fake.key(sys.argv[1])
print(fake.address, flush=True)
sys.stdin.read()
fake.close()
"""

FORK = """
import os, signal, sys
import grpc
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from sealpoint import SecretKey
from sealpoint._native import wrap_context
from sealpoint.kms.gcp import GcpKmsProvider
CONTEXT = wrap_context(tenant="t", dek_id=bytes(16), dek_purpose=1, suite=1)
name, address = sys.argv[1:]
official = kms_v1.KeyManagementServiceClient
kms_v1.KeyManagementServiceClient = lambda: official(transport=KeyManagementServiceGrpcTransport(channel=grpc.insecure_channel(address)))
provider = GcpKmsProvider(name)
wrapped = provider.wrap(SecretKey.generate(), CONTEXT)
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        provider.unwrap(wrapped, CONTEXT)
        os._exit(0)
    finally:
        os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
provider.unwrap(wrapped, CONTEXT)
"""


def test_a_forked_child_connects_anew() -> None:
    """In processes of their own: neither the parent nor the child serves."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, NAME], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        done = subprocess.run([sys.executable, "-c", FORK, NAME, address], env=environment, capture_output=True, text=True, check=False)
        server.communicate("")
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "//",
        NAME,
        f"//{NAME}/cryptoKeyVersions/1",
        f"//{NAME}?x=1",
        f"//{NAME}#x",
        f"//{NAME}/",
        f"///{NAME}",
        "//projects/p",
        f"//{NAME}\n",
    ],
)
def test_no_name(rest: str) -> None:
    refused(lambda: provider_from_uri(f"gcp-kms:{rest}"), "invalid_argument", "gcp-kms:")


def test_no_deadline() -> None:
    refused(lambda: GcpKmsProvider(NAME, deadline=0), "invalid_argument", "deadline")


def test_without_google_cloud_kms() -> None:
    code = "import sys; sys.modules['google.cloud.kms_v1'] = None\nfrom sealpoint.kms import provider_from_uri\n" + (
        f"try: provider_from_uri('gcp-kms://{NAME}')\nexcept Exception as error: print(type(error).__name__, error.code, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingDependencyError missing_dependency")
    assert "pip install 'sealpoint[gcp]'" in done.stdout


def test_errors_hold_no_original(provider: GcpKmsProvider, gcp: FakeGcpKms) -> None:
    gcp.fault = (StatusCode.PERMISSION_DENIED, "")
    with pytest.raises(SealpointError) as caught:
        provider.wrap(SecretKey.generate(), WRAP)
    assert TENANT not in f"{caught.value!r}{caught.value.__context__!r}"
