"""The best trial of a sweep, by fresh seeds where it was confirmed; and what those say of any of its trials."""

from __future__ import annotations

from typing import NamedTuple

from segsweep.orchestrator.board.confirmed import Confirmed
from segsweep.orchestrator.board.index import Index
from segsweep.orchestrator.board.leaderboard import best_finished, read_trials
from segsweep.orchestrator.tracking.reader import TrialRow


class Winner(NamedTuple):
    row: TrialRow
    metric: str
    confirmed: Confirmed | None = None  # None: its sweep was not confirmed there


def winner(
    uri: str, *, dataset: str | None, model: str | None = None, sweep: str | None = None, metric: str | None = None
) -> Winner:
    """The best finished trial on a dataset. If its sweep was confirmed there, the trial whose fresh seeds were best.

    Raises InputError.
    """
    rows, metric = read_trials(uri, sweep=sweep, metric=metric)
    best = best_finished(rows, metric, dataset=dataset, model=model)
    peers = [row for row in rows if (row.sweep_uid, row.dataset) == (best.sweep_uid, best.dataset)]
    for found in _confirmed(uri, peers, metric):
        if model in (None, found.model):
            return Winner(next(row for row in peers if row.trial_id == found.trial), metric, found)
    return Winner(best, metric)


def confirmed_trial(uri: str, sweep_uid: str, trial_id: str) -> Confirmed | None:
    """What fresh seeds say of a trial, or of the trial that it repeats; None if nothing. Raises InputError."""
    rows, metric = read_trials(uri, sweep=sweep_uid)
    repeats = Index(uri).trials(sweep_uid=sweep_uid, kind="confirm")
    original = next((row.confirms for row in repeats if row.trial_id == trial_id), trial_id)
    datasets = {row.dataset for row in rows if row.trial_id == original}
    peers = [row for row in rows if row.dataset in datasets]
    return next((found for found in _confirmed(uri, peers, metric) if found.trial == original), None)


def _confirmed(uri: str, peers: list[TrialRow], metric: str) -> tuple[Confirmed, ...]:
    """The best first. peers: of one sweep and dataset."""
    if not peers:
        return ()
    index, of = Index(uri), {"sweep_uid": peers[0].sweep_uid, "dataset": peers[0].dataset}
    return index.confirmations(peers, index.trials(metric=metric, kind="confirm", **of), metric).rows
