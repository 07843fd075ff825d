"""Plans of sweeps that are written out in a test, and trials that follow a script instead of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from segsweep.orchestrator.backends import TrialFactory
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.space.source import parse

IMAGES = 32  # of an epoch

Mishap: TypeAlias = Callable[[Assignment, int], float | None]
"""Called before every epoch: may raise, or say what the value shall be instead."""


def plan_of(space: str) -> SweepPlan:
    """Of a search space in YAML."""
    return SweepPlan.of(check(parse(space, "space.yaml")).spec)


@dataclass(frozen=True)
class ScriptedReport:
    epoch: int
    metrics: Mapping[str, float]
    done: bool
    reason: str


def no_mishap(assignment: Assignment, epoch: int) -> None:
    return None


class ScriptedTrial:
    """Learns as fast as its lr is near 1e-3, overfits at once (its loss grows), half as well at night.

    With batches of 8 an epoch has 4 iterations and takes 10 s; smaller ones are slower. Weight decay costs GMACs, lr
    and epochs cost memory, fpn costs parameters.
    """

    def __init__(self, assignment: Assignment, mishap: Mishap = no_mishap) -> None:
        self._assignment, self._mishap = assignment, mishap
        self._epoch = assignment.reported
        decay: Any = assignment.config.optimizer.options["weight_decay"]
        params_m = 2.0 if assignment.config.model.type == "fpn" else 1.0
        self.facts: Mapping[str, float | str] = {"params_m": params_m, "gmacs": 10 * decay, "device": "none"}

    def step(self) -> ScriptedReport:
        config = self._assignment.config
        self._epoch = epoch = self._epoch + 1
        lr: Any = config.optimizer.options["lr"]
        quality = math.exp(-abs(math.log10(lr / 1e-3))) * (0.5 if config.dataset.name == "night" else 1.0)
        value = self._mishap(self._assignment, epoch)
        value = quality * (1 - 0.8**epoch) if value is None else value
        batches = math.ceil(IMAGES / config.batch_size)
        metrics = {"val_miou": value, "val_loss": value, "iterations": 1.0 * batches * epoch, "epoch_s": 2.5 * batches}
        metrics["peak_memory_gib"] = epoch * lr
        done = epoch == config.epochs
        return ScriptedReport(epoch, metrics, done, "epoch limit" if done else "")

    def close(self) -> None:
        """Nothing to release."""


def scripted(mishap: Mishap = no_mishap) -> TrialFactory:
    return lambda assignment: ScriptedTrial(assignment, mishap)
