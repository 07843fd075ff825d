"""Schedulers stop weak trials early. One idea a file; the file's name is the name in the YAML.

A scheduler sees every epoch of every trial, in the order of the journal, and answers at once. It knows no Ray, no
clock and no files: replaying the same epochs gives the same answers, which is how a resumed sweep gets its rungs back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from segsweep.trainables.catalog import Catalog
from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from segsweep.orchestrator.journal import Stop
    from segsweep.orchestrator.state import TrialState


class Pause(NamedTuple):
    """The trial waits at a rung until `decide` says what becomes of it; its worker is free meanwhile."""

    rung: int  # epochs


class CellView(NamedTuple):
    """A cell as `decide` sees it."""

    trials: list[TrialState]  # in the order of their creation
    planned: int  # trials that the cell will have
    min_finished: int


class Decision(NamedTuple):
    """What becomes of a paused trial: it is promoted, or stopped for a reason."""

    trial: TrialState
    stop: Stop | None


class Scheduler(Protocol):
    def judge(self, trial: TrialState) -> Stop | Pause | None:
        """Called once after each new epoch of a trial: None lets it go on.

        The trial's last epoch is recorded too, though nothing is left to stop.
        """

    def decide(self, cell: CellView, *, idle: bool) -> Iterable[Decision]:
        """What is due for the cell's paused trials. idle: a worker has nothing else to do.

        A function of the view alone: what was decided before is in the trials' states.
        """


class SchedulerComponent(Protocol):
    Options: ClassVar[type[ComponentOptions]]

    def check(self, options: ComponentOptions, epochs: int) -> Iterable[Problem]:
        """Why the options cannot work with trials of `epochs` epochs."""

    def build(self, options: ComponentOptions, epochs: int) -> Scheduler: ...


SCHEDULERS: Catalog[SchedulerComponent] = Catalog("scheduler", __name__)
