"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

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
        # published Adam(W) runs on CNN encoders: 1e-3, 3e-4, 2e-4 (SMP's CamVid example), 1e-4
        "lr": {"loguniform": [1e-4, 1e-2], "first": 1e-3},
        # 0.01 is torch's default; published runs are between 1e-4 and 0.05
        "weight_decay": {"loguniform": [1e-4, 1e-1], "first": 0.01},
    },
    "transformer": {
        # SegFormer (Xie et al. 2021, section 4.1) and its mmsegmentation configs: 6e-5 and 0.01. Ten times more is
        # within reach of a network without pretrained weights; 1e-3 collapsed with them
        "lr": {"loguniform": [1e-5, 1e-3], "first": 6e-5},
        "weight_decay": {"loguniform": [1e-3, 1e-1], "first": 0.01},
    },
}


class Options(OptimizerOptions):
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Positive = 1e-8


def build(options: Options, model: nn.Module) -> Optimizer:
    from torch.optim import AdamW

    return AdamW(parameter_groups(options, model), lr=options.lr, betas=options.betas, eps=options.eps)
