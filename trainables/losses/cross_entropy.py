"""Cross entropy of the softmax, averaged over the labelled pixels, with optional class weights.

Label smoothing: Szegedy et al. 2016, section 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.class_weights import WeightedOptions, class_weights, weight_problems
from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._softmax import softmax_problems

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(WeightedOptions):
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*softmax_problems(task), *weight_problems(options, task)]


def build(options: Options, context: LossContext) -> nn.Module:
    from torch import nn
    from torch.nn import functional as F

    from segsweep.trainables.masked_loss import masked_mean

    class CrossEntropy(nn.Module):
        """sum(w * l) / sum(w) over valid pixels; w is the weight of a pixel's class, for smoothed labels too."""

        weights: Tensor | None

        def __init__(self, weights: Tensor | None) -> None:
            super().__init__()
            self.register_buffer("weights", weights)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=options.label_smoothing)
            return masked_mean(losses, valid, None if self.weights is None else self.weights[labels])

    return CrossEntropy(class_weights(options, context.class_frequencies))
