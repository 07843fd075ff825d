"""A plan rehearsed in virtual time, before anything is known: what its scheduler and its workers will make of it.

Sweep and scheduler are the real ones. Trials are stand-ins: a cell's values come in random order, each as good at
every rung as at the first; where ranks change between rungs, a little more is stopped. None fails, loses patience or
breaks a constraint.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import Event, Journal
from segsweep.orchestrator.record.trials import Cell, TrialState
from segsweep.orchestrator.space.spec import ComponentSpec
from segsweep.trainables.training.timing import Pace

EPOCHS = 8000  # rehearsed in all, at most: several orders of a small sweep, a part of a large one, in about 0.2 s
FEWEST_TRIALS, MOST_TRIALS = 40, 250
MOST_ORDERS = 50
ANY_PACE = Pace(epoch_s=1.0, setup_s=0.0)  # time in epochs
BLIND = ComponentSpec(type="quasi_random", name="quasi_random")  # quick, and only the order of trials matters
UNSTOPPED = ComponentSpec(type="fifo", name="fifo")


@dataclass(frozen=True)
class Expected:
    """What a cell is expected to take."""

    trials: float
    epochs: float
    busy_s: float  # of workers


@dataclass(frozen=True)
class Rehearsal:
    cells: Mapping[Cell, Expected]
    makespan_s: float  # from the first start to the last end

    @property
    def epochs(self) -> float:
        return sum(cell.epochs for cell in self.cells.values())

    @property
    def busy_s(self) -> float:
        return sum(cell.busy_s for cell in self.cells.values())


@dataclass(frozen=True)
class StandInReport:
    epoch: int
    metrics: Mapping[str, float]
    done: bool
    reason: str


class StandIn:
    """A trial that is as good in every epoch as in the first."""

    facts: Mapping[str, float | str] = {}

    def __init__(self, assignment: Assignment, value: float, pace: Pace) -> None:
        self._config, self._epoch = assignment.config, assignment.reported
        self._metrics = {self._config.objective.metric: value, "epoch_s": pace.epoch_s}
        self._setup_s = pace.setup_s

    def step(self) -> StandInReport:
        self._epoch += 1
        metrics = self._metrics | {"epoch_s": self._metrics["epoch_s"] + self._setup_s}
        self._setup_s = 0.0
        done = self._epoch == self._config.epochs
        return StandInReport(self._epoch, metrics, done, "epoch limit" if done else "")

    def close(self) -> None:
        """Nothing to release."""


class Unwritten(Journal):
    """A journal that nobody will read."""

    def __init__(self) -> None:
        self.path = Path(os.devnull)  # which reads as an empty one

    def append(self, event: Event) -> Event:
        return event

    @contextmanager
    def together(self) -> Iterator[None]:
        yield


def rehearse(plan: SweepPlan, workers: int, paces: Mapping[Cell, Pace] | None = None) -> Rehearsal:
    """Means over several orders of the trials, the same every time. paces: of every cell; without, time is in epochs.

    Nothing is stopped where rungs are in iterations, which stand-ins do not know, or in seconds without paces.
    The budget does not end it. Of a plan with more than 40 to 250 trials (fewer for long trials), a part of its cells,
    then of their trials, is rehearsed and scaled up.
    """
    if paces is None and plan.spec.scheduler.options.get("unit") == "seconds":
        plan = replace(plan, spec=plan.spec.model_copy(update={"scheduler": UNSTOPPED}))
    asked = plan
    plan = replace(plan, spec=plan.spec.model_copy(update={"budget": None, "confirm": None}))
    paces = paces or dict.fromkeys(plan.cells, ANY_PACE)
    limit = min(MOST_TRIALS, max(FEWEST_TRIALS, EPOCHS // plan.spec.epochs))
    part = _part(plan, limit)
    orders = min(MOST_ORDERS, max(1, limit // part.trials))
    tally, took_s = Tally(), [0.0] * orders
    for order in range(orders):
        sweep, took_s[order] = _run(part, workers, paces, order)
        tally.add(sweep.state.trials.values())
    makespan_s = fmean(took_s)
    cells = {cell: tally.expected(cell, _trials(cell, plan, part, tally, orders), paces[cell]) for cell in plan.cells}
    whole = _with_confirmations(asked, Rehearsal(cells, makespan_s), paces, workers)
    if part is plan:
        return whole
    rehearsed_s = sum(tally.expected(cell, tally.trials[cell] / orders, paces[cell]).busy_s for cell in part.cells)
    idle_s = makespan_s - rehearsed_s / workers  # at the end, mostly: no longer in a larger sweep
    return replace(whole, makespan_s=whole.busy_s / workers + idle_s)


def _with_confirmations(plan: SweepPlan, search: Rehearsal, paces: Mapping[Cell, Pace], workers: int) -> Rehearsal:
    """All epochs of all confirmations, which follow the search."""
    cells = dict(search.cells)
    for cell, expected in search.cells.items():
        epochs = plan.confirmations_of(cell) * plan.spec.epochs
        busy_s = epochs * paces[cell].epoch_s + plan.confirmations_of(cell) * paces[cell].setup_s
        cells[cell] = Expected(expected.trials, expected.epochs + epochs, expected.busy_s + busy_s)
    more_s = sum(cell.busy_s for cell in cells.values()) - search.busy_s
    return Rehearsal(cells, search.makespan_s + more_s / workers)


@dataclass
class Tally:
    """What trials took, by cell."""

    trials: Counter[Cell] = field(default_factory=Counter)
    epochs: Counter[Cell] = field(default_factory=Counter)
    attempts: Counter[Cell] = field(default_factory=Counter)

    def add(self, trials: Iterable[TrialState]) -> None:
        for trial in trials:
            self.trials[trial.cell] += 1
            self.epochs[trial.cell] += trial.epoch
            self.attempts[trial.cell] += trial.attempt

    def expected(self, cell: Cell, trials: float, pace: Pace) -> Expected:
        """For so many trials; like the others for a cell that was not rehearsed."""
        known = [cell] if cell in self.trials else list(self.trials)
        seen = sum(self.trials[other] for other in known)
        epochs = trials * sum(self.epochs[other] for other in known) / seen
        attempts = trials * sum(self.attempts[other] for other in known) / seen
        return Expected(trials, epochs, epochs * pace.epoch_s + attempts * pace.setup_s)


def _trials(cell: Cell, plan: SweepPlan, part: SweepPlan, tally: Tally, orders: int) -> float:
    if cell not in part.cells:
        return plan.trials_of(cell)
    return tally.trials[cell] / orders * plan.trials_of(cell) / part.trials_of(cell)


def _part(plan: SweepPlan, limit: int) -> SweepPlan:
    """Cells that have up to `limit` trials together; if one has more alone, that one with fewer trials.

    Where cells compete, for trials or in rungs, this holds for datasets.
    """
    spec = plan.spec
    together = spec.allocation == "adaptive" or spec.scheduler.options.get("rungs") == "dataset"
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.dataset,) if together else cell, []).append(cell)
    kept: list[Cell] = []
    trials = 0
    for cells in groups.values():
        more = sum(map(plan.trials_of, cells))
        if not kept or trials + more <= limit:
            kept += cells
            trials += more
    if trials <= limit and len(kept) == len(plan.cells):
        return plan
    if trials > limit:
        spec = spec.model_copy(update={"trials": max(spec.min_finished, spec.trials * limit // trials)})
    return SweepPlan(spec, tuple(replace(c, spec=spec) for cell in kept for c in plan.cells[cell][:limit]))


def _run(plan: SweepPlan, workers: int, paces: Mapping[Cell, Pace], order: int) -> tuple[Sweep, float]:
    """The sweep when it is over, and when that was."""
    unbounded: dict[str, Any] = {"more_objectives": (), "constraints": {}}  # what a trial costs is not known yet
    spec = plan.spec.model_copy(update={"searcher": BLIND, **unbounded})
    sweep, backend = Sweep(replace(plan, spec=spec), Unwritten()), Simulated(workers)

    def stand_in(assignment: Assignment) -> StandIn:
        value = random.Random(f"{order} {assignment.trial}").random()
        return StandIn(assignment, value, paces[sweep.state.trials[assignment.trial].cell])

    backend.run(sweep, stand_in)
    return sweep, backend.now
