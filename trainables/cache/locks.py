"""Who may do what with a cached split: one process writes it, many use it, nobody removes what is used.

Two advisory locks (flock), which end with the process that holds them: NAME.lock beside the folder while it is written,
and its log while it is used, which needs no right to write.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from segsweep.trainables.cache.files import LOG
from segsweep.trainables.components import DataError
from segsweep.trainables.places import CACHE_VARIABLE


@contextmanager
def writing(place: Path, why: str) -> Iterator[int]:
    """Be the only one who writes `place`; waits. Gives the lock's descriptor, which keeps it in whoever inherits it.

    why: what is wrong with `place` as it is. Raises DataError where nothing can be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(_lock_file(place), os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    except OSError as error:
        raise DataError(
            f"{place.parent}: the image cache cannot be written ({error.strerror}) and lacks {place.name} ({why}). "
            f"Set {CACHE_VARIABLE} to a folder that can be written, on a disk with room"
        ) from error
    try:
        yield lock
    finally:
        os.close(lock)


def used(place: Path) -> int:
    """A descriptor that keeps `place` from being removed until it is closed. Raises OSError if nothing is there."""
    return _locked(place / LOG, os.O_RDONLY, fcntl.LOCK_SH)


def is_used(place: Path) -> bool:
    """Whether a process uses the cached split."""
    try:
        os.close(_locked(place / LOG, os.O_RDONLY, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def remove(place: Path, *, force: bool = False) -> bool:
    """Remove a cached split unless it is being written or, without `force`, used. Raises OSError.

    Whoever uses it keeps what is mapped; the disk has the room back once the last of them ends.
    """
    with ExitStack() as stack:
        now = fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            stack.callback(os.close, _locked(_lock_file(place), os.O_RDWR | os.O_CREAT, now))
            if not force:
                stack.callback(os.close, _locked(place / LOG, os.O_RDWR, now))
        except BlockingIOError:
            return False
        discard(place)
        _lock_file(place).unlink()
    return True


def discard(place: Path) -> None:
    """Remove a folder that the caller may write. Its log goes last: what a killed process leaves is still listed."""
    for path in sorted(place.iterdir(), key=lambda path: path.name == LOG):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    place.rmdir()


def _lock_file(place: Path) -> Path:
    return place.parent / f"{place.name}.lock"


def _locked(path: Path, flags: int, operation: int) -> int:
    """A descriptor of `path` with a lock. Raises OSError; BlockingIOError if LOCK_NB is asked and another has it."""
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(descriptor, operation)
            if _is(path, descriptor):
                return descriptor
        except BaseException:  # Ctrl-C as well: a waiting process may go on with something else
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was removed while we waited, and perhaps made anew


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
