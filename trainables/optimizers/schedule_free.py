"""Schedule-free AdamW (Defazio et al. 2024), the authors' package: an average of the weights instead of a decay.

It wants no decaying LR schedule: `constant`, with a warm-up of about 5 % of training. What is scored and saved is the
average. BatchNorm's statistics, which belong to other weights, are taken anew before every scoring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import Family
from segsweep.trainables.optimizers._groups import Beta, OptimizerOptions, Positive, parameter_groups

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = {
    "cnn": {
        # the package's 2.5e-3; its authors advise 1 to 10 times AdamW's lr, and AdamW's weight decay
        "lr": {"loguniform": [2e-4, 2e-2], "first": 2.5e-3},
        "weight_decay": {"loguniform": [1e-4, 1e-1], "first": 0.01},
    },
    "transformer": {
        # three times the published 6e-5 of adamw: nobody has published one of its own
        "lr": {"loguniform": [2e-5, 2e-3], "first": 2e-4},
        "weight_decay": {"loguniform": [1e-3, 1e-1], "first": 0.01},
    },
}


class Options(OptimizerOptions):
    betas: tuple[Annotated[float, Field(gt=0, lt=1)], Beta] = (0.9, 0.999)
    eps: Positive = 1e-8


def build(options: Options, model: nn.Module) -> Optimizer:
    from segsweep.trainables.optimizers._schedule_free import AdamWScheduleFree

    groups = parameter_groups(options, model)
    optimizer: Optimizer = AdamWScheduleFree(groups, lr=options.lr, betas=options.betas, eps=options.eps)
    return optimizer
