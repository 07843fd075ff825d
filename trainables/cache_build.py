"""Filling a cached split: what is there and whole stays, the rest is decoded by several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from segsweep.trainables.cache_entries import make_room
from segsweep.trainables.cache_files import (
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
)
from segsweep.trainables.cache_locks import discard
from segsweep.trainables.cache_workers import usable_cpus, written
from segsweep.trainables.components import DataError, Sample
from segsweep.trainables.places import CACHE_VARIABLE

Progress = Callable[[int, int], None]  # images done, images in all
PIXELS_A_PROCESS = 50_000_000  # about 1.5 s of decoding, in which another process has paid for its start
LOOKED_AT = 3  # samples from which the size of all is estimated


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
        pixels = _pixels(todo)
        make_room(job.place, sum(len(task.samples) for task in todo) * job.header.frame_bytes + pixels)
        start_log(job.place, job.header, kept.values())
        worthwhile = min(usable_cpus(), 1 + pixels // PIXELS_A_PROCESS, len(todo))
        _write(job, kept, todo, job.processes or worthwhile)
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


def _pixels(todo: Sequence[Task]) -> int:
    """About how many pixels the samples have, all together; a label takes a byte for each."""
    samples = [sample for task in todo for sample in task.samples]
    looked_at = []
    for sample in samples[:: max(1, len(samples) // LOOKED_AT)][:LOOKED_AT]:
        with suppress(DataError):  # it is named when its turn comes
            looked_at.append(sample.read().label.size)
    return len(samples) * sum(looked_at) // max(1, len(looked_at))


def _write(job: Job, kept: Mapping[int, Chunk], todo: Sequence[Task], processes: int) -> None:
    chunks, errors = list(kept.values()), list[str]()
    job.progress(sum(len(chunk.ids) for chunk in chunks), job.header.images)
    with closing(written(todo, processes, job.lock)) as results:
        for result in results:
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
    if not any(sum(chunk.class_counts) for chunk in chunks):
        raise DataError(f"split '{job.header.split}': every pixel is void, so there is nothing to learn or to score")


def _discard(place: Path) -> None:
    with suppress(OSError):
        discard(place)
