"""Envelope encryption for LangGraph state: seal and open values bound to where they belong, under keys per tenant.

`sealpoint.langgraph` has the savers; this module imports no LangGraph.
"""

from ._native import Context, DataKey, SecretKey, __version__, is_sealed
from .errors import (
    AuthenticationError,
    InternalError,
    InvalidArgumentError,
    InvalidContextError,
    KeyNotFoundError,
    KeyUnusableError,
    KmsError,
    LimitExceededError,
    MalformedError,
    MissingDependencyError,
    PlaintextRefusedError,
    SealpointError,
    StoreError,
    TenantRequiredError,
)
from .keyring import AffectedTenant, Health, KekHealth, Keyring
from .kms import KeyManagementProvider, ProviderCapabilities, WrappedKey
from .migration import Migration
from .stores import KeyStore
from .tenants import TenantSource, fixed, from_config, tenant_scope

__all__ = [
    "AffectedTenant",
    "AuthenticationError",
    "Context",
    "DataKey",
    "Health",
    "InternalError",
    "InvalidArgumentError",
    "InvalidContextError",
    "KekHealth",
    "KeyManagementProvider",
    "KeyNotFoundError",
    "KeyStore",
    "KeyUnusableError",
    "Keyring",
    "KmsError",
    "LimitExceededError",
    "MalformedError",
    "Migration",
    "MissingDependencyError",
    "PlaintextRefusedError",
    "ProviderCapabilities",
    "SealpointError",
    "SecretKey",
    "StoreError",
    "TenantRequiredError",
    "TenantSource",
    "WrappedKey",
    "__version__",
    "fixed",
    "from_config",
    "is_sealed",
    "tenant_scope",
]
