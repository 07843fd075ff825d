"""NAdam: Adam with Nesterov momentum (Dozat 2016); weight decay is decoupled as in AdamW unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family
from segsweep.trainables.optimizers._groups import Beta, NotNegative, OptimizerOptions, Positive, parameter_groups

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = {
    "cnn": {
        # the paper's 2e-3; the rest as for adamw
        "lr": {"loguniform": [1e-4, 1e-2], "first": 2e-3},
        "weight_decay": {"loguniform": [1e-4, 1e-1], "first": 0.01},
    },
    "transformer": {
        # as adamw: the two differ by one step of momentum
        "lr": {"loguniform": [1e-5, 1e-3], "first": 6e-5},
        "weight_decay": {"loguniform": [1e-3, 1e-1], "first": 0.01},
    },
}


class Options(OptimizerOptions):
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Positive = 1e-8
    momentum_decay: NotNegative = 4e-3
    decoupled_weight_decay: bool = True


def build(options: Options, model: nn.Module) -> Optimizer:
    from torch.optim import NAdam

    return NAdam(
        parameter_groups(options, model),
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        momentum_decay=options.momentum_decay,
        decoupled_weight_decay=options.decoupled_weight_decay,
    )
