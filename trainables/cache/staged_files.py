"""The files of one staged address: copies of what lies there, and a log that says what they are copies of.

    cityscapes-files-0123456789abcdef0123/
      cache.jsonl    a header, then a line for every file that is whole
      files/         the copies, in the address's own folders
      parts/         what is being fetched

A file is fetched into parts/, flushed and renamed, and logged after that. So whatever a killed process leaves can be
gone on from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from segsweep.trainables.addresses import Remote
from segsweep.trainables.cache.files import LOG, UNFINISHED, NotWholeError, Record

FILES, PARTS = "files", "parts"


class StagedHeader(Record):
    """What the whole folder holds. `dataset`, `split` and so on are what lists of the cache show of it."""

    address: str
    files: int

    @property
    def dataset(self) -> str:
        return self.address

    @property
    def split(self) -> str:
        return FILES

    @property
    def image_size(self) -> None:
        return None

    @property
    def images(self) -> int:
        return self.files


class Copy(Record):
    """One file: what it is a copy of, and how it must look."""

    name: str
    size: int
    tag: str  # see addresses.Remote
    mtime_ns: int

    def intact(self, place: Path) -> bool:
        try:
            status = (place / FILES / self.name).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)

    def is_of(self, remote: Remote) -> bool:
        return (self.size, self.tag) == (remote.size, remote.tag)


@dataclass(frozen=True)
class StagedLog:
    header: StagedHeader
    copies: Mapping[str, Copy]  # by name


def read_staged(place: Path) -> StagedLog:
    """Header and copies; a line that was torn by a crash says nothing. Raises NotWholeError."""
    try:
        first, *lines = (place / LOG).read_bytes().splitlines()
        header = StagedHeader.model_validate_json(first)
    except OSError as error:
        raise NotWholeError(error.strerror) from None
    except (ValueError, ValidationError):
        raise NotWholeError(f"{LOG} is damaged") from None
    copies = {}
    for line in lines:
        with suppress(ValidationError):
            copy = Copy.model_validate_json(line)
            copies[copy.name] = copy
    return StagedLog(header, copies)


def whole_staged(place: Path) -> StagedLog:
    """The log of a folder whose every copy is there and unchanged. Raises NotWholeError."""
    log = read_staged(place)
    if missing := log.header.files - len(log.copies):
        raise NotWholeError(f"{missing} of {log.header.files} files are missing")
    if changed := [copy.name for copy in log.copies.values() if not copy.intact(place)]:
        raise NotWholeError(f"{changed[0]} is not as it was fetched")
    return log


def begin(place: Path, header: StagedHeader, kept: Iterable[Copy]) -> None:
    """A new log of the copies that stay, in place of any old one; every other file goes."""
    beside = place / f"{LOG}{UNFINISHED}"
    kept = list(kept)
    beside.write_text("".join(f"{record.model_dump_json()}\n" for record in (header, *kept)))
    beside.replace(place / LOG)
    shutil.rmtree(place / PARTS, ignore_errors=True)
    names = {place / FILES / copy.name for copy in kept}
    for path in (place / FILES).rglob("*"):
        if path not in names and not path.is_dir():
            path.unlink()
    for path in sorted((path for path in (place / FILES).rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # not empty
            path.rmdir()
    for name in (FILES, PARTS):
        (place / name).mkdir(exist_ok=True)


def take_up(place: Path, part: Path, remote: Remote) -> Copy:
    """Give a file that was fetched its name and its time of change. Raises OSError."""
    to = place / FILES / remote.name
    to.parent.mkdir(parents=True, exist_ok=True)
    with part.open("rb") as file:
        os.fsync(file.fileno())  # after a power cut the renamed file may be there and its bytes not
    if remote.changed_ns is not None:  # fetched again, they are the same to whoever goes by the time of change
        os.utime(part, ns=(remote.changed_ns, remote.changed_ns))
    mtime_ns = part.stat().st_mtime_ns
    part.replace(to)
    return Copy(name=remote.name, size=remote.size, tag=remote.tag, mtime_ns=mtime_ns)
