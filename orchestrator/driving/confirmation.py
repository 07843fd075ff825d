"""Which trials are trained again once the search of their cell is over: its best ones, with seeds that it has not seen.

The best of many trials by one seed looks better than it is: of equals, the luckiest wins. Fresh seeds say how good a
configuration is, and how much of the search's value was luck.
"""

from __future__ import annotations

from typing import NamedTuple

from segsweep.orchestrator.planning.allocation import Allotment
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState, ranked
from segsweep.trainables.config import TrialConfig


class Repeat(NamedTuple):
    """A trial that is to be trained again."""

    of: TrialState
    seed: int

    @property
    def cell(self) -> Cell:
        return self.of.cell

    def config(self, trial_id: str) -> TrialConfig:
        return self.of.config.model_copy(update={"trial_id": trial_id, "seed": self.seed, "test": True})


class Confirmation:
    def __init__(self, allotment: Allotment, state: SweepState) -> None:
        self._allotment = allotment
        self._state = state

    def next(self) -> Repeat | None:
        """The first that is missing, or None: perhaps later, as long as cells are searched."""
        spec = self._allotment.plan.spec
        if spec.confirm is None:
            return None
        fresh = range(max(spec.seeds) + 1, max(spec.seeds) + 1 + spec.confirm.seeds)
        wanted = (
            Repeat(trial, seed)
            for seed in fresh
            for cell in self._allotment.plan.cells
            if self._allotment.is_settled(cell, self._state)
            for trial in best_configurations(self._state, cell, spec.confirm.top)
        )
        return next((repeat for repeat in wanted if not self._has(repeat)), None)

    def _has(self, repeat: Repeat) -> bool:
        return any(trial.config.seed == repeat.seed for trial in self._state.confirmations(repeat.of.id))


def best_configurations(state: SweepState, cell: Cell, top: int) -> list[TrialState]:
    """The best finished trials of the cell, the best first; of a configuration with several seeds the best one."""
    finished = [trial for trial in state.cell(cell) if trial.status == "finished" and trial.best is not None]
    configurations: dict[str, TrialState] = {}
    for trial in ranked(finished):
        configurations.setdefault(trial.config.model_copy(update={"trial_id": "", "seed": 0}).model_dump_json(), trial)
    return list(configurations.values())[:top]
