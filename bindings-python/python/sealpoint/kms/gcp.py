"""Google Cloud KMS: `gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K`, by google-cloud-kms (`pip install 'sealpoint[gcp]'`).

Credentials are found as Google's client finds them; the identity needs `cloudkms.cryptoKeyVersions.useToEncrypt` and
`…useToDecrypt` on the key (roles/cloudkms.cryptoKeyEncrypterDecrypter).
"""

from __future__ import annotations

import re
from typing import Any

try:
    import google_crc32c
    from google.api_core import exceptions as raised
    from google.auth import exceptions as auth
    from google.cloud import kms_v1
except ImportError as error:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("missing_dependency", "gcp-kms: needs google-cloud-kms: pip install 'sealpoint[gcp]'") from error

from .._fork import PerProcess
from .._native import Context, SecretKey
from ..errors import AuthenticationError, InvalidArgumentError, SealpointError, error_for
from . import ProviderCapabilities, WrappedKey
from ._calls import DEADLINE_S, Budget, exposed, never_log, secret_from

__all__ = ["GcpKmsProvider"]

WRAP_ALG = "GOOGLE_SYMMETRIC_ENCRYPTION"
_NAME = re.compile(r"projects/[a-z0-9.:-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}")
_SERVICE = "Google Cloud KMS"

never_log(*(f"google.cloud.kms_v1.services.key_management_service.transports.{kind}" for kind in ("grpc", "rest")))


class GcpKmsProvider:
    """One symmetric key of Google Cloud KMS. The service binds the context's canonical bytes; CRC32C is compared both ways."""

    capabilities = ProviderCapabilities(binds_context=True, authenticates=True)

    def __init__(self, name: str, *, client: Any = None, deadline: float = DEADLINE_S) -> None:
        """name: `projects/P/locations/L/keyRings/R/cryptoKeys/K`, without a version: the primary one wraps, each opens what it wrapped.
        client: a `KeyManagementServiceClient` of your own, for another endpoint or credentials. gRPC's do not survive a
        fork: make it, and this, in the child.
        deadline: seconds that a call may take, retries included. They are ours: the client's own wait for a minute.

        Raises: `invalid_argument`.
        """
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise InvalidArgumentError(
                "invalid_argument",
                "gcp-kms:// is followed by the name of a key, without a version or options: "
                "gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K",
            )
        self.uri = f"gcp-kms://{name}"
        self._name = name
        self._budget = Budget(deadline, _SERVICE)
        self._client = PerProcess[Any](lambda: kms_v1.KeyManagementServiceClient() if client is None else client)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """By `Encrypt`. The version is the number of the key version that did it."""

        def call() -> WrappedKey:
            with exposed(secret) as exposed_plaintext:
                plaintext = bytes(exposed_plaintext)
                answer = self._call("encrypt", context, plaintext=plaintext, plaintext_crc32c=google_crc32c.value(plaintext))
            _intact(answer.verified_plaintext_crc32c and answer.verified_additional_authenticated_data_crc32c)
            _intact(answer.ciphertext_crc32c == google_crc32c.value(answer.ciphertext))
            name, _, version = answer.name.partition("/cryptoKeyVersions/")
            if name != self._name:
                raise AuthenticationError("authentication_failed", "Google Cloud KMS used another key than the one it was asked to use")
            return WrappedKey(answer.ciphertext, WRAP_ALG, version)

        return self._budget.run(call, _translate)

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        """By `Decrypt`, under this key alone; the ciphertext names the version."""
        sealed = wrapped.wrapped

        def call() -> SecretKey:
            answer = self._call("decrypt", context, ciphertext=sealed, ciphertext_crc32c=google_crc32c.value(sealed))
            _intact(answer.plaintext_crc32c == google_crc32c.value(answer.plaintext))
            return secret_from(answer.plaintext, _SERVICE)

        return self._budget.run(call, _translate_opening)

    def _call(self, operation: str, context: Context, **fields: Any) -> Any:
        aad = context.canonical
        request = {
            "name": self._name,
            "additional_authenticated_data": aad,
            "additional_authenticated_data_crc32c": google_crc32c.value(aad),
            **fields,
        }
        return getattr(self._client.get(), operation)(request=request, retry=None, timeout=self._budget.attempt)


class _Corrupted(Exception):
    """What arrived is not what was sent."""


def _intact(holds: bool) -> None:
    if not holds:
        raise _Corrupted


_ANSWERS: dict[tuple[str, str], tuple[type[Exception], ...]] = {
    (
        "kms_denied",
        "Google Cloud KMS refuses this identity: it needs roles/cloudkms.cryptoKeyEncrypterDecrypter on the key, and the API enabled",
    ): (raised.Forbidden,),
    (
        "kms_denied",
        "Google finds or accepts no credentials: attach a service account, or gcloud auth application-default login",
    ): (
        raised.Unauthorized,
        auth.DefaultCredentialsError,
        auth.RefreshError,
    ),
    ("kms_throttled", "Google Cloud KMS has had too many requests: look at the project's quotas"): (raised.TooManyRequests,),
    ("key_not_found", "Google Cloud KMS does not know this key: check the name in gcp-kms://"): (raised.NotFound,),
    ("kms_unavailable", "Google Cloud KMS cannot be reached, or failed"): (
        raised.ServerError,
        raised.Aborted,
        raised.Cancelled,
        raised.RetryError,
        auth.TransportError,
        OSError,
    ),
    ("kms_unavailable", "what Google Cloud KMS was sent, or sent, was damaged on the way"): (_Corrupted,),
}


def _translate(error: Exception) -> SealpointError | None:
    """The service's own text is not passed on: it names projects and keys."""
    if isinstance(error, raised.FailedPrecondition):
        if "DESTROYED" in error.message:
            return error_for("key_destroyed", "the Google Cloud KMS key version was destroyed: what it wrapped is gone")
        return error_for("key_disabled", "the Google Cloud KMS key version is disabled or about to be destroyed: enable or restore it")
    for (code, message), kinds in _ANSWERS.items():
        if isinstance(error, kinds):
            return error_for(code, f"{message} ({type(error).__name__.removeprefix('_')})")
    if isinstance(error, raised.BadRequest):
        return error_for("invalid_argument", "the Google Cloud KMS key cannot do this: it takes a key of purpose ENCRYPT_DECRYPT")
    return None


def _translate_opening(error: Exception) -> SealpointError | None:
    if isinstance(error, raised.InvalidArgument):
        return error_for(
            "authentication_failed", "Google Cloud KMS does not open this under this key: wrong key, wrong context, or changed bytes"
        )
    return _translate(error)
