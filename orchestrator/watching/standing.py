"""Which trial stands for a dataset or a cell of one sweep: the one that `best` and `predict` take, see board.choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from segsweep.orchestrator.board.choice import Candidate, by_configuration, choose, mean
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState


class Contestant(Protocol):
    """A trial as a journal or a report has it."""

    @property
    def id(self) -> str: ...
    @property
    def cell(self) -> Cell: ...
    @property
    def status(self) -> str: ...
    @property
    def best(self) -> float | None: ...
    @property
    def confirms(self) -> str: ...


C = TypeVar("C", bound=Candidate)
T = TypeVar("T", bound=Contestant)


class Standing(NamedTuple, Generic[T]):
    trial: T
    value: float  # of the objective: the mean over the fresh seeds, or without any the search's
    seeds: int = 0  # fresh ones of its configuration; 0: not confirmed
    confirms: str = ""  # the trial of the search that they repeat

    @property
    def basis(self) -> str:
        """Where the value comes from."""
        seeds = f"confirmed, mean of {self.seeds} fresh seeds of trial {self.confirms}"
        return seeds if self.seeds else f"trial {self.trial.id}"


class _Entered(NamedTuple, Generic[T]):
    trial: T
    trial_id: str
    dataset: str
    model: str
    status: str
    value: float | None
    confirms: str
    sweep_uid: str = ""
    sweep: str = ""  # the same for all


def standing(trials: Iterable[T], metric: str) -> Standing[T] | None:
    """trials: of one sweep on one dataset, those of confirmation among them. None if none has finished."""
    entered = [_Entered(t, t.id, t.cell.dataset, t.cell.model, t.status, t.best, t.confirms) for t in trials]
    found = chosen(entered, metric)
    if found is None:
        return None
    run, value, seeds = found
    return Standing(run.trial, value, seeds, run.confirms)


def chosen(rows: Sequence[C], metric: str) -> tuple[C, float, int] | None:
    """The same of rows that `choose` takes: the row, its value and its seeds."""
    if not any(row.status == "finished" and row.value is not None and not row.confirms for row in rows):
        return None
    run = choose(rows, metric).run
    seeds = next((each for each in by_configuration(rows) if run.confirms and each[0].confirms == run.confirms), [])
    return (run, mean(seeds), len(seeds)) if seeds else (run, run.value or 0.0, 0)


def winners(state: SweepState) -> dict[str, Standing[TrialState]]:
    """What stands for every dataset that has a finished trial."""
    by_dataset: dict[str, list[TrialState]] = {}
    for trial in list(state.trials.values()):
        by_dataset.setdefault(trial.cell.dataset, []).append(trial)
    found = {name: standing(trials, trials[0].config.objective.metric) for name, trials in by_dataset.items()}
    return {dataset: best for dataset, best in found.items() if best is not None}


def told_winner(dataset: str, best: Standing[TrialState]) -> str:
    """ "camvid: unet best, val_miou 0.6120 (confirmed, mean of 3 fresh seeds of trial 004)"."""
    metric = best.trial.config.objective.metric
    return f"{dataset}: {best.trial.cell.model} best, {metric} {best.value:.4f} ({best.basis})"
