"""How well the edges of segments are met, counted over the whole split like every other score.

With d = `distance` times the image's diagonal, at least one pixel, and distances in rows or columns (Chebyshev's):
- boundary IoU: the IoU of each class's pixels within d of its segments' edges (Cheng et al. 2021, equation 3). The
  image's own border is an edge, as in the authors' code.
- boundary F1: precision and recall of each class's outermost pixels, right if the other map has outermost pixels of
  that class within d (Csurka et al. 2013, section 3; there per image and with the Euclidean distance).
Void is void in both maps: its rim is an edge for both, so that a prediction equal to the label scores 1.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from segsweep.trainables.components import VOID

Map = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

BOTH, TRUE, PREDICTED, TRUE_MET, TRUE_EDGE, PREDICTED_MET, PREDICTED_EDGE = range(7)


class BoundaryCounts(Metric):
    """(C, 7) int64 pixel counts, summed over updates; `boundary_scores` makes scores of them."""

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int, distance: float) -> None:
        """distance: share of each image's diagonal, above 0."""
        super().__init__(sync_on_compute=False)  # a process may hold trials that are distributed and others
        self.num_classes, self.distance = num_classes, distance
        self.add_state("counts", torch.zeros(num_classes, 7, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """prediction, label: one image's (H, W); 0..C-1, VOID in the label."""
        truth = label.byte().numpy(force=True)
        predicted = np.where(truth == VOID, np.uint8(VOID), prediction.byte().numpy(force=True))
        width = max(1, round(self.distance * math.hypot(*truth.shape)))
        counted = _counts(truth, predicted, self.num_classes, width)
        self.counts += torch.from_numpy(counted).to(self.counts.device)

    def compute(self) -> Tensor:
        return self.counts


def boundary_scores(counts: Tensor) -> dict[str, float]:
    """Means over the classes that have an edge in truth or prediction; NaN if none has.

    counts: what BoundaryCounts computes.
    """
    n = counts.double().cpu()
    iou = n[:, BOTH] / (n[:, TRUE] + n[:, PREDICTED] - n[:, BOTH])
    precision = n[:, PREDICTED_MET] / n[:, PREDICTED_EDGE].clamp(min=1)
    recall = n[:, TRUE_MET] / n[:, TRUE_EDGE].clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)
    f1 = f1.where(n[:, TRUE_EDGE] + n[:, PREDICTED_EDGE] > 0, torch.nan)
    return {"boundary_iou": float(iou.nanmean()), "boundary_f1": float(f1.nanmean())}


def _counts(truth: Map, predicted: Map, num_classes: int, width: int) -> Counts:
    """(C, 7) of one image; equal maps have void at the same places."""
    bands = [_of_class(map_, _near_edge(map_, width)) for map_ in (truth, predicted)]
    edges = [_of_class(map_, _near_edge(map_, 1)) for map_ in (truth, predicted)]
    counted = np.zeros((num_classes, 7), np.int64)
    counted[:, BOTH] = _histogram(bands[0][bands[0] == bands[1]], num_classes)
    columns = {TRUE: bands[0], PREDICTED: bands[1], TRUE_EDGE: edges[0], PREDICTED_EDGE: edges[1]}
    for column, map_ in columns.items():
        counted[:, column] = _histogram(map_, num_classes)
    both = (counted[:, TRUE_EDGE] > 0) & (counted[:, PREDICTED_EDGE] > 0)
    for number in np.flatnonzero(both):
        true_edge, predicted_edge = ((map_ == number).astype(np.uint8) for map_ in edges)
        counted[number, TRUE_MET] = np.count_nonzero(true_edge & _grown(predicted_edge, width))
        counted[number, PREDICTED_MET] = np.count_nonzero(predicted_edge & _grown(true_edge, width))
    return counted


def _near_edge(map_: Map, width: int) -> npt.NDArray[np.bool_]:
    """Pixels that are at most `width` rows or columns away from another class, from void or from outside the image."""
    box = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    near = np.asarray((cv2.erode(map_, box) != map_) | (cv2.dilate(map_, box) != map_), np.bool_)
    near[:width] = near[-width:] = near[:, :width] = near[:, -width:] = True
    return near


def _of_class(map_: Map, where: npt.NDArray[np.bool_]) -> Map:
    return np.where(where, map_, np.uint8(VOID))


def _histogram(map_: Map, num_classes: int) -> Counts:
    """(C,) pixels of each class; void is left out."""
    return np.bincount(map_.ravel(), minlength=VOID + 1)[:num_classes]


def _grown(mask: Map, width: int) -> Map:
    return np.asarray(cv2.dilate(mask, np.ones((2 * width + 1, 2 * width + 1), np.uint8)), np.uint8)
