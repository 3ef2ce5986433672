"""The KEKs that the configuration names, in its order: wrapping by each, opening by the first that can, and their canaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from ._native import Context, SecretKey, canary_context, canary_secret, open_only_context, secrets_equal
from .errors import (
    AuthenticationError,
    InternalError,
    InvalidArgumentError,
    KeyNotFoundError,
    KeyUnusableError,
    KmsError,
    SealpointError,
    StoreError,
)
from .kms import KeyManagementProvider, WrappedKey, is_uri, provider_from_uri, scheme_of
from .stores import WrapRecord, now

KekConfig: TypeAlias = str | KeyManagementProvider | Sequence[str | KeyManagementProvider]

_Argument = TypeVar("_Argument", SecretKey, WrappedKey)
_Result = TypeVar("_Result", SecretKey, WrappedKey)
_OPEN_ONLY = "+open-only"
_UNREADABLE = {"malformed", "plaintext_refused", "unsupported_version", "unsupported_suite", "unsupported_encoding"}


class Keks:
    """One provider or more. Only what is in here ever opens a wrap: a row's `kek_uri` is looked up, never followed (SPEC section 6.1)."""

    def __init__(self, kek: KekConfig) -> None:
        """Raises: `invalid_argument`, and what `provider_from_uri` raises."""
        listed = list(kek) if isinstance(kek, (list, tuple)) else [kek]
        self.providers = tuple(_provider(one) for one in listed)
        self._configured = {one: provider for one, provider in zip(listed, self.providers, strict=True) if isinstance(one, str)}
        uris = [provider.uri for provider in self.providers]
        if not uris:
            raise InvalidArgumentError("invalid_argument", "kek= names no KEK")
        if len(set(uris)) < len(uris):
            raise InvalidArgumentError("invalid_argument", "kek= names one KEK twice")
        if not any(provider.capabilities.authenticates for provider in self.providers):
            raise InvalidArgumentError(
                "invalid_argument",
                "kek= needs a KEK whose wraps authenticate: RSA and HPKE wraps, which anyone can mint, only add a way to open",
            )

    def named(self, uri: str) -> KeyManagementProvider:
        """By its name in the key table, or as the configuration spells it: a module's or a file's path is no part of the name.

        Raises: `invalid_argument` (the configuration names no such KEK).
        """
        for provider in self.providers:
            if provider.uri == uri:
                return provider
        if uri in self._configured:
            return self._configured[uri]
        raise InvalidArgumentError("invalid_argument", "this keyring has no KEK of that URI: name it in kek=, beside the others")

    def wrap(self, secret: SecretKey, context: Context) -> tuple[WrapRecord, ...]:
        """The DEK under each KEK, each wrap opened again and compared where its KEK opens.

        Raises: what a provider answers, `authentication_failed`.
        """
        return tuple(self.wrap_under(provider, secret, context) for provider in self.providers)

    def unwrap(self, wraps: Iterable[WrapRecord], context: Context, *, authenticated: bool = False) -> tuple[SecretKey, bool]:
        """The DEK by the first KEK, in configured order, that has a wrap and answers; and whether that wrap authenticates.

        A KEK that cannot be reached, refuses, is disabled, destroyed or not there leads on to the next one, so that the loss of one loses
        nothing; anything else ends it. If none answers, an error that a retry can cure comes before one that it cannot. With
        `authenticated`, wraps that anyone could have minted are passed over, and so are open-only ones (SPEC section 6.1, step 5).
        """
        stored = {wrap.kek_uri: wrap for wrap in wraps}
        failures: list[SealpointError] = []
        opens_only = False
        for provider in self.providers:
            wrap = stored.get(provider.uri)
            if wrap is None or not provider.capabilities.can_unwrap:
                continue
            authentic = provider.capabilities.authenticates and not is_open_only(wrap)
            if authenticated and not authentic:
                opens_only = True
                continue
            try:
                secret = _opened(provider, wrap, context)
            except (KmsError, KeyUnusableError, KeyNotFoundError) as error:
                failures.append(error)
                continue
            if secrets_equal(secret, canary_secret(provider.uri)):  # a KEK that does not bind the context opens it, and everybody knows it
                raise AuthenticationError(
                    "authentication_failed", "a KEK's canary lies where a wrapped key should: the key store was changed"
                )
            return secret, authentic
        if failures:
            raise next((error for error in failures if error.retryable), failures[0])
        if opens_only:
            raise KeyNotFoundError(
                "key_not_found",
                "this key came back by a recovery key, so anyone could have chosen it: it opens what it sealed, and nothing is sealed "
                "under it; `sealpoint rotate` makes its tenant a new one, as `sealpoint recover` does for all",
            )
        raise KeyNotFoundError("key_not_found", "no KEK of this configuration opens this key: add to kek= the KEK that it was wrapped by")

    @property
    def with_canary(self) -> tuple[KeyManagementProvider, ...]:
        """All but recovery keys (SPEC section 6.4) and what else only wraps."""
        return tuple(provider for provider in self.providers if provider.capabilities.can_unwrap and not is_recovery(provider))

    @property
    def recovers(self) -> bool:
        """Whether the secret half of a recovery key is here: it proves itself by what it opens, in whatever key store."""
        return any(is_recovery(provider) and provider.capabilities.can_unwrap for provider in self.providers)

    def make_canary(self, provider: KeyManagementProvider) -> bytes:
        """SPEC section 6.2."""
        return self.wrap_under(provider, canary_secret(provider.uri), canary_context(provider.uri)).wrapped

    def check_canary(self, provider: KeyManagementProvider, wrapped: bytes) -> None:
        """SPEC section 6.2. Raises: `authentication_failed` (another KEK), `store_invalid`, and what the provider answers."""
        if type(wrapped) is not bytes:
            raise StoreError("store_invalid", "a canary of the key store is not as sealpoint writes it")
        try:
            genuine = secrets_equal(_unwrap(provider, WrappedKey(wrapped), canary_context(provider.uri)), canary_secret(provider.uri))
        except (AuthenticationError, KeyNotFoundError):
            genuine = False
        if not genuine:
            raise AuthenticationError(
                "authentication_failed",
                f"the KEK at {provider.uri} is not the one that this key store was set up with: configure that one",
            )

    def wrap_under(self, provider: KeyManagementProvider, secret: SecretKey, context: Context, *, open_only: bool = False) -> WrapRecord:
        """The key under one KEK, opened again and compared where that KEK opens. open_only: SPEC section 6.5.

        Raises: what the provider answers, `authentication_failed`, `invalid_argument` (open_only, and the KEK cannot hold to that).
        """
        if open_only and not can_hold_open_only(provider):
            raise InvalidArgumentError(
                "invalid_argument",
                f"a key that came back by a recovery key can be wrapped again only under a KEK that authenticates and binds the context; "
                f"the {scheme_of(provider.uri)} KEK does not do both",
            )
        wrapped = _call(provider, provider.wrap, secret, open_only_context(context) if open_only else context, WrappedKey)
        wrap_alg = wrapped.wrap_alg + _OPEN_ONLY if open_only else wrapped.wrap_alg
        made = WrapRecord(provider.uri, wrapped.kek_version, wrap_alg, wrapped.wrapped, now(), None)
        if not provider.capabilities.can_unwrap:
            return made
        if not secrets_equal(_opened(provider, made, context), secret):
            raise AuthenticationError(
                "authentication_failed",
                f"the {scheme_of(provider.uri)} KEK unwraps to another key than it wrapped; nothing was stored",
            )
        created = now()
        return replace(made, created_at=created, verified_at=created)


