"""The leaderboard and the best trial, asked of an MLflow store. Never of journals: several users share one board."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from segsweep.orchestrator.board.columns import FURTHER
from segsweep.orchestrator.board.conditions import Condition, chosen
from segsweep.orchestrator.board.external import read_external
from segsweep.orchestrator.board.formats import as_table
from segsweep.orchestrator.board.index import Index
from segsweep.orchestrator.board.rows import SORTS, Board, apart, make_board, named_apart
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.tracking.reader import SweepRow, TrialRow
from segsweep.orchestrator.tracking.records import metric_name
from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.config import Objective
from segsweep.trainables.metric_names import metric_named

DEFAULT_METRIC = Objective().metric


def board_text(uri: str, sweep: str) -> str:
    """The leaderboard of one sweep (a name or a uid), drawn for this terminal. Raises InputError."""
    return as_table(read_board(uri, sweep=sweep))


@dataclass(frozen=True)
class Asked:
    """What a board is to be about. None: all; of `metric`: the sweeps' objective."""

    sweep: str | None = None  # name or uid
    dataset: str | None = None
    metric: str | None = None
    sort: str = "value"
    where: tuple[str, ...] = ()  # conditions on parameters
    columns: tuple[str, ...] = ()
    external: Path | None = None  # results of others, a CSV


def read_board(
    uri: str, *, sweep: str | None = None, dataset: str | None = None, metric: str | None = None, sort: str = "value"
) -> Board:
    """Raises InputError: the store does not answer or is empty, or a name is not known in it."""
    return board_of(Index(uri), Asked(sweep, dataset, metric, sort))


def board_of(index: Index, asked: Asked) -> Board:
    """Raises InputError as `read_board`, or for a condition or column that is none."""
    sweep, dataset, metric, sort = asked.sweep, asked.dataset, asked.metric, asked.sort
    for column in asked.columns:
        _known("--columns", column, FURTHER)
    conditions = [Condition.parse(text) for text in asked.where]
    rows, metric = _trials(index, sweep=sweep, metric=metric)
    rows = chosen(rows, conditions)
    _known("--dataset", dataset, {row.dataset for row in rows})
    rows = [row for row in rows if dataset in (None, row.dataset)]
    repeats = index.trials(metric=metric, kind="confirm", dataset=dataset)
    here = sorted({row.dataset for row in rows})
    names = apart(rows, repeats)
    rows, repeats = named_apart(rows, names), named_apart(repeats, names)
    _known("--sort", sort, {*SORTS, *(row.dataset for row in rows)})
    board = make_board(rows, metric, sort)
    return replace(
        board,
        columns=asked.columns,
        external=read_external(asked.external, metric, here) if asked.external else (),
        confirmed=index.confirmations(rows, repeats, metric),
        warnings=(*_age(index), *board.warnings),
        read_s=index.read_s,
    )


def _age(index: Index) -> Iterator[str]:
    """Why the store was not asked just now, and when it was."""
    if index.problem:
        yield f"this is as of {duration(time.time() - index.read_s)} ago: {index.problem}"


def read_trials(uri: str, *, sweep: str | None = None, metric: str | None = None) -> tuple[list[TrialRow], str]:
    """The trials of one sweep (a name or a uid) or of all, and the metric they are judged by. Raises InputError."""
    return _trials(Index(uri), sweep=sweep, metric=metric)


def _trials(index: Index, *, sweep: str | None, metric: str | None) -> tuple[list[TrialRow], str]:
    sweeps = index.sweeps()
    if not sweeps:
        raise InputError(
            Mistake(f"tracking URI {index.uri}", "there is no sweep in it yet; run `segsweep launch FILE`")
        )
    uid = None if sweep is None else _uid_of(sweep, sweeps)
    rows = index.trials(sweep_uid=uid, metric=metric or DEFAULT_METRIC)
    if not rows:
        raise InputError(Mistake(f"tracking URI {index.uri}", "no trial has started yet; look at `segsweep status`"))
    judged_by = metric or _objective(rows)
    if judged_by != (metric or DEFAULT_METRIC):
        rows = index.trials(sweep_uid=uid, metric=judged_by)
    if metric is not None:
        keys = {key for row in rows for key in row.metrics if not key.startswith("best_val")}
        _known("--metric", metric, {*map(metric_name, keys), DEFAULT_METRIC})
    return rows, judged_by


class Candidate(Protocol):
    """What decides which trial is the best."""

    @property
    def dataset(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def value(self) -> float | None: ...


C = TypeVar("C", bound=Candidate)


def best_finished(trials: Sequence[C], metric: str, *, dataset: str | None = None, model: str | None = None) -> C:
    """The best of those on one dataset and perhaps of one model. Raises InputError.

    dataset: need not be given where there is only one; values on two do not compare.
    """
    datasets = sorted({trial.dataset for trial in trials})
    _known("--dataset", dataset, datasets)
    if dataset is None and len(datasets) > 1:
        raise InputError(Mistake("--dataset", f"has to name one of several: {', '.join(datasets)}"))
    trials = [trial for trial in trials if dataset in (None, trial.dataset)]
    _known("--model", model, {trial.model for trial in trials})
    trials = [trial for trial in trials if model in (None, trial.model)]
    ranked = [trial for trial in trials if trial.status == "finished" and trial.value is not None]
    if not ranked:
        counts = ", ".join(f"{count} {status}" for status, count in Counter(trial.status for trial in trials).items())
        place = " ".join([f"--dataset {dataset or ', '.join(datasets)}", *([f"--model {model}"] if model else [])])
        raise InputError(Mistake(place, f"no trial has finished there with a {metric} yet ({counts or 'none began'})"))
    sign = 1.0 if metric_named(metric).better == "max" else -1.0
    return max(ranked, key=lambda trial: sign * (trial.value or 0.0))


def _uid_of(sweep: str, sweeps: Sequence[SweepRow]) -> str:
    """The uid of the sweep that goes by this name or uid. Raises InputError if there is none or more than one."""
    if any(row.uid == sweep for row in sweeps):
        return sweep
    _known("SWEEP", sweep, {row.name for row in sweeps})
    named = [row for row in sweeps if row.name == sweep]
    if len(named) > 1:
        there = ", ".join(map(str, named))
        raise InputError(Mistake(f"SWEEP {sweep}", f"{len(named)} sweeps have this name; give the uid of one: {there}"))
    return named[0].uid


def _objective(rows: list[TrialRow]) -> str:
    """What the sweeps were run for; several sweeps that disagree are compared by the default."""
    metrics = {row.setup.objective for row in rows if row.setup}
    return metrics.pop() if len(metrics) == 1 else DEFAULT_METRIC


def _known(place: str, name: str | None, known: Iterable[str]) -> None:
    names = sorted(known)
    if name is not None and name not in names:
        there = f"There are: {', '.join(names)}"
        raise InputError(Mistake(f"{place} {name}", f"is not known.{did_you_mean(name, names)} {there}"))
