"""All that a cache folder holds, cached splits and staged files: what there is, and room for more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segsweep.trainables.cache.files import LOG, Header, NotWholeError, read_log
from segsweep.trainables.cache.locks import remove
from segsweep.trainables.cache.staged_files import StagedHeader, read_staged
from segsweep.trainables.components import DataError
from segsweep.trainables.places import CACHE_LIMIT_VARIABLE, CACHE_VARIABLE
from segsweep.trainables.storage import GIB

SHARE = 0.5  # of the disk's room (free, or taken by the cache itself) that the cache takes if nobody says otherwise


@dataclass(frozen=True)
class Entry:
    """One cached split, or the files of one address, on the disk, whole or not."""

    folder: Path
    header: Header | StagedHeader | None  # None if it cannot be read
    size: int  # bytes
    last_used: float  # seconds since 1970


def entries(parent: Path) -> list[Entry]:
    """What lies in a cache folder, least recently used first. Other files and folders there are none of ours."""
    found = [entry for log in parent.glob(f"*/{LOG}") if (entry := _entry(log)) is not None]
    return sorted(found, key=lambda entry: (entry.last_used, entry.folder.name))


def _entry(log: Path) -> Entry | None:
    """None if another process is removing it."""
    header: Header | StagedHeader | None = None
    for read in (read_log, read_staged):
        with suppress(NotWholeError):
            header = read(log.parent).header
    try:
        size = sum(path.stat().st_size for path in log.parent.rglob("*") if not path.is_dir())
        return Entry(log.parent, header, size, log.stat().st_mtime)
    except FileNotFoundError:
        return None


def make_room(place: Path, needed: int, what: str = "decoding") -> None:
    """Remove what was not used for the longest time until `needed` bytes more fit, on the disk and below the limit.

    place: the folder that they are for; what: makes them. What is in use stays. Raises DataError if that is not enough.
    """
    others = [entry for entry in entries(place.parent) if entry.folder != place]
    taken, free = _bytes(others), shutil.disk_usage(place.parent).free
    limit = _limit(taken + free)
    while taken + needed > limit or needed > free:
        removed = next((entry for entry in others if _removed(entry)), None)
        if removed is None:
            raise DataError(_no_room(f"{what} {place.name}", place.parent, needed, limit - taken, free))
        others.remove(removed)
        taken, free = _bytes(others), shutil.disk_usage(place.parent).free


def _removed(entry: Entry) -> bool:
    try:
        return remove(entry.folder)
    except OSError:  # somebody else's
        return False


def _bytes(found: Sequence[Entry]) -> int:
    return sum(entry.size for entry in found)


def _limit(room: int) -> int:
    """Bytes that the cache may take. room: that it could take on its disk. Raises DataError."""
    given = os.environ.get(CACHE_LIMIT_VARIABLE)
    if not given:
        return int(room * SHARE)
    try:
        limit = float(given)
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise DataError(f"{CACHE_LIMIT_VARIABLE}: {given!r} is not a size in GiB; give a number above 0, such as 100")
    return int(min(limit * GIB, room))


def _no_room(what: str, folder: Path, needed: int, allowed: int, free: int) -> str:
    rest = f"{max(allowed, 0) / GIB:.3g} GiB of the cache's limit are left"
    return (
        f"{folder}: {what} takes about {needed / GIB:.3g} GiB; {free / GIB:.3g} GiB of the disk "
        f"and {rest}, the rest is in use. {CACHE_LIMIT_VARIABLE} sets the limit in GiB (now "
        f"{os.environ.get(CACHE_LIMIT_VARIABLE) or 'half of what is free'}), {CACHE_VARIABLE} another folder"
    )
