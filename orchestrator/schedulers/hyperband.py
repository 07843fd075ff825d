"""Hyperband: several brackets of successive halving, which differ in how early their first rung comes.

Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (arXiv 1603.06560). It hedges
against first rungs that say little about the end, and pays for it: the last bracket stops nobody. Every bracket is an
asha_promotion of its own. A cell that has few trials leaves few for a bracket; asha_promotion serves it better.
A trial's bracket follows from its number in its cell, also where rungs are a dataset's: so every model has its share of
every bracket.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import Decision, Grouping, GroupView, Pause, asha_promotion
from segsweep.orchestrator.schedulers._rungs import RungOptions, check_grace, limit, rung_levels
from segsweep.trainables.components import Problem


class Options(RungOptions):
    """grace: that of the first bracket, 1 epoch if not given."""

    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 3.0  # eta
    brackets: Annotated[int, Field(ge=1)] | None = None  # None: all that epochs allow, the last of which stops nobody


def graces(options: Options, epochs: int) -> list[int]:
    """The first rung of each bracket, the earliest first; the limit for one that stops nobody."""
    most = limit(options.unit, epochs)
    return [*rung_levels(options.grace or 1, options.reduction_factor, most), most][: options.brackets]


def sizes(options: Options, epochs: int) -> list[int]:
    """The brackets' shares of the trials, as the paper's n = ceil((s_max + 1) / (s + 1) * eta^s)."""
    s_max = len(graces(options, epochs)) - 1
    eta = options.reduction_factor
    return [math.ceil((s_max + 1) / (s + 1) * eta**s) for s in range(s_max, -1, -1)]


def next_bracket(taken: Sequence[int], sizes: Sequence[int]) -> int:
    """The bracket of a cell's next trial: the one that would be furthest behind its share of the trials without it."""
    share = (sum(taken) + 1) / sum(sizes)
    return max(range(len(sizes)), key=lambda bracket: sizes[bracket] * share - taken[bracket])


def halvings(options: Options, epochs: int) -> list[asha_promotion.Options]:
    """Each bracket as an asha_promotion."""
    same = options.model_dump(include={"unit", "rungs", "reduction_factor"})
    return [asha_promotion.Options(grace=grace, **same) for grace in graces(options, epochs)]


class Hyperband:
    def __init__(self, options: Options, epochs: int) -> None:
        self.rungs: Grouping = options.rungs
        self._brackets = [asha_promotion.build(halving, epochs) for halving in halvings(options, epochs)]
        self._sizes = sizes(options, epochs)
        self._taken = [0] * len(self._sizes)
        self._order: list[int] = []  # the bracket of a cell's first trial, second ...

    def judge(self, trial: TrialState) -> Pause | None:
        return self._brackets[self._bracket(trial)].judge(trial)

    def decide(self, group: GroupView, *, idle: bool) -> Iterator[Decision]:
        joining = group.planned - len(group.trials)  # trials that may get any bracket
        for number, bracket in enumerate(self._brackets):
            trials = [trial for trial in group.trials if self._bracket(trial) == number]
            view = GroupView(trials, planned=len(trials) + joining, min_finished=1)  # the sweep sees to the cell's
            yield from bracket.decide(view, idle=idle)

    def _bracket(self, trial: TrialState) -> int:
        while len(self._order) <= trial.index_in_cell:
            self._order.append(next_bracket(self._taken, self._sizes))
            self._taken[self._order[-1]] += 1
        return self._order[trial.index_in_cell]


def check(options: Options, epochs: int, fewest: Mapping[Grouping, int]) -> Iterable[Problem]:
    yield from check_grace(options, epochs)
    most = len(graces(options.model_copy(update={"brackets": None}), epochs))
    if options.brackets is None and options.unit != "epochs":
        yield Problem("brackets", f"is missing: no epoch limit says how many there are in {options.unit}; give it")
    elif options.brackets is not None and options.brackets > most:
        there_are = f"with {limit(options.unit, epochs)} {options.unit} there are no more"
        remedy = "give fewer, or a smaller grace or reduction_factor"
        yield Problem("brackets", f"must be at most {most}, not {options.brackets}: {there_are}; {remedy}")


def build(options: Options, epochs: int) -> Hyperband:
    return Hyperband(options, epochs)
