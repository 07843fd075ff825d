"""All that a report speaks of, gathered once and frozen; sections only draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import JsonValue

from segsweep.orchestrator.board.rows import Board
from segsweep.orchestrator.record.journal import Stop, SweepCreated
from segsweep.orchestrator.record.trials import Cell, Status, on_gpu
from segsweep.orchestrator.space.spec import SweepSpec
from segsweep.orchestrator.watching.standing import Standing, standing
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.metric_names import Mode
from segsweep.trainables.scoring.confusions import Confusions

if TYPE_CHECKING:
    from segsweep.trainables.components import Color, Uint8


@dataclass(frozen=True)
class Trial:
    """One trial as it stands."""

    cell: Cell
    config: TrialConfig
    status: Status
    confirms: str  # the trial that it repeats; "" for one of the search
    values: Mapping[str, JsonValue]  # what the searcher chose, by dotted path
    curve: tuple[float | None, ...]  # the objective after epoch 1, 2 ...
    best: float | None
    best_epoch: int | None
    at_best: Mapping[str, float | None]  # all metrics of that epoch
    peak_memory_gib: float | None
    facts: Mapping[str, float | str]
    stop: Stop | None
    seconds: float  # of its worker
    redone_s: float  # of these
    device_s: float  # seconds times the share of devices that it held: GPU-seconds or, on a CPU, CPU-seconds

    @property
    def id(self) -> str:
        return self.config.trial_id

    @property
    def on_gpu(self) -> bool:
        return on_gpu(self.facts)


@dataclass(frozen=True)
class Example:
    """One validation image as the winner saw it; all pictures (h, w, 3) RGB."""

    id: str
    miou: float  # of this image alone, over the classes in its truth or prediction
    image: Uint8
    truth: Uint8
    prediction: Uint8
    errors: Uint8


@dataclass(frozen=True)
class Examples:
    """Of the winner of a dataset."""

    trial: str
    model: str
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    unpainted: tuple[int, ...]  # classes whose colour would only darken the image
    worst: tuple[Example, ...]
    best: tuple[Example, ...]


@dataclass(frozen=True)
class Outcome:
    """What a sweep's trials came to so far, told from its journal alone."""

    sweep: str
    trials: tuple[Trial, ...]  # that count, in the order of their creation
    board: Board
    mode: Mode  # of the objective

    @property
    def metric(self) -> str:
        return self.board.metric

    @property
    def datasets(self) -> tuple[str, ...]:
        return self.board.datasets

    @property
    def models(self) -> tuple[str, ...]:
        """By name, so that each has the same colour in all plots."""
        return tuple(sorted(line.model for line in self.board.lines))

    def searched(self, dataset: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.cell.dataset == dataset and not trial.confirms]

    def standings(self, dataset: str) -> list[Standing[Trial]]:
        """What stands for each model with a finished trial on the dataset, the best first; confirmed before others."""
        return [one for one in self._standings if one.trial.cell.dataset == dataset]

    @cached_property
    def _standings(self) -> list[Standing[Trial]]:
        cells: dict[Cell, list[Trial]] = {}
        for trial in self.trials:
            cells.setdefault(trial.cell, []).append(trial)
        found = [one for trials in cells.values() if (one := standing(trials, self.metric)) is not None]
        sign = -1.0 if self.mode == "max" else 1.0
        return sorted(found, key=lambda one: (one.seeds == 0, sign * one.value))

    def winners(self, dataset: str) -> list[Trial]:
        """Their trials: of a confirmed configuration the best of its fresh seeds."""
        return [one.trial for one in self.standings(dataset)]


@dataclass(frozen=True)
class ReportData(Outcome):
    created: SweepCreated
    spec: SweepSpec  # with all extensions
    phase: str  # "done", or why there may come more
    confusions: Mapping[Cell, Confusions]  # of the winner of each cell, on validation images, where it is here
    examples: Mapping[str, Examples | str]  # by dataset; a text says why there are none
    wall_s: float  # while a driver ran
    made: str  # when the report was, "2026-11-21 23:40 UTC"
    version: str  # of segsweep, that made it


def values_shown(data: Outcome) -> str:
    """Which value of a model is shown, in a sentence."""
    if any(one.seeds for dataset in data.datasets for one in data.standings(dataset)):
        return (
            "Confirmed models with the mean over their fresh seeds; others, if any, with the best trial of the search."
        )
    return "The best finished trial of each model in the search, which nothing confirms."


def trials_shown(data: Outcome, dataset: str) -> str:
    """Which run of each model is shown, in a sentence."""
    of = ", ".join(
        f"{one.trial.cell.model} trial {one.trial.id}{f' (confirms {one.confirms})' if one.seeds else ''}"
        for one in data.standings(dataset)
    )
    return f"{dataset}: {of}."
