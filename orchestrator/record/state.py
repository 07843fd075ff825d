"""What a journal says about a sweep, folded into trials and cells. Everybody who asks "how far is it" asks this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from segsweep.orchestrator.garbage import uncollected
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    DriverStopped,
    EpochDone,
    Event,
    RoundClosed,
    SweepCreated,
    SweepExtended,
    TrialCreated,
    TrialFacts,
    read_events,
)
from segsweep.orchestrator.record.trials import Cell, Status, TrialEvent, TrialState


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
        with uncollected():
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
