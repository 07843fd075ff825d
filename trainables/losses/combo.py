"""Combo loss (Taghanaki et al. 2019, arXiv:1805.02798): weighted binary cross entropy and Dice.

    alpha mean(-beta t log p - (1 - beta) (1 - t) log(1 - p)) + (1 - alpha) (1 - mean(Dice))

The first mean is over pixels and classes. beta above 0.5 punishes misses, below it false alarms. The paper subtracts
the sum of the Dice coefficients; their mean over the classes that the batch shows keeps alpha's meaning for any number
of classes. Own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, LossContext, Problem, Task
from segsweep.trainables.losses import dice
from segsweep.trainables.losses._activation import Activation, class_count_problems, class_maps

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(ComponentOptions):
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5  # share of the cross entropy
    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    smooth: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # as in dice
    activation: Activation = "softmax"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return class_count_problems(task)


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from segsweep.trainables.masked_loss import masked_mean

    class Combo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dice = dice.build(dice.Options(smooth=options.smooth, activation=options.activation), context)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            truth = class_maps(labels, valid, logits.shape[1])
            yes, no = self._log_answers(logits)
            right = torch.where(truth, options.beta * yes, (1 - options.beta) * no)
            entropy = masked_mean(-right.mean(1), valid)
            overlap: Tensor = self.dice(logits, labels, valid)
            return options.alpha * entropy + (1 - options.alpha) * overlap

        def _log_answers(self, logits: Tensor) -> tuple[Tensor, Tensor]:
            """log p and log(1 - p)."""
            if options.activation == "sigmoid":
                return F.logsigmoid(logits), F.logsigmoid(-logits)
            yes: Tensor = logits.log_softmax(dim=1)
            return yes, (-torch.expm1(yes)).clamp_min(torch.finfo(yes.dtype).eps).log()

    return Combo()
