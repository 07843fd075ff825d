"""How good are our search and early stopping? Whole sweeps on recorded curves, against random search and Ray's own.

Protocol: LCBench's surrogate of learning curves (34 instances, 52 epochs). "Architectures" are networks of 1 to 5
layers; for each, 40 configurations are drawn (seeded), and a proposal stands for the nearest of them that was not
taken yet. 4 workers in virtual time. Everybody may spend 25 % of the epochs of the full grid (5 x 40 x 52) and not one
more. What is measured, against the full grid:

    tau          Kendall's rank correlation of the architectures by the best value of a finished trial
    cell error   best of the full grid minus the best finished trial, accuracy points, mean over the cells
    missing      share of architectures without a finished trial
    regret       best of the full grid over all architectures minus the value of the winner

    SEGSWEEP_DATA=... python benchmarks/search.py [--instances 34] [--seeds 5] [--allocation 20] [--check]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segsweep.trainables.places import data_folder

Floats = npt.NDArray[np.float64]
LAYERS = (1, 2, 3, 4, 5)
POOL = 40
EPOCHS = 52
BUDGET = 0.25
WORKERS = 4
RANGES: dict[str, tuple[float, float, bool, bool]] = {  # low, high, logarithmic, integer; in the surrogate's order
    "batch_size": (16, 512, True, True),
    "learning_rate": (1e-4, 0.1, True, False),
    "momentum": (0.1, 0.99, False, False),
    "weight_decay": (1e-5, 0.1, False, False),
    "max_units": (64, 1024, True, True),
    "max_dropout": (0.0, 1.0, False, False),
}


class Surrogate:
    """val_accuracy (percent) and seconds after each epoch, by ONNX."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._model = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.instances: dict[str, int] = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        self.names = sorted(name for name in self.instances if name not in ("#na#", "167083"))  # these two are none

    def curves(self, instance: str, layers: int, units: Floats) -> tuple[Floats, Floats]:
        """units: (n, 6) in [0, 1]. Returns accuracy and cumulative seconds, each (n, EPOCHS)."""
        values = np.stack([from_unit(name, units[:, i]) for i, name in enumerate(RANGES)], axis=1)
        columns = np.insert(values, 4, layers, axis=1)  # num_layers stands between weight_decay and max_units
        rows = np.repeat(columns, EPOCHS, axis=0)
        epochs = np.tile(np.arange(1, EPOCHS + 1), len(units))[:, None]
        x_cont = np.hstack([epochs, rows]).astype(np.float32)
        x_cat = np.full((len(x_cont), 1), self.instances[instance], np.int32)
        output = self._model.run(None, {"x_cat": x_cat, "x_cont": x_cont})[0].reshape(len(units), EPOCHS, 6)
        return output[:, :, 1].astype(float), np.maximum.accumulate(output[:, :, 0], axis=1).astype(float)


def from_unit(name: str, unit: Floats) -> Floats:
    low, high, log, integer = RANGES[name]
    value = np.exp(np.log(low) + unit * np.log(high / low)) if log else low + unit * (high - low)
    return np.round(value) if integer else value


def to_unit(name: str, value: float) -> float:
    low, high, log, _ = RANGES[name]
    return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)


class Pool:
    """The 40 configurations of each architecture on one instance, with their curves: the full grid."""

    def __init__(self, surrogate: Surrogate, instance: str, seed: int) -> None:
        rng = np.random.default_rng((seed, int(instance)))
        self.units = {layers: rng.random((POOL, len(RANGES))) for layers in LAYERS}
        found = {layers: surrogate.curves(instance, layers, self.units[layers]) for layers in LAYERS}
        self.accuracy = {layers: accuracy for layers, (accuracy, _) in found.items()}
        self.seconds = {layers: seconds for layers, (_, seconds) in found.items()}
        self.best = {layers: float(accuracy.max()) for layers, accuracy in self.accuracy.items()}
        self._taken: set[tuple[int, int]] = set()

    def take(self, layers: int, options: Mapping[str, Any]) -> int:
        """The nearest configuration that was not taken yet; if all are, the nearest."""
        unit = np.array([to_unit(name, float(options[name])) for name in RANGES])
        distance = ((self.units[layers] - unit) ** 2).sum(axis=1)
        for index in np.argsort(distance):
            if (layers, int(index)) not in self._taken:
                self._taken.add((layers, int(index)))
                return int(index)
        return int(np.argmin(distance))


@dataclass(frozen=True)
class Outcome:
    """What a sweep knows at its end: by architecture, the best value of a finished trial."""

    values: Mapping[int, float]
    epochs: int


def score(pool: Pool, outcome: Outcome) -> dict[str, float]:
    from scipy.stats import kendalltau

    found = [outcome.values.get(layers, -math.inf) for layers in LAYERS]
    truth = [pool.best[layers] for layers in LAYERS]
    errors = [t - f for t, f in zip(truth, found, strict=True) if math.isfinite(f)]
    ranked = [f if math.isfinite(f) else -1.0 for f in found]
    return {
        "tau": float(kendalltau(truth, ranked).statistic),
        "cell error": float(np.mean(errors)) if errors else math.nan,
        "missing": sum(not math.isfinite(f) for f in found) / len(LAYERS),
        "regret": max(truth) - max(found),
        "epochs": outcome.epochs / (len(LAYERS) * POOL * EPOCHS),
    }


