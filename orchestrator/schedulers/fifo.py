"""No early stopping: every trial runs to its epoch limit or its own patience."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from segsweep.orchestrator.record.journal import Stop
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.schedulers import Decision, Grouping, GroupView
from segsweep.trainables.components import ComponentOptions, Problem


class Options(ComponentOptions):
    pass


class Fifo:
    rungs: Grouping = "cell"

    def judge(self, trial: TrialState) -> Stop | None:
        return None

    def decide(self, group: GroupView, *, idle: bool) -> Iterable[Decision]:
        return ()  # nothing ever pauses


def check(options: Options, epochs: int, fewest: Mapping[Grouping, int]) -> Iterable[Problem]:
    return ()


def build(options: Options, epochs: int) -> Fifo:
    return Fifo()
