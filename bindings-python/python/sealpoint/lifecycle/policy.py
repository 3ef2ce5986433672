"""Which wraps a new DEK must have, for the whole fleet: kept in the key store's settings."""

from __future__ import annotations

from ..errors import InvalidArgumentError, StoreError
from ..stores import NOT_SET_UP, SCHEMA_VERSION, StoreSettings
from ._jobs import Keys


def require_wraps(keys: Keys, uris: tuple[object, ...]) -> None:
    """See `Keyring.require_wraps`."""
    if not all(isinstance(uri, str) for uri in uris):
        raise InvalidArgumentError("invalid_argument", "require_wraps takes the URIs of KEKs that kek= names")
    required = dict.fromkeys(keys.keks.named(uri).uri for uri in uris if isinstance(uri, str))
    version = _settings(keys).schema_version
    if version < SCHEMA_VERSION:
        raise StoreError("store_invalid", f"the key store has schema version {version}, which keeps no policy: run setup() once")
    keys.store.require_keks(tuple(required))


def required_wraps(keys: Keys) -> tuple[str, ...]:
    """See `Keyring.required_wraps`."""
    return _settings(keys).required_keks


def _settings(keys: Keys) -> StoreSettings:
    settings = keys.store.settings()
    if settings is None:
        raise StoreError("store_invalid", NOT_SET_UP)
    return settings
