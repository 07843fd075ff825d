"""A sweep's progress as Prometheus gauges, through Ray's own metrics: what its agent on every node exports.

`segsweep_trials` by status, `segsweep_epochs` trained, `segsweep_best` objective of each cell; workers export the
`segsweep_objective` of their trials.
"""

from __future__ import annotations

from ray.util.metrics import Gauge

from segsweep.orchestrator.record.journal import AttemptEnded, AttemptStarted, EpochDone, Event
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, Status, TrialState


class Gauges:
    """A listener of a sweep; how far it is already is exported at once."""

    def __init__(self, state: SweepState) -> None:
        self._state = state
        self._sweep = {"sweep": state.created.sweep if state.created else ""}
        self._trials = Gauge("segsweep_trials", "Trials by status", tag_keys=("sweep", "status"))
        self._epochs = Gauge("segsweep_epochs", "Epochs trained", tag_keys=("sweep",))
        self._best = Gauge("segsweep_best", "Best objective so far", tag_keys=("sweep", "dataset", "model"))
        self._shown: dict[Cell, float] = {}  # the best of each cell
        self._counts: dict[Status, int] = {}  # as exported
        self._show_trials()
        self._show_epochs()
        for trial in state.searched:  # of earlier drivers
            self._show_best(trial)

    def __call__(self, event: Event) -> None:
        match event:
            case AttemptStarted() | AttemptEnded():
                self._show_trials()
            case EpochDone():
                self._show_epochs()
                self._show_best(self._state.trials[event.trial])

    def _show_trials(self) -> None:
        for status, trials in self._state.by_status.items():
            if self._counts.get(status) != trials:  # setting a gauge takes longer than all else that an event does
                self._counts[status] = trials
                self._trials.set(trials, tags={**self._sweep, "status": status})

    def _show_epochs(self) -> None:
        self._epochs.set(self._state.epochs.total(), tags=self._sweep)

    def _show_best(self, trial: TrialState) -> None:
        if (
            trial.best is not None
            and not trial.confirms
            and trial.config.objective.better(trial.best, self._shown.get(trial.cell))
        ):
            self._shown[trial.cell] = trial.best
            self._best.set(trial.best, tags={**self._sweep, **trial.cell._asdict()})
