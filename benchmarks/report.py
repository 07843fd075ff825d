"""How long `segsweep report` takes for a large sweep, and how large its page is.

    python benchmarks/report.py [--check] [--trials 1000]

A journal of made-up trials (2 datasets, 5 models, 19 classes, up to 30 epochs, stopped at rungs as ASHA does), its best
trials with confusion matrices of 500 images. Timed in a process of its own, from the command line to the file.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.planning.plan import Combination, SweepPlan
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    DriverStopped,
    EpochDone,
    Event,
    Journal,
    Stop,
    SweepCreated,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import best_of
from segsweep.orchestrator.space.source import parse
from segsweep.trainables.scoring.confusions import Confusions, save_confusions, sparse

SECONDS_BAR, MEGABYTES_BAR = 20.0, 15.0
EPOCHS, CLASSES, IMAGES = 30, 19, 500
RUNGS = (1, 3, 9)
SPACE = f"""
datasets: [{{type: streets, name: day}}, {{type: streets, name: night, variant: night}}]
models: [unet, fpn, linknet, segformer, deeplabv3plus]
optimizers: [{{type: adamw, lr: {{loguniform: [1e-5, 1e-1]}}, weight_decay: {{loguniform: [1e-4, 1e-1]}}}}]
searcher: random
trials: 1
epochs: {EPOCHS}
image_size: [64, 64]
"""


def events(plan: SweepPlan, trials: int) -> Iterator[Event]:
    rng = random.Random(0)
    yield DriverStarted(pid=1, host="here", backend="none")
    for number in range(1, trials + 1):
        yield from trial_events(f"{number:03}", plan.combinations[number % len(plan.combinations)], rng)
    yield DriverStopped(status="done")


def trial_events(id_: str, combination: Combination, rng: random.Random) -> Iterator[Event]:
    lr, decay = 10 ** rng.uniform(-5, -1), 10 ** rng.uniform(-4, -1)
    values = {"optimizer.lr": lr, "optimizer.weight_decay": decay}
    config = combination.config(id_, values)
    skill = 0.8 - 0.1 * abs(np.log10(lr) + 3) + rng.gauss(0, 0.02)
    epochs = rng.choice([*RUNGS, *RUNGS, EPOCHS])
    yield TrialCreated(trial=id_, config=config, values=values)
    yield AttemptStarted(trial=id_, attempt=1, cause="new")
    facts = {"params_m": 1.0 + len(config.model.name), "latency_ms": 10.0, "device": "cpu", "cpus": 1.0}
    yield TrialFacts(trial=id_, attempt=1, facts=facts)
    for epoch in range(1, epochs + 1):
        value = max(0.0, skill * (1 - 0.85**epoch) + rng.gauss(0, 0.005))
        ious = {f"val_iou/class {n}": value * (0.5 + n / CLASSES / 2) for n in range(CLASSES)}
        yield EpochDone(trial=id_, attempt=1, epoch=epoch, metrics={"val_miou": value, "epoch_s": 9.0, **ious})
    if epochs == EPOCHS:
        yield AttemptEnded(trial=id_, attempt=1, status="finished", reason="epoch limit")
    else:
        stop = Stop(rung=epochs, cutoff=0.5, rank=3, of=4)
        yield AttemptEnded(trial=id_, attempt=1, status="stopped", reason="rung", stop=stop)


def write(folder: Path, trials: int) -> None:
    spec = check(parse(SPACE, "benchmark.yaml")).spec
    created = SweepCreated(
        sweep="benchmark",
        spec=spec.model_dump(mode="json"),
        source=SPACE,
        provenance={"version": "0"},
        tracking_uri="",
        experiment="",
    )
    with Journal(folder / "journal.jsonl", fsync=False) as journal, journal.together():
        for event in (created, *events(SweepPlan.of(spec), trials)):
            journal.append(event)
    write_matrices(folder)


def write_matrices(folder: Path) -> None:
    """Of the best trial of each cell."""
    rng, names = np.random.default_rng(0), tuple(f"class {n}" for n in range(CLASSES))
    matrices = tuple(
        sparse(rng.integers(0, 99, (CLASSES, CLASSES)) + 900 * np.eye(CLASSES, dtype=int)) for _ in range(IMAGES)
    )
    confusions = Confusions(tuple(map(str, range(IMAGES))), names, 1, matrices)
    state = SweepState.load(folder / "journal.jsonl")
    for cell in {trial.cell for trial in state.searched}:
        best = best_of([trial for trial in state.cell(cell) if trial.status == "finished"])
        path = folder / "trials" / best.id / "confusions.npz"
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            save_confusions(file, confusions)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="fail if a bar is missed")
    parser.add_argument("--trials", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, page = Path(scratch), Path(scratch, "report.html")
        write(folder, asked.trials)
        command = [sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()", "report", str(folder)]
        began = time.perf_counter()
        subprocess.run([*command, "-o", str(page), "--no-mlflow"], check=True)
        seconds, megabytes = time.perf_counter() - began, page.stat().st_size / 1e6
    bars = f"at most {SECONDS_BAR:g} s and {MEGABYTES_BAR:g} MB"
    print(f"{asked.trials} trials: {seconds:.1f} s, {megabytes:.1f} MB ({bars})")
    if asked.check and (seconds > SECONDS_BAR or megabytes > MEGABYTES_BAR):
        sys.exit("missed")


if __name__ == "__main__":
    main()
