"""Focal loss (Lin et al. 2017, equation 5) of the softmax: -alpha_y (1 - p_y)^gamma log p_y, mean over labelled pixels.

alpha are the class weights; they scale the loss and are not divided out, as in the paper. Library versions are often
one sigmoid per class against the rest, which is another loss.
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
    gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0  # 0 is cross entropy; 2 is the paper's best


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*softmax_problems(task), *weight_problems(options, task)]


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn

    from segsweep.trainables.masked_loss import masked_mean

    class Focal(nn.Module):
        alpha: Tensor | None

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("alpha", class_weights(options, context.class_frequencies))

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            log_p = logits.log_softmax(dim=1).gather(1, labels[:, None])[:, 0]
            # 1 - p without cancellation, and above 0: the slope of x^gamma at 0 is infinite for gamma < 1
            missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(torch.float32).eps)
            losses = -(missing**options.gamma) * log_p
            return masked_mean(losses if self.alpha is None else losses * self.alpha[labels], valid)

    return Focal()
