"""What takes long to make, kept until it is out of date."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
REST = 10  # a value is made anew at most for a tenth of the time


@dataclass
class _Kept(Generic[T]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: T | None = None
    stamp: Hashable = None
    made_s: float = 0.0  # monotonic
    took_s: float = 0.0

    def serves(self, stamp: Hashable, exact: bool) -> bool:
        if self.value is None:
            return False
        return self.stamp == stamp or (not exact and time.monotonic() - self.made_s < REST * self.took_s)


class Memo(Generic[T]):
    """One thread makes a value while others that ask for it wait."""

    def __init__(self, size: int) -> None:
        """size: values that are kept."""
        self._size = size
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, stamp: Hashable, make: Callable[[], T], *, exact: bool = True) -> T:
        """stamp: that of what the value is made of. exact: a value that took long may not serve for another stamp."""
        kept = self._of(key)
        with kept.lock:
            if not kept.serves(stamp, exact):
                began = time.monotonic()
                kept.value, kept.stamp = make(), stamp
                kept.made_s = time.monotonic()
                kept.took_s = kept.made_s - began
            assert kept.value is not None
            return kept.value

    def _of(self, key: Hashable) -> _Kept[T]:
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
            return kept
