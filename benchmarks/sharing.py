"""What should the cells of a sweep learn from each other? Whole sweeps on recorded curves, by who informs whom.

Protocol: LCBench's surrogate of learning curves. A sweep is 3 of its 34 instances (drawn by the sweep's number) as
datasets x networks of 1 to 5 layers as models. Proposals come from the whole continuous space; the first of each cell
is one "published" configuration, or with --unpublished is not. 4 workers in virtual time. The truth of a cell is the
best of 500 random configurations. What is measured:

    cell error   truth minus the best finished trial, accuracy points, mean over the 15 cells
    regret       best truth of a dataset minus the value of its winner, mean over the datasets
    tau          Kendall's rank correlation of the models of a dataset, mean over the datasets

Every alternative is compared with the first, sweep by sweep: the difference is shown with its standard error. Two
worlds are made to mislead: `levels` (each layer costs 5 points, so that trials of one model rank before all others) and
`opposed` (networks of 2 and 4 layers want a high learning rate where the others want a low one; use --unpublished).

    SEGSWEEP_DATA=... python benchmarks/sharing.py [--sweeps 14] [--trials 8 16] [--schedulers asha_promotion fifo]
"""

from __future__ import annotations

import argparse
import functools
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import optuna
from scipy.stats import kendalltau
from search import (
    EPOCHS,
    LAYERS,
    RANGES,
    WORKERS,
    CurveTrial,
    Floats,
    Surrogate,
    component,
    domain,
    register_architecture,
    to_unit,
)

from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.record.journal import Journal
from segsweep.orchestrator.record.trials import Cell, TrialState
from segsweep.orchestrator.searchers import SEARCHERS, Values
from segsweep.orchestrator.searchers import _optuna as product
from segsweep.orchestrator.space.aims import Aim
from segsweep.orchestrator.space.spec import ComponentSpec, SweepSpec
from segsweep.trainables.config import Objective
from segsweep.trainables.places import data_folder

WORLDS = ("lcbench", "levels", "opposed")
LEARNING_RATE = list(RANGES).index("learning_rate")
DATASETS = 3
SAMPLE = 500  # configurations behind the truth of a cell
PUBLISHED = {
    "batch_size": 64,
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-3,
    "max_units": 256,
    "max_dropout": 0.2,
}


Whom = Literal["cell", "dataset", "model", "all"]
Scale = Literal["values", "ranks", "z"]


@dataclass(frozen=True)
class Alternative:
    whom: Whom = "cell"  # whose trials are in the study
    scale: Scale = "values"  # by the values of their own cell
    startup: int = 10  # random trials of a study before TPE
    until: int = 10**9  # own trials from which on a cell is on its own


BASELINE = "cell"
ALTERNATIVES: dict[str, str | Alternative] = {
    BASELINE: Alternative(),
    "random": "random",
    "quasi_random": "quasi_random",
    "cell, startup 5": Alternative(startup=5),
    "dataset (tpe as shipped)": "tpe",
    "dataset": Alternative("dataset"),
    "dataset, ranks": Alternative("dataset", "ranks"),
    "model, z": Alternative("model", "z"),
    "all, ranks": Alternative("all", "ranks"),
    "all, ranks, until 5, startup 5": Alternative("all", "ranks", startup=5, until=5),
}


class OneStudy(product.OptunaSearcher):
    """Knows nothing but what one proposal may know."""

    def _key(self, combination: Combination) -> tuple[str, ...]:
        return ()

    def tell(self, trial: str, value: float) -> None:
        study, number = self._trials[trial]
        study.tell(number, value)


