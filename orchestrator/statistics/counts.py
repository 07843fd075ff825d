"""Confusion matrices of single images as what scores are made of: hits and unions, which add up over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from segsweep.trainables.scoring.confusions import Confusions

Floats = npt.NDArray[np.float64]
Score = Literal["miou", "dice"]

FEWEST_GROUPS = 10  # resampling fewer says little of how groups differ, so their frames are resampled in runs instead


@dataclass(frozen=True)
class Counts:
    """What one trained network did on N images, in K scored classes."""

    hits: Floats  # (N, K) pixels
    unions: Floats  # (N, K) pixels in truth or prediction

    def __post_init__(self) -> None:
        if self.hits.shape != self.unions.shape:
            raise ValueError(f"hits are {self.hits.shape}, unions {self.unions.shape}: shapes must agree")


def counted(confusions: Confusions) -> Counts:
    """Of every image, the hits and unions that scoring.metrics.scores would compute its means from.

    Where only some classes are scored (see `DatasetCard.scored`), truth of another class is void, and classes that the
    whole split lacks in truth do not count.
    """
    matrices, classes = confusions.matrices, len(confusions.classes)
    image = np.repeat(np.arange(len(matrices)), [len(matrix.cells) for matrix in matrices])
    truth, prediction = divmod(np.concatenate([np.zeros(0, np.int64), *(one.cells for one in matrices)]), classes)
    pixels = np.concatenate([np.zeros(0), *(one.counts for one in matrices)])
    kept: npt.NDArray[np.intp] = np.arange(classes)
    if confusions.scored is not None:
        kept = np.intersect1d(confusions.scored, truth)
        inside = np.isin(truth, kept)
        image, truth, prediction, pixels = image[inside], truth[inside], prediction[inside], pixels[inside]

    def per_class(of: npt.NDArray[np.int64], which: npt.NDArray[np.bool_] | slice = slice(None)) -> Floats:
        cells = image[which] * classes + of[which]
        summed = np.bincount(cells, pixels[which], minlength=len(matrices) * classes)
        return summed.reshape(len(matrices), classes)[:, kept].astype(np.float64)

    hits = per_class(truth, truth == prediction)
    return Counts(hits, per_class(truth) + per_class(prediction) - hits)


def score(hits: Floats, unions: Floats, of: Score) -> Floats:
    """(..., K) summed hits and unions to (...) mean IoU or Dice over the classes that occur; NaN where none does."""
    occurs = unions > 0
    below = unions if of == "miou" else unions + hits
    shares = np.divide(hits if of == "miou" else 2 * hits, below, out=np.zeros_like(hits), where=occurs)
    classes = occurs.sum(-1)
    return np.asarray(np.divide(shares.sum(-1), classes, out=np.full(classes.shape, np.nan), where=classes > 0))


def blocks(groups: Sequence[str], images: int) -> npt.NDArray[np.intp]:
    """(N,) the number of the block that each image is resampled with.

    Images without a group stand alone. Ten groups or more are resampled as wholes. Of fewer, runs of N^(1/3)
    neighbouring frames are: neighbours resemble each other, and two or three groups cannot tell how groups differ.
    Source of the length: Hall, Horowitz and Jing 1995, for variances.
    """
    if not any(groups):
        return np.arange(images)
    names: Mapping[str, int] = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    group = np.array([names[name] for name in groups])
    if len(names) >= FEWEST_GROUPS:
        return group
    length = max(1, round(images ** (1 / 3)))
    place = np.zeros(images, np.intp)  # of each image within its group
    for number in range(len(names)):
        inside = np.flatnonzero(group == number)
        place[inside] = np.arange(len(inside)) // length
    return np.unique(np.stack([group, place]), axis=1, return_inverse=True)[1].ravel()
