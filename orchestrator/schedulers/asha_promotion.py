"""ASHA with promotion: every trial pauses at every rung, and the best of its cell are promoted to the next.

Li et al. 2018 (arXiv 1810.05934), algorithm 2, with one change. As long as other work is left, a rung is decided when
all trials of its cell have been there (then it is successive halving, Jamieson and Talwalkar 2016, arXiv 1502.07943),
so no trial goes on only because it came first. Only workers that would idle make ASHA's early promotions. A sweep has
many cells, so rungs are rarely decided early. Measured in docs/decisions/0001-search.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field

from segsweep.orchestrator.journal import MOST_AHEAD, Stop
from segsweep.orchestrator.schedulers import CellView, Decision, Pause
from segsweep.orchestrator.state import TrialState
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    grace: Annotated[int, Field(ge=1)] | None = None  # r: epochs that every trial gets; None: a 13th of the limit
    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 2.0  # eta


def rung_levels(options: Options, epochs: int) -> list[int]:
    """Epochs at which trials pause: r, r*eta, r*eta^2 ... below the epoch limit."""
    level = float(options.grace or max(1, round(epochs / 13)))
    levels: list[int] = []
    while round(level) < epochs:
        if not levels or round(level) > levels[-1]:
            levels.append(round(level))
        level *= options.reduction_factor
    return levels


class AshaPromotion:
    def __init__(self, options: Options, epochs: int) -> None:
        self._factor = options.reduction_factor
        self._levels = rung_levels(options, epochs)

    def judge(self, trial: TrialState) -> Pause | None:
        return Pause(trial.epoch) if trial.epoch in self._levels else None

    def decide(self, cell: CellView, *, idle: bool) -> Iterator[Decision]:
        for level in self._levels:
            paused = [trial for trial in cell.trials if trial.status == "paused" and trial.epoch == level]
            if not paused:
                continue
            if self._complete(cell, level):
                yield from self._close(cell, level, paused)
            elif idle:
                yield from self._early(cell, level, paused)

    def _complete(self, cell: CellView, level: int) -> bool:
        """No trial of the cell can reach the rung any more."""
        on_the_way = (trial for trial in cell.trials if trial.epoch < level and not trial.over)
        return len(cell.trials) == cell.planned and not any(on_the_way)

    def _close(self, cell: CellView, level: int, paused: list[TrialState]) -> Iterator[Decision]:
        """Promote the best 1/eta of those who were here, stop the others."""
        here = ranked(cell.trials, level)
        keep = max(cell.min_finished, math.ceil(len(here) / self._factor))
        for trial in paused:
            rank = here.index(trial) + 1
            cutoff = here[min(keep, len(here)) - 1].best_until(level)
            ahead = tuple(other.id for other in here[: min(rank - 1, MOST_AHEAD)])
            stop = Stop(rung=level, cutoff=cutoff, rank=rank, of=len(here), ahead=ahead)
            yield Decision(trial, stop if rank > keep else None)

    def _early(self, cell: CellView, level: int, paused: list[TrialState]) -> Iterator[Decision]:
        """The best of a rung that is still filling, if it would be promoted were the rung closed now."""
        here = ranked(cell.trials, level)
        promotable = here[: int(len(here) / self._factor)]
        yield from (Decision(trial, None) for trial in promotable if trial in paused)


def ranked(trials: Iterable[TrialState], level: int) -> list[TrialState]:
    """The trials that have reached a rung, the best first, by their best epoch until then; the earlier of equals."""
    here = [trial for trial in trials if trial.epoch >= level]
    sign = -1.0 if here and here[0].config.objective.mode == "max" else 1.0
    return sorted(here, key=lambda trial: sign * trial.best_until(level))


def check(options: Options, epochs: int) -> Iterable[Problem]:
    if options.grace is not None and options.grace >= epochs > 1:
        yield Problem("grace", f"{options.grace} leaves nothing to stop in {epochs} epochs; give less, or use fifo")


def build(options: Options, epochs: int) -> AshaPromotion:
    return AshaPromotion(options, epochs)