class Informed:
    """Optuna's TPE with a study built for each proposal out of the trials that may inform it."""

    def __init__(self, how: Alternative, aim: Aim, seed: int) -> None:
        self._how, self._aim, self._seed = how, aim, seed
        self._known: dict[str, tuple[Combination, Values]] = {}
        self._told: dict[Cell, dict[str, float]] = {}  # first values, as a study would keep them

    def propose(self, combination: Combination, index: int) -> Values:
        own = sum(known.cell == combination.cell for known, _ in self._known.values())
        informs = INFORMS[self._how.whom if own < self._how.until else "cell"]
        tpe = OneStudy(self._sampler, self._aim, self._seed)
        for trial, (known, values) in self._known.items():
            if informs(known.cell, combination.cell):
                tpe.recall(known, trial, values)
        for cell, told in self._told.items():
            if informs(cell, combination.cell):
                for trial, value in SCALES[self._how.scale](told).items():
                    tpe.tell(trial, value)
        return tpe.propose(combination, index)

    def recall(self, combination: Combination, trial: str, values: Values) -> None:
        self._known[trial] = combination, values

    def observe(self, trial: TrialState) -> None:
        if trial.best is not None:
            self._told.setdefault(trial.cell, {}).setdefault(trial.id, trial.best)

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=self._how.startup, multivariate=True, group=True, constant_liar=True
        )


def ranks(told: Mapping[str, float]) -> dict[str, float]:
    order = sorted(told, key=told.__getitem__)
    return {trial: (place + 0.5) / len(order) for place, trial in enumerate(order)}


def z(told: Mapping[str, float]) -> dict[str, float]:
    mean, spread = np.mean(list(told.values())), np.std(list(told.values())) or 1.0
    return {trial: float((value - mean) / spread) for trial, value in told.items()}


SCALES: Mapping[Scale, Callable[[Mapping[str, float]], dict[str, float]]] = {"values": dict, "ranks": ranks, "z": z}
INFORMS: Mapping[Whom, Callable[[Cell, Cell], bool]] = {
    "cell": lambda one, other: one == other,
    "dataset": lambda one, other: one.dataset == other.dataset,
    "model": lambda one, other: one.model == other.model,
    "all": lambda one, other: True,
}


class World(Surrogate):
    """The surrogate, in one of WORLDS."""

    def __init__(self, folder: Path, world: str) -> None:
        super().__init__(folder)
        self._world = world

    def curves(self, instance: str, layers: int, units: Floats) -> tuple[Floats, Floats]:
        if self._world == "opposed" and layers % 2 == 0:
            units = np.where(np.arange(len(RANGES)) == LEARNING_RATE, 1 - units, units)
        accuracy, seconds = super().curves(instance, layers, units)
        return accuracy - (5.0 * layers if self._world == "levels" else 0.0), seconds


@functools.cache
def world_of(folder: Path, world: str) -> World:
    """Once a process."""
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    register_architecture()
    for name, how in ALTERNATIVES.items():
        if isinstance(how, Alternative):
            module: Any = ModuleType(name)
            module.Options = SEARCHERS.get("random").Options
            module.check = lambda options, domains: ()
            module.build = lambda options, aim, how=how: Informed(how, aim, options.seed)
            SEARCHERS.register(name, module)
    return World(folder, world)


def spec_of(instances: Sequence[str], searcher: str, scheduler: str, trials: int, seed: int, first: bool) -> SweepSpec:
    domains = {name: domain(name) | ({"first": PUBLISHED[name]} if first else {}) for name in RANGES}
    return SweepSpec(
        name="lcbench",
        datasets=tuple(ComponentSpec(type="streets", name=instance) for instance in instances),
        models=tuple(ComponentSpec(type="lcbench_mlp", name=str(n), options={"layers": n, **domains}) for n in LAYERS),
        optimizers=(ComponentSpec(type="sgd", name="sgd", options={"lr": 1.0, "weight_decay": 0.0}),),
        trials=trials,
        epochs=EPOCHS,
        image_size=(64, 64),
        objective=Objective(metric="val_accuracy"),
        searcher=component({"type": searcher}, seed=seed),
        scheduler=component({"type": scheduler}),
    )


