"""Scores of a split, all of them from one confusion matrix that anybody can recount.

The matrix is summed over the whole split at original label size; VOID pixels never count. A class that occurs neither
in truth nor in prediction has no IoU (NaN) and is left out of means; one that is predicted although it does not occur
has IoU 0 and counts, as in the Cityscapes and mmsegmentation scorers. Datasets whose official score looks at some of
their classes only are scored on `scored_part` of the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from segsweep.trainables.components import VOID
from segsweep.trainables.metric_names import class_iou


def confusion_matrix(prediction: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """(C, C) int64 pixel counts; rows are truth, columns prediction.

    prediction, label: integers of one shape, any; prediction 0..C-1, label 0..C-1 or VOID. uint8 is fastest.
    Raises ValueError for any other value or for different shapes.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"prediction is {tuple(prediction.shape)}, label is {tuple(label.shape)}: sizes must agree")
    _check_range("prediction", prediction, num_classes - 1, num_classes)
    _check_range("label", label, VOID, num_classes)
    # A row for every byte that a label may hold: void is counted too and then left out, which takes a tenth of the time
    # of picking the labelled pixels first (19 classes, 1024x2048, one core: 4 ms, else 36).
    pairs = label.int() * num_classes + prediction.int()
    counts = torch.bincount(pairs.flatten(), minlength=(VOID + 1) * num_classes).reshape(VOID + 1, num_classes)
    no_class = counts[num_classes:VOID].any(dim=1)
    if no_class.any():
        raise _no_class("label", num_classes + int(no_class.nonzero()[-1]), num_classes)
    return counts[:num_classes].clone()


def _check_range(noun: str, values: Tensor, highest: int, num_classes: int) -> None:
    if not values.numel():
        return
    low, high = map(int, torch.aminmax(values))
    if low < 0 or high > highest:
        raise _no_class(noun, high if high > highest else low, num_classes)


def _no_class(noun: str, value: int, num_classes: int) -> ValueError:
    return ValueError(f"{noun} {value} is no class: allowed are 0..{num_classes - 1}, and {VOID} (void) in labels")


class ConfusionMatrix(Metric):
    """`confusion_matrix` summed over updates; over processes it is summed in loop.evaluate.

    Called like a function, it returns the matrix of that call alone and adds it to the sum.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    confusion: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__(sync_on_compute=False)  # a process may hold trials that are distributed and others
        self.num_classes = num_classes
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """See `confusion_matrix`."""
        self.confusion += confusion_matrix(prediction, label, self.num_classes)

    def compute(self) -> Tensor:
        """(C, C) int64; rows are truth, columns prediction."""
        return self.confusion


def iou_per_class(confusion: Tensor) -> Tensor:
    """(C,) float64 TP / (TP + FP + FN); NaN where a class is neither in truth nor in prediction."""
    hits = confusion.diagonal().double()
    return hits / (_predicted(confusion) + confusion.sum(1) - hits)


def mean_iou(confusion: Tensor) -> float:
    """Mean IoU over the classes present in truth or prediction, in [0, 1].

    Raises ValueError if no pixel is labelled.
    Source: Everingham et al. 2010, section 4; absent classes skipped as the Cityscapes scorer does.
    """
    _check_labelled(confusion)
    return float(iou_per_class(confusion).nanmean())


def classes_scored(confusion: Tensor) -> int:
    """How many classes the means over IoU, Dice, precision and recall are taken over."""
    return int((_predicted(confusion) + confusion.sum(1) > 0).sum())


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of the labelled pixels that are right, in [0, 1]. Raises ValueError if no pixel is labelled."""
    _check_labelled(confusion)
    return float(confusion.diagonal().sum().double() / confusion.sum())


def mean_accuracy(confusion: Tensor) -> float:
    """Mean recall over the classes in truth, in [0, 1]. Raises ValueError if no pixel is labelled."""
    _check_labelled(confusion)
    return float((confusion.diagonal().double() / confusion.sum(1)).nanmean())


def fw_iou(confusion: Tensor) -> float:
    """IoU weighted by each class's share of the labelled pixels, in [0, 1]. Raises ValueError if there are none.

    Source: Long et al. 2015, section 5.
    """
    _check_labelled(confusion)
    frequency = confusion.sum(1).double() / confusion.sum()
    return float((frequency * iou_per_class(confusion)).nansum())


