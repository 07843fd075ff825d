"""Hyperband: several brackets of successive halving, which differ in how early their first rung comes.

Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (arXiv 1603.06560). It hedges
against first rungs that say little about the end, and pays for it: the last bracket stops nobody. Every bracket is an
asha_promotion of its own. A cell that has few trials leaves few for a bracket; asha_promotion serves it better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from pydantic import Field

from segsweep.orchestrator.schedulers import CellView, Decision, Pause, asha_promotion
from segsweep.orchestrator.state import Cell, TrialState
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    grace: Annotated[int, Field(ge=1)] = 1  # epochs before the first rung of the first bracket
    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 3.0  # eta
    brackets: Annotated[int, Field(ge=1)] | None = None  # None: all, the last of which stops nobody


def graces(options: Options, epochs: int) -> list[int]:
    """The first rung of each bracket, the earliest first; the epoch limit for one that stops nobody."""
    bracket = asha_promotion.Options(grace=options.grace, reduction_factor=options.reduction_factor)
    return [*asha_promotion.rung_levels(bracket, epochs), epochs][: options.brackets]


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
    factor = options.reduction_factor
    return [asha_promotion.Options(grace=grace, reduction_factor=factor) for grace in graces(options, epochs)]


class Hyperband:
    def __init__(self, options: Options, epochs: int) -> None:
        self._brackets = [asha_promotion.build(halving, epochs) for halving in halvings(options, epochs)]
        self._sizes = sizes(options, epochs)
        self._taken: dict[Cell, list[int]] = {}
        self._bracket: dict[str, int] = {}  # of each trial that has finished an epoch

    def judge(self, trial: TrialState) -> Pause | None:
        """A trial gets its bracket by the order in which the trials of its cell finish their first epoch."""
        if trial.id not in self._bracket:
            taken = self._taken.setdefault(trial.cell, [0] * len(self._sizes))
            self._bracket[trial.id] = bracket = next_bracket(taken, self._sizes)
            taken[bracket] += 1
        return self._brackets[self._bracket[trial.id]].judge(trial)

    def decide(self, cell: CellView, *, idle: bool) -> Iterator[Decision]:
        members: list[list[TrialState]] = [[] for _ in self._brackets]
        joining = cell.planned - len(cell.trials)  # trials that may still get any bracket
        for trial in cell.trials:
            if trial.id in self._bracket:
                members[self._bracket[trial.id]].append(trial)
            elif not trial.over:
                joining += 1
        for bracket, trials in zip(self._brackets, members, strict=True):
            view = CellView(trials, planned=len(trials) + joining, min_finished=1)  # the sweep sees to the cell's
            yield from bracket.decide(view, idle=idle)


def check(options: Options, epochs: int) -> Iterable[Problem]:
    yield from asha_promotion.check(
        asha_promotion.Options(grace=options.grace, reduction_factor=options.reduction_factor), epochs
    )
    there_are = len(graces(options.model_copy(update={"brackets": None}), epochs))
    if options.brackets is not None and options.brackets > there_are:
        yield Problem(
            "brackets",
            f"must be at most {there_are}, not {options.brackets}: with {epochs} epochs there are no more; "
            "give fewer, or a smaller grace or reduction_factor",
        )


def build(options: Options, epochs: int) -> Hyperband:
    return Hyperband(options, epochs)
