"""Half a cosine from lr to `min_factor` * lr (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Fraction, Moment, WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    min_factor: Fraction = 0.0  # share of lr that is left at the end


def check(options: Options, epochs: int) -> Iterable[Problem]:
    return warmup_problems(options, epochs)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    def curve(at: Moment) -> float:
        return options.min_factor + (1 - options.min_factor) * (1 + math.cos(math.pi * at.progress)) / 2

    return warmed_up(options, optimizer, steps_per_epoch, epochs, curve)
