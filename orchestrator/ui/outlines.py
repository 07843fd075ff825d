"""A sweep in one line, as its journal or the store tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.orchestrator.tracking.records import sweep_uid
from segsweep.orchestrator.tracking.sweep_rows import SweepRow
from segsweep.orchestrator.ui.journals import phase_of
from segsweep.orchestrator.watching.view import winners
from segsweep.trainables.metric_names import metric_named

WORDS = {
    "created": "not started",
    "running": "running",
    "done": "finished",
    "budget": "budget used up",
    "interrupted": "stopped",
    "crashed": "crashed",
    "killed": "driver died",
    "elsewhere": "ended",
}
RESUMABLE = ("created", "interrupted", "crashed", "killed")


class Best(NamedTuple):
    dataset: str
    model: str
    metric: str
    value: float


@dataclass(frozen=True)
class Outline:
    name: str
    uid: str = ""
    phase: str = "elsewhere"  # of WORDS
    reason: str = ""  # why it ended
    started_s: float = 0.0  # since 1970
    ended: int = 0  # trials of the search that are over
    planned: int | None = None  # None where only its journal would tell
    trials: tuple[tuple[str, int], ...] = ()  # by status
    best: tuple[Best, ...] = ()
    by: str = ""  # "ada on node7", where there is no journal of it here
    problem: str = ""  # why nothing else is known

    @property
    def key(self) -> str:
        """What its pages are called: names repeat in a store that several people share."""
        return self.uid if self.by else self.name

    @property
    def state(self) -> str:
        return "cannot be read" if self.problem else WORDS[self.phase]

    @property
    def progress(self) -> float | None:
        """In [0, 1]; None if nobody knows."""
        return min(1.0, self.ended / self.planned) if self.planned else None


def outline_of(folder: Path, state: SweepState) -> Outline:
    """state: that of its journal, with a beginning."""
    assert state.created is not None
    now, searched = phase_of(folder, state), state.searched
    statuses = Counter(
        "unfinished" if trial.status == "running" and now != "running" else trial.status for trial in searched
    )
    bests = ((dataset, trial, trial.config.objective.metric) for dataset, trial in sorted(winners(state).items()))
    planned = state.created.plan.get("trials")
    return Outline(
        name=folder.name,
        uid=sweep_uid(state.created),
        phase=now,
        reason=state.ended.reason if state.ended else "",
        started_s=state.created.time,
        ended=sum(trial.over for trial in searched),
        planned=planned if isinstance(planned, int) else None,
        trials=tuple(statuses.most_common()),
        best=tuple(Best(dataset, trial.cell.model, metric, trial.best or 0.0) for dataset, trial, metric in bests),
    )


def outline_in_store(sweep: SweepRow, trials: Sequence[TrialRow], metric: str) -> Outline:
    """Of a sweep whose journal is elsewhere. trials: with their values of `metric`."""
    statuses = Counter(trial.status for trial in trials)
    return Outline(
        name=sweep.name,
        uid=sweep.uid,
        phase="running" if statuses["running"] else "elsewhere",
        started_s=sweep.started_s,
        ended=sum(trial.status not in ("running", "interrupted") for trial in trials),
        trials=tuple(statuses.most_common()),
        best=tuple(_bests(trials, metric)),
        by=f"{sweep.user or '?'} on {sweep.host or '?'}",
    )


def _bests(trials: Sequence[TrialRow], metric: str) -> Iterable[Best]:
    sign = 1.0 if metric_named(metric).better == "max" else -1.0
    found: dict[str, Best] = {}
    for trial in trials:
        if trial.status == "finished" and trial.value is not None:
            one = Best(trial.dataset, trial.model, metric, trial.value)
            known = found.get(trial.dataset)
            if known is None or sign * one.value > sign * known.value:
                found[trial.dataset] = one
    return (found[dataset] for dataset in sorted(found))
