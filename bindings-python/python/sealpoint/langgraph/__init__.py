"""LangGraph state, sealed: `SealedSaver` around any checkpoint saver, `SealedStore` around any store, `SealedCache` around any cache, or
`SealedSerializer` where only a serializer can be passed."""

from sealpoint.errors import MissingDependencyError

try:
    import langgraph.checkpoint.base  # noqa: F401
except ImportError as error:
    raise MissingDependencyError("missing_dependency", "LangGraph is not installed: pip install 'sealpoint[langgraph]'") from error

from sealpoint.langgraph.backfill import BackfillReport, backfill
from sealpoint.langgraph.cache import SealedCache
from sealpoint.langgraph.reader import PlainCheckpoint, PlainWrite, Unreadable, aread_checkpoint, read_checkpoint
from sealpoint.langgraph.saver import SealedSaver
from sealpoint.langgraph.serializer import SealedSerializer
from sealpoint.langgraph.store import SealedStore
from sealpoint.tenants import fixed, from_config, tenant_scope

__all__ = [
    "BackfillReport",
    "PlainCheckpoint",
    "PlainWrite",
    "SealedCache",
    "SealedSaver",
    "SealedSerializer",
    "SealedStore",
    "Unreadable",
    "aread_checkpoint",
    "backfill",
    "fixed",
    "from_config",
    "read_checkpoint",
    "tenant_scope",
]