class CurveTrial:
    """A trial that replays a recorded curve."""

    facts: Mapping[str, float | str] = {}

    def __init__(self, accuracy: Floats, seconds: Floats, reported: int) -> None:
        self._accuracy, self._seconds, self._epoch = accuracy, seconds, reported

    def step(self) -> Any:
        from segsweep.trainables.trial import EpochReport

        before = self._seconds[self._epoch - 1] if self._epoch else 0.0
        self._epoch += 1
        now = self._epoch - 1
        metrics = {"val_accuracy": float(self._accuracy[now]), "epoch_s": float(self._seconds[now] - before)}
        done = self._epoch == EPOCHS
        return EpochReport(self._epoch, metrics, done, "epoch limit" if done else "")

    def close(self) -> None:
        """Nothing to release."""


def register_architecture() -> None:
    """The surrogate's network as an architecture of the catalogue, its hyperparameters as options."""
    from types import ModuleType

    from pydantic import create_model

    from segsweep.trainables.catalog import MODELS
    from segsweep.trainables.components import ComponentOptions

    component: Any = ModuleType("lcbench_mlp")
    fields: Any = {"layers": (int, ...), **dict.fromkeys(RANGES, (float, ...))}
    component.Options = create_model("Options", __base__=ComponentOptions, **fields)
    component.encoder = lambda options: str(options.layers)
    component.family = lambda options: "cnn"
    MODELS.register("lcbench_mlp", component)


def domain(name: str) -> dict[str, Any]:
    low, high, log, integer = RANGES[name]
    return {("log" if log else "") + ("int" if integer else "uniform"): [low, high]}


def ours(searcher: dict[str, Any], scheduler: dict[str, Any], **more: Any) -> Callable[[Pool, int], Outcome]:
    """Our searcher, scheduler and journal on our simulated backend."""

    def run(pool: Pool, seed: int) -> Outcome:
        from segsweep.orchestrator.backends.simulated import Simulated
        from segsweep.orchestrator.driving.assignment import Assignment
        from segsweep.orchestrator.driving.sweep import Sweep
        from segsweep.orchestrator.planning.plan import SweepPlan
        from segsweep.orchestrator.record.journal import EpochDone, Event, Journal
        from segsweep.orchestrator.space.spec import ComponentSpec, SweepSpec
        from segsweep.trainables.config import Objective

        domains = {name: domain(name) for name in RANGES}
        spec = SweepSpec(
            name="lcbench",
            datasets=(ComponentSpec(type="streets", name="instance"),),
            models=tuple(
                ComponentSpec(type="lcbench_mlp", name=str(n), options={"layers": n, **domains}) for n in LAYERS
            ),
            optimizers=(ComponentSpec(type="sgd", name="sgd", options={"lr": 1.0, "weight_decay": 0.0}),),
            epochs=EPOCHS,
            image_size=(64, 64),
            objective=Objective(metric="val_accuracy"),
            searcher=component(searcher, seed=seed),
            scheduler=component(scheduler),
            **({"trials": POOL} | more),
        )
        left = budget()

        def spend(event: Event) -> None:
            nonlocal left
            left -= isinstance(event, EpochDone)
            if left <= 0:
                sweep.interrupt()

        taken: dict[str, int] = {}

        def factory(assignment: Assignment) -> CurveTrial:
            options = assignment.config.model.options
            layers: Any = options["layers"]
            if assignment.trial not in taken:
                taken[assignment.trial] = pool.take(layers, options)
            index = taken[assignment.trial]
            return CurveTrial(pool.accuracy[layers][index], pool.seconds[layers][index], assignment.reported)

        backend = Simulated(WORKERS)
        with (
            tempfile.TemporaryDirectory() as folder,
            Journal(Path(folder) / "journal.jsonl", clock=backend.clock, fsync=False) as journal,
        ):
            sweep = Sweep(SweepPlan.of(spec), journal, listeners=(spend,))
            backend.run(sweep, factory)
        values: dict[int, float] = {}
        for trial in sweep.state.trials.values():
            if trial.status == "finished" and trial.best is not None:
                layers = int(trial.config.model.name)
                values[layers] = max(values.get(layers, -math.inf), trial.best)
        return Outcome(values, budget() - left)

    return run


def component(entry: dict[str, Any], **extra: Any) -> Any:
    from segsweep.orchestrator.space.spec import ComponentSpec

    options = {key: value for key, value in entry.items() if key != "type"}
    return ComponentSpec(type=entry["type"], name=entry["type"], options=options | extra)


def budget() -> int:
    return int(BUDGET * len(LAYERS) * POOL * EPOCHS)


