"""What can go wrong: one list of codes, the same in every language (SPEC section 9).

Match on `error.code`, or catch the class. No message holds key bytes, plaintext or context values, but
those of `SealedSaver` name the thread and the channel, which are in the clear.
"""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidContextError",
    "KeyNotFoundError",
    "KeyUnusableError",
    "KmsError",
    "LimitExceededError",
    "MalformedError",
    "MissingDependencyError",
    "PlaintextRefusedError",
    "SealpointError",
    "StoreError",
    "TenantRequiredError",
    "error_for",
]


class SealpointError(Exception):
    """The base of all errors. `code` is one of SPEC section 9; `str()` is the message alone."""

    code: str
    retryable: bool
    """Whether the same call can succeed later without anybody changing anything."""

    def __init__(self, code: str, message: str) -> None:
        if code not in ERRORS:
            raise ValueError("not a sealpoint error code; SPEC section 9 lists them")
        super().__init__(code, message)
        self.code = code
        self.retryable = ERRORS[code][1]

    def __str__(self) -> str:
        return str(self.args[1])


class MalformedError(SealpointError):
    """`malformed`, `unsupported_version`, `unsupported_suite`, `unsupported_encoding`: not an envelope that this release reads."""


class PlaintextRefusedError(SealpointError):
    """`plaintext_refused`: unsealed data where sealed data was expected."""


class InvalidContextError(SealpointError):
    """`invalid_context`: a context outside SPEC section 3."""


class TenantRequiredError(SealpointError):
    """`tenant_required`: no tenant was given, and none is ever assumed."""


class KeyNotFoundError(SealpointError):
    """`key_not_found`: the key is not in the key store, or no configured KEK opens it."""


class KeyUnusableError(SealpointError):
    """`key_disabled`, `key_destroyed`: the key is known and will not be used."""


class AuthenticationError(SealpointError):
    """`authentication_failed`: wrong key, wrong context, tampering or truncation, indistinguishably."""


class LimitExceededError(SealpointError):
    """`limit_exceeded`: a limit of SPEC section 1."""


class KmsError(SealpointError):
    """`kms_denied`, `kms_throttled` (retry), `kms_unavailable` (retry): what a key service answered."""


class StoreError(SealpointError):
    """`store_unavailable` (retry), `store_invalid`: the key store."""


class MissingDependencyError(SealpointError, ImportError):
    """`missing_dependency`: an optional package is needed. Also an `ImportError`, for those who try an import and go on without."""


class InvalidArgumentError(SealpointError):
    """`invalid_argument`, `confirmation_required`: a call that cannot work as it was made."""


class InternalError(SealpointError):
    """`internal`: a defect in sealpoint, or in a provider that was plugged in."""


ERRORS: dict[str, tuple[type[SealpointError], bool]] = {
    "malformed": (MalformedError, False),
    "unsupported_version": (MalformedError, False),
    "unsupported_suite": (MalformedError, False),
    "unsupported_encoding": (MalformedError, False),
    "plaintext_refused": (PlaintextRefusedError, False),
    "invalid_context": (InvalidContextError, False),
    "tenant_required": (TenantRequiredError, False),
    "key_not_found": (KeyNotFoundError, False),
    "key_disabled": (KeyUnusableError, False),
    "key_destroyed": (KeyUnusableError, False),
    "authentication_failed": (AuthenticationError, False),
    "limit_exceeded": (LimitExceededError, False),
    "kms_denied": (KmsError, False),
    "kms_throttled": (KmsError, True),
    "kms_unavailable": (KmsError, True),
    "store_unavailable": (StoreError, True),
    "store_invalid": (StoreError, False),
    "missing_dependency": (MissingDependencyError, False),
    "confirmation_required": (InvalidArgumentError, False),
    "invalid_argument": (InvalidArgumentError, False),
    "internal": (InternalError, False),
}
"""Each code with its class and whether a retry can help; a test proves it equal to the core's own list."""


def error_for(code: str, message: str) -> SealpointError:
    """The exception for a code: how the core raises. A code that is not in the list becomes `internal`."""
    if code not in ERRORS:
        return InternalError("internal", f"the core answered with a code that this package does not know: {message}")
    return ERRORS[code][0](code, message)
