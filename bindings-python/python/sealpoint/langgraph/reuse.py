"""Envelopes that can be stored again without sealing again, or need not be stored again at all."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping

from sealpoint._native import envelope_dek_id

Place = tuple[str, str, str]
"""Tenant, thread, namespace."""

_IMMUTABLE = frozenset({str, bytes, int, float, bool})
"""Not None: channels that hold it are signals, new at each step."""

_LARGE = 16 << 10
"""Bytes of an envelope from which on sealing again costs more than what else a step does with a value."""

MAX_THREADS = 1024
MAX_BYTES = 64 << 20


class Kept:
    """One channel's envelope, with the version and the very object that it was made from or opened to. None: it lies in the saver's table
    of values, under that version."""

    __slots__ = ("_dek_id", "envelope", "value", "version")

    def __init__(self, version: object, value: object, envelope: bytes | str | None) -> None:
        self.version, self.value, self.envelope = version, value, envelope
        self._dek_id: bytes | None = None

    def holds(self, version: object, value: object) -> bool:
        """Two forks can hold different values under one version, and an equal object is not worth comparing."""
        return self.value is value and self.version == version and type(self.version) is type(version)

    @property
    def dek_id(self) -> bytes | None:
        if self._dek_id is None and self.envelope is not None:
            self._dek_id = envelope_dek_id(self.envelope)
        return self._dek_id

    @property
    def cost(self) -> int:
        """Bytes, roughly: the envelope, the value, and what holds them. Objects take some four times their serialized form."""
        if self.envelope is None:
            return 256 + sys.getsizeof(self.value)
        return 256 + len(self.envelope) * (2 if type(self.value) in _IMMUTABLE else 5)


def is_worth_keeping(value: object, envelope: object) -> bool:
    """Small values that can change in place are sealed at each step, so that what changed is stored as a bare saver stores it."""
    return type(value) in _IMMUTABLE or (isinstance(envelope, (bytes, str)) and len(envelope) >= _LARGE)


class SealedValues:
    """The envelopes of each thread's last checkpoint, least recently used threads dropped, bounded in threads and in bytes. Thread-safe."""

    def __init__(self, *, max_threads: int = MAX_THREADS, max_bytes: int = MAX_BYTES) -> None:
        self._places: OrderedDict[Place, tuple[Mapping[str, Kept], int]] = OrderedDict()
        self._lock = threading.Lock()
        self._max_threads, self._max_bytes, self._bytes = max_threads, max_bytes, 0

    def of(self, place: Place) -> Mapping[str, Kept]:
        """By channel."""
        with self._lock:
            if (found := self._places.get(place)) is None:
                return {}
            self._places.move_to_end(place)
            return found[0]

    def keep(self, place: Place, channels: Mapping[str, Kept]) -> None:
        """In place of what was kept there. More than the bound is not kept at all."""
        cost = sum([kept.cost for kept in channels.values()])
        with self._lock:
            if old := self._places.pop(place, None):
                self._bytes -= old[1]
            if not channels or cost > self._max_bytes:
                return
            self._places[place] = (channels, cost)
            self._bytes += cost
            while self._bytes > self._max_bytes or len(self._places) > self._max_threads:
                self._bytes -= self._places.popitem(last=False)[1][1]

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._places)
