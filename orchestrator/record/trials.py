"""What a journal says about one trial, folded event by event."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.record.journal import AttemptEnded, AttemptStarted, EpochDone, Stop, TrialFacts, Unit
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.metric_names import metric_named, over_epochs

Status = Literal[
    "created", "running", "finished", "stopped", "paused", "failed", "infeasible", "interrupted", "superseded"
]
"""superseded: trained with fewer epochs than the sweep has by now, in a way that cannot go on; counts for nothing."""

TrialEvent: TypeAlias = AttemptStarted | TrialFacts | EpochDone | AttemptEnded
"""What happens to a trial that exists."""


def on_gpu(facts: Mapping[str, float | str]) -> bool:
    """Whether the trial of these facts was trained on a GPU."""
    return str(facts.get("device", "cpu")).startswith("cuda")


class Cell(NamedTuple):
    """One model on one dataset, by their display names."""

    dataset: str
    model: str


@dataclass(eq=False)  # a trial is itself; comparing what it holds would cost rungs of many trials seconds
class TrialState:
    """One trial as the journal has it so far."""

    config: TrialConfig
    values: dict[str, JsonValue]
    index: int = 0  # in the order of creation
    index_in_cell: int = 0
    status: Status = "created"
    attempt: int = 0
    metrics: list[dict[str, float | None]] = field(default_factory=list)  # [epoch - 1]
    best_epoch: int | None = None
    seconds: float = 0.0  # from the start of each attempt to its last sign of life: set-up and lost work included
    redone_s: float = 0.0  # of these, epochs that had to be trained twice
    facts: dict[str, float | str] = field(default_factory=dict)
    reason: str = ""
    stop: Stop | None = None
    failures: int = 0
    lost_in_a_row: int = 0  # workers that died under it since its last epoch
    _began: float = 0.0  # of the present attempt
    _seconds_before: float = 0.0
    _bests: list[float] = field(default_factory=list)  # [epoch - 1]: the best until then
    _used: dict[Unit, list[float]] = field(default_factory=lambda: {"iterations": [], "seconds": []})  # likewise
    confirms: str = ""  # the trial that it repeats with another seed: it takes no part in the search
    continued: bool = False  # taken up again after a stop, because its cell needs a finished trial

    @property
    def id(self) -> str:
        return self.config.trial_id

    @cached_property
    def cell(self) -> Cell:
        return Cell(self.config.dataset.name, self.config.model.name)

    @property
    def on_gpu(self) -> bool:
        return on_gpu(self.facts)

    @property
    def epoch(self) -> int:
        return len(self.metrics)

    @property
    def best(self) -> float | None:
        """The objective at its best epoch so far: the trial's value in rungs, in `best` and on the leaderboard."""
        return None if self.best_epoch is None else self.value(self.best_epoch)

    @property
    def over(self) -> bool:
        """It ended, and not only for now."""
        return self.status in ("finished", "stopped", "failed", "infeasible", "superseded")

    @property
    def unfit(self) -> bool:
        """It is infeasible since memory does not hold it."""
        return self.status == "infeasible" and self.facts.get("micro_batch") == 0

    def due_again(self, max_failures: int) -> bool:
        """It shall be tried again: interrupted, never started, or crashed no more often than that."""
        return self.status in ("interrupted", "created") or (self.status == "failed" and self.failures <= max_failures)

    def best_until(self, epoch: int) -> float:
        """The best objective of the first `epoch` epochs; the worst there is if none was a number."""
        if epoch > 0 and self._bests:
            return self._bests[min(epoch, self.epoch) - 1]
        return -math.inf if self.config.objective.mode == "max" else math.inf

    def used(self, epoch: int, unit: Unit) -> float:
        """What the first `epoch` epochs took: iterations and training seconds as far as they were reported."""
        if unit == "epochs" or epoch <= 0:
            return max(epoch, 0)
        return self._used[unit][epoch - 1]

    def reached(self, level: float, unit: Unit) -> int | None:
        """The first epoch at whose end the trial had used `level` units; None if it has not yet."""
        epoch = math.ceil(level) if unit == "epochs" else bisect_left(self._used[unit], level) + 1
        return epoch if epoch <= self.epoch else None

    def best_at(self, level: float, unit: Unit) -> float:
        """The best objective until the trial had used `level` units, or until now if it has not."""
        return self.best_until(self.reached(level, unit) or self.epoch)

    def value(self, epoch: int) -> float | None:
        """The objective after `epoch` (1, 2 ...); None if it was not a number."""
        return self.metrics[epoch - 1].get(self.config.objective.metric)

    def measured(self, metric: str) -> float | None:
        """The trial's value of any metric so far: a fact, or of all its epochs what metric_names says."""
        if metric_named(metric).per_trial:
            value = self.facts.get(metric)
            return None if isinstance(value, str) else value
        return over_epochs(metric, [metrics.get(metric) for metrics in self.metrics], self.best_epoch)

    def apply(self, event: TrialEvent) -> None:
        match event:
            case AttemptStarted():
                self.begin(event)
            case TrialFacts():
                self.facts.update(event.facts)
                self.alive_at(event.time)
            case EpochDone():
                self.apply_epoch(event)
            case AttemptEnded():
                self.end(event)

    def begin(self, event: AttemptStarted) -> None:
        self.status, self.attempt, self.stop, self.reason = "running", event.attempt, None, ""
        self.continued |= event.cause == "continue"
        self._began, self._seconds_before = event.time, self.seconds

    def seconds_until(self, now: float) -> float:
        """What a running trial will have cost if it lives until `now`."""
        return self._seconds_before + max(0.0, now - self._began)

    def alive_at(self, now: float) -> None:
        """The attempt was seen at `now`: it has cost that much, and no less if the clock was set back."""
        self.seconds = max(self.seconds, self.seconds_until(now))

    def end(self, event: AttemptEnded) -> None:
        if self.status == "running" and event.lost != "driver":  # waiting at a rung costs nothing
            self.alive_at(event.time)
        self.status, self.reason, self.stop = event.status, event.reason, event.stop
        self.failures += event.status == "failed"
        self.lost_in_a_row += event.lost == "worker"

    def apply_epoch(self, event: EpochDone) -> None:
        self.alive_at(event.time)
        self.lost_in_a_row = 0
        if event.redone:
            self.redone_s += event.metrics.get("epoch_s") or 0.0
            return
        self.metrics.append(event.metrics)
        value = self.value(event.epoch)
        if value is not None and self.config.objective.better(value, self.best):
            self.best_epoch = event.epoch
            self._bests.append(value)
        else:
            self._bests.append(self.best_until(self.epoch - 1))
        self._use(event.metrics)

    def _use(self, metrics: Mapping[str, float | None]) -> None:
        """Count what an epoch took. One that does not say took nothing, so no rung is reached by it."""
        before = self.epoch - 1
        iterations = max(self.used(before, "iterations"), metrics.get("iterations") or 0.0)
        self._used["iterations"].append(iterations)
        self._used["seconds"].append(self.used(before, "seconds") + (metrics.get("epoch_s") or 0.0))


def ranked(trials: list[TrialState]) -> list[TrialState]:
    """The best first; equals in the given order, those without a value last."""

    def worse(trial: TrialState) -> float:
        if trial.best is None:
            return math.inf
        return -trial.best if trial.config.objective.mode == "max" else trial.best

    return sorted(trials, key=worse)


def best_of(trials: list[TrialState]) -> TrialState:
    """The trial with the best value; the earliest of equals. At least one trial; those without a value rank last."""
    best = trials[0]
    for trial in trials[1:]:
        if trial.best is not None and trial.config.objective.better(trial.best, best.best):
            best = trial
    return best
