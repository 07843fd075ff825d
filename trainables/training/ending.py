"""When a trial is done, and which of its epochs was best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segsweep.trainables.config import Objective, TrialConfig

if TYPE_CHECKING:
    from segsweep.trainables.training.epoch import Metrics


def best_epoch(history: Sequence[Metrics], objective: Objective) -> int | None:
    """The epoch (1, 2 ...) of the best objective so far, the first among equals; None before the first epoch."""
    best: int | None = None
    for epoch, metrics in enumerate(history, start=1):
        than = None if best is None else history[best - 1][objective.metric]
        if objective.better(metrics[objective.metric], than):
            best = epoch
    return best


def verdict(history: Sequence[Metrics], config: TrialConfig) -> tuple[bool, str]:
    """Whether a trial with this history is done, and why."""
    if len(history) >= config.epochs:
        return True, "epoch limit"
    best = best_epoch(history, config.objective)
    if best is not None and config.patience is not None and len(history) - best >= config.patience:
        return True, f"patience: no better {config.objective.metric} for {config.patience} epochs"
    return False, ""
