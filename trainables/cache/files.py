"""The files of one cached split: chunks of images, and a log that says what each of them holds.

    camvid-train-360x480-0123456789abcdef0123/
      cache.jsonl    a header, then a line for every chunk that is whole
      00000 ...      a chunk: image and label of every sample at the working size, then its labels at original size

A chunk is written under another name, flushed and renamed, and logged after that. So whatever a killed process leaves
can be gone on from, and a damaged chunk can be written again alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from segsweep.trainables.components import DataError, Sample, Split
from segsweep.trainables.data.class_counts import class_counts
from segsweep.trainables.data.resize import resize_pair

LOG = "cache.jsonl"
UNFINISHED = ".part"
FEWEST_IMAGES = 16  # in a chunk
MOST_CHUNKS = 128  # of a split: a mapped file takes a descriptor, and 1024 is a common limit
SHOWN_ERRORS = 5  # after as many unusable samples, building stops


class NotWholeError(Exception):
    """Why a folder is no cached split that could be used: not there, unfinished, damaged."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Header(Record):
    """What the whole folder holds."""

    VERSION: ClassVar[int] = 2  # raised when the files or the resizing change

    dataset: str
    split: Split
    image_size: tuple[int, int]
    images: int
    classes: tuple[str, ...]

    @property
    def chunk_images(self) -> int:
        """Images in every chunk but the last."""
        return max(FEWEST_IMAGES, -(-self.images // MOST_CHUNKS))

    @property
    def chunks(self) -> int:
        return -(-self.images // self.chunk_images)

    @property
    def frame_bytes(self) -> int:
        """Of an image and its label at the working size."""
        return self.image_size[0] * self.image_size[1] * 4


class Chunk(Record):
    """What one chunk holds, and how its file must look."""

    number: int
    ids: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]  # (height, width) of each label at original size
    class_counts: tuple[int, ...]  # pixels of each class at original size
    content: str  # sha256 of ids and pixels at original size
    size: int
    mtime_ns: int
    sha256: str

    def intact(self, place: Path) -> bool:
        """The cheap check first: hashing 1 GB takes seconds, and every trial opens the cache."""
        path = place / chunk_name(self.number)
        try:
            status = path.stat()
            if status.st_size != self.size:
                return False
            if status.st_mtime_ns == self.mtime_ns:
                return True
            if _sha256(path) != self.sha256:
                return False
        except OSError:
            return False
        with suppress(OSError):  # copied without its time: given back, or every opening would read all of it
            os.utime(path, ns=(status.st_atime_ns, self.mtime_ns))
        return True


@dataclass(frozen=True)
class Log:
    header: Header
    chunks: dict[int, Chunk]  # by number


class Task(NamedTuple):
    """A chunk to be written."""

    place: Path
    number: int
    samples: Sequence[Sample]
    image_size: tuple[int, int]
    classes: int


def chunk_name(number: int) -> str:
    return f"{number:05}"


def read_log(place: Path) -> Log:
    """Header and chunks; a line that was torn by a crash says nothing. Raises NotWholeError."""
    try:
        first, *lines = (place / LOG).read_bytes().splitlines()
        header = Header.model_validate_json(first)
    except OSError as error:
        raise NotWholeError(error.strerror) from None
    except (ValueError, ValidationError):
        raise NotWholeError(f"{LOG} is damaged") from None
    chunks = []
    for line in lines:
        with suppress(ValidationError):
            chunks.append(Chunk.model_validate_json(line))
    return Log(header, {chunk.number: chunk for chunk in chunks})


def whole(place: Path) -> Log:
    """The log of a split whose every chunk is there and unchanged. Raises NotWholeError."""
    log = read_log(place)
    if missing := log.header.chunks - len(log.chunks):
        raise NotWholeError(f"{missing} of {log.header.chunks} parts are missing")
    changed = [chunk_name(chunk.number) for chunk in log.chunks.values() if not chunk.intact(place)]
    if changed:
        raise NotWholeError(f"{', '.join(changed[:SHOWN_ERRORS])} changed")
    return log


def start_log(place: Path, header: Header, chunks: Iterable[Chunk]) -> None:
    """A new log of the chunks that are there, in place of any old one."""
    beside = place / f"{LOG}{UNFINISHED}"
    beside.write_text("".join(f"{record.model_dump_json()}\n" for record in (header, *chunks)))
    beside.replace(place / LOG)


def log_chunk(place: Path, chunk: Chunk) -> None:
    with (place / LOG).open("a") as log:
        log.write(f"{chunk.model_dump_json()}\n")
        log.flush()
        os.fsync(log.fileno())


def write_chunk(task: Task) -> Chunk | list[str]:
    """Decode, resize and store the samples of one chunk, one at a time. Or what is wrong with them.

    Written and not mapped: a full disk is an OSError here, and would be a SIGBUS in a mapped page.
    """
    import numpy as np

    h, w = task.image_size
    counts, shapes, errors = np.zeros(task.classes, np.int64), [], []
    content = hashlib.sha256()
    beside = task.place / f"{chunk_name(task.number)}{UNFINISHED}"
    with beside.open("wb") as file:
        end = len(task.samples) * h * w * 4
        for index, sample in enumerate(task.samples):
            try:
                pair = sample.read()
                counts += class_counts(sample, pair, task.classes)
            except DataError as error:
                errors.append(str(error))
                if len(errors) == SHOWN_ERRORS:
                    break
                continue
            content.update(repr((sample.id, pair.label.shape)).encode() + pair.image.tobytes() + pair.label.tobytes())
            small = resize_pair(pair, task.image_size)
            file.seek(index * h * w * 4)
            file.write(small.image.tobytes() + small.label.tobytes())
            file.seek(end)
            end += file.write(pair.label.tobytes())
            shapes.append((pair.label.shape[0], pair.label.shape[1]))
        file.flush()
        os.fsync(file.fileno())  # after a power cut the renamed file may be there and its bytes not
    if errors:
        return errors
    status, sha256 = beside.stat(), _sha256(beside)
    beside.replace(task.place / chunk_name(task.number))
    return Chunk(
        number=task.number,
        ids=tuple(sample.id for sample in task.samples),
        shapes=tuple(shapes),
        class_counts=tuple(counts.tolist()),
        content=content.hexdigest(),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
