"""One cycle: lr rises along half a cosine, then falls along another to almost nothing (Smith and Topin 2018).

Exactly torch's OneCycleLR without its cycle of momentum. The rise is its warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from segsweep.trainables.components import ComponentOptions, Problem
from segsweep.trainables.lr_schedules._warmup import Share, WarmupOptions, updates

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class Options(ComponentOptions):
    rise: Annotated[float, Field(ge=0, lt=1)] = 0.3  # share of training in which lr rises
    start_factor: Share = 0.04  # share of lr at the first update
    end_factor: Share = 4e-6  # share of lr at the last update


def check(options: Options, epochs: int) -> Iterable[Problem]:
    """Fits any number of epochs."""
    return ()


def build(options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    """Raises ValueError if an epoch has no update."""
    from torch.optim.lr_scheduler import LambdaLR

    total = updates(WarmupOptions(), steps_per_epoch, epochs)
    top = max(0.0, options.rise * total - 1)

    def factor(step: int) -> float:
        if step < top:
            return _along_cosine(options.start_factor, 1.0, step / top)
        return _along_cosine(1.0, options.end_factor, min(1.0, (step - top) / max(1.0, total - 1 - top)))

    return LambdaLR(optimizer, factor)


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
