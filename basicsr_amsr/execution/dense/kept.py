"""A cache within a bound of memory, which drops what was used least recently."""
from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

MOST = 1 << 30  # bytes


class Sized(Protocol):
    """An object with a size in bytes, which may grow as it is used."""

    @property
    def bytes(self) -> int:
        """How much memory it takes."""


T = TypeVar('T', bound=Sized)


class Kept(Generic[T]):
    """Makes what is asked for and keeps it. When something is added, what was used longest ago goes, until those that
    are there have `most` bytes at most.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._held: dict[Hashable, T] = {}  # the last used one last
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The object kept under a key, made by `make` where there is none."""
        with self._lock:
            found = self._held.pop(key, None)
            if found is None:
                found = make()
                while sum(each.bytes for each in self._held.values()) > self.most:
                    del self._held[next(iter(self._held))]
            self._held[key] = found
            return found
