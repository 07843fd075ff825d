"""Warm-up, then a curve: the frame that the LR schedules fill, each with its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Epochs = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class WarmupOptions(ComponentOptions):
    """Warm-up is linear, per update, from `warmup_factor` * lr at the first update to lr."""

    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    warmup_factor: Annotated[float, Field(gt=0, le=1)] = 0.01  # torchvision's segmentation reference


def warmup_problems(options: WarmupOptions, epochs: int) -> Iterator[Problem]:
    """Why the warm-up does not fit into training."""
    if options.warmup_epochs and options.warmup_epochs >= epochs:
        message = f"a warm-up of {options.warmup_epochs:g} epochs leaves nothing of {epochs} epochs of training"
        yield Problem("warmup_epochs", f"{message}; choose a number below {epochs}")


class Moment(NamedTuple):
    """An update after warm-up."""

    progress: float  # 0 at the first one after warm-up, 1 where training ends; the last is one step before 1
    epoch: float  # since training began: 2.5 is the middle of the third
    epoch_after_warmup: float


def warmed_up(
    options: WarmupOptions,
    optimizer: Optimizer,
    steps_per_epoch: int,
    epochs: int,
    curve: Callable[[Moment], float],
) -> LRScheduler:
    """Multiply each group's lr by `curve` once warm-up is over; warm-up rises to where the curve begins.

    Closed form in the update's number: what a resumed run gets does not depend on how it came there.
    Raises ValueError if the warm-up is as long as training, or an epoch has no update.
    """
    from torch.optim.lr_scheduler import LambdaLR

    total = updates(options, steps_per_epoch, epochs)
    warmup = warmup_updates(options, steps_per_epoch, total)

    def factor(step: int) -> float:
        after = max(0, step - warmup)
        progress = min(1.0, after / (total - warmup))
        share = curve(Moment(progress, (warmup + after) / steps_per_epoch, after / steps_per_epoch))
        return share * rising(options.warmup_factor, step, warmup) if step < warmup else share

    return LambdaLR(optimizer, factor)


def updates(options: WarmupOptions, steps_per_epoch: int, epochs: int) -> int:
    """Of all of training. Raises ValueError if an epoch has none, or warm-up takes them all."""
    for problem in warmup_problems(options, epochs):
        raise ValueError(f"{problem.option}: {problem.message}")
    if steps_per_epoch < 1:
        raise ValueError(f"an epoch of {steps_per_epoch} updates cannot be scheduled: fewer train images than a batch?")
    return steps_per_epoch * epochs


def warmup_updates(options: WarmupOptions, steps_per_epoch: int, total: int) -> int:
    return min(round(options.warmup_epochs * steps_per_epoch), total - 1)


def rising(start: float, step: int, warmup: int) -> float:
    """The share of lr at update `step` of `warmup`, from `start` at the first."""
    return start + (1 - start) * step / warmup
