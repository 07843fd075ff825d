"""Lr goes up to its value and down again, in cycles (Smith 2017), `triangular` and `triangular2`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Epochs, Moment, Share, WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    cycle_epochs: Epochs | None = None  # up and down; if not given, four cycles fill what warm-up leaves of training
    min_factor: Share = 0.1  # share of lr at the foot of a cycle, where it begins
    shrink: Share = 1.0  # of a cycle's height, from cycle to cycle: 1 is Smith's triangular, 0.5 triangular2


def check(options: Options, epochs: int) -> Iterable[Problem]:
    return warmup_problems(options, epochs)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    length = options.cycle_epochs or (epochs - options.warmup_epochs) / 4

    def curve(at: Moment) -> float:
        cycle, within = divmod(at.epoch_after_warmup / length, 1)
        height = 1 - abs(2 * within - 1)
        return float(options.min_factor + (1 - options.min_factor) * height * options.shrink**cycle)

    return warmed_up(options, optimizer, steps_per_epoch, epochs, curve)
