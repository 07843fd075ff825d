"""Storage that is full, or away for a while: what a write does then, and what people are told."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

GIB = 2**30  # bytes

PATIENCE_S = 120.0  # a server that restarts, a mount that comes back
RETRIES_EVERY_S = 1.0

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # the last one is a limit on the size of files
AWAY = frozenset(
    {
        *(errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.EROFS),
        *(errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ESHUTDOWN),
    }
)


STORAGE = "storage"  # the kind of a DataError that is no fault of the data's, nor of what reads them


class StorageError(OSError):
    """Storage is full, or was away for too long: no fault of what wrote. Its text says where, and what to do."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(number, message)

    def __str__(self) -> str:
        return str(self.strerror)


def is_storage_trouble(error: BaseException) -> bool:
    """A StorageError, any other sign of a full disk, or data that cannot be brought here."""
    full_disk = isinstance(error, OSError) and error.errno in FULL
    return isinstance(error, StorageError) or full_disk or getattr(error, "kind", "") == STORAGE


def patiently(act: Callable[[], T], path: Path, needed: Callable[[], int] = int) -> T:
    """What `act` returns, which uses storage at `path`; tried again for PATIENCE_S where that is away.

    needed: the bytes that it wants to write, asked if there is no room. Raises StorageError; other errors as they are.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except Exception as error:
            found = _os_error(error)
            if found is None or isinstance(found, StorageError):
                raise
            if found.errno in FULL:
                raise full(found, path, needed()) from error
            if found.errno not in AWAY:
                raise
            if time.monotonic() >= deadline:
                raise away(found, path) from error
            logger.warning("%s: %s; trying again for %.0f s", path, found.strerror, deadline - time.monotonic())
        time.sleep(RETRIES_EVERY_S)


def full(error: OSError, path: Path, needed: int) -> StorageError:
    """needed: bytes; 0 if nobody knows."""
    try:
        free = f"{_size(shutil.disk_usage(path.parent).free)} free there"
    except OSError:
        free = "nobody knows how much is free there"
    wanted = f"{_size(needed)} needed, " if needed else ""
    number = error.errno or errno.ENOSPC
    return StorageError(number, f"{path}: {os.strerror(number)}: {wanted}{free}; make room, then resume")


def away(error: OSError, path: Path) -> StorageError:
    reason = os.strerror(error.errno or errno.EIO)
    return StorageError(
        error.errno or errno.EIO, f"{path}: {reason}, for {PATIENCE_S:.0f} s; bring it back, then resume"
    )


class Counter(io.RawIOBase):
    """A file that only counts its bytes."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        written = memoryview(data).nbytes  # type: ignore[arg-type]  # whatever has a buffer
        self.size += written
        return written


def _os_error(error: Exception) -> OSError | None:
    """The error of the operating system; torch.save turns that of its file into one of its own."""
    found = error.__context__ if type(error) is RuntimeError else error
    return found if isinstance(found, OSError) else None


def _size(size: float) -> str:
    unit = "GiB" if size >= GIB else "MiB"
    return f"{size / (GIB if unit == 'GiB' else 2**20):.3g} {unit}"
