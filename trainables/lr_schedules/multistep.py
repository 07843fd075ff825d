"""Lr falls by a factor at each of the given epochs (torch's MultiStepLR)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Epochs, Moment, Share, WarmupOptions, warmed_up, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    milestones: tuple[Epochs, ...] | None = None  # epochs from the start of training; if not given, at two thirds and
    # eight ninths of what warm-up leaves of it, as detectors are trained (8 and 11 of 12)
    gamma: Share = 0.1


def check(options: Options, epochs: int) -> Iterable[Problem]:
    yield from warmup_problems(options, epochs)
    for milestone in options.milestones or ():
        if not options.warmup_epochs <= milestone < epochs:
            allowed = f"from {options.warmup_epochs:g} (the end of warm-up) to below {epochs} (the end of training)"
            yield Problem("milestones", f"must be epochs {allowed}, not {milestone:g}")


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    """Raises ValueError for a milestone that does not fit."""
    for problem in check(options, epochs):
        raise ValueError(f"{problem.option}: {problem.message}")
    warmup = options.warmup_epochs
    by_default = (warmup + (epochs - warmup) * 2 / 3, warmup + (epochs - warmup) * 8 / 9)
    milestones = by_default if options.milestones is None else options.milestones

    def curve(at: Moment) -> float:
        return float(options.gamma ** sum(at.epoch >= milestone for milestone in milestones))

    return warmed_up(options, optimizer, steps_per_epoch, epochs, curve)
