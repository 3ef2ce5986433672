"""AWS KMS: `aws-kms://ARN`, by boto3 (`pip install 'sealpoint[aws]'`).

The ARN is that of a symmetric key, or of an alias that keeps leading to the same key. Credentials, proxies and endpoints
(`AWS_ENDPOINT_URL_KMS`) are found as boto3 finds them; the region is the ARN's. The identity needs `kms:Encrypt` and `kms:Decrypt`.
"""

from __future__ import annotations

import re
from typing import Any

try:
    import boto3  # type: ignore[import-untyped]
    import botocore.exceptions as raised  # type: ignore[import-untyped]
    import botocore.session  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
except ImportError as error:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("missing_dependency", "aws-kms: needs boto3: pip install 'sealpoint[aws]'") from error

from .._fork import PerProcess
from .._native import Context, SecretKey
from ..errors import AuthenticationError, InvalidArgumentError, SealpointError, error_for
from . import ProviderCapabilities, WrappedKey
from ._calls import DEADLINE_S, Budget, exposed, never_log, secret_from

__all__ = ["AwsKmsProvider"]

WRAP_ALG = "SYMMETRIC_DEFAULT"
_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]{1,64}):[0-9]{12}:(key/[A-Za-z0-9-]{1,256}|alias/[A-Za-z0-9/_-]{1,256})")
_SERVICE = "AWS KMS"

never_log("botocore.endpoint", "botocore.parsers")


class AwsKmsProvider:
    """One key of AWS KMS. The service binds the context's pairs, and only this key opens what it wrapped."""

    capabilities = ProviderCapabilities(binds_context=True, authenticates=True)

    def __init__(self, arn: str, *, client: Any = None, deadline: float = DEADLINE_S) -> None:
        """arn: `arn:aws:kms:REGION:ACCOUNT:key/ID` or `…:alias/NAME`.
        client: a boto3 client for KMS of your own. Its timeouts and retries hold instead of `deadline`, also after a fork.
        deadline: seconds that a call may take, retries included.

        Raises: `invalid_argument`.
        """
        match = _ARN.fullmatch(arn) if isinstance(arn, str) else None
        if match is None:
            raise InvalidArgumentError(
                "invalid_argument",
                "aws-kms:// is followed by the ARN of a key or alias, and takes no options: "
                "aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID; another endpoint is set by AWS_ENDPOINT_URL_KMS",
            )
        self.uri = f"aws-kms://{arn}"
        self._arn = arn
        self._is_alias = match[2].startswith("alias/")
        self._budget = Budget(deadline, _SERVICE, attempts=1) if client is not None else Budget(deadline, _SERVICE)
        region = match[1]
        self._client = PerProcess[Any](lambda: client if client is not None else _connect(region, self._budget.attempt))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._arn!r})"

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """By `Encrypt`. The version is the ARN of the key, also where an alias led to it."""
        with exposed(secret) as plaintext:
            answer = self._call("encrypt", Plaintext=plaintext, EncryptionContext=context.pairs())
        return WrappedKey(answer["CiphertextBlob"], WRAP_ALG, answer["KeyId"])

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        """By `Decrypt`, under this key alone: what the ciphertext or the row names is not followed."""
        answer = self._call("decrypt", CiphertextBlob=wrapped.wrapped, EncryptionContext=context.pairs())
        return secret_from(answer["Plaintext"], _SERVICE)

    def _call(self, operation: str, **parameters: Any) -> Any:
        parameters |= {"KeyId": self._arn, "EncryptionAlgorithm": WRAP_ALG}

        def call() -> Any:
            answer = getattr(self._client.get(), operation)(**parameters)
            if "KeyId" not in answer:  # botocore takes what is no JSON for an empty answer
                raise ResponseParserError
            return answer

        answer = self._budget.run(call, _translate)
        if not self._is_alias and answer["KeyId"] != self._arn:
            raise AuthenticationError("authentication_failed", "AWS KMS used another key than the one it was asked to use")
        return answer


