"""What Dice and its relatives share: per class, how the predicted region lies on the true one, softly counted.

Over all labelled pixels of the batch (or of each image), with p the probability and t the truth of a class:
hits = sum(p t), false_alarms = sum(p (1 - t)), misses = sum((1 - p) t). A loss makes one number per class of these;
class weights weigh the classes, not their pixels. Own code: the libraries' counts a class that is not in the batch as
a perfect one, so their loss of random logits is 0.28 where 2 of 5 classes are present, instead of about 0.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from segsweep.trainables.class_weights import WeightedOptions, class_weights, weight_problems
from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._activation import Activation, class_count_problems, class_maps, probabilities

if TYPE_CHECKING:
    from torch import Tensor, nn


class RegionOptions(WeightedOptions):
    absent: Literal["skip", "count"] = "skip"  # classes without a pixel in the batch: no term, or a term for their
    # false positives; with `smooth` 0 such a term is constantly 1 and teaches nothing
    smooth: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # pixels, added to numerator and denominator
    per_image: bool = False  # a term per class and image instead of per class
    activation: Activation = "softmax"


class IndexOptions(RegionOptions):
    log: bool = False  # -log of the index instead of 1 - index


def check_region(options: RegionOptions, task: Task) -> Iterable[Problem]:
    """`check` of every loss made by region_loss."""
    return [*class_count_problems(task), *weight_problems(options, task)]


RegionFormula: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
"""(hits, false_alarms, misses) -> a number each, all of one shape: (C,) or, per image, (N, C)."""


def tversky_index(false_positives: float, false_negatives: float, smooth: float) -> RegionFormula:
    """(hits + s) / (hits + a false_alarms + b misses + s), in [0, 1]; Dice is a = b = 0.5, Jaccard a = b = 1."""
    import torch

    def index(hits: Tensor, false_alarms: Tensor, misses: Tensor) -> Tensor:
        total = hits + false_positives * false_alarms + false_negatives * misses + smooth
        return (hits + smooth) / total.clamp_min(torch.finfo(total.dtype).tiny)

    return index


def index_loss(options: IndexOptions, context: LossContext, index: RegionFormula) -> nn.Module:
    """1 - index or -log index, as the options say."""
    import torch

    def formula(hits: Tensor, false_alarms: Tensor, misses: Tensor) -> Tensor:
        value = index(hits, false_alarms, misses)
        return -value.clamp_min(torch.finfo(value.dtype).eps).log() if options.log else 1 - value

    return region_loss(options, context, formula)


def region_loss(options: RegionOptions, context: LossContext, formula: RegionFormula) -> nn.Module:
    """The weighted mean of `formula` over the classes that count."""
    import torch
    from torch import nn

    class Regions(nn.Module):
        weights: Tensor

        def __init__(self) -> None:
            super().__init__()
            weights = class_weights(options, context.class_frequencies)
            self.register_buffer("weights", torch.ones(context.num_classes) if weights is None else weights)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            hits, predicted, actual = region_sums(
                probabilities(logits, options.activation), labels, valid, per_image=options.per_image
            )
            # rounding may push the differences below 0, where a formula's powers have no value
            losses = formula(hits, (predicted - hits).clamp_min(0), (actual - hits).clamp_min(0))
            labelled = actual.sum(-1, keepdim=True)  # 0 for an image of nothing but void
            weights = self.weights * ((actual if options.absent == "skip" else labelled) > 0)
            return (weights * losses).sum() / weights.sum().clamp_min(torch.finfo(losses.dtype).tiny)

    return Regions()


def region_sums(
    probability: Tensor, labels: Tensor, valid: Tensor, *, per_image: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """(hits, predicted, actual) by class: sums of p t, p and t over valid pixels."""
    truth = class_maps(labels, valid, probability.shape[1])
    pixels = (2, 3) if per_image else (0, 2, 3)
    hits = probability.masked_fill(~truth, 0).sum(pixels)
    predicted = probability.masked_fill(~valid[:, None], 0).sum(pixels)
    return hits, predicted, truth.sum(pixels)
