"""What the orchestration itself costs: our whole path beside plain Ray Tune, and the pause between two trials.

    python benchmarks/orchestration.py [--check] [--trials 300] [--pairs 3]

1. Null trials (one step that returns at once) through Sweep, journal, Ray Tune and MLflow, timed until MLflow holds
   the last event; and as many through `tune.Tuner` with a class Trainable, reused actors and Tune's default loggers.
   Both in one Ray session, in alternating pairs. Not timed on either side: imports, ray.init, making folders and
   MLflow's tables, and a first small run that starts Ray's worker processes.
2. From the journalled end of a trial to the first step of the next one in the same worker: with null trials, and
   with a small network on small images.
3. How many short trials a second MLflow takes over from a journal.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segsweep.orchestrator.backends import Report, Steppable, TrialFactory, train
from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.launching.ray_session import ray_session
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    DriverStarted,
    DriverStopped,
    Journal,
    SweepCreated,
    TrialFacts,
    read_events,
)
from segsweep.orchestrator.resources.capacity import local_capacity
from segsweep.orchestrator.space.source import parse
from segsweep.orchestrator.tracking.store import check as check_store
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.orchestrator.tracking.writer import TrackingWriter, sync
from segsweep.trainables import places

RATIO_BAR = 1.2  # our time / Ray Tune's
GAP_BAR_S = 0.3  # median
SYNC_BAR = 40.0  # trials/s
SPACE = """
datasets: [{{type: streets, train: 4, val: 2}}]
models: [{{architecture: linknet, encoder: tu-mobilenetv3_small_050}}]
optimizers: [{{type: adamw, lr: {{loguniform: [1e-5, 1e-1]}}, weight_decay: 0.01}}]
searcher: random
scheduler: fifo
trials: {trials}
epochs: 1
batch_size: 2
image_size: [48, 64]
"""


@dataclass(frozen=True)
class NullReport:
    epoch: int = 1
    metrics: Mapping[str, float] = field(default_factory=lambda: {"val_miou": 0.5, "epoch_s": 0.0})
    done: bool = True
    reason: str = "epoch limit"


class NullTrial:
    facts: Mapping[str, float | str] = {"device": "none"}

    def __init__(self, assignment: Assignment) -> None:
        pass

    def step(self) -> Report:
        return NullReport()

    def close(self) -> None:
        """Nothing to release."""


class Clocked:
    """A trial whose facts also say which process runs it, and when its first step began."""

    def __init__(self, trial: Steppable) -> None:
        self._trial = trial
        self.close = trial.close
        self._first_step = 0.0

    @property
    def facts(self) -> Mapping[str, float | str]:
        return {**self._trial.facts, "pid": os.getpid(), "first_step": self._first_step}

    def step(self) -> Report:
        self._first_step = self._first_step or time.time()
        return self._trial.step()


def clocked(build: TrialFactory) -> TrialFactory:
    return lambda assignment: Clocked(build(assignment))


@contextmanager
def begun(folder: Path, trials: int, *, fsync: bool = True) -> Iterator[Sweep]:
    """A sweep with a journal, and with a new SQLite store that has its tables; done at the end."""
    uri = resolve_uri(f"sqlite:///{folder}/mlflow.db", folder)
    check_store(uri)
    text = SPACE.format(trials=trials)
    spec = check(parse(text, "benchmark.yaml")).spec
    with Journal(folder / "journal.jsonl", fsync=fsync) as journal:
        sweep = Sweep(SweepPlan.of(spec), journal)
        sweep.record(
            SweepCreated(
                sweep="benchmark",
                spec=spec.model_dump(mode="json"),
                source=text,
                provenance={},
                tracking_uri=uri,
                experiment="benchmark",
            )
        )
        sweep.record(DriverStarted(pid=os.getpid(), host="here", backend="benchmark"))
        yield sweep
        sweep.record(DriverStopped(status="done"))
        ends = [trial.status for trial in sweep.state.trials.values()]
        assert ends == ["finished"] * trials, ends


def run_sweep(folder: Path, trials: int, factory: TrialFactory) -> float:
    """Seconds from the first proposal until MLflow has every event."""
    from segsweep.orchestrator.backends.ray_tune import RayTune

    writer = TrackingWriter(folder)
    with begun(folder, trials) as sweep:
        began = time.perf_counter()
        writer.start()
        RayTune().run(sweep, factory)
    unsent = writer.close()
    took = time.perf_counter() - began
    assert unsent == 0
    return took


def run_tune(folder: Path, trials: int) -> float:
    """Seconds that Ray Tune takes by itself."""
    from ray import tune

    class Null(tune.Trainable):  # type: ignore[misc]  # ray comes without types
        def setup(self, config: dict[str, Any]) -> None:
            """Nothing to build."""

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def step(self) -> dict[str, Any]:
            return {"val_miou": 0.5, "epoch_s": 0.0, "done": True}

    tuner = tune.Tuner(
        Null,
        param_space={"lr": tune.loguniform(1e-5, 1e-1)},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder), checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False), verbose=0
        ),
    )
    began = time.perf_counter()
    results = tuner.fit()
    took = time.perf_counter() - began
    assert len(results) == trials
    assert results.num_errors == 0
    return took


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder; the environment is as before afterwards, since our backend changes Tune's settings there."""
    before = dict(os.environ)
    try:
        with tempfile.TemporaryDirectory(prefix="segsweep-benchmark-") as name:
            yield Path(name)
    finally:
        os.environ.clear()
        os.environ.update(before)


