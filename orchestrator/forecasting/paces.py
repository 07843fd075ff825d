"""How long an epoch of each cell takes: from the journals of earlier sweeps, or measured on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from segsweep.orchestrator.errors import InputError, Mistake
from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.progress import Announce
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, TrialState
from segsweep.orchestrator.resources.capacity import Capacity
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.places import BEST, LAST
from segsweep.trainables.storage import GIB
from segsweep.trainables.training.timing import Pace, measure


@dataclass(frozen=True)
class Paces:
    cells: Mapping[Cell, Pace]  # every cell of the plan
    source: str  # where they come from, for people
    assumed: frozenset[Cell] = frozenset()  # of these, nothing is known but their neighbours


def recorded_paces(plan: SweepPlan, journals: Iterable[Path], gpus: float) -> Paces:
    """Means over the trials that earlier sweeps had in the plan's cells, at its image sizes and kind of device.

    A cell that they lack gets the mean of the others of its dataset, or of all. gpus: what a trial of the plan gets.
    Raises InputError if the journals hold nothing of any cell.
    """
    journals = list(journals)
    found: dict[Cell, list[TrialState]] = {}
    files: dict[Cell, list[Path]] = {}
    for journal in journals:
        for trial in SweepState.load(journal).trials.values():
            if trial.cell in plan.cells and _comparable(trial, plan.cells[trial.cell][0], gpus):
                found.setdefault(trial.cell, []).append(trial)
                files.setdefault(trial.cell, []).append(journal.parent / "trials" / trial.id)
    names = ", ".join(journal.parent.name for journal in journals)
    if not found:
        what = f"have no epoch of the plan's cells at its image sizes on a {'GPU' if gpus else 'CPU'}"
        raise InputError(Mistake(f"--times {names}", f"{what}; name another sweep, or use --measure"))
    known = {cell: _mean_pace(trials)._replace(**_sizes(files[cell])) for cell, trials in found.items()}
    assumed = frozenset(plan.cells.keys() - known.keys())
    return Paces({cell: known.get(cell) or _like_others(cell, known) for cell in plan.cells}, f"as in {names}", assumed)


def _comparable(trial: TrialState, combination: Combination, gpus: float) -> bool:
    sizes = combination.spec.image_sizes(combination.dataset)
    return trial.config.image_size in sizes and trial.on_gpu == bool(gpus) and any(_epoch_times(trial))


def _epoch_times(trial: TrialState) -> Iterator[float]:
    return (seconds for metrics in trial.metrics if (seconds := metrics.get("epoch_s")))


def _mean_pace(trials: list[TrialState]) -> Pace:
    """What an attempt takes beyond its epochs counts as its set-up."""
    epochs = [seconds for trial in trials for seconds in _epoch_times(trial)]
    busy_s = sum(trial.seconds - trial.redone_s for trial in trials)
    setup_s = (busy_s - sum(epochs)) / sum(trial.attempt for trial in trials)
    return Pace(epoch_s=fmean(epochs), setup_s=max(0.0, setup_s))


def _sizes(folders: list[Path]) -> dict[str, float]:
    """GiB of the checkpoints that are still there; the largest, since their configurations differ."""
    return {
        "last_gib": max((_gib(folder / LAST) for folder in folders), default=0.0),
        "best_gib": max((_gib(folder / BEST) for folder in folders), default=0.0),
    }


def _gib(file: Path) -> float:
    try:
        return file.stat().st_size / GIB
    except OSError:
        return 0.0


def _like_others(cell: Cell, known: Mapping[Cell, Pace]) -> Pace:
    others = [pace for other, pace in known.items() if other.dataset == cell.dataset] or list(known.values())
    return _mean(others)


def _mean(paces: Iterable[Pace]) -> Pace:
    return Pace(*map(fmean, zip(*paces, strict=True)))


def measured_paces(plan: SweepPlan, capacity: Capacity, announce: Announce) -> Paces:
    """Of each cell's first combination, a few steps are trained and scored, at every image size; the data are there.

    Cells are measured one after the other, so what trials at once take from each other is not in it.
    Raises InputError with every cell that cannot be trained.
    """
    resources = plan.spec.resources
    paces: dict[Cell, Pace] = {}
    mistakes: list[Mistake] = []
    for number, (cell, (combination, *_)) in enumerate(plan.cells.items(), 1):
        announce(f"timing {cell.model} on {cell.dataset} ({number} of {len(plan.cells)})")
        try:
            gpus = capacity.gpus_per_trial(resources)
            paces[cell] = _mean(measure(c, cpus=resources.cpus, gpus=gpus) for c in _typical(combination))
        except Exception as error:  # whatever a model, a loss or the device objects to
            mistakes.append(Mistake(f"{cell.model} on {cell.dataset}", f"{type(error).__name__}: {error}"))
    InputError.raise_if(mistakes)
    return Paces(paces, "measured on this machine")


def _typical(combination: Combination) -> Iterator[TrialConfig]:
    """Published values, else the middle of each domain; at each image size, on which time depends most."""
    sizes = combination.domains.get("image_size")
    for fixed in [{"image_size": size} for size in sizes.samples()] if sizes else [{}]:
        yield combination.config("timing", combination.typical(fixed))
