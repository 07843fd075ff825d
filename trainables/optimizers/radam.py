"""RAdam: Adam whose first updates are rectified, a warm-up of its own (Liu et al. 2020); weight decay as in AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family
from segsweep.trainables.optimizers._groups import Beta, OptimizerOptions, Positive, parameter_groups

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = {
    "cnn": {
        # as adamw: once the first updates are over, the two are one
        "lr": {"loguniform": [1e-4, 1e-2], "first": 1e-3},
        "weight_decay": {"loguniform": [1e-4, 1e-1], "first": 0.01},
    },
    "transformer": {
        "lr": {"loguniform": [1e-5, 1e-3], "first": 6e-5},
        "weight_decay": {"loguniform": [1e-3, 1e-1], "first": 0.01},
    },
}


class Options(OptimizerOptions):
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Positive = 1e-8
    decoupled_weight_decay: bool = True


def build(options: Options, model: nn.Module) -> Optimizer:
    from torch.optim import RAdam

    return RAdam(
        parameter_groups(options, model),
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        decoupled_weight_decay=options.decoupled_weight_decay,
    )
