"""The run that stands for sweeps of an MLflow store, and what fresh seeds say of any of their trials."""

from __future__ import annotations

from typing import NamedTuple

from segsweep.orchestrator.board.choice import choose
from segsweep.orchestrator.board.confirmed import Confirmed
from segsweep.orchestrator.board.index import Index
from segsweep.orchestrator.board.leaderboard import read_trials, repeated
from segsweep.orchestrator.board.rows import apart, different_data, named_apart
from segsweep.orchestrator.tracking.reader import TrialRow


class Winner(NamedTuple):
    row: TrialRow
    metric: str
    why: str
    confirmed: Confirmed | None  # None: its sweep was not confirmed there
    warnings: tuple[str, ...]


def winner(
    uri: str, *, dataset: str | None, model: str | None = None, sweep: str | None = None, metric: str | None = None
) -> Winner:
    """The run that stands for a sweep or for all, on a dataset: see `choice`. Raises InputError.

    dataset: as the leaderboard calls it: where it was scored in several ways, which do not compare, with the way.
    """
    index = Index(uri)
    rows, metric = read_trials(index, sweep=sweep, metric=metric)
    known = [*rows, *repeated(index, rows, metric)]
    best, why = choose(named_apart(known, apart(known)), metric, dataset=dataset, model=model)
    row = next(row for row in known if row.run_id == best.run_id)
    rivals = [one for one in known if (one.dataset, one.evaluation) == (row.dataset, row.evaluation)]
    warnings = tuple(different_data(rivals, row.dataset))
    return Winner(row, metric, why, _confirmed(index, rows, metric, row), warnings)


def confirmed_trial(uri: str, sweep_uid: str, trial_id: str) -> Confirmed | None:
    """What fresh seeds say of a trial, or of the trial that it repeats; None if nothing. Raises InputError."""
    index = Index(uri)
    rows, metric = read_trials(index, sweep=sweep_uid)
    known = [*rows, *index.trials(sweep_uid=sweep_uid, metric=metric, kind="confirm")]
    row = next((row for row in known if row.trial_id == trial_id), None)
    return None if row is None else _confirmed(index, rows, metric, row)


def _confirmed(index: Index, rows: list[TrialRow], metric: str, of: TrialRow) -> Confirmed | None:
    """rows: of the search."""
    peers = [row for row in rows if (row.sweep_uid, row.dataset) == (of.sweep_uid, of.dataset)]
    repeats = index.trials(metric=metric, kind="confirm", sweep_uid=of.sweep_uid, dataset=of.dataset)
    found = index.confirmations(peers, repeats, metric).rows
    return next((one for one in found if one.trial == (of.confirms or of.trial_id)), None)
