"""What could start next: trials to try again, to promote, to create, to continue, to confirm; in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from segsweep.orchestrator.driving.confirmation import Confirmation
from segsweep.orchestrator.driving.groups import Groups
from segsweep.orchestrator.driving.missing import MissingTrials
from segsweep.orchestrator.driving.spending import Spending, Startable
from segsweep.orchestrator.planning.allocation import Allotment, falls_short
from segsweep.orchestrator.record.journal import (
    Cause,
    Event,
    RoundClosed,
    Stop,
    SweepCreated,
    SweepExtended,
    TrialCreated,
)
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialEvent, TrialState, best_of
from segsweep.orchestrator.schedulers import Scheduler

Decide: TypeAlias = Callable[[TrialState, Stop], None]
Record: TypeAlias = Callable[[RoundClosed], None]
Next: TypeAlias = tuple[Startable, Cause]


class Queue:
    def __init__(
        self, allotment: Allotment, state: SweepState, scheduler: Scheduler, stop: Decide, record: Record
    ) -> None:
        """stop: journals that a rung stops a waiting trial; record: that a round of the allotment is closed."""
        self.missing = MissingTrials(allotment, state)
        self._allotment, self._state, self._scheduler = allotment, state, scheduler
        self._confirmation = Confirmation(allotment, state)
        self._groups = Groups(allotment, state, scheduler.rungs)
        self._due: dict[str, TrialState] = {}  # trials that shall be tried again
        self._stop, self._record = stop, record

    def candidates(self) -> Iterator[Next]:
        """The most urgent first. All but the first matter only where the budget refuses it."""
        for trial in self._waiting():
            yield trial, "retry" if trial.status == "failed" else "resume"
        if (promoted := self._promoted(idle=False)) is not None:
            yield promoted, "promote"
        for closed in list(self._allotment.due(self._state)):
            self._record(closed)
        if (combination := self.missing.next()) is not None:
            yield combination, "new"
        if (promoted := self._promoted(idle=True)) is not None:
            yield promoted, "promote"
        if (needed := self._needed_by_its_cell()) is not None:
            yield needed, "continue"
        if (repeat := self._confirmation.next()) is not None:
            yield repeat, "new"

    def needed(self, spending: Spending) -> Iterator[Next]:
        """What the cells still need, for which the budget was kept back."""
        for cell in self._allotment.plan.cells:
            for trial in spending.needed(cell):
                if trial.status in ("paused", "stopped"):
                    yield trial, "continue"
            if spending.lacks(cell) and (combination := self.missing.of(cell)) is not None:
                yield combination, "new"

    @property
    def empty(self) -> bool:
        """Nothing is left to start, also not later."""
        if self._due or any(self._state.count(cell, "paused") for cell in self._allotment.plan.cells):
            return False
        if any(self._allotment.due(self._state)) or self._needed_by_its_cell() is not None:
            return False
        return self.missing.next() is None and self._confirmation.next() is None

    def refused(self, cell: Cell) -> None:
        """The budget had no room for the cell; to be asked again, since others may leave some."""
        self._groups.unsettle(cell)

    def absorb(self, event: Event) -> None:
        """`state` has the event already."""
        if isinstance(event, TrialCreated | TrialEvent):
            self._note(self._state.trials[event.trial])
        match event:
            case SweepExtended():
                for trial in self._state.trials.values():
                    self._note(trial)
            case RoundClosed():
                self._allotment.absorb(event)
        if isinstance(event, SweepCreated | SweepExtended | TrialCreated):
            self.missing.absorb(event)

    def _note(self, trial: TrialState) -> None:
        """Something happened to the trial."""
        self._groups.unsettle(trial.cell)
        if trial.due_again(self._allotment.plan.spec.max_failures):
            self._due[trial.id] = trial
        else:
            self._due.pop(trial.id, None)

    def _waiting(self) -> Iterator[TrialState]:
        """Trials that were interrupted, or crashed and may be tried again; the oldest first."""
        if self._due:
            yield min(self._due.values(), key=lambda trial: trial.index)
            yield from sorted(self._due.values(), key=lambda trial: trial.index)[1:]

    def _promoted(self, *, idle: bool) -> TrialState | None:
        """The first trial that its rung promotes; those that rungs stop are journalled on the way."""
        for group in self._groups.undecided(idle):
            view = self._groups.view(group)
            self._groups.settle(group, idle)  # until something happens in it, such as the stops below
            promoted = None
            for trial, stop in list(self._scheduler.decide(view, idle=idle)):
                if stop is not None:
                    self._stop(trial, stop)
                elif promoted is None:
                    promoted = trial
            if promoted is not None:
                return promoted  # its start is something that happens
        return None

    def _needed_by_its_cell(self) -> TrialState | None:
        """The best stopped trial of a cell that would otherwise end with fewer than min_finished."""
        for cell in self._allotment.plan.cells:
            if falls_short(cell, self._allotment.plan, self._state):
                return best_of([trial for trial in self._state.cell(cell) if trial.status == "stopped"])
        return None
