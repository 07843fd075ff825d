"""Focal loss (Lin et al. 2017, equation 5): -alpha_y (1 - p)^gamma log p, mean over labelled pixels.

`activation: softmax` takes p of the pixel's class; `sigmoid` is the paper's own and most libraries' form, one question
per class against the rest, averaged over classes (the paper sums them). alpha are the class weights, by the pixel's
class; they scale the loss and are not divided out, as in the paper. Own code.
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
    gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0  # 0 is cross entropy; 2 is the paper's best
    activation: Activation = "softmax"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*class_count_problems(task), *weight_problems(options, task)]


def adds_up(options: Options) -> bool:
    """The loss of a batch is the mean of its parts' losses by labelled pixels."""
    return True


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from segsweep.trainables.masked_loss import masked_mean

    class Focal(nn.Module):
        alpha: Tensor | None

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("alpha", class_weights(options, context.class_frequencies))

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            if options.activation == "softmax":
                losses = self._focal(logits.log_softmax(dim=1).gather(1, labels[:, None]))[:, 0]
            else:
                truth = class_maps(labels, valid, logits.shape[1])
                losses = self._focal(F.logsigmoid(torch.where(truth, logits, -logits))).mean(1)
            return masked_mean(losses if self.alpha is None else losses * self.alpha[labels], valid)

        def _focal(self, log_p: Tensor) -> Tensor:
            # 1 - p without cancellation, and above 0: the slope of x^gamma at 0 is infinite for gamma < 1
            missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).eps)
            return -(missing**options.gamma) * log_p

    return Focal()
