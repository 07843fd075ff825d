"""Schedulers stop weak trials early. One idea a file; the file's name is the name in the YAML.

A scheduler sees every epoch of every trial, in the order of the journal, and answers at once. It knows no Ray, no
clock and no files: replaying the same epochs gives the same answers, which is how a resumed sweep gets its rungs back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Protocol

from segsweep.trainables.catalog import Catalog
from segsweep.trainables.components import ComponentOptions, Problem

if TYPE_CHECKING:
    from segsweep.orchestrator.journal import Stop
    from segsweep.orchestrator.state import TrialState


class Scheduler(Protocol):
    def judge(self, trial: TrialState) -> Stop | None:
        """Called once after each new epoch of a trial: None lets it go on, a Stop says why it should not.

        The trial's last epoch is recorded too, though nothing is left to stop.
        """


class SchedulerComponent(Protocol):
    Options: ClassVar[type[ComponentOptions]]

    def check(self, options: ComponentOptions, epochs: int) -> Iterable[Problem]:
        """Why the options cannot work with trials of `epochs` epochs."""

    def expected_epochs(self, options: ComponentOptions, epochs: int, trials: int) -> float:
        """How many epochs `trials` trials of one cell take together, if their values are in random order."""

    def build(self, options: ComponentOptions, epochs: int) -> Scheduler: ...


SCHEDULERS: Catalog[SchedulerComponent] = Catalog("scheduler", __name__)
