"""The same learning rate throughout, after an optional warm-up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    pass


def check(options: Options, epochs: int) -> Iterable[Problem]:
    return warmup_problems(options, epochs)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    return warmed_up(options, optimizer, steps_per_epoch, epochs, lambda at: 1.0)
