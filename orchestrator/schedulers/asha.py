"""ASHA, the stopping variant: at each rung, only the best 1/reduction_factor of the trials seen there go on.

Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934): r = grace,
eta = reduction_factor. Rungs belong to a cell by default: a mIoU on one dataset is never compared with one on
another, and an architecture that learns slowly is not stopped by one that learns fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from segsweep.orchestrator.journal import MOST_AHEAD, Stop
from segsweep.orchestrator.schedulers import CellView, Decision
from segsweep.orchestrator.state import TrialState
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    grace: Annotated[int, Field(ge=1)] = 1  # r: epochs that every trial gets
    reduction_factor: Annotated[float, Field(ge=1.1, allow_inf_nan=False)] = 3.0  # eta
    rungs: Literal["cell", "dataset"] = "cell"  # dataset: for those who only want the winner


def rung_levels(options: Options, epochs: int) -> list[int]:
    """Epochs at which trials are compared: r, r*eta, r*eta^2 ... below the epoch limit."""
    levels: list[int] = []
    level = float(options.grace)
    while level < epochs:
        if not levels or int(level) > levels[-1]:
            levels.append(int(level))
        level *= options.reduction_factor
    return levels


def top_fraction_cutoff(values: list[float], keep: float) -> float:
    """The value that the best `keep` of `values` (higher is better) reach; linear between order statistics."""
    ordered = sorted(values)
    position = (1 - keep) * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def better_than(value: float, records: Iterable[tuple[float, str]]) -> tuple[str, ...]:
    """The trials among (value, trial) that are better (higher), the best first; the earlier of equals."""
    better = sorted((record for record in records if record[0] > value), key=lambda record: -record[0])
    return tuple(trial for _, trial in better)


class Asha:
    def __init__(self, options: Options, epochs: int) -> None:
        self._options = options
        self._levels = frozenset(rung_levels(options, epochs))
        self._records: dict[tuple[str, ...], list[tuple[float, str]]] = {}  # value (higher is better), trial

    def judge(self, trial: TrialState) -> Stop | None:
        if trial.epoch not in self._levels or trial.best is None:
            return None
        group = tuple(trial.cell) if self._options.rungs == "cell" else (trial.cell.dataset,)
        sign = 1.0 if trial.config.objective.mode == "max" else -1.0
        value = sign * trial.best
        records = self._records.setdefault((*group, str(trial.epoch)), [])
        records.append((value, trial.id))
        cutoff = top_fraction_cutoff([other for other, _ in records], 1 / self._options.reduction_factor)
        if value >= cutoff:
            return None
        ahead = better_than(value, records)
        rank = len(ahead) + 1
        return Stop(rung=trial.epoch, cutoff=sign * cutoff, rank=rank, of=len(records), ahead=ahead[:MOST_AHEAD])

    def decide(self, cell: CellView, *, idle: bool) -> Iterable[Decision]:
        return ()  # nothing ever pauses


def check(options: Options, epochs: int) -> Iterable[Problem]:
    if options.grace >= epochs > 1:
        yield Problem("grace", f"{options.grace} leaves nothing to stop in {epochs} epochs; give less, or use fifo")


def build(options: Options, epochs: int) -> Asha:
    return Asha(options, epochs)
