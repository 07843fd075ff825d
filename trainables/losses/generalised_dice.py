"""Generalised Dice loss (Sudre et al. 2017, section 2, arXiv:1707.03237): one Dice of all classes, the small ones up.

    1 - 2 sum_c(w_c hits_c) / sum_c(w_c (predicted_c + actual_c)),  w_c = 1 / actual_c^2

so every class counts alike, whatever its size. Over all labelled pixels of the batch. A class without a pixel there
would weigh infinitely: it is left out, or (`absent: count`) gets the heaviest weight of the others, as in MONAI.
Own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from segsweep.trainables.components import ComponentOptions, LossContext, Problem, Task
from segsweep.trainables.losses._activation import Activation, class_count_problems, probabilities
from segsweep.trainables.losses._regions import region_sums

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(ComponentOptions):
    volume: Literal["square", "simple"] = "square"  # w_c = 1 / actual_c^2, or 1 / actual_c
    absent: Literal["skip", "count"] = "skip"
    activation: Activation = "softmax"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return class_count_problems(task)


def build(options: Options, context: LossContext) -> nn.Module:
    from torch import nn

    class GeneralisedDice(nn.Module):
        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            hits, predicted, actual = region_sums(probabilities(logits, options.activation), labels, valid)
            present = actual > 0
            share = actual / actual.sum()  # of the pixels; their squares overflow nothing
            weights = share.clamp_min(share[present].min()).to(logits.dtype)
            weights = weights ** (-2 if options.volume == "square" else -1)
            if options.absent == "skip":
                weights = weights * present
            return 1 - 2 * (weights * hits).sum() / (weights * (predicted + actual)).sum()

    return GeneralisedDice()
