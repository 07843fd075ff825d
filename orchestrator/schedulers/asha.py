"""ASHA, the stopping variant: at each rung, only the best 1/reduction_factor of the trials seen there go on.

Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934): r = grace,
eta = reduction_factor. Rungs belong to a cell by default: an architecture that learns slowly is not stopped by one that
learns fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from segsweep.orchestrator.record.journal import MOST_AHEAD, Stop
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import Decision, Group, Grouping, GroupView, group_of
from segsweep.orchestrator.schedulers._rungs import RungOptions, better_than, check_grace, crossed, limit, rung_levels
from segsweep.trainables.components import Problem


class Options(RungOptions):
    """grace: 1 epoch if not given."""

    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 3.0  # eta


def top_fraction_cutoff(values: list[float], keep: float) -> float:
    """The value that the best `keep` of `values` (higher is better) reach; linear between order statistics."""
    ordered = sorted(values)
    position = (1 - keep) * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


class Asha:
    def __init__(self, options: Options, epochs: int) -> None:
        self.rungs: Grouping = options.rungs
        self._unit = options.unit
        self._keep = 1 / options.reduction_factor
        self._levels = _levels(options, epochs)
        self._records: dict[tuple[Group, int], list[tuple[float, str]]] = {}  # value (higher is better), trial

    def judge(self, trial: TrialState) -> Stop | None:
        """Recorded at every rung that it has reached, stopped at the first where it is not good enough."""
        if trial.best is None:
            return None
        stops = [self._compare(trial, trial.best, level) for level in crossed(self._levels, trial, self._unit)]
        return next(filter(None, stops), None)

    def _compare(self, trial: TrialState, best: float, level: int) -> Stop | None:
        sign = 1.0 if trial.config.objective.mode == "max" else -1.0
        value = sign * best
        records = self._records.setdefault((group_of(trial.cell, self.rungs), level), [])
        records.append((value, trial.id))
        cutoff = top_fraction_cutoff([other for other, _ in records], self._keep)
        if value >= cutoff:
            return None
        ahead = better_than(value, records)
        return Stop(
            rung=level,
            unit=self._unit,
            value=best,
            cutoff=sign * cutoff,
            rank=len(ahead) + 1,
            of=len(records),
            ahead=ahead[:MOST_AHEAD],
        )

    def decide(self, group: GroupView, *, idle: bool) -> Iterable[Decision]:
        return ()  # nothing ever pauses


def _levels(options: Options, epochs: int) -> list[int]:
    return rung_levels(options.grace or 1, options.reduction_factor, limit(options.unit, epochs))


def check(options: Options, epochs: int, fewest: Mapping[Grouping, int]) -> Iterable[Problem]:
    yield from check_grace(options, epochs)


def build(options: Options, epochs: int) -> Asha:
    return Asha(options, epochs)
