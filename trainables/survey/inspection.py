"""Looking at a few samples of a dataset, in whatever process: what is wrong with each, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segsweep.trainables.components import DataError, Pair, Sample, Split
from segsweep.trainables.data.class_counts import class_counts
from segsweep.trainables.data.mask_borders import looks_interpolated
from segsweep.trainables.datasets._files import (
    SHARP,
    TURNS_ON_ITS_SIDE,
    MaskCodes,
    file_format,
    orientation,
    raw_values,
)
from segsweep.trainables.survey.findings import Finding, Severity
from segsweep.trainables.survey.near_duplicates import SIDE, fingerprint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


Problem = tuple[Severity, str, str]  # a Finding's first three


class Task(NamedTuple):
    """Some neighbouring samples of a split."""

    split: Split
    first: int  # the number of the first of them, counted over all splits
    samples: Sequence[Sample]
    classes: int


class Seen(NamedTuple):
    """What the samples of a task showed."""

    split: Split
    first: int
    findings: Sequence[Finding]
    counts: npt.NDArray[np.int64]  # (classes,) labelled pixels
    readable: npt.NDArray[np.bool_]  # (samples,) the others have no fingerprint
    pixels: npt.NDArray[np.uint64]  # (samples,) see near_duplicates.Fingerprint
    details: npt.NDArray[np.int8]  # (samples, SIDE * SIDE)


def inspect(task: Task) -> Seen:
    """Read every sample of the task, one at a time."""
    import numpy as np

    count, found = len(task.samples), list[Finding]()
    counts, readable = np.zeros(task.classes, np.int64), np.zeros(count, np.bool_)
    pixels, details = np.zeros(count, np.uint64), np.zeros((count, SIDE * SIDE), np.int8)
    for place, sample in enumerate(task.samples):
        problems: list[Problem] = []
        try:
            pair = sample.read()
            counts += class_counts(sample, pair, task.classes)
            pixels[place], details[place] = fingerprint(pair.image)
            readable[place] = True
            problems += _as_stored(sample, pair)
        except DataError as error:
            problems.append(("fault", error.kind, str(error)))
        except Exception as error:  # a plug-in's, or a decoder's that nobody has met yet: the audit goes on
            reason = f"{type(error).__name__}: {error}"
            problems.append(("fault", "unreadable", f"{name_of(sample)}: cannot be read ({reason})"))
        found += [Finding(*problem, task.split, sample.id, task.first + place) for problem in problems]
    return Seen(task.split, task.first, found, counts, readable, pixels, details)


def _as_stored(sample: Sample, pair: Pair) -> Iterator[Problem]:
    """What only shows in the files; a dataset without them has nothing to show."""
    if sample.files is None:
        return
    image, mask = sample.files
    height, width = pair.label.shape
    turn = orientation(image)
    if turn != 1 and (turn not in TURNS_ON_ITS_SIDE or height == width):
        message = (
            f"{image}: its EXIF orientation {turn} turns or mirrors it, and its size does not tell whether "
            f"{mask.name} was drawn on the turned image. Look at both, or save the image upright and without the tag"
        )
        yield "warning", "orientation", message
    if mask.suffix.lower() != ".npy" and file_format(mask) == "JPEG":
        yield "fault", "interpolated", f"{mask}: is a JPEG, which changes values along borders. Remedy: {SHARP}"
    elif _smooth(mask):
        yield "fault", "interpolated", f"{mask}: most borders look interpolated. {SHARP.capitalize()}"


def _smooth(mask: Path) -> bool:
    try:
        return looks_interpolated(raw_values(mask, MaskCodes((), ())))
    except DataError:  # colour masks: invented colours are no class
        return False


def name_of(sample: Sample) -> str:
    """How messages name it: by its image file, else its id."""
    return str(sample.files[0]) if sample.files else sample.id
