"""AWS KMS by the official client, against moto behind a proxy with faults: each answer of the service has its code, and fails closed."""

from __future__ import annotations

import asyncio
import base64
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aws_kms import AwsKms, Fault
from botocore.config import Config
from support import CONTEXT, OTHER_CONTEXT, PLAINTEXT, TENANT, in_threads, query, ready, refused
from test_fork import in_child

from sealpoint import KeyManagementProvider, Keyring, SealpointError, SecretKey, WrappedKey, is_sealed
from sealpoint._native import secrets_equal, wrap_context
from sealpoint.errors import ERRORS
from sealpoint.kms import provider_from_uri
from sealpoint.kms.aws import AwsKmsProvider

REGION = "eu-central-1"
WRAP = wrap_context(tenant=TENANT, dek_id=bytes(16), dek_purpose=1, suite=1)
OTHER_WRAP = wrap_context(tenant=TENANT, dek_id=bytes(15) + b"x", dek_purpose=1, suite=1)
UNKNOWN_ARN = f"arn:aws:kms:{REGION}:123456789012:key/00000000-0000-0000-0000-000000000000"
DEADLINE_S = 10.0

FAULTS: list[tuple[Fault, str, int]] = [
    ((400, "ThrottlingException"), "kms_throttled", 3),
    ((400, "LimitExceededException"), "kms_throttled", 3),
    ((429, "SomethingNew"), "kms_throttled", 3),
    ((500, "KMSInternalException"), "kms_unavailable", 3),
    ((500, "SomethingNew"), "kms_unavailable", 3),
    ((503, "ServiceUnavailable"), "kms_unavailable", 3),
    ((400, "DependencyTimeoutException"), "kms_unavailable", 3),
    ("reset", "kms_unavailable", 3),
    ("hang", "kms_unavailable", 3),
    ("garbage", "kms_unavailable", 3),
    ((400, "AccessDeniedException"), "kms_denied", 1),
    ((403, "SomethingNew"), "kms_denied", 1),
    ((400, "ExpiredTokenException"), "kms_denied", 1),
    ((400, "UnrecognizedClientException"), "kms_denied", 1),
    ((400, "InvalidSignatureException"), "kms_denied", 1),
    ((400, "DisabledException"), "key_disabled", 1),
    ((400, "KMSInvalidStateException"), "key_disabled", 1),
    ((400, "NotFoundException"), "key_not_found", 1),
    ((400, "InvalidCiphertextException"), "authentication_failed", 1),
    ((400, "IncorrectKeyException"), "authentication_failed", 1),
    ((400, "InvalidKeyUsageException"), "invalid_argument", 1),
    ((400, "SomethingNew"), "internal", 1),
]


@pytest.fixture(scope="module")
def servers() -> Iterator[AwsKms]:
    kms = AwsKms()
    try:
        yield kms
    finally:
        kms.close()


@pytest.fixture
def aws(servers: AwsKms, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsKms]:
    servers.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", servers.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "for-moto")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "for-moto")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    yield servers
    servers.hanging.set()


