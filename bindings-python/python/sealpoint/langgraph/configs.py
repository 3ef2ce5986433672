"""LangGraph configs on their way in."""

from langchain_core.runnables import RunnableConfig

from sealpoint.langgraph.sealer import Asked
from sealpoint.tenants import OwnedThread

_KEPT = ("thread_id", "checkpoint_ns", "checkpoint_id")


def stripped(config: RunnableConfig) -> RunnableConfig:
    """What the inner saver may see: with the whole config it would store the user's keys in the clear itself."""
    if not (conf := config.get("configurable")):
        return {}
    kept = {key: conf[key] for key in _KEPT if key in conf}
    if isinstance(thread := kept.get("thread_id"), OwnedThread):
        kept["thread_id"] = str.__str__(thread)  # without the tenant that it carries
    return {"configurable": kept}


def asked_of(config: RunnableConfig | None, *, ns: str | None = None) -> Asked:
    """What a row must be to answer this config. `ns` is what an absent namespace means: the root for one row, any for a list."""
    conf = (config or {}).get("configurable") or {}
    thread, asked_ns, checkpoint = conf.get("thread_id"), conf.get("checkpoint_ns"), conf.get("checkpoint_id")
    return Asked(None if thread is None else str(thread), ns if asked_ns is None else asked_ns, str(checkpoint) if checkpoint else None)
