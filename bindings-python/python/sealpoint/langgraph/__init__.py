"""LangGraph state, sealed: `SealedSaver` around any checkpoint saver, or `SealedSerializer` where only a serializer can be passed."""

from sealpoint.langgraph.saver import SealedSaver
from sealpoint.langgraph.serializer import SealedSerializer
from sealpoint.tenants import fixed, from_config, tenant_scope

__all__ = ["SealedSaver", "SealedSerializer", "fixed", "from_config", "tenant_scope"]
