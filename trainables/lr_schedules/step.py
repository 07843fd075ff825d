"""Lr falls by a factor every so many epochs (torch's StepLR)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Moment, Share, WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    every: Annotated[int, Field(ge=1)] | None = None  # epochs from the start of training; if not given, a third of it
    gamma: Share = 0.1


def check(options: Options, epochs: int) -> Iterable[Problem]:
    return warmup_problems(options, epochs)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    every = options.every or math.ceil(epochs / 3)

    def curve(at: Moment) -> float:
        return float(options.gamma ** math.floor(at.epoch / every))

    return warmed_up(options, optimizer, steps_per_epoch, epochs, curve)
