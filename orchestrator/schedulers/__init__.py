"""Schedulers stop weak trials early. One idea a file; the file's name is the name in the YAML.

A scheduler sees every epoch of every trial, in the order of the journal, and answers at once. It knows no Ray, no
clock and no files: replaying the same epochs gives the same answers, which is how a resumed sweep gets its rungs back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from segsweep.trainables.catalog import Catalog
from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from segsweep.orchestrator.record.journal import Stop, Unit
    from segsweep.orchestrator.record.trials import Cell, TrialState

Grouping = Literal["cell", "dataset"]
"""Which trials are compared with one another: those of a cell, or of all models on a dataset."""

Group: TypeAlias = tuple[str, ...]
"""A cell's or a dataset's name."""


def group_of(cell: Cell, grouping: Grouping) -> Group:
    return tuple(cell) if grouping == "cell" else (cell.dataset,)


class Pause(NamedTuple):
    """The trial waits at a rung until `decide` says what becomes of it; its worker is free meanwhile."""

    rung: int
    unit: Unit = "epochs"


class GroupView(NamedTuple):
    """A group of trials as `decide` sees it."""

    trials: list[TrialState]  # in the order of their creation
    planned: int  # trials that the group will have
    min_finished: int  # of the group; the sweep sees to that of each cell


class Decision(NamedTuple):
    """What becomes of a paused trial: it is promoted, or stopped for a reason."""

    trial: TrialState
    stop: Stop | None


class Scheduler(Protocol):
    @property
    def rungs(self) -> Grouping:
        """Whom `decide` has to see together."""

    def judge(self, trial: TrialState) -> Stop | Pause | None:
        """Called once after each new epoch of a trial: None lets it go on.

        The trial's last epoch is recorded too, though nothing is left to stop.
        """

    def decide(self, group: GroupView, *, idle: bool) -> Iterable[Decision]:
        """What is due for the group's paused trials. idle: a worker has nothing else to do.

        A function of the view alone: what was decided before is in the trials' states.
        """


class SchedulerComponent(Protocol):
    Options: ClassVar[type[ComponentOptions]]

    def check(self, options: ComponentOptions, epochs: int, fewest: Mapping[Grouping, int]) -> Iterable[Problem]:
        """Why the options cannot work with trials of `epochs` epochs, `fewest` of them in the smallest group."""

    def build(self, options: ComponentOptions, epochs: int) -> Scheduler: ...


SCHEDULERS: Catalog[SchedulerComponent] = Catalog("scheduler", __name__)
