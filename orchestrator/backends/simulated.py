"""A sweep in virtual time: n workers that take as long for an epoch as its `epoch_s` says, and no time at all here.

The searcher, the scheduler and the journal are the real ones; only the epochs come from elsewhere, such as recorded
curves. Give the journal this backend's clock, so that its times are the simulated ones.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TypeAlias

from segsweep.orchestrator.backends import Report, Steppable, TrialFactory, failed
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep

Epoch: TypeAlias = tuple[float, int, Assignment, Steppable, Report]
"""An epoch under way: when it ends (s), the order in which it began, who trains, and what it will report."""


class Simulated:
    name = "simulated"

    def __init__(self, workers: int) -> None:
        self.now = 0.0  # seconds since the sweep began
        self._workers = workers
        self._order = itertools.count()
        self._under_way: list[Epoch] = []

    def clock(self) -> float:
        return self.now

    def run(self, sweep: Sweep, factory: TrialFactory) -> None:
        self._under_way = []
        while True:
            self._fill(sweep, factory)
            if not self._under_way or sweep.stopping:
                break
            self.now, _, assignment, trial, report = heapq.heappop(self._under_way)
            if sweep.report(assignment, report.epoch, report.metrics, report.reason if report.done else ""):
                self._begin_epoch(sweep, assignment, trial)
        sweep.interrupted("the sweep was stopped")

    def _fill(self, sweep: Sweep, factory: TrialFactory) -> None:
        """Give every free worker an attempt, as long as there are any."""
        while len(self._under_way) < self._workers and (assignment := sweep.next()) is not None:
            trial = factory(assignment)
            if sweep.facts(assignment, trial.facts):
                self._begin_epoch(sweep, assignment, trial)

    def _begin_epoch(self, sweep: Sweep, assignment: Assignment, trial: Steppable) -> None:
        try:
            report = trial.step()
        except Exception as error:
            failed(sweep, assignment, error, "")
        else:
            ends_at = self.now + report.metrics.get("epoch_s", 0.0)
            heapq.heappush(self._under_way, (ends_at, next(self._order), assignment, trial, report))
