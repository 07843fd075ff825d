"""Soft Dice loss over the classes of the batch (Milletari et al. 2016, with plain instead of squared denominators).

One Dice coefficient per class over all labelled pixels of the batch; the loss is 1 minus their mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, LossContext, Problem, Task
from segsweep.trainables.losses._softmax import softmax_problems

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(ComponentOptions):
    absent: Literal["skip", "count"] = "skip"  # classes without a pixel in the batch: no term, or a term for their
    # false positives; with `smooth` 0 such a term is constantly 1 and teaches nothing
    smooth: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # pixels, added to numerator and denominator


def check(options: Options, task: Task) -> Iterable[Problem]:
    return softmax_problems(task)


def build(options: Options, context: LossContext) -> nn.Module:
    import torch
    from torch import nn

    class Dice(nn.Module):
        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            probability = logits.softmax(dim=1)
            classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
            truth = (labels[:, None] == classes) & valid[:, None]  # (N, C, H, W) bool: an eighth of F.one_hot
            pixels = (0, 2, 3)
            overlap = probability.masked_fill(~truth, 0).sum(pixels)
            predicted = probability.masked_fill(~valid[:, None], 0).sum(pixels)
            actual = truth.sum(pixels)
            total = (predicted + actual + options.smooth).clamp_min(torch.finfo(torch.float32).tiny)
            losses = 1 - (2 * overlap + options.smooth) / total
            return losses[actual > 0].mean() if options.absent == "skip" else losses.mean()

    return Dice()
