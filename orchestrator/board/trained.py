"""Which trained network a user means by RUN, and where its checkpoint lies.

    SWEEP        a name, a uid or a folder: the run that stands for it (see `choice`), of --dataset and --model
    SWEEP:TRIAL  any trial of it that has a checkpoint
    run:ID       a run of MLflow
    FILE         a best.pt, an exported model.safetensors, or the folder that holds one

Sweeps in the storage of this machine are looked up in their journals, which needs no MLflow; all others in MLflow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from segsweep.orchestrator.board.choice import choose
from segsweep.orchestrator.board.leaderboard import read_trials
from segsweep.orchestrator.board.several import opened, resolved
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.record.journal import JOURNAL, sweeps_in
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.tracking.reader import Reader, TrialRow
from segsweep.orchestrator.tracking.records import sweep_uid
from segsweep.trainables.catalog import did_you_mean
from segsweep.trainables.config import Objective
from segsweep.trainables.places import BEST, WEIGHTS
from segsweep.trainables.weights.sources import TRIAL, checkpoint_of_trial


@dataclass(frozen=True)
class Trained:
    """A trial with its checkpoint. Of one that was named by its file nothing else is known."""

    checkpoint: Path  # its best.pt
    sweep: str = ""
    sweep_uid: str = ""
    trial_id: str = ""
    run_id: str = ""  # of MLflow; "" where a journal told of it
    dataset: str = ""
    model: str = ""
    status: str = ""
    value: float | None = None  # of the objective at its best epoch
    confirms: str = ""  # the trial that it repeats with another seed
    why: str = ""  # it stands for its sweep; "" where the user named it

    def __str__(self) -> str:
        return f"{self.sweep}:{self.trial_id}" if self.sweep else str(self.checkpoint)


class Where(NamedTuple):
    """Where sweeps are looked for."""

    storage: Path
    uris: Sequence[str] = ()  # of MLflow stores; none: the usual one, see resolve_uri


def find(run: str, where: Where, *, dataset: str | None = None, model: str | None = None) -> Trained:
    """The trial that RUN means. Raises InputError: a name that is unknown or ambiguous, no finished trial, no file."""
    found = named(run, where, dataset=dataset, model=model)
    if not found.checkpoint.is_file():
        raise InputError(Mistake(f"RUN {run}", _gone(found)))
    return found


def named(run: str, where: Where, *, dataset: str | None = None, model: str | None = None) -> Trained:
    """The same, whether its checkpoint is here or not."""
    if run.startswith("run:"):
        found = _of_run(run.removeprefix("run:"), where)
    elif (file := _file(Path(run).expanduser())) is not None:
        found = Trained(file)
    elif (numbered := TRIAL.fullmatch(run)) and not _journal(run, where.storage):
        trials = _trials(numbered[1], where)[0]
        found = _numbered(trials, numbered[2], run)
    else:
        trials, metric = _trials(run, where)
        best, why = choose(trials, metric, dataset=dataset, model=model)
        found = replace(best, why=why)
    return found


def _file(path: Path) -> Path | None:
    """The checkpoint that is named as a file, or by its folder."""
    if path.suffix in {Path(name).suffix for name in (BEST, WEIGHTS)}:
        return path
    return next((path / name for name in (BEST, WEIGHTS) if (path / name).is_file()), None)


def _gone(found: Trained) -> str:
    if found.status in ("created", "running"):
        return f"trial {found.trial_id} is {found.status} and has no checkpoint yet; look at `segsweep status`"
    where = "" if found.sweep == "" else "; if another machine trained it, copy the file here and name it instead"
    return f"there is no checkpoint {found.checkpoint}{where}"


def _of_run(run_id: str, where: Where) -> Trained:
    mistakes: list[Mistake] = []
    for uri in resolved(where.uris):
        try:
            return Trained(Path(Reader(uri).checkpoint(run_id)), run_id=run_id)
        except InputError as error:
            mistakes += error.mistakes
    raise InputError(*mistakes)


def _trials(sweep: str, where: Where) -> tuple[Sequence[Trained], str]:
    """The trials of a sweep, and the metric that they are judged by."""
    if journal := _journal(sweep, where.storage):
        state = SweepState.load(journal)
        objectives = {trial.config.objective.metric for trial in state.trials.values()}
        return _of_journal(journal.parent, state), next(iter(objectives), Objective().metric)
    names = {*sweeps_in(where.storage)}
    try:
        index, unread = opened(where.uris)
    except InputError as error:
        raise InputError(_unknown(sweep, str(where.storage), names), *error.mistakes) from None
    kept = index.sweeps()
    if sweep not in {name for one in kept for name in (one.name, one.uid)}:
        known = names | {one.name for one in kept}
        raise InputError(_unknown(sweep, f"{where.storage} or MLflow ({index.uri})", known), *unread)
    rows, metric = read_trials(index, sweep=sweep)
    repeats = index.trials(metric=metric, kind="confirm", sweep_uid=rows[0].sweep_uid)
    return [_of_row(row) for row in (*rows, *repeats)], metric


def _unknown(sweep: str, places: str, names: Collection[str]) -> Mistake:
    there = f" There are: {', '.join(sorted(names))}" if names else ""
    return Mistake(f"RUN {sweep}", f"no sweep of that name in {places}.{did_you_mean(sweep, names)}{there}")


def _journal(sweep: str, storage: Path) -> Path | None:
    """Of a sweep that is named by its folder, or by its name in the storage."""
    places = (Path(folder).expanduser() / JOURNAL for folder in (sweep, storage / sweep))
    return next((path for path in places if path.is_file()), None)


def _of_journal(folder: Path, state: SweepState) -> list[Trained]:
    uid = sweep_uid(state.created) if state.created else ""
    return [_of_state(trial, folder, uid) for trial in state.trials.values()]


def _of_state(trial: TrialState, folder: Path, uid: str) -> Trained:
    cell = {"dataset": trial.cell.dataset, "model": trial.cell.model, "status": trial.status}
    place = checkpoint_of_trial(folder, trial.id)
    return Trained(place, folder.resolve().name, uid, trial.id, **cell, value=trial.best, confirms=trial.confirms)


def _of_row(row: TrialRow) -> Trained:
    cell = {"dataset": row.dataset, "model": row.model, "status": row.status}
    names = (row.sweep, row.sweep_uid, row.trial_id, row.run_id)
    return Trained(Path(row.checkpoint), *names, **cell, value=row.value, confirms=row.confirms)


def _numbered(trials: Sequence[Trained], number: str, run: str) -> Trained:
    """The trial of that number, as 017 or 17."""
    for trial in trials:
        if number in (trial.trial_id, trial.trial_id.lstrip("0")):
            return trial
    ids = sorted(trial.trial_id for trial in trials)
    there = f"it has {ids[0]} to {ids[-1]}" if ids else "it has none yet"
    raise InputError(Mistake(f"RUN {run}", f"the sweep has no trial '{number}'; {there}"))
