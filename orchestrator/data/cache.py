"""What `segsweep data cache` shows and removes."""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypedDict

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.table import aligned
from segsweep.trainables.cache.entries import Entry, entries
from segsweep.trainables.cache.files import NotWholeError, read_log, whole
from segsweep.trainables.cache.locks import is_used, remove
from segsweep.trainables.cache.staged_files import StagedHeader, read_staged, whole_staged
from segsweep.trainables.storage import GIB

State = Literal["whole", "unfinished", "damaged"]
COLUMNS = ("dataset", "split", "size", "images", "GiB", "last used", "")


class Cached(TypedDict):
    """One cached split, or the files of one address (split: `files`), for programs."""

    dataset: str
    split: str
    image_size: tuple[int, int] | None  # (height, width)
    images: int
    gib: float
    last_used: str  # ISO 8601, UTC
    in_use: bool
    state: State
    folder: str


def facts(folder: Path) -> list[Cached]:
    """All entries, the last used first."""
    return [_facts(entry) for entry in reversed(entries(folder))]


def _facts(entry: Entry) -> Cached:
    header = entry.header
    return {
        "dataset": header.dataset if header else entry.folder.name,
        "split": header.split if header else "?",
        "image_size": header.image_size if header else None,
        "images": header.images if header else 0,
        "gib": entry.size / GIB,
        "last_used": datetime.fromtimestamp(entry.last_used, UTC).isoformat(timespec="seconds"),
        "in_use": is_used(entry.folder),
        "state": _staged_state(entry.folder) if isinstance(header, StagedHeader) else _state(entry.folder),
        "folder": str(entry.folder),
    }


def _state(folder: Path) -> State:
    try:
        whole(folder)
    except NotWholeError:
        try:
            log = read_log(folder)
        except NotWholeError:
            return "damaged"
        return "damaged" if len(log.chunks) == log.header.chunks else "unfinished"
    return "whole"


def _staged_state(folder: Path) -> State:
    try:
        whole_staged(folder)
    except NotWholeError:
        log = read_staged(folder)
        return "damaged" if len(log.copies) == log.header.files else "unfinished"
    return "whole"


def as_lines(found: list[Cached]) -> list[str]:
    """A table with a line for each entry."""
    return aligned([COLUMNS, *(_row(entry) for entry in found)], {COLUMNS.index("images"), COLUMNS.index("GiB")})


def _row(entry: Cached) -> tuple[str, ...]:
    size = "x".join(map(str, entry["image_size"])) if entry["image_size"] else "?"
    remarks = ["in use"] * entry["in_use"] + [entry["state"]] * (entry["state"] != "whole")
    last_used = datetime.fromisoformat(entry["last_used"]).astimezone().strftime("%Y-%m-%d %H:%M")
    gib = f"{entry['gib']:.2f}"
    return entry["dataset"], entry["split"], size, str(entry["images"]), gib, last_used, ", ".join(remarks)


def clear(folder: Path, pattern: str, *, force: bool) -> tuple[list[Cached], list[Cached]]:
    """Remove the entries of datasets that match; removed ones and those that had to stay.

    Raises InputError where no dataset matches or a folder cannot be written.
    """
    found = facts(folder)
    matching = [entry for entry in found if fnmatch.fnmatchcase(entry["dataset"], pattern)]
    if found and not matching:
        names = ", ".join(sorted({entry["dataset"] for entry in found}))
        raise InputError(Mistake(str(folder), f"no dataset matches {pattern!r}; there are: {names}"))
    removed: list[Cached] = []
    kept: list[Cached] = []
    for entry in matching:
        try:
            (removed if remove(Path(entry["folder"]), force=force) else kept).append(entry)
        except OSError as error:
            raise InputError(Mistake(entry["folder"], f"cannot be removed ({error.strerror})")) from None
    return removed, kept
