"""Lion: the sign of a momentum, found by program search (Chen et al. 2023); the version of timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family
from segsweep.trainables.optimizers._groups import Beta, OptimizerOptions, parameter_groups

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = {
    # section 5 of the paper: lr 3 to 10 times smaller than AdamW's, weight decay 3 to 10 times larger
    "cnn": {
        "lr": {"loguniform": [1e-5, 1e-3], "first": 1e-4},
        "weight_decay": {"loguniform": [1e-3, 1.0], "first": 0.1},
    },
    "transformer": {
        "lr": {"loguniform": [1e-6, 1e-4], "first": 1e-5},
        "weight_decay": {"loguniform": [1e-2, 1.0], "first": 0.1},
    },
}


class Options(OptimizerOptions):
    betas: tuple[Beta, Beta] = (0.9, 0.99)


def build(options: Options, model: nn.Module) -> Optimizer:
    from timm.optim import Lion

    optimizer: Optimizer = Lion(parameter_groups(options, model), lr=options.lr, betas=options.betas)
    return optimizer
