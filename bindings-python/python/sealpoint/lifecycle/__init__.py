"""The life of keys: rotate (a new DEK becomes active), rewrap (the same DEKs under another KEK), recover (with all KEKs but the recovery
key lost), destroy, shred (a tenant), status.

The verbs are methods of `Keyring`; what they return is in `reports`. Each job goes through the key store in pages, keeps its progress in
the key store's own rows, and so may be killed at any point and run again. A row that is not as sealpoint writes it, or does not open, is
reported and left alone.
"""

from .reports import (
    DekStatus,
    DropReport,
    Failure,
    PurposeStatus,
    RecoveryReport,
    ReplayReport,
    RewrapReport,
    Rotation,
    RotationReport,
    ShredReport,
    TenantStatus,
    Tombstone,
)

__all__ = [
    "DekStatus",
    "DropReport",
    "Failure",
    "PurposeStatus",
    "RecoveryReport",
    "ReplayReport",
    "RewrapReport",
    "Rotation",
    "RotationReport",
    "ShredReport",
    "TenantStatus",
    "Tombstone",
]
