"""The groups of trials that a scheduler compares, and which of them it has to be asked about."""

from __future__ import annotations

from collections.abc import Iterator

from segsweep.orchestrator.planning.allocation import Allotment
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell
from segsweep.orchestrator.schedulers import Group, Grouping, GroupView, group_of


class Groups:
    """A scheduler's `decide` is a function of a group's view, so asking again before it changed would be in vain."""

    def __init__(self, allotment: Allotment, state: SweepState, grouping: Grouping) -> None:
        self._allotment = allotment
        self._state = state
        self._grouping = grouping
        self._cells = allotment.plan.groups(grouping)
        self._settled: set[tuple[Group, bool]] = set()  # in these, idle or not, the scheduler promotes nothing

    def undecided(self, idle: bool) -> list[Group]:
        """Groups with paused trials in which something happened; the one with the oldest paused trial first."""
        groups = [group for group in self._cells if (group, idle) not in self._settled]
        oldest = {group: min(self._paused(group), default=None) for group in groups}
        return sorted((group for group in groups if oldest[group] is not None), key=lambda group: oldest[group] or 0)

    def view(self, group: Group) -> GroupView:
        cells = self._cells[group]
        trials = [trial for cell in cells for trial in self._state.feasible(cell)]
        planned = sum(self._allotment.trials[cell] - self._out_of_question(cell) for cell in cells)
        return GroupView(sorted(trials, key=lambda trial: trial.index), planned, self._allotment.plan.spec.min_finished)

    def _out_of_question(self, cell: Cell) -> int:
        """Trials that are planned and will not rank."""
        return self._state.count(cell, "infeasible") + self._state.dropped[cell]

    def settle(self, group: Group, idle: bool) -> None:
        """The scheduler is being asked about the group as it is now."""
        self._settled.add((group, idle))

    def unsettle(self, cell: Cell) -> None:
        """Something happened in the cell."""
        group = group_of(cell, self._grouping)
        self._settled -= {(group, True), (group, False)}

    def _paused(self, group: Group) -> Iterator[int]:
        """The number of the oldest paused trial of each cell that has any."""
        for cell in self._cells[group]:
            if self._state.count(cell, "paused"):
                yield next(trial.index for trial in self._state.cell(cell) if trial.status == "paused")
