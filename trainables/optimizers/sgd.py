"""Stochastic gradient descent with momentum (Sutskever et al. 2013); weight decay is added to the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from segsweep.trainables.components import Family
from segsweep.trainables.optimizers._groups import Beta, OptimizerOptions, parameter_groups

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = {
    "cnn": {
        # mmsegmentation's CNN recipes: lr 0.01, weight decay 5e-4, momentum 0.9
        "lr": {"loguniform": [1e-3, 1e-1], "first": 0.01},
        "weight_decay": {"loguniform": [1e-5, 1e-2], "first": 5e-4},
    },
    "transformer": {
        # ViT (Dosovitskiy et al. 2021, table 4) is fine-tuned by SGD at 1e-3 to 6e-2, without weight decay
        "lr": {"loguniform": [1e-3, 1e-1], "first": 0.01},
        "weight_decay": {"uniform": [0.0, 1e-3], "first": 0.0},
    },
}


class Options(OptimizerOptions):
    momentum: Beta = 0.9
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set momentum, or nesterov to false")
        return self


def build(options: Options, model: nn.Module) -> Optimizer:
    from torch.optim import SGD

    groups = parameter_groups(options, model)
    return SGD(groups, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov)
