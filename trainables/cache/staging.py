"""What lies at an address, copied to this node's disk once, for all trials of the node.

Every process asks once what is there now, and only what is new or has changed is fetched, under a lock: whoever comes
meanwhile waits and reads. If the address does not answer, a whole copy from before does.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segsweep.trainables.addresses import Address, Remote, Remotes
from segsweep.trainables.cache.entries import make_room
from segsweep.trainables.cache.files import LOG, NotWholeError
from segsweep.trainables.cache.locks import used, writing
from segsweep.trainables.cache.staged_files import (
    FILES,
    PARTS,
    Copy,
    StagedHeader,
    begin,
    read_staged,
    take_up,
    whole_staged,
)
from segsweep.trainables.components import DataError
from segsweep.trainables.places import CACHE_VARIABLE, cache_folder, file_name
from segsweep.trainables.progress import Progress
from segsweep.trainables.storage import FULL, GIB, STORAGE

logger = logging.getLogger(__name__)


AT_ONCE = 16  # an object takes 20-50 ms to answer, whatever its size
ROUNDS = 3  # listings after which nothing may have changed any more

_staged: dict[Path, int] = {}  # what this process looked up -> the descriptor that keeps it from being removed
_looking_up = threading.Lock()


def staged(address: Address, progress: Progress = lambda done, total: None) -> Path:
    """The folder on this node's disk with what lies at `address`; of a file, the folder with that file alone.

    progress: told (files done, files in all) while files are fetched, and not at all if none need to be.
    Raises DataError of the kind STORAGE where something cannot be had, and no configuration is to blame.
    """
    place = cache_folder() / f"{file_name(address.name)[:40]}-{FILES}-{_digest(address)}"
    with _looking_up:
        if place not in _staged or not (place / LOG).exists():
            _staged[place] = _looked_up(address, place, progress)
    return place / FILES


def _digest(address: Address) -> str:
    return hashlib.sha256(str(address).encode()).hexdigest()[:20]


def _looked_up(address: Address, place: Path, progress: Progress) -> int:
    try:
        remotes = Remotes(address)
        files = remotes.files()
    except DataError as error:
        try:
            descriptor = _used(place, None)
        except NotWholeError:
            raise error from None
        logger.warning("%s. What was fetched before is used", error)
        return descriptor
    for _ in range(ROUNDS):
        try:
            return _used(place, files)  # the usual case needs no lock and no right to write
        except NotWholeError as error:
            why = str(error)
        with writing(place, why):
            with suppress(NotWholeError):  # another process fetched it while this one waited
                return _used(place, files)
            _Fetching(remotes, place, progress).all(address, files)
            files = remotes.files()  # what changed meanwhile may be half of the one and half of the other
    with suppress(NotWholeError):
        return _used(place, files)
    raise DataError(f"{address}: changes all the time ({why}). Wait until whoever writes there is done", STORAGE)


def _used(place: Path, files: Sequence[Remote] | None) -> int:
    """A descriptor that keeps `place`, whole and with these files (None: whatever it has), from being removed.

    Raises NotWholeError. The lock comes first: what was checked before might be removed until then.
    """
    try:
        lock = used(place)
    except OSError as error:
        raise NotWholeError(error.strerror) from None
    try:
        copies = whole_staged(place).copies
        if files is not None and not _same(files, copies.get):
            raise NotWholeError("the address has other files now")
        if files is not None and len(files) != len(copies):
            raise NotWholeError("the address has fewer files now")
    except BaseException:
        os.close(lock)
        raise
    with suppress(OSError):  # what counts as used is the log's time; a folder may be read-only
        os.utime(lock)
    return lock


def _same(files: Sequence[Remote], copy: Callable[[str], Copy | None]) -> bool:
    return all((found := copy(remote.name)) is not None and found.is_of(remote) for remote in files)


@dataclass(frozen=True)
class _Fetching:
    """Whoever has one holds the lock on `place`."""

    remotes: Remotes
    place: Path
    progress: Progress

    def all(self, address: Address, files: Sequence[Remote]) -> None:
        """Fetch what is missing; if killed, what was fetched stays. Raises DataError."""
        self.place.mkdir(exist_ok=True)
        kept = self._kept(files)
        todo = [remote for remote in files if remote.name not in kept]
        needed = sum(remote.size for remote in todo)
        try:
            begin(self.place, StagedHeader(address=str(address), files=len(files)), kept.values())
            make_room(self.place, needed, "fetching")
            self.progress(len(kept), len(files))
            with (self.place / LOG).open("a") as log:
                for done, copy in enumerate(self._fetched(todo), start=len(kept) + 1):
                    log.write(f"{copy.model_dump_json()}\n")
                    log.flush()
                    self.progress(done, len(files))
                os.fsync(log.fileno())
        except OSError as error:
            raise DataError(self._not_written(address, needed, error), STORAGE) from error

    def _kept(self, files: Sequence[Remote]) -> dict[str, Copy]:
        try:
            known = read_staged(self.place).copies
        except NotWholeError:
            return {}
        there = ((remote, known.get(remote.name)) for remote in files)
        return {r.name: copy for r, copy in there if copy is not None and copy.is_of(r) and copy.intact(self.place)}

    def _fetched(self, todo: Sequence[Remote]) -> Iterator[Copy]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            try:
                for future in as_completed([threads.submit(self._one, *job) for job in enumerate(todo)]):
                    yield future.result()
            finally:
                threads.shutdown(wait=True, cancel_futures=True)

    def _one(self, number: int, remote: Remote) -> Copy:
        part = self.place / PARTS / str(number)
        self.remotes.fetch(remote, part)
        if (size := part.stat().st_size) != remote.size:
            raise DataError(f"{remote.path}: {size} bytes came of {remote.size}. Try again", STORAGE)
        return take_up(self.place, part, remote)

    def _not_written(self, address: Address, needed: int, error: OSError) -> str:
        room = "make room, or set" if error.errno in FULL else "set"
        return (
            f"{self.place.parent}: {address} cannot be copied there ({error.strerror or error}); {needed / GIB:.3g} "
            f"GiB are needed. Remedy: {room} {CACHE_VARIABLE} to a folder on a disk that has it"
        )