def _connect(region: str, attempt: float) -> Any:
    """A client that does not retry, since the budget does; these limits hold for fetching credentials from STS as well."""
    session = botocore.session.get_session()
    limits = Config(connect_timeout=attempt / 3, read_timeout=attempt * 2 / 3, retries={"total_max_attempts": 1, "mode": "standard"})
    session.set_default_client_config(limits)
    return boto3.Session(botocore_session=session).client("kms", region_name=region)


_DENIED = "AWS KMS refuses this identity: it needs kms:Encrypt and kms:Decrypt on the key, from its policies, the key's policy or a grant"
_CREDENTIALS = "AWS does not accept the credentials: they are expired or unknown; renew them"
_CLOCK = "AWS does not accept the request's signature: set this machine's clock, or check the secret access key"
_NONE = "boto3 finds no AWS credentials: configure a role, a profile or AWS_ACCESS_KEY_ID"
_SLOWER = "AWS KMS has had too many requests"
_AWAY = "AWS KMS cannot be reached, or failed"
_DISABLED = "the AWS KMS key is disabled, pending deletion, or otherwise not usable: enable it or cancel its deletion"
_UNKNOWN = "AWS KMS does not know this key or alias: check the ARN; a deleted key is gone for good"
_WRONG = "AWS KMS does not open this under this key: wrong key, wrong context, or changed bytes"
_KIND = "the AWS KMS key cannot do this: it takes a symmetric key for ENCRYPT_DECRYPT"

_ANSWERS: dict[tuple[str, str], tuple[str, ...]] = {
    ("kms_denied", _DENIED): ("AccessDeniedException", "AccessDenied", "NotAuthorized", "OptInRequired", "DryRunOperationException"),
    ("kms_denied", _CREDENTIALS): (
        "ExpiredTokenException",
        "ExpiredToken",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
    ),
    ("kms_denied", _CLOCK): (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
    ),
    ("kms_throttled", _SLOWER): (
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "LimitExceededException",
    ),
    ("kms_unavailable", _AWAY): ("KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "RequestTimeout"),
    ("key_disabled", _DISABLED): ("DisabledException", "KMSInvalidStateException"),
    ("key_not_found", _UNKNOWN): ("NotFoundException",),
    ("authentication_failed", _WRONG): ("InvalidCiphertextException", "IncorrectKeyException"),
    ("invalid_argument", _KIND): (
        "InvalidKeyUsageException",
        "ValidationException",
        "InvalidArnException",
        "UnsupportedOperationException",
    ),
}
_UNREACHED = (
    raised.HTTPClientError,
    raised.ConnectionError,
    raised.CredentialRetrievalError,
    raised.MetadataRetrievalError,
    ResponseParserError,
    OSError,
)
_BY_NAME = {name: answer for answer, names in _ANSWERS.items() for name in names}


def _translate(error: Exception) -> SealpointError | None:
    """The service's own text is not passed on: it names identities and keys."""
    if isinstance(error, raised.ClientError):
        name = str(error.response.get("Error", {}).get("Code"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if name in _BY_NAME:
            code, remedy = _BY_NAME[name]
            return error_for(code, f"{remedy} ({name})")
        if status == 429:
            return error_for("kms_throttled", _SLOWER)
        if isinstance(status, int) and status >= 500:
            return error_for("kms_unavailable", f"{_AWAY} (HTTP status {status})")
        return error_for("kms_denied", f"{_DENIED} (HTTP status {status})") if status in (401, 403) else None
    if isinstance(error, (raised.NoCredentialsError, raised.PartialCredentialsError, raised.ProfileNotFound)):
        return error_for("kms_denied", _NONE)
    if isinstance(error, (raised.SSOError, raised.TokenRetrievalError)):
        return error_for("kms_denied", _CREDENTIALS)
    if isinstance(error, _UNREACHED):
        return error_for("kms_unavailable", f"{_AWAY} ({type(error).__name__})")
    return None
