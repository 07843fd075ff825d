"""RMSprop (Tieleman and Hinton 2012, lecture 6e): the gradient over the root of its running mean square."""

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
        # the lecture's 1e-3; the public U-Net implementations in torch train at 1e-5
        "lr": {"loguniform": [1e-5, 1e-2], "first": 1e-3},
        "weight_decay": {"uniform": [0.0, 1e-3], "first": 0.0},
    },
    "transformer": {
        # as adam, which adds momentum and bias correction
        "lr": {"loguniform": [1e-5, 1e-3], "first": 6e-5},
        "weight_decay": {"uniform": [0.0, 1e-3], "first": 0.0},
    },
}


class Options(OptimizerOptions):
    alpha: Beta = 0.99  # of the running mean
    momentum: Beta = 0.0
    centered: bool = False  # over the standard deviation instead (Graves 2013)
    eps: Positive = 1e-8


def build(options: Options, model: nn.Module) -> Optimizer:
    from torch.optim import RMSprop

    return RMSprop(
        parameter_groups(options, model),
        lr=options.lr,
        alpha=options.alpha,
        momentum=options.momentum,
        centered=options.centered,
        eps=options.eps,
    )
