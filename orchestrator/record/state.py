"""What a journal says about a sweep, folded into trials and cells. Everybody who asks "how far is it" asks this."""

from __future__ import annotations

import gc
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    DriverStopped,
    EpochDone,
    Event,
    RoundClosed,
    Stop,
    SweepCreated,
    SweepExtended,
    TrialCreated,
    TrialFacts,
    Unit,
    read_events,
)
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.metric_names import metric_named, over_epochs

Status = Literal[
    "created", "running", "finished", "stopped", "paused", "failed", "infeasible", "interrupted", "superseded"
]
"""superseded: trained with fewer epochs than the sweep has by now, in a way that cannot go on; counts for nothing."""

TrialEvent: TypeAlias = AttemptStarted | TrialFacts | EpochDone | AttemptEnded
"""What happens to a trial that exists."""


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


@dataclass
class SweepState:
    """Trials by id in the order of their creation, and what is known of the sweep as a whole.

    What is asked at every step of a sweep is kept by cell and by status, so that it costs nothing with many trials.
    """

    created: SweepCreated | None = None
    trials: dict[str, TrialState] = field(default_factory=dict)
    drivers: int = 0
    driver: DriverStarted | None = None
    ended: DriverStopped | None = None
    rounds: list[RoundClosed] = field(default_factory=list)  # of adaptive allocation, all datasets in journal order
    last_time: float = 0.0
    epochs: Counter[Cell] = field(default_factory=Counter)  # trained in each cell, as far as they count
    seconds: Counter[Cell] = field(default_factory=Counter)  # of workers, spent in each cell
    dropped: Counter[Cell] = field(default_factory=Counter)  # superseded trials that are not trained anew
    wall_s: float = 0.0  # while a driver ran, until the last event
    _cells: dict[Cell, list[TrialState]] = field(default_factory=dict)
    _confirmations: dict[str, list[TrialState]] = field(default_factory=dict)
    _counts: Counter[tuple[Cell | None, Status]] = field(default_factory=Counter)  # None: of confirmations
    _running: dict[str, TrialState] = field(default_factory=dict)

    @classmethod
    def replay(cls, events: Iterable[Event]) -> SweepState:
        state = cls()
        for event in events:
            state.apply(event)
        return state

    @classmethod
    def load(cls, journal: Path) -> SweepState:
        with _uncollected():
            return cls.replay(event for event, _ in read_events(journal))

    @property
    def searched(self) -> list[TrialState]:
        """All trials but confirmations, in the order of their creation; a copy, since a view may look meanwhile."""
        return [trial for trial in list(self.trials.values()) if not trial.confirms]

    def confirmations(self, trial: str) -> list[TrialState]:
        """The repetitions of a trial with other seeds, as far as they count."""
        return [repeat for repeat in self._confirmations.get(trial, ()) if repeat.status != "superseded"]

    def cell(self, cell: Cell) -> list[TrialState]:
        """The trials that searched the cell, in the order of their creation; a copy, as in `searched`."""
        return list(self._cells.get(cell, ()))

    def feasible(self, cell: Cell) -> list[TrialState]:
        """Those of the cell's trials that may rank."""
        return [trial for trial in self.cell(cell) if trial.status not in ("infeasible", "superseded")]

    @property
    def by_status(self) -> Counter[Status]:
        """How many trials have each status; 0 for one that none has any more."""
        counts: Counter[Status] = Counter()
        for (_, status), trials in self._counts.items():
            counts[status] += trials
        return counts

    def count(self, cell: Cell, *statuses: Status) -> int:
        """How many of the cell's trials have one of these statuses."""
        return sum(self._counts[cell, status] for status in statuses)

    @property
    def running(self) -> list[TrialState]:
        """In the order of their creation."""
        running = list(self._running.values())  # a copy: another thread may look
        return sorted(running, key=lambda trial: trial.index)

    def apply(self, event: Event) -> None:
        """Fold one event in; events come in journal order."""
        self._clock(event)
        match event:
            case SweepCreated():
                self.created = event
            case SweepExtended():
                self._extend(event)
            case DriverStarted():
                self.drivers, self.driver, self.ended = self.drivers + 1, event, None
            case DriverStopped():
                self.ended = event
            case RoundClosed():
                self.rounds.append(event)
            case TrialCreated():
                self._add(event)
            case AttemptStarted() | TrialFacts() | EpochDone() | AttemptEnded():
                self._apply_to(self.trials[event.trial], event)

    def _extend(self, event: SweepExtended) -> None:
        if self.created is not None:
            self.created = self.created.model_copy(update={"spec": event.spec, "plan": event.plan})
        epochs = int(str(event.spec["epochs"]))
        for id_ in event.continues:
            trial = self.trials[id_]
            at_its_limit = trial.status == "finished" and trial.epoch == trial.config.epochs
            trial.config = trial.config.model_copy(update={"epochs": epochs})
            if at_its_limit:
                trial.reason = f"the sweep was extended to {epochs} epochs"
                self._set_status(trial, "interrupted")
        for id_ in (*event.anew, *event.dropped):
            trial = self.trials[id_]
            trial.reason = f"its LR schedule ended with epoch {trial.config.epochs}; the sweep now has {epochs}"
            self._set_status(trial, "superseded")
            self.dropped[trial.cell] += id_ in event.dropped and not trial.confirms

    def _clock(self, event: Event) -> None:
        """Time passes for a sweep from its driver's start to the last event before its end or death."""
        was_dead = self.ended is not None or (isinstance(event, AttemptEnded) and event.lost == "driver")
        if not was_dead and not isinstance(event, SweepCreated | SweepExtended | DriverStarted):
            self.wall_s += max(0.0, event.time - self.last_time)  # a clock may be set back
        self.last_time = event.time

    def _add(self, event: TrialCreated) -> None:
        index = len(self.trials)
        self.trials[event.trial] = trial = TrialState(event.config, event.values, index, confirms=event.confirms)
        self._counts[self._counted_in(trial), trial.status] += 1
        if trial.confirms:
            self._confirmations.setdefault(trial.confirms, []).append(trial)
            return
        in_cell = self._cells.setdefault(trial.cell, [])
        trial.index_in_cell = len(in_cell)
        in_cell.append(trial)

    def _counted_in(self, trial: TrialState) -> Cell | None:
        return None if trial.confirms else trial.cell

    def _apply_to(self, trial: TrialState, event: TrialEvent) -> None:
        before, epoch, seconds = trial.status, trial.epoch, trial.seconds
        trial.apply(event)
        self.epochs[trial.cell] += trial.epoch - epoch
        self.seconds[trial.cell] += trial.seconds - seconds  # type: ignore[assignment]  # a Counter of floats
        now, trial.status = trial.status, before
        self._set_status(trial, now)

    def _set_status(self, trial: TrialState, status: Status) -> None:
        before, trial.status = trial.status, status
        if status == before:
            return
        self._counts[self._counted_in(trial), before] -= 1
        self._counts[self._counted_in(trial), trial.status] += 1
        if trial.status == "running":
            self._running[trial.id] = trial
        else:
            self._running.pop(trial.id, None)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No cyclic garbage is made here, and looking for it takes 40 % of the time with 10,000 trials."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
