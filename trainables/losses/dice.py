"""Soft Dice loss over the classes of the batch (Milletari et al. 2016, with plain instead of squared denominators).

One Dice coefficient per class over all labelled pixels of the batch; the loss is 1 minus their mean, in which class
weights weigh the classes, not their pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from segsweep.trainables.class_weights import WeightedOptions, class_weights, weight_problems
from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._softmax import softmax_problems

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(WeightedOptions):
    absent: Literal["skip", "count"] = "skip"  # classes without a pixel in the batch: no term, or a term for their
    # false positives; with `smooth` 0 such a term is constantly 1 and teaches nothing
    smooth: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # pixels, added to numerator and denominator


def check(options: Options, task: Task) -> Iterable[Problem]:
    return [*softmax_problems(task), *weight_problems(options, task)]


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn

    class Dice(nn.Module):
        weights: Tensor

        def __init__(self) -> None:
            super().__init__()
            weights = class_weights(options, context.class_frequencies)
            self.register_buffer("weights", torch.ones(context.num_classes) if weights is None else weights)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            probability = logits.softmax(dim=1)
            classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
            truth = (labels[:, None] == classes) & valid[:, None]  # (N, C, H, W) bool: an eighth of F.one_hot
            pixels = (0, 2, 3)
            overlap = probability.masked_fill(~truth, 0).sum(pixels)
            predicted = probability.masked_fill(~valid[:, None], 0).sum(pixels)
            actual = truth.sum(pixels)
            tiny = torch.finfo(torch.float32).tiny
            total = (predicted + actual + options.smooth).clamp_min(tiny)
            losses = 1 - (2 * overlap + options.smooth) / total
            weights = self.weights * (actual > 0) if options.absent == "skip" else self.weights
            return (weights * losses).sum() / weights.sum().clamp_min(tiny)

    return Dice()