@pytest.fixture
def client(aws: AwsKms) -> Any:
    """A user's own."""
    return boto3.client("kms", region_name=REGION, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def arn(client: Any, aws: AwsKms) -> str:
    made: str = client.create_key()["KeyMetadata"]["Arn"]
    aws.reset()
    return made


@pytest.fixture
def provider(arn: str) -> AwsKmsProvider:
    return AwsKmsProvider(arn, deadline=DEADLINE_S)


@pytest.fixture
def keyring(url: str, provider: AwsKmsProvider, aws: AwsKms) -> Iterator[Keyring]:
    with ready(url, provider) as keyring:
        aws.reset()
        yield keyring


def test_a_uri_is_all_that_it_takes(url: str, arn: str, aws: AwsKms) -> None:
    with ready(url, f"aws-kms://{arn}") as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    with Keyring.connect(url, kek=f"aws-kms://{arn}") as keyring:
        assert keyring.open(sealed, CONTEXT) == PLAINTEXT
        assert (keyring.health().status, keyring.health().keks[0].scheme) == ("ok", "aws-kms")
    assert query(url, "SELECT kek_uri, kek_version, wrap_alg FROM sealpoint_wraps") == [(f"aws-kms://{arn}", arn, "SYMMETRIC_DEFAULT")]
    ((wrapped,),) = query(url, "SELECT wrapped FROM sealpoint_wraps")
    assert len(wrapped) > 32


def test_it_is_an_ordinary_provider(provider: AwsKmsProvider, arn: str) -> None:
    made = provider_from_uri(f"aws-kms://{arn}")
    assert isinstance(made, KeyManagementProvider)
    assert (made.uri, made.capabilities.binds_context, made.capabilities.authenticates) == (f"aws-kms://{arn}", True, True)
    secret = SecretKey.generate()
    assert secrets_equal(made.unwrap(provider.wrap(secret, WRAP), WRAP), secret)


def test_every_call_names_the_key_and_the_context(provider: AwsKmsProvider, arn: str, aws: AwsKms) -> None:
    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    provider.unwrap(WrappedKey(wrapped.wrapped, "", UNKNOWN_ARN), WRAP)  # the row's version is not followed
    assert aws.calls == {"Encrypt": 1, "Decrypt": 1}
    for request in aws.requests:
        assert (request["KeyId"], request["EncryptionContext"]) == (arn, WRAP.pairs())


def test_an_alias_tells_the_key_that_it_led_to(client: Any, arn: str, aws: AwsKms) -> None:
    client.create_alias(AliasName="alias/sealpoint/kek", TargetKeyId=arn)
    alias = f"{arn.rpartition(':')[0]}:alias/sealpoint/kek"
    provider = AwsKmsProvider(alias)
    secret = SecretKey.generate()
    wrapped = provider.wrap(secret, WRAP)
    assert wrapped.kek_version == arn
    assert secrets_equal(provider.unwrap(wrapped, WRAP), secret)
    assert {request["KeyId"] for request in aws.requests if "EncryptionContext" in request} == {alias}


@pytest.mark.parametrize(("fault", "code", "calls"), FAULTS, ids=lambda value: str(value))
def test_a_fault_when_opening(fault: Fault, code: str, calls: int, keyring: Keyring, aws: AwsKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    aws.reset()
    aws.fault = fault
    error = refused(lambda: keyring.open(sealed, CONTEXT), code, "AWS")
    assert (error.retryable, aws.calls, len(keyring._cache)) == (ERRORS[code][1], {"Decrypt": calls}, 0)
    assert "111122223333" not in f"{error}{error!r}{error.__cause__}{error.__context__}"
    aws.fault = None
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT


@pytest.mark.parametrize(("fault", "code", "calls"), FAULTS, ids=lambda value: str(value))
def test_a_fault_when_sealing_for_a_new_tenant(fault: Fault, code: str, calls: int, keyring: Keyring, aws: AwsKms, url: str) -> None:
    aws.fault = fault
    error = refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), code, "AWS")
    assert (error.retryable, aws.calls, len(keyring._cache)) == (ERRORS[code][1], {"Encrypt": calls}, 0)
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == query(url, "SELECT count(*) FROM sealpoint_wraps") == [(0,)]


@pytest.mark.parametrize("code", ["ExpiredTokenException", "InvalidSignatureException", "AccessDeniedException"])
def test_a_refusal_names_its_remedy(code: str, provider: AwsKmsProvider, aws: AwsKms) -> None:
    aws.fault = (400, code)
    remedy = {"E": "renew", "I": "clock", "A": "kms:Decrypt"}[code[0]]
    refused(lambda: provider.wrap(SecretKey.generate(), WRAP), "kms_denied", remedy, code)


