"""Where a sealed value belongs (SPEC sections 3.2 and 7.1)."""

from functools import lru_cache

from sealpoint._native import Context

TASKS = "__pregel_tasks"


class Position:
    """The contexts of one checkpoint namespace of one thread, to be extended with what differs from value to value."""

    __slots__ = ("channel", "delta", "field", "metadata", "ns", "tasks", "tenant", "thread", "write")

    def __init__(self, tenant: str, thread: str, ns: str) -> None:
        def base(purpose: str) -> Context:
            return Context(tenant=tenant, purpose=purpose, thread=thread, ns=ns)

        self.tenant, self.thread, self.ns = tenant, thread, ns
        self.channel = base("langgraph.channel")
        self.tasks = base("langgraph.tasks")
        self.delta = base("langgraph.delta")
        self.field = base("langgraph.field")
        self.write = base("langgraph.write")
        self.metadata = base("langgraph.metadata")


# Contexts are immutable and hold names only; encoding the common pairs once saves half the cost of a small seal.
position = lru_cache(maxsize=1024)(Position)
