"""Warm-up, then a decay: the frame that every LR schedule fills with its own curve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Fraction = Annotated[float, Field(ge=0, le=1)]


class WarmupOptions(ComponentOptions):
    """Warm-up is linear, per update, from `warmup_factor` * lr at the first update to lr."""

    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    warmup_factor: Annotated[float, Field(gt=0, le=1)] = 0.01  # torchvision's segmentation reference


def warmup_problems(options: WarmupOptions, epochs: int) -> Iterator[Problem]:
    """Why the warm-up does not fit into training."""
    if options.warmup_epochs and options.warmup_epochs >= epochs:
        message = f"a warm-up of {options.warmup_epochs:g} epochs leaves nothing of {epochs} epochs of training"
        yield Problem("warmup_epochs", f"{message}; choose a number below {epochs}")


def warmed_up(
    options: WarmupOptions,
    optimizer: Optimizer,
    steps_per_epoch: int,
    epochs: int,
    curve: Callable[[float], float],
) -> LRScheduler:
    """Multiply each group's lr by `curve(progress)` once warm-up is over.

    progress: 0 at the first update after warm-up, 1 where training ends; the last update is one step before 1.
    Closed form in the update's number: what a resumed run gets does not depend on how it came there.
    Raises ValueError if the warm-up is as long as training, or an epoch has no update.
    """
    from torch.optim.lr_scheduler import LambdaLR

    for problem in warmup_problems(options, epochs):
        raise ValueError(f"{problem.option}: {problem.message}")
    if steps_per_epoch < 1:
        raise ValueError(f"an epoch of {steps_per_epoch} updates cannot be scheduled: fewer train images than a batch?")
    total = steps_per_epoch * epochs
    warmup = min(round(options.warmup_epochs * steps_per_epoch), total - 1)

    def factor(step: int) -> float:
        if step < warmup:
            return options.warmup_factor + (1 - options.warmup_factor) * step / warmup
        return curve(min(1.0, (step - warmup) / (total - warmup)))

    return LambdaLR(optimizer, factor)
