"""Backends run the attempts that a Sweep hands out: in this process for debugging, or on Ray.

A backend knows no search space, no rung and no journal. It asks `sweep.next()`, passes facts and epochs to
`sweep.facts()` and `sweep.report()`, which answer whether the trial goes on, and says what became of workers with
`failed`, `unfit`, `lost` and `interrupted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from segsweep.trainables.components import DoesNotFitError
from segsweep.trainables.storage import is_storage_trouble, patiently

if TYPE_CHECKING:
    from segsweep.orchestrator.driving.assignment import Assignment
    from segsweep.orchestrator.driving.sweep import Sweep


class Report(Protocol):
    """One epoch of a trial (segsweep.trainables.trial.EpochReport)."""

    @property
    def epoch(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...
    @property
    def done(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class Steppable(Protocol):
    """What a worker runs: the Trial of segsweep.trainables, or a stand-in of a benchmark."""

    @property
    def facts(self) -> Mapping[str, float | str]:
        """May grow or change with an epoch."""

    def step(self) -> Report: ...
    def close(self) -> None: ...


TrialFactory: TypeAlias = "Callable[[Assignment], Steppable]"
"""Picklable: it travels to the workers."""


class Backend(Protocol):
    name: str

    def run(self, sweep: Sweep, factory: TrialFactory) -> None:
        """Run until `sweep.over`; returns early, with every attempt ended, once `sweep.stopping` is set."""


def train(assignment: Assignment) -> Steppable:
    """The factory of real trials. Raises what Trial raises."""
    from segsweep.trainables.trial import Trial

    sweep = assignment.folder.parents[1]
    patiently(sweep.stat, sweep)  # a trial that made it anew would keep it from coming back
    return Trial(
        assignment.config,
        assignment.folder,
        attempt=assignment.attempt,
        reported=assignment.reported,
        cpus=assignment.cpus,
        gpus=assignment.gpus,
        processes=assignment.processes,
    )


def changes(facts: Mapping[str, float | str], told: Mapping[str, float | str]) -> dict[str, float | str]:
    """What a trial has found out since its facts were told."""
    return {name: value for name, value in facts.items() if told.get(name) != value}


def failed(sweep: Sweep, assignment: Assignment, error: BaseException, log: str) -> None:
    """Tell the sweep that a trial raised `error`. log: the traceback."""
    if isinstance(error, DoesNotFitError):
        sweep.unfit(assignment, str(error))
    elif is_storage_trouble(error):
        sweep.unsaved(assignment, one_line(error))
    else:
        sweep.failed(assignment, one_line(error), log)


def one_line(error: BaseException) -> str:
    """An exception as the reason of a failed trial: its type and its first line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