def mean_dice(confusion: Tensor) -> float:
    """Mean Dice, which is F1: 2 TP / (2 TP + FP + FN), over the classes of mean_iou. Raises ValueError likewise."""
    _check_labelled(confusion)
    hits = confusion.diagonal().double()
    return float((2 * hits / (_predicted(confusion) + confusion.sum(1))).nanmean())


def precision_per_class(confusion: Tensor) -> Tensor:
    """(C,) float64 TP / (TP + FP); 0 where a class is in truth and never predicted, NaN where it is in neither."""
    return _share_of_hits(confusion, _predicted(confusion))


def recall_per_class(confusion: Tensor) -> Tensor:
    """(C,) float64 TP / (TP + FN); 0 where a class is predicted and never in truth, NaN where it is in neither."""
    return _share_of_hits(confusion, confusion.sum(1))


def _share_of_hits(confusion: Tensor, of: Tensor) -> Tensor:
    shares = confusion.diagonal().double() / of.clamp(min=1)
    return shares.where(_predicted(confusion) + confusion.sum(1) > 0, torch.nan)


def mean_precision(confusion: Tensor) -> float:
    """Mean precision over the classes of mean_iou, in [0, 1]. Raises ValueError if no pixel is labelled."""
    _check_labelled(confusion)
    return float(precision_per_class(confusion).nanmean())


def mean_recall(confusion: Tensor) -> float:
    """Mean recall over the classes of mean_iou, in [0, 1]. Raises ValueError if no pixel is labelled.

    A class that is predicted and never in truth counts as 0 here; mean_accuracy skips it.
    """
    _check_labelled(confusion)
    return float(recall_per_class(confusion).nanmean())


def scored_part(confusion: Tensor, scored: Sequence[int]) -> Tensor:
    """(K, K + 1) int64: what is left of (C, C) where only the K classes `scored` count; every score takes it as it is.

    Truth of any other class is void, so a false alarm on it costs nothing; the last column holds what was taken for one
    of them. Source: evaluate_drivable of the BDD100K toolkit, where background is not scored.
    """
    rows = confusion[list(scored)]
    part = rows[:, list(scored)]
    return torch.cat([part, (rows.sum(1) - part.sum(1))[:, None]], dim=1)


def scores(
    confusion: Tensor, classes: Sequence[str], prefix: str = "val_", scored: Sequence[int] | None = None
) -> dict[str, float]:
    """Every score under the name that MLflow shows. Raises ValueError if no pixel is labelled.

    confusion: (C, C) int64; classes: the C names. `PREFIXiou/CLASS` of an absent class is NaN.
    scored: where the official score looks at these classes only (see `scored_part`), and among them, as the BDD100K
    toolkit does, at those that are in truth. `PREFIXmiou_all_classes` is then the mean IoU of the whole matrix.
    """
    confusion, whole = confusion.cpu(), {}
    ious = torch.full((len(confusion),), torch.nan, dtype=torch.float64)
    counted: Sequence[int] = range(len(confusion))
    if scored is not None:
        whole = {"miou_all_classes": mean_iou(confusion)}
        counted = [index for index in scored if confusion[index].any()]
        confusion = scored_part(confusion, counted)
    ious[counted] = iou_per_class(confusion)
    named = whole | {
        "miou": mean_iou(confusion),
        "pixel_accuracy": pixel_accuracy(confusion),
        "mean_accuracy": mean_accuracy(confusion),
        "fwiou": fw_iou(confusion),
        "dice": mean_dice(confusion),
        "precision": mean_precision(confusion),
        "recall": mean_recall(confusion),
        "classes": float(classes_scored(confusion)),
    }
    per_class = {class_iou(name, prefix): float(iou) for name, iou in zip(classes, ious, strict=True)}
    return {prefix + name: value for name, value in named.items()} | per_class


def _predicted(confusion: Tensor) -> Tensor:
    """(C,) how often each class of truth was predicted; the last column of `scored_part` is none of them."""
    return confusion.sum(0)[: len(confusion)]


def _check_labelled(confusion: Tensor) -> None:
    if not confusion.any():
        raise ValueError("no pixel of the split is labelled (everything is void): there is nothing to score")
