"""How many short trials a second MLflow takes over from a journal: `python benchmarks/tracking.py [--trials 300]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from segsweep.orchestrator.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    EpochDone,
    Journal,
    SweepCreated,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.tracking.store import check, resolve_uri
from segsweep.orchestrator.tracking.writer import sync
from segsweep.trainables.config import Entry, TrialConfig

BAR = 40  # trials/s, on SQLite
CLASSES = ("road", "building", "sky", "tree", "car", "person", "sign", "pole")
SCORES = ("train_loss", "val_loss", "val_miou", "val_pixel_accuracy", "val_mean_accuracy", "val_fwiou", "val_dice")
SPEEDS = ("images_per_second", "epoch_s", "peak_memory_gib")


def config(trial: str) -> TrialConfig:
    entries = {kind: Entry(type=kind, name=kind, options={"a": 1, "b": 0.5}) for kind in ("loss", "lr_schedule")}
    return TrialConfig(
        trial_id=trial,
        dataset=Entry(type="streets", name="streets"),
        model=Entry(type="unet", name="unet/resnet18", options={"encoder": "resnet18"}),
        optimizer=Entry(type="adamw", name="adamw", options={"lr": 1e-3, "weight_decay": 1e-4}),
        augmentation=Entry(type="light", name="light"),
        epochs=3,
        batch_size=8,
        image_size=(96, 128),
        seed=0,
        **entries,
    )


def write_journal(folder: Path, uri: str, trials: int, epochs: int) -> int:
    """A finished sweep of null trials, without fsync: only MLflow is timed. The number of events."""
    with Journal(folder / "journal.jsonl", fsync=False) as journal:
        journal.append(
            SweepCreated(sweep="bench", spec={}, source="x: 1\n", provenance={}, tracking_uri=uri, experiment="bench")
        )
        journal.append(DriverStarted(pid=1, host="here", backend="none"))
        for number in range(trials):
            trial = f"{number:03d}"
            journal.append(TrialCreated(trial=trial, combination=0, config=config(trial), values={}))
            journal.append(AttemptStarted(trial=trial, attempt=1, cause="new"))
            facts = {"params_m": 14.3, "gmacs": 2.1, "device": "cpu", "host": "here", "checkpoint": f"trials/{trial}"}
            journal.append(TrialFacts(trial=trial, attempt=1, facts=facts))
            for epoch in range(1, epochs + 1):
                names = (*SCORES, *SPEEDS, *(f"val_iou/{name}" for name in CLASSES))
                metrics: dict[str, float | None] = {name: epoch + i / 100 for i, name in enumerate(names)}
                journal.append(EpochDone(trial=trial, attempt=1, epoch=epoch, metrics=metrics))
            journal.append(AttemptEnded(trial=trial, attempt=1, status="finished", reason="epoch limit"))
    return 2 + trials * (4 + epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--uri", help="an MLflow store; a fresh SQLite file if there is none")
    parser.add_argument("--check", action="store_true", help=f"exit 1 below {BAR} trials/s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        uri = resolve_uri(options.uri, Path(name))
        check(uri)
        events = write_journal(Path(name), uri, options.trials, options.epochs)
        wall, cpu = time.perf_counter(), time.process_time()
        sent = sync(Path(name))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert sent == events
    print(
        f"{options.trials} trials of {options.epochs} epochs, {events} events: {wall:.2f} s, {cpu:.2f} s of CPU, "
        f"{options.trials / wall:.0f} trials/s (bar: {BAR})"
    )
    if options.check and options.trials / wall < BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
