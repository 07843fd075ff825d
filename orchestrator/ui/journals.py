"""The journals of a storage, each read on as it grows: nothing is parsed twice while somebody watches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.mirroring.places import storage_address
from segsweep.orchestrator.record.journal import JOURNAL, read_events, sweeps_in
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.ui.fetching import Fetched
from segsweep.orchestrator.watching.status import phase

KEPT = 4  # states in memory; a sweep of 10,000 trials takes some hundred MB

Stamp = tuple[int, int]
"""Inode and bytes: a journal only grows, and another file in its place has another inode."""


@dataclass(eq=False)
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
        found = (self.folder / JOURNAL).stat()
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
        """What was read, unless somebody looks at it; it is read again when it is asked for."""
        if self._lock.acquire(blocking=False):
            self._begin_anew()
            self._lock.release()

    def _begin_anew(self) -> None:
        self._state, self._offset, self._stamp, self._problem = SweepState(), 0, None, None

    def _read_on(self, stamp: Stamp) -> None:
        if stamp == self._stamp:
            return
        if self._problem is not None or self._stamp is None or stamp[0] != self._stamp[0] or stamp[1] < self._offset:
            self._begin_anew()
        self._stamp = stamp
        try:
            for event, offset in read_events(self.folder / JOURNAL, self._offset):
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
    """All sweeps of a storage folder, and of the address that it works for, by the name of their folder."""

    def __init__(self, storage: Path) -> None:
        address = storage_address(storage)
        self.place = str(address or storage)  # as the user knows it
        self._storage, self._fetched = storage, Fetched(address) if address else None
        self._readers: list[JournalReader] = []
        self._recent: list[JournalReader] = []  # whose states are kept, the last one last
        self._lock = threading.Lock()

    @property
    def problem(self) -> str:
        """Why the address tells nothing, or nothing new."""
        return self._fetched.problem if self._fetched else ""

    def all(self) -> list[JournalReader]:
        """By name."""
        folders = sweeps_in(self._storage)
        if self._fetched is not None:
            self._fetched.look()
            folders |= self._fetched.folders
        with self._lock:
            known = {reader.folder: reader for reader in self._readers}
            self._readers = [known.get(folder) or JournalReader(folder) for _, folder in sorted(folders.items())]
            return self._readers

    def named(self, name: str) -> JournalReader | None:
        """None for a name that no folder has."""
        return next((reader for reader in self.all() if reader.folder.name == name), None)

    @contextmanager
    def reading(self, reader: JournalReader) -> Iterator[SweepState]:
        """See JournalReader.reading; what was not read for the longest time makes room."""
        with self._lock:
            self._recent = [*(one for one in self._recent if one is not reader), reader]
            unused, self._recent = self._recent[:-KEPT], self._recent[-KEPT:]
        for one in unused:
            one.forget()
        with reader.reading() as state:
            yield state


def phase_of(folder: Path, state: SweepState) -> str:
    """See status.phase. A journal whose driver ended is not locked: whoever wants to resume it may do so meanwhile."""
    if state.ended is not None:
        return state.ended.status
    return phase(folder, state) if state.driver else "created"
