"""What a journal says about a sweep, folded into trials and cells. Everybody who asks "how far is it" asks this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import JsonValue

from segsweep.orchestrator.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    DriverStopped,
    EpochDone,
    Event,
    Stop,
    SweepCreated,
    TrialCreated,
    TrialFacts,
    read_events,
)
from segsweep.trainables.config import TrialConfig

Status = Literal["created", "running", "finished", "stopped", "failed", "infeasible", "interrupted"]


class Cell(NamedTuple):
    """One model on one dataset, by their display names."""

    dataset: str
    model: str


@dataclass
class TrialState:
    """One trial as the journal has it so far."""

    config: TrialConfig
    combination: int
    values: dict[str, JsonValue]
    status: Status = "created"
    attempt: int = 0
    metrics: list[dict[str, float | None]] = field(default_factory=list)  # [epoch - 1]
    best_epoch: int | None = None
    seconds: float = 0.0  # busy time of all attempts
    redone_s: float = 0.0  # of these, epochs that had to be trained twice
    facts: dict[str, float | str] = field(default_factory=dict)
    reason: str = ""
    stop: Stop | None = None
    failures: int = 0
    continued: bool = False  # taken up again after a stop, because its cell needs a finished trial

    @property
    def id(self) -> str:
        return self.config.trial_id

    @property
    def cell(self) -> Cell:
        return Cell(self.config.dataset.name, self.config.model.name)

    @property
    def epoch(self) -> int:
        return len(self.metrics)

    @property
    def best(self) -> float | None:
        """The objective at its best epoch so far: the trial's value in rungs, in `best` and on the leaderboard."""
        return None if self.best_epoch is None else self.value(self.best_epoch)

    def value(self, epoch: int) -> float | None:
        """The objective after `epoch` (1, 2 ...); None if it was not a number."""
        return self.metrics[epoch - 1].get(self.config.objective.metric)

    def apply_epoch(self, event: EpochDone) -> None:
        seconds = event.metrics.get("epoch_s") or 0.0
        self.seconds += seconds
        if event.redone:
            self.redone_s += seconds
            return
        self.metrics.append(event.metrics)
        value = self.value(event.epoch)
        if value is not None and self.config.objective.better(value, self.best):
            self.best_epoch = event.epoch


@dataclass
class SweepState:
    """Trials by id in the order of their creation, and what is known of the sweep as a whole."""

    created: SweepCreated | None = None
    trials: dict[str, TrialState] = field(default_factory=dict)
    drivers: int = 0
    driver: DriverStarted | None = None
    ended: DriverStopped | None = None
    last_time: float = 0.0

    @classmethod
    def replay(cls, events: Iterable[Event]) -> SweepState:
        state = cls()
        for event in events:
            state.apply(event)
        return state

    @classmethod
    def load(cls, journal: Path) -> SweepState:
        return cls.replay(event for event, _ in read_events(journal))

    def cell(self, cell: Cell) -> list[TrialState]:
        return [trial for trial in self.trials.values() if trial.cell == cell]

    def apply(self, event: Event) -> None:
        """Fold one event in; events come in journal order."""
        self.last_time = event.time
        match event:
            case SweepCreated():
                self.created = event
            case DriverStarted():
                self.drivers, self.driver, self.ended = self.drivers + 1, event, None
            case DriverStopped():
                self.ended = event
            case TrialCreated():
                self.trials[event.trial] = TrialState(event.config, event.combination, event.values)
            case AttemptStarted():
                trial = self.trials[event.trial]
                trial.status, trial.attempt, trial.stop, trial.reason = "running", event.attempt, None, ""
                trial.continued |= event.cause == "continue"
            case TrialFacts():
                self.trials[event.trial].facts.update(event.facts)
            case EpochDone():
                self.trials[event.trial].apply_epoch(event)
            case AttemptEnded():
                self._apply_end(self.trials[event.trial], event)

    def _apply_end(self, trial: TrialState, event: AttemptEnded) -> None:
        trial.status, trial.reason, trial.stop = event.status, event.reason, event.stop
        trial.failures += event.status == "failed"


def best_of(trials: list[TrialState]) -> TrialState:
    """The trial with the best value; the earliest of equals. At least one trial; those without a value rank last."""
    best = trials[0]
    for trial in trials[1:]:
        if trial.best is not None and trial.config.objective.better(trial.best, best.best):
            best = trial
    return best
