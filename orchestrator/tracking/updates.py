"""Journal events gathered into one update for each run, so that few calls carry them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    DriverStopped,
    EpochDone,
    Event,
    SweepCreated,
    SweepExtended,
    TrialFacts,
)
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import TrialState
from segsweep.orchestrator.tracking import records
from segsweep.orchestrator.tracking.records import Point

PARENT = ""  # where a trial's id stands, for the sweep itself
SWEEP_STATUS = {
    "running": "RUNNING",
    "done": "FINISHED",
    "interrupted": "KILLED",
    "budget": "KILLED",
    "crashed": "FAILED",
}


@dataclass
class RunUpdate:
    """What one run still has to be told."""

    start_ms: int  # time of the first event in here: the run's start if it has to be made
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    status: str | None = None  # MLflow's word; None: as it is
    end_ms: int | None = None
    name: str = ""
    files: list[str] = field(default_factory=list)  # to be stored beside it: names of `texts`, or a trial's path


class Updates:
    """Folds events into `state` and remembers what of it MLflow does not know yet, by trial id."""

    def __init__(self, state: SweepState) -> None:
        self.state = state
        self.runs: dict[str, RunUpdate] = {}

    def add(self, event: Event) -> None:
        self.state.apply(event)
        match event:
            case SweepCreated():
                self._sweep(event)
            case SweepExtended():
                self._extend(event)
            case DriverStarted():
                self._sweep_status(event, "running")
            case DriverStopped():
                self._sweep_status(event, event.status)
            case AttemptStarted():
                self._start(event)
            case TrialFacts():
                self._of(event.trial, event).points += records.fact_points(event)
                self._of(event.trial, event).tags |= records.status_tags(self.state.trials[event.trial])
            case EpochDone():
                self._of(event.trial, event).points += records.epoch_points(event)
            case AttemptEnded():
                self._end(event)

    def _of(self, run: str, event: Event) -> RunUpdate:
        return self.runs.setdefault(run, RunUpdate(int(event.time * 1000)))

    def _sweep(self, event: SweepCreated) -> None:
        update = self._of(PARENT, event)
        update.name = event.sweep
        update.files = list(texts(event))
        update.tags |= records.sweep_tags(event)
        update.params |= records.sweep_params(event)

    def _extend(self, event: SweepExtended) -> None:
        """MLflow never changes a parameter, so `epochs` stays what a continued trial began with; its tags say more."""
        update, created = self._of(PARENT, event), self.state.created
        update.tags["segsweep.extended"] = event.change
        update.files = list(texts(created)) if created is not None else []  # those that are stored are replaced
        for id_ in (*event.continues, *event.anew, *event.dropped):
            trial = self.state.trials[id_]
            if created is not None and trial.attempt:
                self._of(id_, event).tags |= records.trial_tags(trial, created) | records.status_tags(trial)

    def _sweep_status(self, event: DriverStarted | DriverStopped, status: str) -> None:
        update = self._of(PARENT, event)
        update.status = SWEEP_STATUS[status]
        update.tags |= {"segsweep.status": status, "segsweep.stop_reason": getattr(event, "reason", "")}
        update.end_ms = None if status == "running" else int(event.time * 1000)

    def _start(self, event: AttemptStarted) -> None:
        trial = self.state.trials[event.trial]
        update = self._of(event.trial, event)
        update.name, update.status, update.end_ms = trial.config.label, "RUNNING", None
        created = self.state.created
        if event.attempt == 1 and created is not None:
            update.params = records.trial_params(trial.config)
            update.tags |= records.trial_tags(trial, created)
        update.tags |= records.status_tags(trial)

    def _end(self, event: AttemptEnded) -> None:
        trial = self.state.trials[event.trial]
        update = self._of(event.trial, event)
        update.status, update.end_ms = records.RUN_STATUS[trial.status], int(event.time * 1000)
        update.tags |= records.status_tags(trial)
        update.points += records.end_points(trial, event)
        self._of(PARENT, event).points += self._new_best(trial, event)
        update.files = [str(trial.facts[name]) for name in ("confusions", "test_confusions") if trial.facts.get(name)]

    def _new_best(self, trial: TrialState, event: AttemptEnded) -> Iterator[Point]:
        """For the sweep's own run, so that sweeps can be sorted: the best of the search on each dataset."""
        if trial.status != "finished" or trial.best is None or trial.confirms:
            return
        cell, objective = trial.cell, trial.config.objective
        others = (other for other in self.state.trials.values() if other is not trial and not other.confirms)
        rivals = (other for other in others if other.status == "finished" and other.cell.dataset == cell.dataset)
        if all(objective.better(trial.best, rival.best) for rival in rivals):
            yield records.best_point(trial, event, 1 + [*self.state.trials].index(trial.id))


def texts(created: SweepCreated) -> dict[str, str]:
    """The files that describe a sweep, by name; `created` as SweepState has it, with what it was extended to."""
    plan = {"plan.json": _pretty(created.plan)} if created.plan else {}
    return {"search_space.yaml": created.source, "spec.json": _pretty(created.spec), **plan}


def _pretty(tree: dict[str, JsonValue]) -> str:
    return json.dumps(tree, indent=2) + "\n"
