"""The one LR schedule that is not a curve over time: it watches the objective."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from segsweep.trainables.lr_schedules._warmup import rising, updates, warmup_updates

if TYPE_CHECKING:
    from segsweep.trainables.lr_schedules.plateau import Options


class Plateau:
    """The share of lr at an update. LambdaLR keeps the attributes, plain numbers all of them, in its state_dict."""

    def __init__(self, options: Options, warmup: int) -> None:
        self.warmup, self.warmup_factor = warmup, options.warmup_factor
        self.patience, self.fall, self.least = options.patience, options.factor, options.min_factor
        self.share = 1.0
        self.best = -math.inf
        self.without_best = 0  # epochs

    def __call__(self, step: int) -> float:
        return rising(self.warmup_factor, step, self.warmup) if step < self.warmup else self.share

    def observe(self, goodness: float) -> None:
        if goodness > self.best:
            self.best, self.without_best = goodness, 0
            return
        self.without_best += 1
        if self.without_best >= self.patience:
            self.share, self.without_best = max(self.share * self.fall, self.least), 0


class PlateauLR(LambdaLR):
    def __init__(self, options: Options, optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> None:
        total = updates(options, steps_per_epoch, epochs)
        super().__init__(optimizer, Plateau(options, warmup_updates(options, steps_per_epoch, total)))

    def observe(self, goodness: float) -> None:
        """What segsweep.trainables.components.Watchful promises; the next update has the new lr."""
        plateau = self.lr_lambdas[0]  # one for all groups
        assert isinstance(plateau, Plateau)
        plateau.observe(goodness)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * plateau(self.last_epoch)
