"""The journals of a storage folder, each read on as it grows: nothing is parsed twice while somebody watches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.record.journal import read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.watching.status import phase

KEPT = 4  # states in memory; a sweep of 10,000 trials takes some hundred MB

Stamp = tuple[int, int]
"""Inode and bytes: a journal only grows, and another file in its place has another inode."""


@dataclass
class JournalReader:
    """Threads may share one: the state is lent to one of them at a time."""

    folder: Path
    _state: SweepState = field(default_factory=SweepState)
    _offset: int = 0
    _stamp: Stamp | None = None
    _problem: InputError | None = None  # with what is there at `_stamp`
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def stamp(self) -> Stamp:
        """Raises OSError."""
        found = (self.folder / "journal.jsonl").stat()
        return found.st_ino, found.st_size

    @contextmanager
    def reading(self) -> Iterator[SweepState]:
        """The state as it is now. Raises InputError for a journal that cannot be read."""
        with self._lock:
            try:
                self._read_on(self.stamp)
            except OSError as error:
                raise InputError(Mistake(str(self.folder), f"cannot be read ({error.strerror})")) from None
            if self._problem is not None:
                raise self._problem
            yield self._state

    def forget(self) -> None:
        """What was read; it is read again when it is asked for."""
        with self._lock:
            self._state, self._offset, self._stamp, self._problem = SweepState(), 0, None, None

    def _read_on(self, stamp: Stamp) -> None:
        if stamp == self._stamp:
            return
        if self._problem is not None or self._stamp is None or stamp[0] != self._stamp[0] or stamp[1] < self._offset:
            self.forget()
        self._stamp = stamp
        try:
            for event, offset in read_events(self.folder / "journal.jsonl", self._offset):
                self._state.apply(event)
                self._offset = offset
        except InputError as error:
            self._problem = error
        except KeyError as error:
            self._problem = InputError(
                Mistake(str(self.folder), f"its journal is damaged: it creates no trial {error}")
            )
        else:
            if self._state.created is None:
                self._problem = InputError(Mistake(str(self.folder), "its journal has no beginning yet"))


class Journals:
    """All sweeps of a storage folder, by the name of their folder."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self._readers: dict[str, JournalReader] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The one that was touched last first."""
        found = {}
        for path in self.storage.glob("*/journal.jsonl"):
            try:
                found[path.parent.name] = path.stat().st_mtime
            except OSError:  # removed while we look
                continue
        return sorted(found, key=lambda name: (-found[name], name))

    def reader(self, name: str) -> JournalReader | None:
        """None for a name that no folder has."""
        if name not in self.names():
            return None
        with self._lock:
            reader = self._readers.pop(name, None) or JournalReader(self.storage / name)
            self._readers[name] = reader  # the last that was asked for is the last here
            for unused in list(self._readers)[:-KEPT]:
                self._readers.pop(unused)
            return reader


def phase_of(folder: Path, state: SweepState) -> str:
    """See status.phase. A journal whose driver ended is not locked: whoever wants to resume it may do so meanwhile."""
    if state.ended is not None:
        return state.ended.status
    return phase(folder, state) if state.driver else "created"
