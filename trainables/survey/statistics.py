"""What the images of a dataset are like: sizes, how often each class is labelled, brightness, weights that balance it.

Every image is read once, one at a time in each process, and only sums are kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, get_args

from segsweep.trainables.class_weights import Balance, balanced_weights
from segsweep.trainables.components import SPLITS, DataError, Dataset, Sample, Split
from segsweep.trainables.data.class_counts import class_counts, class_frequencies
from segsweep.trainables.data.workers import pixels_of, results, worthwhile
from segsweep.trainables.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Size = tuple[int, int]  # height, width
TASK_IMAGES = 16  # read between two reports
SHOWN_ERRORS = 5  # after as many unusable samples, reading stops


@dataclass(frozen=True, eq=False)
class SplitStatistics:
    """Sums over the images of a split at original size. All are whole numbers: no order of adding changes them."""

    sizes: Counter[Size]  # images of each size
    class_pixels: npt.NDArray[np.int64]  # (C,) labelled pixels of each class
    class_images: npt.NDArray[np.int64]  # (C,) images that show it
    channel_sums: npt.NDArray[np.float64]  # (3,) over all pixels, void ones as well, of R, G, B in 0..255
    channel_squares: npt.NDArray[np.float64]  # (3,) the same of their squares

    def __add__(self, other: SplitStatistics) -> SplitStatistics:
        return SplitStatistics(
            self.sizes + other.sizes,
            self.class_pixels + other.class_pixels,
            self.class_images + other.class_images,
            self.channel_sums + other.channel_sums,
            self.channel_squares + other.channel_squares,
        )

    @property
    def images(self) -> int:
        return self.sizes.total()

    @property
    def pixels(self) -> int:
        return sum(height * width * images for (height, width), images in self.sizes.items())

    @property
    def labelled(self) -> bool:
        return bool(self.class_pixels.any())

    @property
    def size_range(self) -> tuple[Size, Size, Size]:
        """The sizes with the fewest pixels, of the image in the middle (of two, the smaller one), with the most."""
        ordered = sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
        before_middle, middle = (self.images - 1) // 2, iter(ordered)
        while before_middle >= 0:
            median = next(middle)
            before_middle -= self.sizes[median]
        return ordered[0], median, ordered[-1]

    @property
    def pixel_shares(self) -> list[float]:
        """(C,) of the labelled pixels; all 0 where every pixel is void."""
        return class_frequencies(self.class_pixels).tolist() if self.labelled else [0.0] * len(self.class_pixels)

    @property
    def image_shares(self) -> list[float]:
        """(C,) share of the images that show the class."""
        return [images / self.images for images in self.class_images.tolist()]

    @property
    def void_share(self) -> float:
        """Of all pixels."""
        return (self.pixels - int(self.class_pixels.sum())) / self.pixels

    @property
    def mean(self) -> list[float]:
        """(3,) of R, G, B over all pixels, in 0..1."""
        return [total / self.pixels / 255 for total in self.channel_sums.tolist()]

    @property
    def std(self) -> list[float]:
        """(3,) as `mean`: of all pixels together, not the average of each image's."""
        squares = [total / self.pixels / 255**2 for total in self.channel_squares.tolist()]
        return [math.sqrt(max(0.0, square - mean**2)) for square, mean in zip(squares, self.mean, strict=True)]


Task = tuple[Split, Sequence[Sample]]
Answer = tuple[Split, SplitStatistics | list[str]]


@dataclass(frozen=True)
class Imbalance:
    """How far the labelled pixels of a split are from equal shares."""

    most: int  # class
    rarest: int  # among those that occur
    ratio: float  # of their shares
    effective_classes: float  # so many equally frequent classes would be as uneven (exp of the entropy), from 1 to C
    absent: tuple[int, ...]  # classes without a pixel

    @classmethod
    def of(cls, statistics: SplitStatistics) -> Imbalance:
        """statistics: of a split that has a labelled pixel."""
        shares = statistics.pixel_shares
        present = [index for index, share in enumerate(shares) if share]
        most, rarest = max(present, key=shares.__getitem__), min(present, key=shares.__getitem__)
        entropy = -sum(shares[index] * math.log(shares[index]) for index in present)
        absent = tuple(index for index, share in enumerate(shares) if not share)
        return cls(most, rarest, shares[most] / shares[rarest], math.exp(entropy), absent)


def measure(
    dataset: Dataset, progress: Progress = lambda done, total: None, processes: int | None = None
) -> Mapping[Split, SplitStatistics]:
    """Read every image of every split that has any. Raises DataError that names the files which cannot be used.

    processes: None for as many as the work is worth and this machine has CPUs for.
    """
    tasks = _tasks(dataset)
    samples = [sample for _, part in tasks for sample in part]
    if not samples:
        raise DataError("no split has an image")
    work = partial(_measure, len(dataset.card.classes))
    processes = processes or worthwhile(pixels_of(samples), len(tasks))
    with closing(results(work, tasks, processes)) as answers:
        found = _added(answers, lambda done: progress(done, len(samples)))
    return {split: found[split] for split in SPLITS if split in found}


def suggested_weights(statistics: SplitStatistics, cap: float) -> dict[Balance, list[float]]:
    """(C,) class weights by every method, as a loss would get them from this split, which has a labelled pixel."""
    frequencies = class_frequencies(statistics.class_pixels)
    return {balance: balanced_weights(frequencies, balance, cap).tolist() for balance in get_args(Balance)}


def _tasks(dataset: Dataset) -> list[Task]:
    return [
        (split, samples[start : start + TASK_IMAGES])
        for split in SPLITS
        if (samples := dataset.splits.get(split, ()))
        for start in range(0, len(samples), TASK_IMAGES)
    ]


def _added(answers: Iterable[Answer], progress: Callable[[int], None]) -> dict[Split, SplitStatistics]:
    """The sums of every split. Raises DataError, once it knows of several files that cannot be used."""
    found: dict[Split, SplitStatistics] = {}
    errors: list[str] = []
    for split, answer in answers:
        if isinstance(answer, SplitStatistics):
            found[split] = found[split] + answer if split in found else answer
            progress(sum(each.images for each in found.values()))
            continue
        errors += answer
        if len(errors) >= SHOWN_ERRORS:
            break
    if errors:
        more = f"\n(stopped after {SHOWN_ERRORS}; there may be more)" if len(errors) >= SHOWN_ERRORS else ""
        raise DataError("\n".join(errors[:SHOWN_ERRORS]) + more)
    return found


def _measure(classes: int, task: Task) -> Answer:
    """The sums over some samples, or what is wrong with them."""
    split, samples = task
    measured, errors = list[SplitStatistics](), list[str]()
    for sample in samples:
        try:
            measured.append(_of_sample(sample, classes))
        except DataError as error:
            errors.append(str(error))
    return split, errors or reduce(add, measured)


def _of_sample(sample: Sample, classes: int) -> SplitStatistics:
    import cv2
    import numpy as np

    pair = sample.read()
    counts = class_counts(sample, pair, classes)
    height, width = pair.label.shape
    mean, std = cv2.meanStdDev(pair.image)  # 20 times as fast as summing by numpy
    mean, square = mean[:, 0], (mean**2 + std**2)[:, 0]
    sums, squares = np.rint(mean * pair.label.size), np.rint(square * pair.label.size)
    return SplitStatistics(Counter({(height, width): 1}), counts, (counts > 0).astype(np.int64), sums, squares)