def rays_own(pool: Pool, seed: int) -> Outcome:
    """ASHAScheduler and OptunaSearch as Ray's documentation combines them: one space, one set of rungs."""
    import heapq

    import optuna
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, Any] = {"layers": optuna.distributions.CategoricalDistribution(LAYERS)}
    for name, (low, high, log, integer) in RANGES.items():
        space[name] = (
            optuna.distributions.IntDistribution(int(low), int(high), log=log)
            if integer
            else optuna.distributions.FloatDistribution(low, high, log=log)
        )
    search = OptunaSearch(space, metric="val_accuracy", mode="max", seed=seed)
    scheduler = ASHAScheduler(metric="val_accuracy", mode="max", max_t=EPOCHS)
    left, names, order = budget(), iter(range(10**9)), iter(range(10**9))
    queue: list[tuple[float, int, RayTrial, int]] = []
    values: dict[int, float] = {}
    now = 0.0
    while left > 0:
        while len(queue) < WORKERS:
            config = search.suggest(name := f"t{next(names)}")
            index = pool.take(config["layers"], config)
            trial = RayTrial(name, config, index)
            scheduler.on_trial_add(None, trial)
            heapq.heappush(queue, (now + pool.seconds[config["layers"]][index][0], next(order), trial, 1))
        now, _, trial, epoch = heapq.heappop(queue)
        left -= 1
        layers = trial.config["layers"]
        accuracy = float(pool.accuracy[layers][trial.index][epoch - 1])
        result = {"val_accuracy": accuracy, "training_iteration": epoch, "trial_id": trial.trial_id}
        trial.best = max(trial.best, accuracy)
        if epoch == EPOCHS:
            values[layers] = max(values.get(layers, -math.inf), trial.best)
        elif scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE:
            search.on_trial_result(trial.trial_id, result)
            ends = now + float(np.diff(pool.seconds[layers][trial.index])[epoch - 1])
            heapq.heappush(queue, (ends, next(order), trial, epoch + 1))
            continue
        scheduler.on_trial_complete(None, trial, result)
        search.on_trial_complete(trial.trial_id, result)
    return Outcome(values, budget() - left)


@dataclass
class RayTrial:
    """What Ray's scheduler wants to see of a trial."""

    trial_id: str
    config: dict[str, Any]
    index: int
    best: float = -math.inf


COLUMNS: dict[str, Callable[[Pool, int], Outcome]] = {
    "ours (defaults)": ours({"type": "tpe"}, {"type": "asha_promotion"}),
    "random, ASHA per architecture": ours({"type": "random"}, {"type": "asha", "grace": 3}),  # as much as it may spend
    "Ray: ASHAScheduler + OptunaSearch": rays_own,
}


def allocations(trials: int) -> dict[str, Callable[[Pool, int], Outcome]]:
    """So many trials an architecture, allotted evenly and adaptively."""
    kinds = ("even", "adaptive")
    return {kind: ours({"type": "tpe"}, {"type": "asha_promotion"}, trials=trials, allocation=kind) for kind in kinds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=data_folder() / "lcbench", help="folder with model.onnx")
    parser.add_argument("--instances", type=int, default=34)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--allocation", type=int, metavar="TRIALS", help="compare even and adaptive, instead")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    given = parser.parse_args()
    if not (given.curves / "model.onnx").is_file():
        print(f"skipped: {given.curves} holds no model.onnx; set SEGSWEEP_DATA, or give --curves")
        return 0
    register_architecture()
    surrogate = Surrogate(given.curves)
    instances = surrogate.names[: given.instances]
    print(f"{len(instances)} instances x {given.seeds} seeds, {WORKERS} workers, {BUDGET:.0%} of the grid's epochs")
    rows = {}
    for column, run in (allocations(given.allocation) if given.allocation else COLUMNS).items():
        began = time.perf_counter()
        scores = [
            score(pool, run(pool, seed))
            for instance in instances
            for seed in range(given.seeds)
            for pool in [Pool(surrogate, instance, seed)]
        ]
        rows[column] = {key: float(np.nanmean([found[key] for found in scores])) for key in scores[0]}
        shown = "  ".join(f"{key} {value:6.3f}" for key, value in rows[column].items())
        print(f"{column:36} {shown}  ({time.perf_counter() - began:.0f} s)", flush=True)
    missed = [] if given.allocation else misses(rows)
    for miss in missed:
        print(f"missed: {miss}")
    return int(given.check and bool(missed))


def misses(rows: Mapping[str, Mapping[str, float]]) -> Sequence[str]:
    """Which of the stated bars the first column does not reach."""
    (name, best), *others = rows.items()
    found = []
    if best["tau"] < 0.95:
        found.append(f"{name}: tau {best['tau']:.3f} < 0.95")
    if best["cell error"] >= 0.5:
        found.append(f"{name}: cell error {best['cell error']:.2f} >= 0.5")
    if best["missing"] > 0:
        found.append(f"{name}: {best['missing']:.1%} of the architectures have no finished trial")
    found += [f"{name}: regret above that of {other}" for other, row in others if best["regret"] > row["regret"]]
    return found


if __name__ == "__main__":
    sys.exit(main())
