"""Recorded learning curves, and trials that replay them: what a simulated sweep trains.

A proposed configuration stands for the nearest one that was recorded in its cell. A recording answers as long as it
goes: curves that end before the epoch limit, as stopped trials leave them, are refused rather than made up, unless the
user says that they shall go on at their best value so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.record.journal import JOURNAL
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState
from segsweep.orchestrator.space.domains import Domain, Range
from segsweep.orchestrator.space.spec import SETTINGS, SweepSpec
from segsweep.trainables.components import DoesNotFitError
from segsweep.trainables.config import Objective, TrialConfig
from segsweep.trainables.metric_names import OBJECTIVES

CROSSED = ("loss", "optimizer", "lr_schedule", "augmentation")  # what may differ between combinations of one cell


@dataclass(frozen=True)
class Curve:
    """What one recorded trial reported, epoch by epoch."""

    source: Path
    trial: TrialState
    ends: int  # the epoch after which a trial with this curve finishes, under the simulated sweep's rules
    values: tuple[float, ...]  # the objective after epoch 1, 2 ...; NaN where it was not a number
    metrics: tuple[Mapping[str, float | None], ...]  # as many
    infeasible: bool  # memory does not hold it, or it breaks a constraint of the simulated sweep, which ends it as well

    @property
    def failed(self) -> bool:
        """It ends because its configuration crashed or diverged, and so will whoever replays it."""
        return self.trial.status == "failed" and len(self.values) < self.ends

    @property
    def complete(self) -> bool:
        return len(self.values) >= self.ends or self.failed or self.infeasible


class Recording:
    """The curves of every cell of a plan."""

    def __init__(self, plan: SweepPlan, sources: Iterable[Path], *, continue_stopped: bool = False) -> None:
        """sources: journals or sweep folders; continue_stopped: curves of stopped trials go on at their best value.

        Raises InputError with every cell whose curves do not suffice.
        """
        self.plan = plan
        self._continue_stopped = continue_stopped
        self.curves: dict[Cell, list[Curve]] = {cell: [] for cell in plan.cells}
        mistakes: dict[Cell, Mistake] = {}
        for source in map(_journal, sources):
            for trial in SweepState.load(source).searched:
                if trial.cell in self.curves and trial.status != "created":
                    if (mistake := self._unjudged(source, trial)) is None:
                        self._add(source, trial)
                    else:
                        mistakes.setdefault(trial.cell, mistake)
        for cell in plan.cells.keys() - mistakes.keys():
            if (mistake := self._gap(cell)) is not None:
                mistakes[cell] = mistake
        InputError.raise_if(mistakes[cell] for cell in plan.cells if cell in mistakes)

    def _unjudged(self, source: Path, trial: TrialState) -> Mistake | None:
        """An epoch in which the objective or what rungs count was not even measured, or a cost that never was."""
        metric, scheduler = self.plan.spec.objective.metric, self.plan.spec.scheduler
        for epoch, metrics in enumerate(trial.metrics, 1):
            what = f"trial {trial.id} of {source} has no metric '%s' in epoch {epoch}; %s"
            if metric not in metrics:
                there_are = ", ".join(sorted(name for name in metrics if name in OBJECTIVES))
                return Mistake(_called(trial.cell), what % (metric, f"it has {there_are}"))
            if scheduler.options.get("unit") == "iterations" and "iterations" not in metrics:
                remedy = "simulate with scheduler.unit epochs or seconds"
                return Mistake(_called(trial.cell), what % ("iterations", remedy))
        if missing := self.plan.spec.aim.missing(trial):
            return Mistake(_called(trial.cell), f"trial {trial.id} of {source} {missing}")
        return None

    def _add(self, source: Path, trial: TrialState) -> None:
        spec = self.plan.spec
        metrics = list(trial.metrics)
        values = [math.nan if (value := found[spec.objective.metric]) is None else value for found in metrics]
        if self._continue_stopped and trial.status == "stopped" and (best := _best_epoch(values, spec.objective)):
            missing = range(len(values) + 1, spec.epochs + 1)
            values += [values[best - 1]] * len(missing)
            metrics += [metrics[best - 1] | _iterations(metrics[0], epoch) for epoch in missing]
        infeasible = trial.unfit or bool(spec.aim.outside(trial))
        curve = Curve(source, trial, _ends(values, spec), tuple(values), tuple(metrics), infeasible)
        self.curves[trial.cell].append(curve)

    def _gap(self, cell: Cell) -> Mistake | None:
        """Why the cell's curves do not answer for every trial."""
        epochs, curves = self.plan.spec.epochs, self.curves[cell]
        if not curves:
            return Mistake(_called(cell), f"no recorded curve of {epochs} epochs; record the cell, or leave it out")
        short = [curve for curve in curves if not curve.complete]
        if not short:
            return None
        shortest = min(short, key=lambda curve: len(curve.values))
        return Mistake(
            _called(cell),
            f"{len(short)} of {len(curves)} recorded curves end before epoch {epochs} (trial {shortest.trial.id} of "
            f"{shortest.source} after epoch {len(shortest.values)}); simulate fewer epochs, record a sweep with "
            f"`scheduler: fifo`{self._remedy(short)}",
        )

    def _remedy(self, short: Iterable[Curve]) -> str:
        helps = not self._continue_stopped and any(curve.trial.status == "stopped" for curve in short)
        return ", or let stopped ones stay at their best value with --continue-stopped" if helps else ""

    def best(self, cell: Cell) -> float | None:
        """The best value that any recorded trial of the cell reaches; None if all fail before they have one."""
        objective, best = self.plan.spec.objective, None
        for curve in self.curves[cell]:
            if curve.infeasible:
                continue
            for value in curve.values[: self.plan.spec.epochs]:  # also what patience would not wait for
                if objective.better(value, best):
                    best = value
        return best

    def nearest(self, trial: TrialState, combination: Combination) -> Curve:
        """The recorded curve that a proposed trial replays; the earliest of equals."""
        return min(self.curves[trial.cell], key=lambda curve: distance(trial, curve.trial, combination.domains))


