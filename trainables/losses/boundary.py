"""Boundary loss (Kervadec et al. 2019, arXiv:1812.07032): probability times its distance from the true border.

    mean over classes and pixels of p phi,  phi = distance to the region outside it, 1 - distance out of it inside

in pixels, so it goes below 0 for a good prediction, and grows with the image. phi as in the authors' code, where the
mean is over the classes of each image that it shows: the others have no distance. By itself it hardly teaches
anything; the paper adds 0.01 of it to generalised Dice, and 0.01 more in every further epoch:
`{generalised_dice: 1, boundary: {weight: 0.01, rise: 1}}`. A loss that rises is no objective: val_loss rises with it.
Own code.

The distances take one CPU core about 0.12 s for an image of 512x1024 with 9 classes, at every step.
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
    activation: Activation = "softmax"
    rise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # of the loss per epoch, as a share of its first


def check(options: Options, task: Task) -> Iterable[Problem]:
    return class_count_problems(task)


def rises(options: Options) -> bool:
    return options.rise > 0


def build(options: Options, context: LossContext) -> nn.Module:
    from torch import nn

    class Boundary(nn.Module):
        factor = 1.0

        def begin(self, epoch: int) -> None:
            self.factor = 1 + options.rise * (epoch - 1)

        def forward(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
            truth = class_maps(labels, valid, logits.shape[1])
            distances = signed_distances(truth, valid).to(logits.device)
            phi = distances + (distances < 0)  # the outermost pixels of a region are its border: 0
            counted = truth.any(dim=3).any(dim=2)[:, :, None, None] & valid[:, None]
            terms = probabilities(logits, options.activation) * phi * counted
            return self.factor * terms.sum() / counted.sum()

    return Boundary()
