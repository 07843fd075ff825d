"""Filling a cached split: what is there and whole stays, the rest is decoded by several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from segsweep.trainables.cache.entries import make_room
from segsweep.trainables.cache.files import (
    LOG,
    SHOWN_ERRORS,
    Chunk,
    Header,
    NotWholeError,
    Task,
    chunk_name,
    log_chunk,
    read_log,
    start_log,
    write_chunk,
)
from segsweep.trainables.cache.locks import discard
from segsweep.trainables.components import DataError, Sample
from segsweep.trainables.data.class_counts import check_labelled
from segsweep.trainables.data.workers import pixels_of, results, worthwhile
from segsweep.trainables.places import CACHE_VARIABLE
from segsweep.trainables.progress import Progress


@dataclass(frozen=True)
class Job:
    """A cached split to be filled."""

    place: Path
    header: Header
    samples: Sequence[Sample]
    lock: int  # descriptor of the lock on `place`, which the caller holds
    progress: Progress
    processes: int | None = None  # None: as many as the work is worth and the machine has CPUs for


def build(job: Job) -> None:
    """Write what `job.place` lacks. Raises DataError, and leaves nothing then; if killed, what was written stays."""
    try:
        job.place.mkdir(exist_ok=True)
        kept = _kept(job)
        todo = _tasks(job, kept)
        pixels = pixels_of([sample for task in todo for sample in task.samples])
        make_room(job.place, sum(len(task.samples) for task in todo) * job.header.frame_bytes + pixels)
        start_log(job.place, job.header, kept.values())
        _write(job, kept, todo, job.processes or worthwhile(pixels, len(todo)))
    except OSError as error:
        _discard(job.place)
        raise DataError(
            f"{job.place.parent}: the image cache cannot be written ({error}). Set {CACHE_VARIABLE}"
        ) from error
    except DataError:
        _discard(job.place)
        raise


def _kept(job: Job) -> Mapping[int, Chunk]:
    """The chunks that an earlier build left whole; everything else is removed."""
    try:
        log = read_log(job.place)
        known = log.chunks if log.header == job.header else {}
    except NotWholeError:
        known = {}
    kept = {number: chunk for number, chunk in known.items() if chunk.intact(job.place)}
    names = {LOG, *map(chunk_name, kept)}
    for path in job.place.iterdir():
        if path.name not in names:
            path.unlink()
    return kept


def _tasks(job: Job, kept: Mapping[int, Chunk]) -> Sequence[Task]:
    header = job.header
    size, classes = header.chunk_images, len(header.classes)
    return [
        Task(job.place, number, job.samples[number * size : (number + 1) * size], header.image_size, classes)
        for number in range(header.chunks)
        if number not in kept
    ]


def _write(job: Job, kept: Mapping[int, Chunk], todo: Sequence[Task], processes: int) -> None:
    chunks, errors = list(kept.values()), list[str]()
    job.progress(sum(len(chunk.ids) for chunk in chunks), job.header.images)
    with closing(results(write_chunk, todo, processes, job.lock)) as answers:
        for result in answers:
            if isinstance(result, Chunk):
                log_chunk(job.place, result)
                chunks.append(result)
                job.progress(sum(len(chunk.ids) for chunk in chunks), job.header.images)
                continue
            errors += result
            if len(errors) >= SHOWN_ERRORS:
                break
    if errors:
        more = f"\n(stopped after {SHOWN_ERRORS}; there may be more)" if len(errors) >= SHOWN_ERRORS else ""
        raise DataError("\n".join(errors[:SHOWN_ERRORS]) + more)
    check_labelled(job.header.split, sum(sum(chunk.class_counts) for chunk in chunks))


def _discard(place: Path) -> None:
    with suppress(OSError):
        discard(place)
