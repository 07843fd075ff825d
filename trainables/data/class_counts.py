"""How many pixels of each class a sample has, and whether it is what a sample has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segsweep.trainables.components import VOID, DataError, Pair, Sample

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


def class_counts(sample: Sample, pair: Pair, classes: int) -> npt.NDArray[np.int64]:
    """(classes,) labelled pixels. Raises DataError where image and label are not what `Pair` promises."""
    import numpy as np

    image, label = pair
    if image.dtype != np.uint8 or label.dtype != np.uint8 or image.shape != (*label.shape, 3):
        raise DataError(
            f"{sample.id}: a pair needs an image (H, W, 3) and a label (H, W), both uint8; "
            f"these are {image.shape} {image.dtype} and {label.shape} {label.dtype}",
            "sizes",
        )
    counts = np.bincount(label.reshape(-1), minlength=256)
    beyond = np.flatnonzero(counts[classes:VOID])
    if beyond.size:
        raise DataError(
            f"{sample.id}: label {int(beyond[0]) + classes} is no class; "
            f"allowed are 0..{classes - 1} and {VOID} for void",
            "values",
        )
    return counts[:classes]


def check_labelled(split: str, pixels: int) -> None:
    """pixels: of any class, in the whole split. Raises DataError if there are none."""
    if not pixels:
        raise DataError(f"split '{split}': every pixel is void, so there is nothing to learn or to score", "void")


def class_frequencies(counts: npt.NDArray[np.int64]) -> Tensor:
    """(C,) float64, each class's share of the labelled pixels; sums to 1. counts: (C,), not all of them 0."""
    import torch

    pixels = torch.as_tensor(counts, dtype=torch.float64)
    return pixels / pixels.sum()
