"""Focal Tversky loss (Abraham and Khan 2019, arXiv:1810.07842): (1 - Tversky index)^(1/gamma) per class.

The mean over classes where the paper sums; without the paper's deep supervision, which a network brings along.
segmentation_models_pytorch raises to gamma itself, another loss under the same name. Own code, see _regions.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import LossContext, Problem, Task
from segsweep.trainables.losses._regions import RegionOptions, check_region, region_loss, tversky_index

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(RegionOptions):
    gamma: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 4 / 3  # the paper's best of its range 1 to 3
    false_positives: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3  # beta in the paper
    false_negatives: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.7  # alpha in the paper


def check(options: Options, task: Task) -> Iterable[Problem]:
    return check_region(options, task)


def build(options: Options, context: LossContext) -> nn.Module:
    import torch

    index = tversky_index(options.false_positives, options.false_negatives, options.smooth)

    def formula(hits: Tensor, false_alarms: Tensor, misses: Tensor) -> Tensor:
        value = index(hits, false_alarms, misses)
        # above 0: the slope of x^(1/gamma) at 0 is infinite
        return (1 - value).clamp_min(torch.finfo(value.dtype).eps) ** (1 / options.gamma)

    return region_loss(options, context, formula)
