"""ASHA with promotion: every trial pauses at every rung, and the best of its group are promoted to the next.

Li et al. 2018 (arXiv 1810.05934), algorithm 2, with one change. As long as other work is left, a rung is decided when
all trials of its group have been there (then it is successive halving, Jamieson and Talwalkar 2016, arXiv 1502.07943),
so no trial goes on only because it came first. Only workers that would idle make ASHA's early promotions. A sweep has
many cells, so rungs are rarely decided early. Measured in docs/decisions/0001-search.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import Field

from segsweep.orchestrator.record.journal import MOST_AHEAD, Stop
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import Decision, Grouping, GroupView, Pause
from segsweep.orchestrator.schedulers._rungs import RungOptions, check_grace, crossed, limit, rung_levels
from segsweep.trainables.components import Problem


class Options(RungOptions):
    """grace: a 13th of the epoch limit if not given."""

    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 2.0  # eta


class AshaPromotion:
    def __init__(self, options: Options, epochs: int) -> None:
        self.rungs: Grouping = options.rungs
        self._unit = options.unit
        self._factor = options.reduction_factor
        self._levels = _levels(options, epochs)

    def judge(self, trial: TrialState) -> Pause | None:
        levels = crossed(self._levels, trial, self._unit)
        return Pause(levels[0], self._unit) if levels else None

    def decide(self, group: GroupView, *, idle: bool) -> Iterator[Decision]:
        """A trial that is at several rungs at once has to pass them all, the first one first."""
        if not idle and len(group.trials) < group.planned:
            return  # any rung may still get more trials
        waiting = {t: crossed(self._levels, t, self._unit) for t in group.trials if t.status == "paused"}
        for level in sorted({level for levels in waiting.values() for level in levels}):
            paused = [trial for trial, levels in waiting.items() if level in levels]
            decisions = list(self._decided(group, level, paused, idle=idle))
            yield from (d for d in decisions if d.stop is not None or level == waiting[d.trial][-1])
            held = set(paused) - {d.trial for d in decisions if d.stop is None}
            waiting = {trial: levels for trial, levels in waiting.items() if trial not in held}

    def _decided(self, group: GroupView, level: int, paused: list[TrialState], *, idle: bool) -> Iterable[Decision]:
        if self._complete(group, level):
            return self._close(group, level, paused)
        return self._early(group, level, paused) if idle else ()

    def _complete(self, group: GroupView, level: int) -> bool:
        """No trial of the group can reach the rung any more."""
        on_the_way = (t for t in group.trials if not t.over and t.reached(level, self._unit) is None)
        return len(group.trials) == group.planned and not any(on_the_way)

    def _close(self, group: GroupView, level: int, paused: list[TrialState]) -> Iterator[Decision]:
        """Promote the best 1/eta of those who were here, stop the others."""
        here = self._ranked(group, level)
        keep = max(group.min_finished, math.ceil(len(here) / self._factor))
        ranks = {trial: rank for rank, trial in enumerate(here, 1)}
        for trial in paused:
            yield Decision(trial, self._stop(trial, level, ranks[trial], here, keep) if ranks[trial] > keep else None)

    def _stop(self, trial: TrialState, level: int, rank: int, here: list[TrialState], keep: int) -> Stop:
        return Stop(
            rung=level,
            unit=self._unit,
            value=trial.best_at(level, self._unit),
            cutoff=here[keep - 1].best_at(level, self._unit),
            rank=rank,
            of=len(here),
            ahead=tuple(other.id for other in here[: min(rank - 1, MOST_AHEAD)]),
        )

    def _early(self, group: GroupView, level: int, paused: list[TrialState]) -> Iterator[Decision]:
        """The best of a rung that is still filling, if it would be promoted were the rung closed now."""
        here = self._ranked(group, level)
        promotable, waiting = here[: int(len(here) / self._factor)], set(paused)
        yield from (Decision(trial, None) for trial in promotable if trial in waiting)

    def _ranked(self, group: GroupView, level: int) -> list[TrialState]:
        """The trials that have reached a rung, the best first; the earlier of equals."""
        here = [trial for trial in group.trials if trial.reached(level, self._unit) is not None]
        sign = -1.0 if here[0].config.objective.mode == "max" else 1.0
        return sorted(here, key=lambda trial: sign * trial.best_at(level, self._unit))


def _levels(options: Options, epochs: int) -> list[int]:
    grace = options.grace or max(1, round(epochs / 13))
    return rung_levels(grace, options.reduction_factor, limit(options.unit, epochs))


def check(options: Options, epochs: int, fewest: Mapping[Grouping, int]) -> Iterable[Problem]:
    yield from check_grace(options, epochs)


def build(options: Options, epochs: int) -> AshaPromotion:
    return AshaPromotion(options, epochs)