def compare(trials: int, pairs: int) -> float:
    """Print each pair; the median of their ratios."""
    sides: tuple[Callable[[Path, int], float], ...] = (run_tune, lambda folder, n: run_sweep(folder, n, NullTrial))
    for side in sides:
        with own_folder() as folder:
            side(folder, 4)
    print("not timed on either side: imports, ray.init, folders, MLflow's tables, a first run of 4 trials")
    ratios = []
    for _ in range(pairs):
        took = []
        for side in sides:
            with own_folder() as folder:
                took.append(side(folder, trials))
        plain, ours = took
        ratios.append(ours / plain)
        print(
            f"{trials} null trials: Ray Tune {plain:.2f} s ({plain / trials:.4f} s/trial), segsweep until MLflow has "
            f"the last event {ours:.2f} s ({ours / trials:.4f} s/trial), ratio {ours / plain:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} (bar: {RATIO_BAR})")
    return statistics.median(ratios)


def gaps(journal: Path) -> list[float]:
    """Seconds from the end of a trial to the first step of the next one in the same worker."""
    workers: dict[str, float | str] = {}
    ended: dict[float | str, float] = {}
    found = []
    for event, _ in read_events(journal):
        if isinstance(event, TrialFacts):
            workers[event.trial] = worker = event.facts["pid"]
            if worker in ended:
                found.append(float(event.facts["first_step"]) - ended[worker])
        elif isinstance(event, AttemptEnded):
            ended[workers[event.trial]] = event.time
    return found


def gap(what: str, factory: TrialFactory, trials: int) -> float:
    """Print and return the median."""
    with own_folder() as folder:
        run_sweep(folder, trials, clocked(factory))
        found = gaps(folder / "journal.jsonl")
    median = statistics.median(found)
    print(
        f"from the end of a trial to the first step of the next, {what}: median {median:.3f} s, slowest "
        f"{max(found):.3f} s, {len(found)} of {trials} trials in a reused worker (bar: {GAP_BAR_S} s at the median)",
        flush=True,
    )
    return median


def take_over(trials: int, epochs: int = 3) -> float:
    """Trials/s that MLflow takes from the journal of a finished sweep with as many metrics as a real one."""
    names = ("train_loss", "val_loss", "val_miou", "val_dice", "epoch_s", *(f"val_iou/class {i}" for i in range(13)))
    with own_folder() as folder:
        with begun(folder, trials, fsync=False) as sweep:
            while (assignment := sweep.next()) is not None:
                sweep.facts(assignment, {"params_m": 14.3, "gmacs": 2.1, "device": "cpu", "host": "here"})
                for epoch in range(1, epochs + 1):
                    metrics = {name: epoch + i / 100 for i, name in enumerate(names)}
                    sweep.report(assignment, epoch, metrics, "epoch limit" if epoch == epochs else "")
        began = time.perf_counter()
        events = sync(folder)
        rate = trials / (time.perf_counter() - began)
    assert events == 3 + trials * (4 + epochs)
    print(f"{trials} trials of {epochs} epochs, sent to MLflow afterwards: {rate:.0f} trials/s (bar: {SYNC_BAR:.0f})")
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bar is missed")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    trials = arguments.trials
    os.environ.update(places.variables())  # workers have another current folder
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's boxes on the terminal; the loggers stay as they are
    with own_folder() as folder, ray_session(folder, cpus=local_capacity().cpus, gpus=0):
        ratio = compare(trials, arguments.pairs)
        null = gap("null trials", NullTrial, trials)
        small = gap("linknet/tu-mobilenetv3_small_050 at 48x64", train, min(trials, 24))
    rate = take_over(trials)
    bars = {
        "ratio to Ray Tune": ratio <= RATIO_BAR,
        "pause between null trials": null < GAP_BAR_S,
        "pause between small trials": small < GAP_BAR_S,
        "trials/s to MLflow": rate >= SYNC_BAR,
    }
    missed = [name for name, held in bars.items() if not held]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    sys.exit(1 if missed and arguments.check else 0)


if __name__ == "__main__":
    main()
