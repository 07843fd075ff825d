"""Files that last: appended to through crashes, full disks and storage that is away for a while, or replaced whole."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from segsweep.trainables.storage import StorageError, patiently

log = logging.getLogger(__name__)


class TakenError(Exception):
    """Another process has the file."""


class DurableFile:
    """Whole lines, appended. After an error nothing more can be written: what was not synced may be lost."""

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        """Created if missing; a torn last line is dropped. Raises TakenError, OSError."""
        self.path = path
        self._fsync = fsync
        self._unsynced = b""
        self._lost: StorageError | TakenError | None = None
        self._file = _locked(path, "a+b")
        self._file.seek(0)
        self._synced = self._whole = self._file.read().rfind(b"\n") + 1  # bytes; behind them a line that a crash tore
        self._file.truncate(self._synced)

    def append(self, line: bytes) -> None:
        """Raises StorageError, TakenError."""
        self._unsynced += line
        self._try(lambda: _write(self._file, line))
        self._whole += len(line)

    def sync(self) -> None:
        """What was appended is on disk. Raises StorageError, TakenError."""
        if self._fsync:
            self._try(lambda: os.fsync(self._file.fileno()))
        self._synced += len(self._unsynced)
        self._unsynced = b""

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            log.debug("closing %s failed", self.path, exc_info=True)

    def _try(self, act: Callable[[], object]) -> None:
        if self._lost is not None:
            raise self._lost
        attempts = iter((act,))
        try:
            patiently(lambda: next(attempts, self._write_again)(), self.path)
        except (StorageError, TakenError) as error:
            self._lost = error
            if isinstance(error, StorageError):
                self._give_up()
            raise

    def _write_again(self) -> None:
        """Everything since the last sync, to the file opened anew.

        The system may have dropped what it could not write, so a second fsync of the same file would prove nothing.
        """
        self.close()
        self._file = _locked(self.path, "r+b")
        size = os.fstat(self._file.fileno()).st_size
        if not self._synced <= size <= self._synced + len(self._unsynced):
            raise TakenError  # by somebody who has written to it
        self._file.truncate(self._synced)
        self._file.seek(self._synced)
        _write(self._file, self._unsynced)
        os.fsync(self._file.fileno())

    def _give_up(self) -> None:
        """Leave no half of a line behind, as far as that is possible; the next driver drops it too."""
        try:
            if os.fstat(self._file.fileno()).st_size > self._whole:
                self._file.truncate(self._whole)
        except (OSError, ValueError):  # ValueError: it is closed
            log.debug("%s may end in a torn line", self.path, exc_info=True)


def replace_text(path: Path, text: str) -> None:
    """Write in one step: after a crash the file holds the old text or the new one. Raises OSError."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _locked(path: Path, mode: str) -> BinaryIO:
    """Opened, unbuffered, for this process alone: the kernel drops the lock when the process dies."""
    file: BinaryIO = path.open(mode, buffering=0)  # type: ignore[assignment]  # raw, which does for us
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise TakenError from error
    except OSError:
        file.close()
        raise
    return file


def _write(file: BinaryIO, data: bytes) -> None:
    """All of it: a disk that fills up takes a part without complaint."""
    while data:
        data = data[file.write(data) :]
