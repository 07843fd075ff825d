"""Cross entropy, averaged over the labelled pixels, with optional class weights and label smoothing.

`activation: softmax` is torch's cross entropy, except that void may be anywhere and everywhere; `sigmoid` the binary
cross entropy of each class against the rest, averaged over classes. Smoothed targets: 1 - s for what is right, and s
shared evenly by all C classes (Szegedy et al. 2016, section 7), with `sigmoid` by the two answers to each question.
Code: torch (BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.class_weights import WeightedOptions, class_weights, weight_problems
from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._activation import Activation, class_count_problems, class_maps

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(WeightedOptions):
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    activation: Activation = "softmax"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*class_count_problems(task), *weight_problems(options, task)]


def adds_up(options: Options) -> bool:
    """The loss of a batch is the mean of its parts' losses by labelled pixels with `class_weights: none` only."""
    return options.class_weights == "none"


def build(options: Options, context: LossContext) -> nn.Module:
    from torch import nn
    from torch.nn import functional as F

    from segsweep.trainables.masked_loss import masked_mean

    smoothing = options.label_smoothing

    class CrossEntropy(nn.Module):
        """sum(w * l) / sum(w) over valid pixels; w is the weight of a pixel's class, for smoothed labels too."""

        weights: Tensor | None

        def __init__(self, weights: Tensor | None) -> None:
            super().__init__()
            self.register_buffer("weights", weights)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            if options.activation == "softmax":
                losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
            else:
                targets = class_maps(labels, valid, logits.shape[1]).to(logits.dtype) * (1 - smoothing) + smoothing / 2
                losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
            return masked_mean(losses, valid, None if self.weights is None else self.weights[labels])

    return CrossEntropy(class_weights(options, context.class_frequencies))
