"""Hausdorff distance loss by distance transforms (Karimi and Salcudean 2019, arXiv:1904.10030).

    mean over classes and pixels of (p - t)^2 (d_t^alpha + d_p^alpha)

with d_t and d_p the distances from the borders of the true region and of the predicted one (p > 0.5), in pixels: an
error costs the more the farther off it is. Classes are taken each against the rest, and those count that an image
shows. With the default alpha the loss is of the order of the image's side squared, so in a sum it needs a small
weight; the paper adds it to Dice with a weight that keeps both equal: `{dice: 1, hausdorff_distance: 0.001}`. The
distances are those of MONAI's HausdorffDTLoss (Apache-2.0). Own code.

The distances take one CPU core about 0.25 s for an image of 512x1024 with 9 classes, at every step; half of it with
`one_sided`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, LossContext, Problem, Task
from segsweep.trainables.losses._activation import Activation, class_count_problems, class_maps, probabilities
from segsweep.trainables.losses._distances import signed_distances

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(ComponentOptions):
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0  # the paper's; it found 1 to 3 good
    one_sided: bool = False  # without d_p, a cheaper variant of the paper
    activation: Activation = "softmax"


def check(options: Options, task: Task) -> Iterable[Problem]:
    return class_count_problems(task)


def build(options: Options, context: LossContext) -> nn.Module:
    from torch import nn

    class HausdorffDistance(nn.Module):
        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            truth = class_maps(labels, valid, logits.shape[1])
            counted = truth.any(dim=3).any(dim=2)[:, :, None, None] & valid[:, None]
            probability = probabilities(logits, options.activation)
            farness = signed_distances(truth, valid).abs() ** options.alpha
            if not options.one_sided:
                farness += signed_distances((probability > 0.5) & counted, valid).abs() ** options.alpha
            error = (probability - truth.to(probability.dtype)) ** 2
            return (error * farness.to(logits.device) * counted).sum() / counted.sum()

    return HausdorffDistance()
