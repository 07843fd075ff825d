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
from segsweep.orchestrator.watching.standing import chosen, winners

RESUMABLE = ("created", "interrupted", "crashed", "killed")


class Best(NamedTuple):
    dataset: str
    model: str
    metric: str
    value: float
    seeds: int = 0  # fresh ones that it is the mean of; 0: the search's, by one


@dataclass(frozen=True)
class Outline:
    name: str
    uid: str = ""
    phase: str = "elsewhere"  # as `segsweep status` has it; elsewhere: its journal is not here
    reason: str = ""  # why it ended
    started_s: float = 0.0  # since 1970
    begun: int = 0  # trials of the search
    ended: int = 0  # of these, that are over
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
        if self.problem:
            return "cannot be read"
        return "ended" if self.phase == "elsewhere" else self.phase

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
    won = sorted(winners(state).items())
    bests = ((name, one, one.trial.config.objective.metric) for name, one in won)
    planned = state.created.plan.get("trials")
    return Outline(
        name=folder.name,
        uid=sweep_uid(state.created),
        phase=now,
        reason=state.ended.reason if state.ended else "",
        started_s=state.created.time,
        begun=len(searched),
        ended=sum(trial.over for trial in searched),
        planned=planned if isinstance(planned, int) else None,
        trials=tuple(statuses.most_common()),
        best=tuple(Best(name, one.trial.cell.model, metric, one.value, one.seeds) for name, one, metric in bests),
    )


def outline_in_store(
    sweep: SweepRow, trials: Sequence[TrialRow], metric: str, repeats: Sequence[TrialRow] = ()
) -> Outline:
    """Of a sweep whose journal is elsewhere. trials: of the search; repeats: that confirm them; by `metric`."""
    statuses = Counter(trial.status for trial in trials)
    return Outline(
        name=sweep.name,
        uid=sweep.uid,
        phase="running" if statuses["running"] else "elsewhere",
        started_s=sweep.started_s,
        begun=len(trials),
        ended=sum(trial.status not in ("running", "interrupted") for trial in trials),
        trials=tuple(statuses.most_common()),
        best=tuple(_bests([*trials, *repeats], metric)),
        by=f"{sweep.user or '?'} on {sweep.host or '?'}",
    )


def _bests(trials: Sequence[TrialRow], metric: str) -> Iterable[Best]:
    for dataset in sorted({trial.dataset for trial in trials}):
        if found := chosen([trial for trial in trials if trial.dataset == dataset], metric):
            row, value, seeds = found
            yield Best(dataset, row.model, metric, value, seeds)
