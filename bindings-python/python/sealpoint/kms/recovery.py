"""Recovery keys: a KEK whose secret half is kept offline (SPEC section 6.4).

With the public half among the KEKs of `kek=`, each new DEK is also wrapped for the recovery key. Should every other KEK be lost, a keyring
with `OfflineRecoveryProvider` and a new KEK opens everything that was sealed, and seals nothing under the DEKs that came so;
`Keyring.recover` (`sealpoint recover`) puts them under the new KEK, and gives each tenant a new DEK to seal under.
`sealpoint keygen --recovery` makes a pair.
"""

from __future__ import annotations

from typing import Self, final

from .._native import Context, RecoveryKey, RecoveryPublicKey, SecretKey
from ..errors import InvalidArgumentError, KmsError, SealpointError, error_for
from . import ProviderCapabilities, WrappedKey

__all__ = ["OfflineRecoveryProvider", "RecoveryProvider"]

WRAP_ALG = "sealpoint-recovery-v1"
_MAX_FILE_LEN = 16_384


@final
class RecoveryProvider:
    """The public half: it wraps, and opens nothing. Its URI is `recovery:` and the recovery_id in hex, wherever the text came from."""

    capabilities = ProviderCapabilities(binds_context=True, authenticates=False, can_unwrap=False)

    def __init__(self, public: str) -> None:
        """public: `sealpoint-recovery-public:v1:…`; white space around it is ignored. Raises: `invalid_argument`."""
        try:
            self._key = RecoveryPublicKey.from_text(public.strip())
        except SealpointError as error:
            raise InvalidArgumentError("invalid_argument", f"not the public half of a recovery key: {error}") from None
        self.uri = f"recovery:{self._key.recovery_id.hex()}"

    @classmethod
    def from_file(cls, path: str) -> Self:
        """The public half in a file. Raises: `invalid_argument` (no such file, or another content)."""
        try:
            with open(path, encoding="ascii") as file:
                return cls(file.read(_MAX_FILE_LEN))
        except UnicodeDecodeError:
            raise InvalidArgumentError("invalid_argument", f"the file {path!r} holds no public half of a recovery key") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise InvalidArgumentError(
                "invalid_argument",
                f"recovery: is followed by the path of a file that `sealpoint keygen --recovery` wrote; {path!r} cannot be read ({reason})",
            ) from None

    def __repr__(self) -> str:
        return f"RecoveryProvider({self.uri!r})"

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """A recovery wrap of SPEC section 6.4."""
        return WrappedKey(self._key.wrap(secret, context), WRAP_ALG)

    def unwrap(self, _wrapped: WrappedKey, _context: Context, /) -> SecretKey:
        """Always `kms_denied`: the secret half is elsewhere."""
        raise KmsError(
            "kms_denied", "the recovery key's secret half is kept offline: OfflineRecoveryProvider opens what was wrapped for it"
        )


@final
class OfflineRecoveryProvider:
    """Both halves, for as long as something is recovered."""

    capabilities = ProviderCapabilities(binds_context=True, authenticates=False)

    def __init__(self, secret: str) -> None:
        """secret: `sealpoint-recovery-secret:v1:…`; white space around it is ignored. Raises: `invalid_argument`."""
        failure = None
        try:
            self._key = RecoveryKey.from_text(secret.strip())
        except SealpointError as error:
            failure = error_for("invalid_argument", f"not the secret half of a recovery key: {error}")
        if failure is not None:
            raise failure
        self.uri = f"recovery:{self._key.public.recovery_id.hex()}"

    def __repr__(self) -> str:
        return f"OfflineRecoveryProvider({self.uri!r})"

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """See `RecoveryProvider.wrap`."""
        return WrappedKey(self._key.public.wrap(secret, context), WRAP_ALG)

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        """Raises what `RecoveryKey.unwrap` raises."""
        return self._key.unwrap(wrapped.wrapped, context)
