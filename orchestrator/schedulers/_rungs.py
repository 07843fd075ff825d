"""What schedulers with rungs share: where the rungs are, in which unit, and when a trial has reached them.

A trial reports whole epochs. It is at a rung at the end of the first epoch by which it has used that many epochs,
iterations (optimizer updates) or seconds (of training, set-up not counted); its value there is its best epoch's until
then. One epoch may lead past several rungs: the trial is at all of them then.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from pydantic import Field

from segsweep.orchestrator.record.journal import Unit
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import Grouping
from segsweep.trainables.components import ComponentOptions, Problem

BEYOND = 10**12  # iterations or seconds that no trial gets to


class RungOptions(ComponentOptions):
    """rungs: who is compared. `dataset` is for those who only want its winner: models that learn slowly lose their
    trials to those that learn fast, so the leaderboard's order says less. Values of two datasets are never compared.
    """

    grace: Annotated[int, Field(ge=1)] | None = None  # r: what every trial gets; None: epochs, as the scheduler says
    unit: Unit = "epochs"
    rungs: Grouping = "cell"


def limit(unit: Unit, epochs: int) -> int:
    """Where rungs end: only epochs have a limit that is known beforehand."""
    return epochs if unit == "epochs" else BEYOND


def rung_levels(grace: int, factor: float, limit: int) -> list[int]:
    """Where trials are compared: r, r*eta, r*eta^2 ... in whole numbers below the limit."""
    levels: list[int] = []
    level = float(grace)
    while round(level) < limit:
        if not levels or round(level) > levels[-1]:
            levels.append(round(level))
        level *= factor
    return levels


def crossed(levels: Sequence[int], trial: TrialState, unit: Unit) -> Sequence[int]:
    """The levels that the trial has reached in its last epoch, ascending."""
    before, now = trial.used(trial.epoch - 1, unit), trial.used(trial.epoch, unit)
    return levels[bisect_right(levels, before) : bisect_right(levels, now)]


def better_than(value: float, records: Iterable[tuple[float, str]]) -> tuple[str, ...]:
    """The trials among (value, trial) that are better (higher), the best first; the earlier of equals."""
    better = sorted((record for record in records if record[0] > value), key=lambda record: -record[0])
    return tuple(trial for _, trial in better)


def check_grace(options: RungOptions, epochs: int) -> Iterator[Problem]:
    """Why nothing could be stopped after the grace."""
    if options.unit == "epochs":
        if options.grace is not None and options.grace >= epochs > 1:
            yield Problem("grace", f"{options.grace} leaves nothing to stop in {epochs} epochs; give less, or use fifo")
    elif options.grace is None:
        message = f"is missing: no epoch limit says how many {options.unit} are few; give what every trial shall get"
        yield Problem("grace", message)
