"""Median stopping: a trial goes on while its best is no worse than the median of the other trials' running averages.

Golovin et al. 2017, "Google Vizier: A Service for Black-Box Optimization", section 3.2.1. There the others are the
completed trials; here they are all trials of the cell (or dataset) that have come as far, as in Ray and Syne Tune,
since stopped trials would otherwise never count. In epochs, a trial is compared at every one from the grace on; in
iterations or seconds at the multiples of the grace, once an epoch: at the last one that it has reached.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from segsweep.orchestrator.record.journal import MOST_AHEAD, Stop
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import Decision, Group, Grouping, GroupView, group_of
from segsweep.orchestrator.schedulers._rungs import RungOptions, better_than, check_grace
from segsweep.trainables.components import Problem


class Options(RungOptions):
    """grace: 1 epoch if not given."""

    min_trials: Annotated[int, Field(ge=1)] = 3  # others that must have come as far


class Record(NamedTuple):
    """A trial at the end of some epoch; higher is better."""

    average: float  # of all its epochs until then
    best: float
    trial: str


class Median:
    def __init__(self, options: Options) -> None:
        self.rungs: Grouping = options.rungs
        self._unit = options.unit
        self._grace = options.grace or 1
        self._min_trials = options.min_trials
        self._records: dict[tuple[Group, int], list[Record]] = {}  # by level

    def judge(self, trial: TrialState) -> Stop | None:
        levels = self._levels(trial)
        if not levels or trial.value(trial.epoch) is None or trial.best is None:
            return None
        sign = 1.0 if trial.config.objective.mode == "max" else -1.0
        values = [value for epoch in range(1, trial.epoch + 1) if (value := trial.value(epoch)) is not None]
        own = Record(sign * statistics.fmean(values), sign * trial.best, trial.id)
        group = group_of(trial.cell, self.rungs)
        stop = self._compare(own, self._records.get((group, levels[-1]), []), sign, levels[-1])
        for level in levels:
            self._records.setdefault((group, level), []).append(own)
        return stop

    def _levels(self, trial: TrialState) -> Sequence[int]:
        """Where the trial's last epoch is recorded, ascending."""
        if self._unit == "epochs":
            return range(max(self._grace, trial.epoch), trial.epoch + 1)
        before, now = (int(trial.used(epoch, self._unit) // self._grace) for epoch in (trial.epoch - 1, trial.epoch))
        return range((before + 1) * self._grace, now * self._grace + 1, self._grace)

    def _compare(self, own: Record, others: list[Record], sign: float, level: int) -> Stop | None:
        if len(others) < self._min_trials:
            return None
        cutoff = statistics.median(other.average for other in others)
        if own.best >= cutoff:
            return None
        ahead = better_than(own.best, [(other.best, other.trial) for other in others])
        return Stop(
            rung=level,
            unit=self._unit,
            value=sign * own.best,
            cutoff=sign * cutoff,
            rank=len(ahead) + 1,
            of=len(others) + 1,
            ahead=ahead[:MOST_AHEAD],
        )

    def decide(self, group: GroupView, *, idle: bool) -> Iterable[Decision]:
        return ()  # nothing ever pauses


def check(options: Options, epochs: int, fewest: Mapping[Grouping, int]) -> Iterable[Problem]:
    yield from check_grace(options, epochs)
    if options.min_trials >= fewest[options.rungs] > 1:
        trials = f"{fewest[options.rungs]} trials of a {options.rungs}"
        message = f"{options.min_trials} leaves nothing to stop among {trials}; give less, raise trials, or use fifo"
        yield Problem("min_trials", message)


def build(options: Options, epochs: int) -> Median:
    return Median(options)
