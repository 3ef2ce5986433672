"""What sealpoint knows about each saver's storage. Adding a saver means adding a row here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """How a saver keeps what it is given. The defaults are right, if not always fastest, for any saver."""

    exact: bool = False
    """Reading a checkpoint gives back exactly the channel values that were put with it: they live in the checkpoint's own row."""

    inline_primitives: bool = False
    """None, booleans, numbers and strings stay inline in the checkpoint row: they must become text envelopes, or they would be lost."""

    new_versions_only: bool = False
    """Of `channel_values` only those named in `new_versions` are stored; the others are not even looked at."""


_DEFAULT = Layout()

_LAYOUTS = {
    "langgraph.checkpoint.memory.InMemorySaver": Layout(new_versions_only=True),
    "langgraph.checkpoint.sqlite.SqliteSaver": Layout(exact=True),
    "langgraph.checkpoint.sqlite.aio.AsyncSqliteSaver": Layout(exact=True),
}


def layout_of(saver: type) -> Layout:
    """The layout of a saver's class or of the nearest ancestor that is known."""
    for cls in saver.__mro__:
        if known := _LAYOUTS.get(f"{cls.__module__}.{cls.__qualname__}"):
            return known
    return _DEFAULT
