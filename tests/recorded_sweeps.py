"""Sweeps with given values in a store, and rows of a board: what nobody has to train for."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    EndStatus,
    EpochDone,
    Event,
    Journal,
    SweepCreated,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.tracking.reader import TrialRow
from segsweep.orchestrator.tracking.writer import sync
from segsweep.trainables.config import Entry, TrialConfig


def row(model: str, dataset: str, value: float | None, status: str = "finished", **more: Any) -> TrialRow:
    known = {
        "sweep": "s-1",
        "sweep_uid": "u" * 12,
        "data_fingerprint": "",
        "trial_id": "001",
        "run_id": "r" * 32,
        "architecture": model.partition("/")[0],
        "encoder": model.partition("/")[2],
        "stop_reason": "",
        "best_epoch": 3,
        "params_m": 14.3,
        "gmacs": 2.0,
        "gpu_s": 0.0,
        "cpu_s": 60.0,
        "checkpoint": "",
        "metrics": {"val_miou": 0.0},
    }
    return TrialRow(model=model, dataset=dataset, value=value, status=status, **{**known, **more})


ROWS = [
    row("unet/resnet18", "camvid", 0.61),
    row("unet/resnet18", "camvid", 0.99, "stopped"),
    row("unet/resnet18", "camvid", None, "failed"),
    row("unet/resnet18", "streets", 0.70),
    row("fpn/resnet18", "camvid", 0.55, params_m=13.0, cpu_s=10.0),
    row("fpn/resnet18", "camvid", 0.64, params_m=13.0, cpu_s=10.0),
    row("fpn/resnet18", "streets", None, "failed", params_m=13.0, cpu_s=1.0),
    row("fpn/resnet18", "streets", None, "infeasible", params_m=13.0, cpu_s=1.0),
    row("segformer/b0", "camvid", 0.58, params_m=3.7, cpu_s=500.0),
    row("segformer/b0", "streets", 0.75, params_m=3.7, cpu_s=500.0),
]


def a_config(trial: str, dataset: str, model: str, **more: Any) -> TrialConfig:
    plain = {
        "trial_id": trial,
        "dataset": Entry(type="streets", name=dataset, options={"seed": 3} if dataset == "night" else {}),
        "model": Entry(type=model, name=f"{model}/resnet18", options={"encoder": "resnet18"}),
        "loss": Entry(type="dice", name="dice"),
        "optimizer": Entry(type="adamw", name="adamw", options={"lr": 1e-5, "weight_decay": 0.01}),
        "lr_schedule": Entry(type="poly", name="poly"),
        "augmentation": Entry(type="light", name="light"),
        "epochs": 2,
        "batch_size": 4,
        "image_size": (96, 128),
        "seed": 7,
    }
    return TrialConfig(**{**plain, **more})


def record(
    folder: Path,
    uri: str,
    trials: list[tuple[TrialConfig, list[float], EndStatus]],
    *,
    first_s: int = 1_700_000_000,
    host: str = "here",
    data: str = "d" * 16,
) -> None:
    """A sweep whose trials report the given val_miou, epoch by epoch; val_dice falls while it rises."""
    folder.mkdir(parents=True)
    clock = itertools.count(first_s, 15)  # seconds from event to event
    with Journal(folder / "journal.jsonl", clock=lambda: float(next(clock)), fsync=False) as journal:
        source = f"# {folder.name}\n"
        created = SweepCreated(
            sweep=folder.name,
            spec={},
            source=source,
            provenance={"host": host},
            tracking_uri=uri,
            experiment="segsweep",
        )
        journal.append(created)
        journal.append(DriverStarted(pid=1, host="here", backend="in_process"))
        for config, values, status in trials:
            trial = config.trial_id
            journal.append(TrialCreated(trial=trial, config=config, values={}))
            journal.append(AttemptStarted(trial=trial, attempt=1, cause="new"))
            facts: dict[str, float | str] = {"params_m": 14.3, "device": "cpu", "checkpoint": f"trials/{trial}"}
            facts["data_fingerprint"] = data
            journal.append(TrialFacts(trial=trial, attempt=1, facts=facts))
            for epoch, value in enumerate(values, 1):
                metrics = {"val_miou": value, "val_dice": 1 - value, "val_iou/car": value / 2, "epoch_s": 30.0}
                journal.append(EpochDone(trial=trial, attempt=1, epoch=epoch, metrics=metrics))
            journal.append(AttemptEnded(trial=trial, attempt=1, status=status, reason="because"))
    sync(folder)


def go_on(folder: Path, at_s: float, *events: Event) -> None:
    """Append to a sweep's journal, a second apart, and send that."""
    times = iter(range(len(events)))
    with Journal(folder / "journal.jsonl", clock=lambda: at_s + next(times), fsync=False) as journal:
        for event in events:
            journal.append(event)
    sync(folder)
