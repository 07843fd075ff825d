"""A plan tried on recorded curves: what its searcher, scheduler and trials would cost, and what they would miss."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.durations import duration
from segsweep.orchestrator.forecasting.curves import Recording, ReplayedTrial
from segsweep.orchestrator.planning.plan import SweepPlan, key_of
from segsweep.orchestrator.record.journal import JOURNAL, Journal
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, best_of
from segsweep.trainables.plurals import counted


def simulate(recording: Recording, workers: int) -> dict[str, Any]:
    """JSON-able facts about the plan's sweep, run over the recording by `workers` workers in virtual time.

    Virtual time counts epochs as long as they took when they were recorded, and nothing for setting trials up.
    """
    plan, backend = recording.plan, Simulated(workers)
    with (
        tempfile.TemporaryDirectory(prefix="segsweep-simulate-") as folder,
        Journal(Path(folder) / JOURNAL, clock=backend.clock, fsync=False) as journal,
    ):
        sweep = Sweep(plan, journal)
        recorded: dict[str, int] = {}  # epochs of the curve that each trial replays

        def replay(assignment: Assignment) -> ReplayedTrial:
            trial = sweep.state.trials[assignment.trial]
            curve = recording.nearest(trial, plan.by_key[key_of(trial.config)])
            recorded[trial.id] = curve.trial.epoch
            return ReplayedTrial(curve, assignment.reported)

        backend.run(sweep, replay)
    unrecorded = sum(max(0, sweep.state.trials[trial].epoch - epochs) for trial, epochs in recorded.items())
    return {**_facts(plan, recording, sweep.state, workers, backend.now), "epochs_unrecorded": unrecorded}


def _facts(plan: SweepPlan, recording: Recording, state: SweepState, workers: int, took_s: float) -> dict[str, Any]:
    epochs = sum(trial.epoch for trial in state.trials.values())
    return {
        "sweep": plan.spec.name,
        "searcher": plan.spec.searcher.type,
        "scheduler": plan.spec.scheduler.type,
        "objective": plan.spec.objective.model_dump(),
        "trials": len(state.trials),
        "epochs": epochs,
        "epochs_at_most": plan.epochs_at_most,
        "workers": workers,
        "virtual_s": round(took_s, 3),
        "cells": [_cell_facts(cell, recording, state) for cell in plan.cells],
    }


def _cell_facts(cell: Cell, recording: Recording, state: SweepState) -> dict[str, Any]:
    trials = state.cell(cell)
    counts = Counter(trial.status for trial in trials)
    finished = [trial for trial in trials if trial.status == "finished" and trial.best is not None]
    best = best_of(finished).best if finished else None
    recorded = recording.best(cell)
    sign = 1.0 if recording.plan.spec.objective.mode == "max" else -1.0
    return {
        "dataset": cell.dataset,
        "model": cell.model,
        "curves": len(recording.curves[cell]),
        "trials": len(trials),
        "finished": counts["finished"],
        "stopped": counts["stopped"],
        "failed": counts["failed"],
        "infeasible": counts["infeasible"],
        "best": best,
        "best_recorded": recorded,
        "lost": None if best is None or recorded is None else sign * (recorded - best),
    }


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """The facts for people."""
    share = found["epochs"] / found["epochs_at_most"]
    yield (
        f"{found['sweep']}: {found['trials']} trials, {found['searcher']} and {found['scheduler']}. "
        f"{found['epochs']} of {found['epochs_at_most']} epochs ({share:.0%}), {duration(found['virtual_s'])} "
        f"with {counted(found['workers'], 'worker')}"
    )
    if found["epochs_unrecorded"]:
        yield f"  {found['epochs_unrecorded']} of these epochs were never recorded: trials stayed at their best value"
    names = [f"{cell['dataset']} {cell['model']}" for cell in found["cells"]]
    width = max(map(len, names))
    ends = ("finished", "stopped", "failed", "infeasible")
    metric = found["objective"]["metric"]
    yield f"  {'':{width}}  {'  '.join(ends)}  {metric:>10}  recorded      lost"
    for name, cell in zip(names, found["cells"], strict=True):
        values = f"{_shown(cell['best']):>10}  {_shown(cell['best_recorded']):>8}  {_shown(cell['lost']):>8}"
        counts = "  ".join(f"{cell[end]:{len(end)}}" for end in ends)
        yield f"  {name:{width}}  {counts}  {values}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