def is_open_only(wrap: WrapRecord) -> bool:
    """SPEC section 6.5."""
    return wrap.wrap_alg.endswith(_OPEN_ONLY)


def can_hold_open_only(provider: KeyManagementProvider) -> bool:
    """Whether nobody who writes the key store can make an ordinary wrap out of an open-only one under this KEK."""
    capabilities = provider.capabilities
    return capabilities.authenticates and capabilities.binds_context and capabilities.can_unwrap


def _provider(kek: object) -> KeyManagementProvider:
    if isinstance(kek, str):
        return provider_from_uri(kek)
    if not isinstance(kek, KeyManagementProvider) or isinstance(kek, type):
        raise InvalidArgumentError(
            "invalid_argument",
            "kek= takes a URI such as env:SEALPOINT_KEK, a KeyManagementProvider, or a list of these",
        )
    if not is_uri(kek.uri):
        raise InvalidArgumentError("invalid_argument", "a provider's uri is a string such as my-kms:key-1")
    return kek


def is_recovery(provider: KeyManagementProvider) -> bool:
    """SPEC section 6.4."""
    return scheme_of(provider.uri) == "recovery"


def _opened(provider: KeyManagementProvider, wrap: WrapRecord, context: Context) -> SecretKey:
    """A DEK's wrap, bound to what its `wrap_alg` says it is bound to."""
    if is_open_only(wrap):
        context = open_only_context(context)
    return _unwrap(provider, WrappedKey(wrap.wrapped, wrap.wrap_alg.removesuffix(_OPEN_ONLY), wrap.kek_version), context)


def _unwrap(provider: KeyManagementProvider, wrapped: WrappedKey, context: Context) -> SecretKey:
    try:
        return _call(provider, provider.unwrap, wrapped, context, SecretKey)
    except SealpointError as error:
        if error.code not in _UNREADABLE:
            raise
        raise StoreError("store_invalid", f"a key wrapped by the {scheme_of(provider.uri)} KEK is not as it was written: {error}") from None


def _call(
    provider: KeyManagementProvider,
    method: Callable[[_Argument, Context], object],
    argument: _Argument,
    context: Context,
    expected: type[_Result],
) -> _Result:
    """One call of a provider, which may be anybody's code."""
    scheme = scheme_of(provider.uri)
    try:
        result = method(argument, context)
    except SealpointError:
        raise
    except OSError as error:
        raise KmsError("kms_unavailable", f"the {scheme} key service cannot be reached ({type(error).__name__})") from error
    except Exception as error:
        raise InternalError("internal", f"the provider of the {scheme} KEK raised {type(error).__name__}") from error
    if not isinstance(result, expected):
        raise InternalError("internal", f"the provider of the {scheme} KEK returned no {expected.__name__}")
    return result
