"""Polynomial decay, lr * (1 - progress)^power (Chen et al. 2017, DeepLab): power 0.9.

SegFormer's recipe is power 1 after a warm-up of 1,500 of 160,000 updates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Fraction, Moment, WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    power: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.9
    min_factor: Fraction = 0.0  # share of lr that is left at the end; mmsegmentation's CNN recipes: 0.01


def check(options: Options, epochs: int) -> Iterable[Problem]:
    return warmup_problems(options, epochs)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    def curve(at: Moment) -> float:
        return float(options.min_factor + (1 - options.min_factor) * (1 - at.progress) ** options.power)

    return warmed_up(options, optimizer, steps_per_epoch, epochs, curve)
