"""Median stopping: a trial goes on while its best is no worse than the median of the other trials' running averages.

Golovin et al. 2017, "Google Vizier: A Service for Black-Box Optimization", section 3.2.1. There the others are the
completed trials; here they are all trials of the cell that have come as far, as in Ray and Syne Tune, since stopped
trials would otherwise never count.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from pydantic import Field

from segsweep.orchestrator.journal import MOST_AHEAD, Stop
from segsweep.orchestrator.schedulers import CellView, Decision
from segsweep.orchestrator.schedulers.asha import better_than
from segsweep.orchestrator.state import Cell, TrialState
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    grace: Annotated[int, Field(ge=1)] = 1  # epochs that every trial gets
    min_trials: Annotated[int, Field(ge=1)] = 3  # others that must have come as far


class Record(NamedTuple):
    """A trial after some epoch; higher is better."""

    average: float  # of all its epochs until then
    best: float
    trial: str


class Median:
    def __init__(self, options: Options, epochs: int) -> None:
        self._options = options
        self._epochs = epochs
        self._records: dict[tuple[Cell, int], list[Record]] = {}  # by epoch

    def judge(self, trial: TrialState) -> Stop | None:
        epoch = trial.epoch
        if epoch < self._options.grace or trial.value(epoch) is None or trial.best is None:
            return None
        sign = 1.0 if trial.config.objective.mode == "max" else -1.0
        values = [value for e in range(1, epoch + 1) if (value := trial.value(e)) is not None]
        others = self._records.setdefault((trial.cell, epoch), [])
        own = Record(sign * statistics.fmean(values), sign * trial.best, trial.id)
        stop = self._compare(own, others, sign, epoch) if epoch < self._epochs else None
        others.append(own)
        return stop

    def _compare(self, own: Record, others: list[Record], sign: float, epoch: int) -> Stop | None:
        if len(others) < self._options.min_trials:
            return None
        cutoff = statistics.median(other.average for other in others)
        if own.best >= cutoff:
            return None
        ahead = better_than(own.best, [(other.best, other.trial) for other in others])
        rank, of = len(ahead) + 1, len(others) + 1
        return Stop(rung=epoch, cutoff=sign * cutoff, rank=rank, of=of, ahead=ahead[:MOST_AHEAD])

    def decide(self, cell: CellView, *, idle: bool) -> Iterable[Decision]:
        return ()  # nothing ever pauses


def check(options: Options, epochs: int) -> Iterable[Problem]:
    if options.grace >= epochs > 1:
        yield Problem("grace", f"{options.grace} leaves nothing to stop in {epochs} epochs; give less, or use fifo")


def build(options: Options, epochs: int) -> Median:
    return Median(options, epochs)
