"""Gives back the disk space of checkpoints that nothing goes on from any more. best.pt stays, finished trials keep all.

Everything follows from the journal, so a resumed sweep collects what its predecessor could not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import AttemptEnded, Event, SweepExtended
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState
from segsweep.trainables.places import LAST, PREVIOUS

log = logging.getLogger(__name__)


class Collection:
    def __init__(
        self, plan: SweepPlan, state: SweepState, folder: Path, also: Callable[[str], None] = lambda trial: None
    ) -> None:
        """folder: the sweep's; also: told of every trial that is collected. Collects at once what is due by `state`."""
        self._plan = plan
        self._state = state
        self._trials = folder / "trials"
        self._also = also
        self._kept: dict[Cell, dict[str, TrialState]] = {}  # trials that are over, until they are collected
        self._look_at(state.trials.values())

    def on_event(self, event: Event) -> None:
        """A listener of the sweep: `state` has the event already."""
        match event:
            case AttemptEnded():
                self._look_at([self._state.trials[event.trial]])
            case SweepExtended():
                self._look_at(self._state.trials.values())

    def _look_at(self, trials: Iterable[TrialState]) -> None:
        cells = set()
        for trial in trials:
            if trial.over and trial.status != "finished":
                self._kept.setdefault(trial.cell, {})[trial.id] = trial
            cells.add(trial.cell)
        for cell in cells:
            kept = self._kept.get(cell, {})
            for trial in [trial for trial in kept.values() if self._is_due(trial)]:
                self._collect(trial)
                del kept[trial.id]

    def _is_due(self, trial: TrialState) -> bool:
        """A stopped trial goes on if its cell falls short of finished ones, any other one only if it is tried again."""
        if trial.status == "stopped":
            return self._state.count(trial.cell, "finished") >= self._plan.spec.min_finished
        return trial.over and trial.status != "finished" and not trial.due_again(self._plan.spec.max_failures)

    def _collect(self, trial: TrialState) -> None:
        for name in (LAST, PREVIOUS):
            try:
                (self._trials / trial.id / name).unlink(missing_ok=True)
            except OSError:  # storage may be away; the next driver tries again
                log.warning("%s cannot be removed", self._trials / trial.id / name, exc_info=True)
        self._also(trial.id)
