"""Lr falls by the same factor in every epoch, a little with every update (torch's ExponentialLR, made smooth)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Moment, Share, WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    gamma: Share | None = None  # what an epoch leaves of lr; if not given, training leaves a hundredth


def check(options: Options, epochs: int) -> Iterable[Problem]:
    return warmup_problems(options, epochs)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    def curve(at: Moment) -> float:
        return float(0.01**at.progress if options.gamma is None else options.gamma**at.epoch_after_warmup)

    return warmed_up(options, optimizer, steps_per_epoch, epochs, curve)
