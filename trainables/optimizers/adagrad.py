"""Adagrad (Duchi et al. 2011): every weight's lr falls with the gradients it has seen so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from segsweep.trainables.components import Family
from segsweep.trainables.optimizers._groups import NotNegative, OptimizerOptions, Positive, parameter_groups

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

DOMAINS: Mapping[Family, Mapping[str, Mapping[str, object]]] = {
    "cnn": {
        # torch's default, in the middle of a range of 100; the paper has no weight decay
        "lr": {"loguniform": [1e-3, 1e-1], "first": 0.01},
        "weight_decay": {"uniform": [0.0, 1e-3], "first": 0.0},
    },
    "transformer": {
        # its first update is lr in every weight, as Adam's is: the range of adamw, higher since lr only falls
        "lr": {"loguniform": [1e-4, 1e-2], "first": 1e-3},
        "weight_decay": {"uniform": [0.0, 1e-3], "first": 0.0},
    },
}


class Options(OptimizerOptions):
    lr_decay: NotNegative = 0.0  # lr / (1 + lr_decay * updates), besides the LR schedule
    initial_accumulator_value: NotNegative = 0.0
    eps: Positive = 1e-10


def build(options: Options, model: nn.Module) -> Optimizer:
    from torch.optim import Adagrad

    return Adagrad(
        parameter_groups(options, model),
        lr=options.lr,
        lr_decay=options.lr_decay,
        initial_accumulator_value=options.initial_accumulator_value,
        eps=options.eps,
    )
