"""SPEC section 9: the error codes, which are the contract in every language."""

CODES = (
    "malformed",
    "unsupported_version",
    "unsupported_suite",
    "unsupported_encoding",
    "plaintext_refused",
    "invalid_context",
    "tenant_required",
    "key_not_found",
    "key_disabled",
    "key_destroyed",
    "authentication_failed",
    "limit_exceeded",
    "kms_denied",
    "kms_throttled",
    "kms_unavailable",
    "store_unavailable",
    "store_invalid",
    "missing_dependency",
    "confirmation_required",
    "invalid_argument",
    "internal",
)


class SealpointError(Exception):
    """A refusal, with the code of SPEC section 9 and a note for whoever debugs the reference."""

    def __init__(self, code: str, note: str = "") -> None:
        if code not in CODES:
            raise ValueError(f"no such error code: {code}")
        super().__init__(f"{code}: {note}" if note else code)
        self.code = code
