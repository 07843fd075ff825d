"""Adam (Kingma and Ba 2015); weight decay is added to the gradient, so large gradients decay less: see adamw."""

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
        # the paper's 1e-3; published runs on CNN encoders as for adamw. The paper has no weight decay
        "lr": {"loguniform": [1e-4, 1e-2], "first": 1e-3},
        "weight_decay": {"uniform": [0.0, 1e-3], "first": 0.0},
    },
    "transformer": {
        # as adamw, which differs by its weight decay alone
        "lr": {"loguniform": [1e-5, 1e-3], "first": 6e-5},
        "weight_decay": {"uniform": [0.0, 1e-3], "first": 0.0},
    },
}


class Options(OptimizerOptions):
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Positive = 1e-8
    amsgrad: bool = False  # Reddi et al. 2018


def build(options: Options, model: nn.Module) -> Optimizer:
    from torch.optim import Adam

    groups = parameter_groups(options, model)
    return Adam(groups, lr=options.lr, betas=options.betas, eps=options.eps, amsgrad=options.amsgrad)
