"""What a sweep may still spend of its budget, and what it keeps back so that every cell gets its finished trials.

Everything is a function of the journal, times included: a resumed sweep decides as the first one did.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from segsweep.orchestrator.driving.confirmation import Repeat
from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState, ranked
from segsweep.orchestrator.space.budget import Budget
from segsweep.trainables.plurals import counted

Startable: TypeAlias = TrialState | Combination | Repeat
"""What an attempt can begin with: a trial that there is, or a new one."""


class Limit(NamedTuple):
    """One limit of the budget: what is left of it, and what an epoch of a trial takes away, in the same unit."""

    words: str  # "500 epochs"
    left: float
    epoch_cost: dict[Cell, float]


class Spending:
    def __init__(self, plan: SweepPlan, state: SweepState, gpus: float) -> None:
        """gpus: what one trial gets; may be set anew."""
        self._plan = plan
        self._state = state
        self.gpus = gpus

    def refusal(self, what: Startable) -> str:
        """Why one more epoch may not begin, of a trial or of a new one of a combination; "" if it may.

        An epoch under way costs as much as epochs of its cell did on average. What the cells need for min_finished
        trials is kept back for those trials.
        """
        budget, cell = self._plan.spec.budget, what.cell
        trial = what if isinstance(what, TrialState) else None
        if budget is None:
            return ""
        if trial is None and budget.trials is not None and len(self._state.trials) >= budget.trials:
            return f"the budget of {budget.trials} trials is used up"
        beside = len(self._state.running) - (trial is not None and trial.status == "running")
        needed = self.lacks(cell) if trial is None else trial in self.needed(cell)
        for limit in self._limits(budget):
            left = limit.left - (beside + 1) * limit.epoch_cost[cell]
            if limit.left <= 0 or left < -1e-9 * limit.left:
                return f"the budget of {limit.words} has no room for another epoch"
            if not needed and left < self._kept_back(limit, left):
                return f"what is left of the budget of {limit.words} is for cells without {self._finished}"
        return ""

    def overrun(self, now: float) -> str:
        """Why everything has to end now, though epochs are under way; "" if it has not. now: seconds since 1970."""
        budget, state = self._plan.spec.budget, self._state
        if budget is None:
            return ""
        if budget.wall_hours is not None and state.wall_s + max(0.0, now - state.last_time) >= 3600 * budget.wall_hours:
            return f"the budget of {budget.wall_hours:g} hours is used up"
        if budget.gpu_hours is not None:
            under_way_s = sum(max(0.0, trial.seconds_until(now) - trial.seconds) for trial in state.running)
            if (state.seconds.total() + under_way_s) * self.gpus >= 3600 * budget.gpu_hours:
                return f"the budget of {budget.gpu_hours:g} GPU-hours is used up"
        return ""

    def needed(self, cell: Cell) -> list[TrialState]:
        """The trials of a cell, the best first, that have to finish so that it gets its min_finished."""
        lacking = self._lacking(cell)
        if lacking == 0:
            return []
        alive = [
            t for t in self._state.cell(cell) if t.status not in ("finished", "failed", "infeasible", "superseded")
        ]
        return ranked(alive)[:lacking]

    def lacks(self, cell: Cell) -> bool:
        """The cell has fewer trials than have to finish."""
        return len(self.needed(cell)) < self._lacking(cell)

    def _lacking(self, cell: Cell) -> int:
        """Finished trials that the cell still has to get."""
        return max(0, self._plan.spec.min_finished - self._state.count(cell, "finished"))

    def _kept_back(self, limit: Limit, left: float) -> float:
        """What the cells need; looked at closely only where it may matter."""
        epochs = self._plan.spec.epochs
        short = {cell: self._lacking(cell) for cell in self._plan.cells}
        most = sum(lacking * epochs * limit.epoch_cost[cell] for cell, lacking in short.items())
        if most <= left:
            return most
        kept = 0.0
        for cell, lacking in short.items():
            needed = self.needed(cell)
            to_go = sum(epochs - trial.epoch for trial in needed) + (lacking - len(needed)) * epochs
            kept += to_go * limit.epoch_cost[cell]
        return kept

    def _limits(self, budget: Budget) -> Iterator[Limit]:
        state = self._state
        if budget.epochs is not None:
            yield Limit(
                f"{budget.epochs} epochs", budget.epochs - state.epochs.total(), dict.fromkeys(self._plan.cells, 1)
            )
        if budget.gpu_hours is not None:
            spent_s = state.seconds.total() * self.gpus
            costs = {cell: self._epoch_s(cell) * self.gpus for cell in self._plan.cells}
            yield Limit(f"{budget.gpu_hours:g} GPU-hours", 3600 * budget.gpu_hours - spent_s, costs)
        if budget.wall_hours is not None:
            at_once = max(1, len(state.running))
            costs = {cell: self._epoch_s(cell) / at_once for cell in self._plan.cells}
            yield Limit(f"{budget.wall_hours:g} hours", 3600 * budget.wall_hours - state.wall_s, costs)

    def _epoch_s(self, cell: Cell) -> float:
        """Mean over the cell's epochs so far, set-up included; over all cells' while it has none."""
        seconds, epochs = self._state.seconds, self._state.epochs
        if epochs[cell]:
            return seconds[cell] / epochs[cell]
        return seconds.total() / max(1, epochs.total())

    @property
    def _finished(self) -> str:
        return counted(self._plan.spec.min_finished, "finished trial")
