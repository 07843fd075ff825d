"""Lr falls by a factor when the objective has not improved for some epochs (torch's ReduceLROnPlateau, threshold 0)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import Problem
from segsweep.trainables.lr_schedules._warmup import Fraction, WarmupOptions, warmup_problems

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(WarmupOptions):
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=1)] = 3  # epochs without a new best; then as many again before the next fall
    min_factor: Fraction = 0.0  # share of lr that is always left


def check(options: Options, epochs: int) -> Iterable[Problem]:
    yield from warmup_problems(options, epochs)
    if "patience" in options.model_fields_set and options.patience >= epochs - 1 > 0:
        message = f"{options.patience} epochs without a new best leave no epoch of {epochs} for a lower lr"
        yield Problem("patience", f"{message}; give at most {epochs - 2}" if epochs > 2 else message)


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    from segsweep.trainables.lr_schedules._plateau import PlateauLR

    return PlateauLR(options, optimizer, steps_per_epoch, epochs)
