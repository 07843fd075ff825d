"""Half cosines from lr to `min_factor` * lr, each longer than the one before (Loshchilov and Hutter 2017, SGDR)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Epochs, Fraction, Moment, WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    first_epochs: Epochs | None = None  # the first one's; if not given, three fill what warm-up leaves of training
    growth: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0  # each is so many times as long as the one before
    min_factor: Fraction = 0.0  # share of lr that is left at the end of each


def check(options: Options, epochs: int) -> Iterable[Problem]:
    return warmup_problems(options, epochs)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    first = options.first_epochs or (epochs - options.warmup_epochs) / (1 + options.growth + options.growth**2)

    def curve(at: Moment) -> float:
        since, length = at.epoch_after_warmup, first
        while since >= length:
            since, length = since - length, length * options.growth
        return options.min_factor + (1 - options.min_factor) * (1 + math.cos(math.pi * since / length)) / 2

    return warmed_up(options, optimizer, steps_per_epoch, epochs, curve)
