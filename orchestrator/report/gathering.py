"""From the folder of a sweep to ReportData. The journal tells all of it: neither MLflow nor the data are needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from segsweep.orchestrator.board.confirmed import confirmations
from segsweep.orchestrator.board.rows import Board, make_board
from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.record.journal import JOURNAL
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState
from segsweep.orchestrator.report.data import Examples, Outcome, ReportData, Trial
from segsweep.orchestrator.report.examples import examples_of
from segsweep.orchestrator.tracking.reader import Setup, TrialRow
from segsweep.orchestrator.tracking.records import cost, encoder, sweep_uid
from segsweep.orchestrator.watching.status import phase
from segsweep.trainables.metric_names import TEST, VAL, is_class_iou
from segsweep.trainables.scoring.confusions import Confusions, load_confusions
from segsweep.trainables.weights.sources import checkpoint_of_trial

logger = logging.getLogger(__name__)

MATRICES = {"val": "confusions", "test": "test_confusions"}  # facts, and names of the files


def gather(folder: Path, *, images: bool = True) -> ReportData:
    """images: also predict the worst and best images, which takes a forward pass each.

    Raises InputError: no journal that this version reads, or no trial in it has trained an epoch.
    """
    spec, created = recorded(folder)
    state = SweepState.load(folder / JOURNAL)
    found = outcome(state, folder)
    data = ReportData(
        sweep=created.sweep,
        trials=found.trials,
        board=found.board,
        mode=found.mode,
        created=created,
        spec=spec,
        phase=phase(folder, state),
        confusions=_confusions(found, state.trials, folder),
        examples={},
        wall_s=state.wall_s,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        version=version("segsweep"),
    )
    return replace(data, examples=_examples(data, folder)) if images else data


def outcome(state: SweepState, folder: Path) -> Outcome:
    """state: that of the journal in `folder`. Raises InputError: no trial in it has trained an epoch."""
    assert state.created is not None
    kept = [trial for trial in state.trials.values() if trial.status != "superseded"]
    if not any(trial.epoch for trial in kept):
        place, done = str(folder), f"{len(kept)} trials were created, and none has trained an epoch yet"
        raise InputError(Mistake(place, f"{done}; look at `segsweep status` and `segsweep why TRIAL`"))
    mode = kept[0].config.objective.mode
    return Outcome(state.created.sweep, tuple(map(_trial, kept)), _board(kept, state, folder), mode)


def _trial(trial: TrialState) -> Trial:
    at_best = trial.metrics[trial.best_epoch - 1] if trial.best_epoch else {}
    return Trial(
        cell=trial.cell,
        config=trial.config,
        status=trial.status,
        confirms=trial.confirms,
        values=trial.values,
        curve=tuple(trial.value(epoch) for epoch in range(1, trial.epoch + 1)),
        best=trial.best,
        best_epoch=trial.best_epoch,
        at_best=at_best,
        peak_memory_gib=trial.measured("peak_memory_gib"),
        facts=trial.facts,
        stop=trial.stop,
        seconds=trial.seconds,
        redone_s=trial.redone_s,
        device_s=sum(value or 0.0 for value in cost(trial).values()),
    )


def _board(trials: list[TrialState], state: SweepState, folder: Path) -> Board:
    """As the leaderboard makes it of MLflow's rows, of the journal's."""
    assert state.created is not None
    uid, allocation = sweep_uid(state.created), str(state.created.spec.get("allocation", "even"))
    rows = [replace(_row(trial, uid), sweep=folder.resolve().name, allocation=allocation) for trial in trials]
    searched, repeats = ([row for row in rows if bool(row.confirms) is repeat] for repeat in (False, True))
    metric = trials[0].config.objective.metric
    states = {trial.id: trial for trial in trials}

    def load(row: TrialRow, split: str) -> Confusions | None:
        return _load(states[row.trial_id], folder, split)

    return replace(
        make_board(searched, metric, repeats=repeats), confirmed=confirmations(searched, repeats, metric, load)
    )


def _row(trial: TrialState, uid: str) -> TrialRow:
    costs, metric = cost(trial), trial.config.objective.metric
    test = TEST + metric.removeprefix(VAL)
    return TrialRow(
        sweep="",
        sweep_uid=uid,
        trial_id=trial.id,
        run_id="",
        dataset=trial.cell.dataset,
        model=trial.cell.model,
        architecture=trial.config.model.type,
        encoder=encoder(trial.config.model),
        status=trial.status,
        stop_reason=trial.reason,
        value=trial.best,
        best_epoch=trial.best_epoch,
        params_m=trial.measured("params_m"),
        gmacs=trial.measured("gmacs"),
        gpu_s=costs.get("gpu_s") or 0.0,
        cpu_s=costs.get("cpu_s") or 0.0,
        metrics=_last_values(trial),
        config_text=trial.config.model_dump_json(),
        device=f"{trial.facts.get('host', '')} {trial.facts.get('device', '')}",
        checkpoint=str(trial.facts.get("checkpoint", "")),
        data_fingerprint=str(trial.facts.get("data_fingerprint", "")),
        setup=Setup(metric, str(trial.config.evaluation), trial.config.epochs),
        confirms=trial.confirms,
        test=trial.metrics[-1].get(test) if trial.metrics and metric.startswith(VAL) else None,
    )


def _last_values(trial: TrialState) -> dict[str, float]:
    """Of all its numbers but the IoUs of classes, as MLflow shows them."""
    found = {name: value for name, value in trial.facts.items() if not isinstance(value, str)}
    for metrics in trial.metrics:
        found |= {name: value for name, value in metrics.items() if value is not None and not is_class_iou(name)}
    return found


def _load(trial: TrialState, folder: Path, split: str) -> Confusions | None:
    """From the sweep's folder, wherever that was moved; else from where the worker wrote it."""
    name = MATRICES[split]
    beside = checkpoint_of_trial(folder, trial.id).parent / f"{name}.npz"
    for path in (beside, Path(str(trial.facts.get(name, beside)))):
        try:
            return load_confusions(path)
        except (OSError, ValueError):
            logger.debug("%s cannot be read", path, exc_info=True)
    return None


def _confusions(outcome: Outcome, trials: Mapping[str, TrialState], folder: Path) -> dict[Cell, Confusions]:
    winners = [trial for dataset in outcome.datasets for trial in outcome.winners(dataset)]
    loaded = ((trial.cell, _load(trials[trial.id], folder, "val")) for trial in winners)
    return {cell: one for cell, one in loaded if one is not None}


def _examples(data: ReportData, folder: Path) -> dict[str, Examples | str]:
    found: dict[str, Examples | str] = {}
    for dataset in data.datasets:
        if winners := data.winners(dataset):
            confusions = data.confusions.get(winners[0].cell)
            found[dataset] = examples_of(winners[0], confusions, checkpoint_of_trial(folder, winners[0].id))
    return found
