"""What sealpoint knows about each saver's storage. Adding a saver means adding a row here."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Layout:
    """How a saver keeps what it is given. The defaults are right, if not always fastest, for any saver that keeps bytes as bytes, gives
    back the versions, ids and metadata that it was given, and keeps the writes of different checkpoints apart."""

    exact: bool = False
    """Reading a checkpoint gives back exactly the channel values that were put with it: they live in the checkpoint's own row."""

    new_versions_only: bool = False
    """Of `channel_values` only those named in `new_versions` are stored; the others are not even looked at."""

    inline_primitives: bool = False
    """None, booleans, numbers and strings stay inline in the checkpoint's row, whatever `new_versions` says, and come back from there
    unless the table of values has one of their version: unless that is known they must become text envelopes, or they would be lost."""

    json_row: bool = False
    """The checkpoint's row is JSON: envelopes in it must be text."""

    string_versions: bool = False
    """The row's `channel_versions` come back as strings, whatever they were."""

    own_fields: frozenset[str] = frozenset()
    """Fields that the saver itself adds to each checkpoint that it reads. They are not sealed and not given on, except `pending_sends`:
    those are writes to `__pregel_tasks`."""

    latest_only: bool = False
    """There is one checkpoint in a namespace, and it is the answer whatever id is asked for."""

    mixes_writes: bool = False
    """A checkpoint is given the pending writes of its predecessors too: to which one a write belongs is not known on reading, so its
    task alone is bound (LangGraph makes a task's id from its checkpoint's)."""

    lists_all_namespaces: bool = False
    """A list for the root namespace gives the rows of every namespace."""

    root_namespace: str = ""
    """What lists call the root namespace, which is otherwise the empty string."""

    lists_summaries: bool = False
    """A list gives rows without values and metadata: each is read again."""

    filters_contain: bool = False
    """A metadata filter asks for JSON that the entry contains (Postgres' `@>`), not for an equal entry."""

    @property
    def json_values(self) -> bool:
        """Channel values lie in a row that is JSON."""
        return self.exact and self.json_row


_DEFAULT = Layout()
_POSTGRES = Layout(new_versions_only=True, inline_primitives=True, json_row=True, filters_contain=True)
_SHALLOW_POSTGRES = Layout(
    new_versions_only=True, json_row=True, own_fields=frozenset({"pending_sends"}), latest_only=True, filters_contain=True
)
_REDIS = Layout(exact=True, json_row=True, string_versions=True, own_fields=frozenset({"type", "pending_sends"}), lists_all_namespaces=True)
_SHALLOW_REDIS = replace(_REDIS, latest_only=True, mixes_writes=True, root_namespace="__empty__")

_LAYOUTS = {
    "langgraph.checkpoint.memory.InMemorySaver": Layout(new_versions_only=True),
    "langgraph.checkpoint.sqlite.SqliteSaver": Layout(exact=True),
    "langgraph.checkpoint.sqlite.aio.AsyncSqliteSaver": Layout(exact=True),
    "langgraph.checkpoint.postgres.PostgresSaver": _POSTGRES,
    "langgraph.checkpoint.postgres.aio.AsyncPostgresSaver": _POSTGRES,
    "langgraph.checkpoint.postgres.shallow.ShallowPostgresSaver": _SHALLOW_POSTGRES,
    "langgraph.checkpoint.postgres.shallow.AsyncShallowPostgresSaver": _SHALLOW_POSTGRES,
    "langgraph.checkpoint.redis.RedisSaver": _REDIS,
    "langgraph.checkpoint.redis.aio.AsyncRedisSaver": _REDIS,
    "langgraph.checkpoint.redis.shallow.ShallowRedisSaver": _SHALLOW_REDIS,
    "langgraph.checkpoint.redis.ashallow.AsyncShallowRedisSaver": replace(_SHALLOW_REDIS, lists_summaries=True),
    "langgraph.checkpoint.mongodb.saver.MongoDBSaver": Layout(exact=True),
}


def layout_of(saver: type) -> Layout:
    """The layout of a saver's class or of the nearest ancestor that is known."""
    for cls in saver.__mro__:
        if known := _LAYOUTS.get(f"{cls.__module__}.{cls.__qualname__}"):
            return known
    return _DEFAULT
