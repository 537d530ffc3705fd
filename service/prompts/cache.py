"""A cache that is bounded by the size of what it keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SizedCache(Generic[Key, Value]):
    """Keeps what was used last, as long as it is at most `max_size` in all."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        """What was put there, if it is still kept."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep it in place of what was there; nothing larger than the whole cache is kept."""
        before = self._kept.pop(key, None)
        if before is not None:
            self._size -= before[1]
        if size > self._max_size:
            return
        self._kept[key] = value, size
        self._size += size
        while self._size > self._max_size:
            _, (_, freed) = self._kept.popitem(last=False)
            self._size -= freed
