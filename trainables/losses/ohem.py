"""Online hard example mining (Shrivastava et al. 2016) of pixels (Wu et al. 2016): cross entropy of the hardest.

As in mmsegmentation (OHEMPixelSampler, Apache-2.0): kept are all labelled pixels whose true class has a probability
below `threshold`, and in any case the share `min_kept` of the hardest. mmsegmentation counts 100,000 pixels an image;
a share means the same at every image size. Its mean is over all pixels, here over those that are kept. Own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.class_weights import WeightedOptions, class_weights, weight_problems
from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._activation import class_count_problems

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(WeightedOptions):
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7  # probability; 0 keeps only the hardest `min_kept`
    min_kept: Annotated[float, Field(gt=0, le=1)] = 0.2  # of the batch's labelled pixels; 1 is cross entropy


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*class_count_problems(task), *weight_problems(options, task)]


def build(options: Options, context: LossContext) -> nn.Module:
    import math

    from torch import nn
    from torch.nn import functional as F

    from segsweep.trainables.masked_loss import masked_mean

    class OHEM(nn.Module):
        weights: Tensor | None

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weights", class_weights(options, context.class_frequencies))

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            losses = F.cross_entropy(logits, labels, reduction="none")
            labelled = losses.detach()[valid]
            rank = labelled.numel() - math.ceil(options.min_kept * labelled.numel()) + 1
            least = labelled.kthvalue(rank).values  # of the hardest that are kept in any case
            if options.threshold > 0:  # p < threshold, and no sort is needed
                least = least.clamp_max(-math.log(options.threshold))
            return masked_mean(
                losses, valid & (losses >= least), None if self.weights is None else self.weights[labels]
            )

    return OHEM()
