"""Envelopes that can be stored again without sealing again."""

import threading
from collections import OrderedDict
from typing import Any

Key = tuple[str, str, str, str]
"""Tenant, thread, namespace, channel."""

REUSABLE = frozenset({str, bytes, int, float, bool})
"""Immutable. Not None: channels that hold it are signals, new at each step."""


class SealedValues:
    """The last envelope of each channel, least recently used ones dropped, bounded in count and in bytes. Thread-safe.

    An envelope is given back only for the very object that it was made from, at the same version: two forks can hold different values
    under one version, and an equal object is not worth comparing. Only immutable objects qualify: a node may have changed a list or a
    message in place, and a saver that stores whole checkpoints would store that change.
    """

    def __init__(self, *, max_count: int = 1024, max_bytes: int = 32 << 20) -> None:
        self._entries: OrderedDict[Key, tuple[Any, object, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._max_count, self._max_bytes, self._bytes = max_count, max_bytes, 0

    def get(self, key: Key, version: object, value: object) -> bytes | None:
        if type(value) not in REUSABLE:
            return None
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry[1] is not value or entry[0] != version or type(entry[0]) is not type(version):
                return None
            self._entries.move_to_end(key)
            return entry[2]

    def put(self, key: Key, version: object, value: object, envelope: object) -> None:
        if type(value) not in REUSABLE or type(envelope) is not bytes:
            return
        with self._lock:
            if old := self._entries.pop(key, None):
                self._bytes -= len(old[2])
            self._entries[key] = (version, value, envelope)
            self._bytes += len(envelope)
            while self._bytes > self._max_bytes or len(self._entries) > self._max_count:
                self._bytes -= len(self._entries.popitem(last=False)[1][2])

    def __len__(self) -> int:
        return len(self._entries)
