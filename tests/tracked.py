"""Journals of sweeps that nobody ran, and what MLflow has of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    Cause,
    DriverStarted,
    DriverStopped,
    EndStatus,
    EpochDone,
    Journal,
    SweepCreated,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.tracking.store import connect
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.scoring.confusions import Confusions, save_confusions, sparse


class Recorder:
    """Writes a sweep's journal with events as the driver makes them, one second apart."""

    def __init__(self, folder: Path, uri: str, name: str = "camvid-1", first_s: int = 1_700_000_000) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.uri, self.name = folder, uri, name
        clock = itertools.count(first_s)
        self.journal = Journal(folder / "journal.jsonl", clock=lambda: float(next(clock)), fsync=False)

    def create(self) -> None:
        self.journal.append(
            SweepCreated(
                sweep=self.name,
                spec={"epochs": 3},
                source="datasets: [camvid]  # ünïcode\n",
                plan={"trials": 4},
                provenance={"version": "0.1.0", "git_commit": "abc", "versions": {"torch": "2.15"}},
                tracking_uri=self.uri,
                experiment="segsweep",
            )
        )
        self.drive()

    def drive(self) -> None:
        self.journal.append(DriverStarted(pid=1, host="here", backend="in_process"))

    def start(self, trial: str, attempt: int = 1, cause: Cause = "new", model: str = "unet/resnet18") -> None:
        if attempt == 1:
            self.journal.append(TrialCreated(trial=trial, config=a_config(trial, model), values={}))
        self.journal.append(AttemptStarted(trial=trial, attempt=attempt, cause=cause))
        facts: dict[str, float | str] = {"params_m": 14.3, "gmacs": 2.1, "device": "cpu", "checkpoint": f"t/{trial}"}
        self.journal.append(TrialFacts(trial=trial, attempt=attempt, facts=facts))

    def epochs(self, trial: str, values: list[float | None], first: int = 1, attempt: int = 1, **more: Any) -> None:
        for epoch, value in enumerate(values, first):
            metrics = {"val_miou": value, "train_loss": 1 / epoch, "epoch_s": 2.0, "val_iou/road": value}
            metrics |= {"val_iou/sky": None, "val_dice": epoch / 10}
            self.journal.append(EpochDone(trial=trial, attempt=attempt, epoch=epoch, metrics=metrics, **more))

    def end(self, trial: str, status: EndStatus = "finished", reason: str = "epoch limit", **more: Any) -> None:
        self.journal.append(AttemptEnded(trial=trial, status=status, reason=reason, **{"attempt": 1, **more}))

    def trial(self, trial: str, values: list[float | None], status: EndStatus = "finished", **more: Any) -> None:
        self.start(trial)
        self.epochs(trial, values)
        self.end(trial, status, **more)

    def stop(self) -> None:
        self.journal.append(DriverStopped(status="done"))


def a_config(trial: str, model: str = "unet/resnet18") -> TrialConfig:
    return TrialConfig(
        trial_id=trial,
        dataset=Entry(type="camvid", name="camvid"),
        model=Entry(type="unet", name=model, options={"encoder": "resnet18"}),
        loss=Entry(type="dice", name="dice"),
        optimizer=Entry(type="adamw", name="adamw", options={"lr": 1e-4, "weight_decay": 0.01}),
        lr_schedule=Entry(type="poly", name="poly"),
        augmentation=Entry(type="light", name="light"),
        epochs=3,
        batch_size=8,
        image_size=(96, 128),
        seed=7,
    )


def runs_of(uri: str) -> dict[str, Any]:
    """All runs by trial id; the sweep's own as "". Fails if a trial has two."""
    client = connect(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    by_trial = {run.data.tags.get("segsweep.trial_id", ""): run for run in runs}
    assert len(by_trial) == len(runs)
    return by_trial


def points_of(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in connect(uri).get_metric_history(run_id, key))


def dump(uri: str) -> dict[str, Any]:
    """Everything that users can see in a store, run ids aside."""
    found: dict[str, Any] = {}
    for trial, run in sorted(runs_of(uri).items()):
        tags = {k: v for k, v in run.data.tags.items() if not k.endswith(("parentRunId", "sweep_uid"))}
        points = {key: points_of(uri, run.info.run_id, key) for key in sorted(run.data.metrics)}
        info = (run.info.status, run.info.start_time, run.info.end_time, run.info.run_name, run.info.user_id)
        found[trial] = (info, tags, run.data.params, {k: repr(v) for k, v in run.data.metrics.items()}, repr(points))
    return found


def leave_confusions(recorder: Recorder, trial: str, epoch: int) -> Confusions:
    """What a worker leaves beside best.pt, and the fact that says where."""
    path = recorder.folder / "trials" / trial / "confusions.npz"
    path.parent.mkdir(parents=True)
    confusions = Confusions(("a", "b"), ("road", "sky"), epoch, (sparse(np.eye(2, dtype=np.int64)),) * 2)
    with path.open("wb") as file:
        save_confusions(file, confusions)
    recorder.journal.append(TrialFacts(trial=trial, attempt=1, facts={"confusions": str(path)}))
    return confusions