def distance(one: TrialState, other: TrialState, domains: Mapping[str, Domain]) -> float:
    """Euclidean over the searched parameters, each domain 1 wide; other crossed components count 1 each."""
    crossed = sum(getattr(one.config, part).name != getattr(other.config, part).name for part in CROSSED)
    searched = (_apart(domain, _value(one, path), _value(other, path)) ** 2 for path, domain in domains.items())
    return math.sqrt(crossed + sum(searched))


def _apart(domain: Domain, one: JsonValue, other: JsonValue) -> float:
    if not isinstance(domain, Range) or not isinstance(one, int | float) or not isinstance(other, int | float):
        return float(one != other)
    if domain.log:
        return abs(math.log(one / other) / math.log(domain.high / domain.low)) if min(one, other) > 0 else 1.0
    return abs(one - other) / (domain.high - domain.low)


def _value(trial: TrialState, path: str) -> JsonValue:
    """What the searcher chose, or what the configuration says where the recorded sweep had it fixed."""
    if path in trial.values:
        return trial.values[path]
    part, *keys = path.split(".")
    if not keys:
        return _fixed(trial.config, part)
    found: JsonValue = getattr(trial.config, part).options
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _fixed(config: TrialConfig, name: str) -> JsonValue:
    if name == "image_size":
        return [*config.image_size]
    found: JsonValue = getattr(config, name) if name in SETTINGS else None
    return found


def _journal(source: Path) -> Path:
    path = source / JOURNAL if source.is_dir() else source
    if not path.is_file():
        raise InputError(Mistake(f"--curves {source}", "there is no journal; give a journal.jsonl or a sweep's folder"))
    return path


def _iterations(first: Mapping[str, float | None], epoch: int) -> dict[str, float | None]:
    """The count after an epoch, if the first one says how many an epoch has."""
    an_epoch = first.get("iterations")
    return {} if an_epoch is None else {"iterations": an_epoch * epoch}


def _called(cell: Cell) -> str:
    return f"{cell.model} on {cell.dataset}"


def _ends(values: Sequence[float], spec: SweepSpec) -> int:
    """The epoch limit, or the epoch in which patience runs out."""
    for epoch in range(1, min(len(values), spec.epochs) + 1):
        if spec.patience is not None and epoch - _best_epoch(values[:epoch], spec.objective) >= spec.patience:
            return epoch
    return spec.epochs


def _best_epoch(values: Sequence[float], objective: Objective) -> int:
    """0 if no value is a number."""
    best, found = None, 0
    for epoch, value in enumerate(values, 1):
        if objective.better(value, best):
            best, found = value, epoch
    return found


@dataclass(frozen=True)
class ReplayedEpoch:
    epoch: int
    metrics: Mapping[str, float]
    done: bool
    reason: str


class ReplayedTrial:
    """A trial that reports a recorded curve again."""

    def __init__(self, curve: Curve, reported: int) -> None:
        self._curve, self._epoch = curve, reported
        self.facts: Mapping[str, float | str] = curve.trial.facts

    def step(self) -> ReplayedEpoch:
        curve = self._curve
        if self._epoch >= len(curve.values):
            if curve.trial.unfit:
                raise DoesNotFitError(curve.trial.reason)
            raise RuntimeError(f"recorded trial {curve.trial.id} failed here: {curve.trial.reason}")
        self._epoch += 1
        recorded = curve.metrics[self._epoch - 1]
        metrics = {name: math.nan if value is None else value for name, value in recorded.items()}
        metrics.setdefault("epoch_s", curve.trial.seconds / curve.trial.epoch)
        done = self._epoch == curve.ends
        return ReplayedEpoch(self._epoch, metrics, done, f"finished in epoch {self._epoch}" if done else "")

    def close(self) -> None:
        """Nothing to release."""