def test_an_outage(keyring: Keyring, arn: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    refused(lambda: Keyring.connect(url, kek=AwsKmsProvider(arn, deadline=1)), "kms_unavailable", "EndpointConnectionError")
    assert keyring.open(sealed, CONTEXT) == PLAINTEXT  # what is held


def test_no_credentials(arn: str, aws: AwsKms, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "nothing")
    monkeypatch.setenv("AWS_CONFIG_FILE", "nothing")
    refused(lambda: AwsKmsProvider(arn).wrap(SecretKey.generate(), WRAP), "kms_denied", "credentials")
    assert aws.calls == {}


@pytest.mark.parametrize("fault", [(400, "ThrottlingException"), (500, "KMSInternalException"), "reset"], ids=str)
def test_a_fault_that_passes_is_not_noticed(fault: Fault, provider: AwsKmsProvider, aws: AwsKms) -> None:
    aws.faults = [fault, fault]
    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    assert (aws.calls, wrapped.wrap_alg) == ({"Encrypt": 3}, "SYMMETRIC_DEFAULT")


def test_another_context_does_not_open(provider: AwsKmsProvider) -> None:
    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    refused(lambda: provider.unwrap(wrapped, OTHER_WRAP), "authentication_failed")


def test_changed_bytes_do_not_open(provider: AwsKmsProvider) -> None:
    wrapped = provider.wrap(SecretKey.generate(), WRAP).wrapped
    changed = WrappedKey(wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    refused(lambda: provider.unwrap(changed, WRAP), "authentication_failed")


def test_another_key_of_the_account_does_not_open(provider: AwsKmsProvider, client: Any) -> None:
    """moto answers AccessDenied where the service answers IncorrectKey, which is among the faults above."""
    other = AwsKmsProvider(client.create_key()["KeyMetadata"]["Arn"])
    wrapped = other.wrap(SecretKey.generate(), WRAP)
    refused(lambda: provider.unwrap(wrapped, WRAP), "kms_denied")


def test_an_unknown_key(aws: AwsKms) -> None:
    refused(lambda: AwsKmsProvider(UNKNOWN_ARN).wrap(SecretKey.generate(), WRAP), "key_not_found", "ARN")


def test_an_answer_by_another_key_is_refused(provider: AwsKmsProvider, aws: AwsKms) -> None:
    wrapped = provider.wrap(SecretKey.generate(), WRAP)
    aws.fault = lambda answer: {**answer, "KeyId": UNKNOWN_ARN}
    refused(lambda: provider.unwrap(wrapped, WRAP), "authentication_failed", "another key")
    refused(lambda: provider.wrap(SecretKey.generate(), WRAP), "authentication_failed", "another key")


def test_an_answer_that_is_no_key(keyring: Keyring, aws: AwsKms, url: str) -> None:
    aws.fault = lambda answer: {**answer, "Plaintext": base64.b64encode(b"short").decode()}
    refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "authentication_failed", "no key")
    aws.fault = lambda answer: {**answer, "Plaintext": base64.b64encode(bytes(32)).decode()}
    refused(lambda: keyring.seal(PLAINTEXT, CONTEXT), "authentication_failed", "nothing was stored")
    assert query(url, "SELECT count(*) FROM sealpoint_deks") == [(0,)]


def test_a_client_of_ones_own_keeps_its_own_retries(arn: str, client: Any, aws: AwsKms) -> None:
    provider = AwsKmsProvider(arn, client=client)
    secret = SecretKey.generate()
    assert secrets_equal(provider.unwrap(provider.wrap(secret, WRAP), WRAP), secret)
    aws.reset()
    aws.fault = (400, "ThrottlingException")
    refused(lambda: provider.wrap(secret, WRAP), "kms_throttled")
    assert aws.calls == {"Encrypt": 1}


def test_nothing_secret_is_logged(arn: str, caplog: pytest.LogCaptureFixture) -> None:
    """boto3 logs requests and answers, plaintext included, at DEBUG; other calls of its stay in the log."""
    caplog.set_level(logging.DEBUG, "")
    provider = AwsKmsProvider(arn)
    secret = SecretKey.generate()
    wrapped = provider.wrap(secret, WRAP)
    provider.unwrap(wrapped, WRAP)
    plaintext = bytes(secret.expose())
    for form in (base64.b64encode(plaintext).decode(), plaintext.hex(), repr(plaintext), repr(bytearray(plaintext)), TENANT):
        assert form not in caplog.text
    boto3.client("kms", region_name=REGION).list_keys()
    assert "Response body" in caplog.text


def test_nothing_secret_is_shown(provider: AwsKmsProvider, arn: str) -> None:
    assert repr(provider) == f"AwsKmsProvider({arn!r})"


def test_a_thousand_threads_need_one_call(keyring: Keyring, aws: AwsKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    aws.reset()
    results = in_threads(1000, lambda n: keyring.open(sealed, CONTEXT) if n % 2 else keyring.seal(PLAINTEXT, CONTEXT))
    assert results[1::2] == [PLAINTEXT] * 500
    assert all(is_sealed(result) for result in results[::2])
    assert aws.calls == {"Decrypt": 1}


def test_a_thousand_tasks_need_one_call(keyring: Keyring, aws: AwsKms) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    keyring._cache.clear()
    aws.reset()

    async def main() -> list[bytes]:
        return await asyncio.gather(*(keyring.aopen(sealed, CONTEXT) for _ in range(1000)))

    assert asyncio.run(main()) == [PLAINTEXT] * 1000
    assert aws.calls == {"Decrypt": 1}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_connects_anew(keyring: Keyring, provider: AwsKmsProvider) -> None:
    sealed = keyring.seal(PLAINTEXT, CONTEXT)
    inherited = provider._client.get()

    def child() -> bool:
        opened = keyring.open(sealed, CONTEXT) == keyring.open(keyring.seal(PLAINTEXT, OTHER_CONTEXT), OTHER_CONTEXT) == PLAINTEXT
        return opened and provider._client.get() is not inherited

    assert in_child(child)
    keyring._cache.clear()
    assert (keyring.open(sealed, CONTEXT), provider._client.get() is inherited) == (PLAINTEXT, True)


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "//",
        "//alias/mine",
        "arn:aws:kms:eu-central-1:123456789012:key/1",
        "//arn:aws:kms:eu-central-1:123456789012:key/1?region=x",
        "//arn:aws:kms:eu-central-1:123456789012:key/1#x",
        "//arn:aws:s3:eu-central-1:123456789012:key/1",
        "//arn:aws:kms::123456789012:key/1",
        "//arn:aws:kms:eu-central-1:123456789012:key/",
        "//arn:aws:kms:eu-central-1:123456789012:key/1\n",
        "//arn:aws:kms:evil.example/:123456789012:key/1",
    ],
)
def test_no_arn(rest: str) -> None:
    refused(lambda: provider_from_uri(f"aws-kms:{rest}"), "invalid_argument", "aws-kms:")


@pytest.mark.parametrize("deadline", [0, -1, 121, float("nan"), True, "3", None])
def test_no_deadline(deadline: Any) -> None:
    refused(lambda: AwsKmsProvider(UNKNOWN_ARN, deadline=deadline), "invalid_argument", "deadline")


def test_without_boto3() -> None:
    code = "import sys; sys.modules['boto3'] = None\nfrom sealpoint.kms import provider_from_uri\n" + (
        f"try: provider_from_uri('aws-kms://{UNKNOWN_ARN}')\nexcept Exception as error: print(type(error).__name__, error.code, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingDependencyError missing_dependency")
    assert "pip install 'sealpoint[aws]'" in run.stdout


def test_errors_hold_no_original(provider: AwsKmsProvider, aws: AwsKms) -> None:
    aws.fault = (400, "AccessDeniedException")
    with pytest.raises(SealpointError) as caught:
        provider.wrap(SecretKey.generate(), WRAP)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
