"""Key services: what holds a KEK and wraps DEKs with it.

A provider is any object with the four members of `KeyManagementProvider`; `sealpoint.kms.local` is the shortest example.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from .._native import Context, LocalKek, SecretKey
from ..errors import InvalidArgumentError, MissingDependencyError, SealpointError

__all__ = ["KeyManagementProvider", "ProviderCapabilities", "WrappedKey", "provider_from_uri", "scheme_of"]


@dataclass(frozen=True)
class ProviderCapabilities:
    """What a key service guarantees."""

    binds_context: bool
    """The service itself refuses to unwrap under another context (AWS, GCP, Vault, local; not RSA or AES-KW)."""
    authenticates: bool
    """Only who holds the KEK can make a wrap. RSA and HPKE wraps can be minted by anyone: they open data, but no new data is
    sealed under a DEK that came through them."""
    can_describe: bool = False
    """The service can tell a key's state without using the key."""
    can_unwrap: bool = True
    """False: it only wraps, since the key that opens is elsewhere (a recovery key's secret half). It has no canary, and its wraps are
    stored unverified."""


@dataclass(frozen=True)
class WrappedKey:
    """A DEK (or canary) under a KEK, as it lies in the key store."""

    wrapped: bytes = field(repr=False)
    wrap_alg: str = ""
    """The provider's own name for how it wrapped."""
    kek_version: str = ""
    """The provider's own name for the KEK's version. Empty for canaries that are read back: the store keeps their bytes only."""


@runtime_checkable
class KeyManagementProvider(Protocol):
    """One KEK. Calls come from several threads at once, and never from an event loop's thread.

    Errors: raise `SealpointError` with `kms_denied`, `kms_throttled`, `kms_unavailable`, `key_not_found`, `key_disabled`,
    `key_destroyed` or `authentication_failed`. An `OSError` (connection, timeout) counts as `kms_unavailable`, anything else as
    `internal`. The async twins of the keyring call these methods in a thread: a provider needs no twins of its own.
    """

    @property
    def uri(self) -> str:
        """The KEK's name in configuration and key table: `scheme:…`. Not secret, never changes its meaning."""

    @property
    def capabilities(self) -> ProviderCapabilities: ...

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """Wraps 32 bytes bound to the context: `context.pairs()` or `context.canonical`, whichever the service takes."""

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        """The same 32 bytes; `SecretKey.from_bytes(bytearray)` wipes what the client library returned."""


_PUBLIC_HALF = "sealpoint-recovery-public:"
_OWN_OPTIONS = ("pkcs11",)
_LATER_SCHEMES = ("azure-kv", "hcvault")


def provider_from_uri(uri: str) -> KeyManagementProvider:
    """The provider that a KEK's URI names: `env:NAME`, `file:PATH`, `aws-kms://ARN`, `gcp-kms://projects/…/cryptoKeys/NAME`,
    `pkcs11:…` (RFC 7512), or `recovery:PATH`, the file with a recovery key's public half; or that half itself. Only `pkcs11:` takes
    options.

    Raises: `missing_dependency` (its extra is not installed, or a scheme of a later release), `invalid_argument` (anything else, and
    what the provider itself says).
    """
    if uri.startswith(_PUBLIC_HALF):
        return _recovery(uri)
    scheme, colon, rest = uri.partition(":")
    if _is_key(uri) or (_is_key(rest) and not rest.startswith("/")):
        raise InvalidArgumentError("invalid_argument", "kek= was given a KEK itself; it takes the KEK's place: env:NAME or file:PATH")
    if scheme in _LATER_SCHEMES:
        raise MissingDependencyError(
            "missing_dependency", f"{scheme}: is not in this release, which knows {_known()}; or pass a provider object"
        )
    if not colon or scheme not in _PROVIDERS:
        raise InvalidArgumentError("invalid_argument", f"not the URI of a KEK; this release knows {_known()}")
    if scheme not in _OWN_OPTIONS and ("?" in rest or "#" in rest):
        raise InvalidArgumentError("invalid_argument", f"{scheme}: takes no options: remove what follows '?' or '#'")
    return _PROVIDERS[scheme](rest)


def _env(name: str) -> KeyManagementProvider:
    from .local import EnvProvider

    return EnvProvider(name)


def _file(path: str) -> KeyManagementProvider:
    from .local import FileProvider

    return FileProvider(path)


def _aws(rest: str) -> KeyManagementProvider:
    from .aws import AwsKmsProvider

    return AwsKmsProvider(_after_slashes(rest))


def _after_slashes(rest: str) -> str:
    """One URI for one KEK: without the slashes it names nothing."""
    return rest[2:] if rest.startswith("//") else ""


def _gcp(rest: str) -> KeyManagementProvider:
    from .gcp import GcpKmsProvider

    return GcpKmsProvider(_after_slashes(rest))


def _pkcs11(rest: str) -> KeyManagementProvider:
    from .pkcs11 import Pkcs11Provider

    return Pkcs11Provider(f"pkcs11:{rest}")


def _recovery(public: str) -> KeyManagementProvider:
    from .recovery import RecoveryProvider

    return RecoveryProvider(public)


def _recovery_file(path: str) -> KeyManagementProvider:
    from .recovery import RecoveryProvider

    return RecoveryProvider.from_file(path)


_PROVIDERS: dict[str, Callable[[str], KeyManagementProvider]] = {
    "env": _env,
    "file": _file,
    "aws-kms": _aws,
    "gcp-kms": _gcp,
    "pkcs11": _pkcs11,
    "recovery": _recovery_file,
}


def scheme_of(uri: str) -> str:
    """The part of a KEK's URI that messages and health reports show."""
    return uri.partition(":")[0]


def is_uri(uri: object) -> bool:
    """Whether a provider's name can serve as one."""
    return isinstance(uri, str) and re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\x00-\x1f]{1,1000}", uri) is not None


def _known() -> str:
    return ", ".join(f"{scheme}:" for scheme in _PROVIDERS)


def _is_key(text: str) -> bool:
    try:
        LocalKek.parse(text)
    except SealpointError:
        return False
    return True