def finished(world: World, spec: SweepSpec) -> dict[Cell, float]:
    """The best finished trial of every cell."""

    def factory(assignment: Assignment) -> CurveTrial:
        options = assignment.config.model.options
        unit = np.array([[to_unit(name, float(options[name])) for name in RANGES]])
        accuracy, seconds = world.curves(assignment.config.dataset.name, options["layers"], unit)
        return CurveTrial(accuracy[0], seconds[0], assignment.reported)

    backend = Simulated(WORKERS)
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(Path(folder) / "journal.jsonl", clock=backend.clock, fsync=False) as journal,
    ):
        sweep = Sweep(SweepPlan.of(spec), journal)
        backend.run(sweep, factory)
    values: dict[Cell, float] = {}
    for trial in sweep.state.trials.values():
        if trial.status == "finished" and trial.best is not None:
            values[trial.cell] = max(values.get(trial.cell, -math.inf), trial.best)
    return values


def score(truths: Mapping[str, Mapping[str, float]], values: Mapping[Cell, float]) -> list[float]:
    """Cell error, regret and tau of one sweep; every cell has a finished trial, as every scheduler guarantees."""
    errors, regrets, taus = [], [], []
    for dataset, best in truths.items():
        found = [values[Cell(dataset, model)] for model in best]
        errors += [t - f for t, f in zip(best.values(), found, strict=True)]
        regrets.append(max(best.values()) - max(found))
        taus.append(kendalltau(list(best.values()), found).statistic)
    return [float(np.mean(figures)) for figures in (errors, regrets, taus)]


def sweep_of(number: int, given: argparse.Namespace, scheduler: str, trials: int) -> dict[str, list[float]]:
    """The scores of every alternative in one sweep."""
    world = world_of(given.curves, given.world)
    instances = [str(name) for name in np.random.default_rng(number).choice(world.names, DATASETS, replace=False)]
    truths: dict[str, dict[str, float]] = {instance: {} for instance in instances}
    for instance in instances:
        for layers in LAYERS:
            units = np.random.default_rng((layers, int(instance))).random((SAMPLE, len(RANGES)))
            truths[instance][str(layers)] = float(world.curves(instance, layers, units)[0].max())
    rows = {}
    for name, how in ALTERNATIVES.items():
        searcher = how if isinstance(how, str) else name
        spec = spec_of(instances, searcher, scheduler, trials, number, not given.unpublished)
        rows[name] = score(truths, finished(world, spec))
    return rows


def show(sweeps: Sequence[Mapping[str, Sequence[float]]]) -> None:
    for name in ALTERNATIVES:
        figures = np.array([sweep[name] for sweep in sweeps])
        gains = figures - np.array([sweep[BASELINE] for sweep in sweeps])
        errors = gains.std(axis=0, ddof=1) / math.sqrt(len(sweeps))
        columns = zip(("cell error", "regret", "tau"), figures.mean(axis=0), gains.mean(axis=0), errors, strict=True)
        shown = "  ".join(f"{what} {mean:6.3f} ({gain:+.3f} ± {error:.3f})" for what, mean, gain, error in columns)
        print(f"{name:32} {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=data_folder() / "lcbench", help="folder with model.onnx")
    parser.add_argument("--sweeps", type=int, default=14)
    parser.add_argument("--trials", type=int, nargs="+", default=[8, 16], help="of a cell")
    parser.add_argument("--schedulers", nargs="+", default=["asha_promotion", "fifo"])
    parser.add_argument("--unpublished", action="store_true", help="no first point is given")
    parser.add_argument("--world", choices=WORLDS, default="lcbench")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with ProcessPoolExecutor(given.processes) as pool:
        for scheduler in given.schedulers:
            for trials in given.trials:
                print(f"{given.world}, {scheduler}, {trials} trials a cell, {given.sweeps} sweeps")
                run = functools.partial(sweep_of, given=given, scheduler=scheduler, trials=trials)
                show(list(pool.map(run, range(given.sweeps))))


if __name__ == "__main__":
    main()
