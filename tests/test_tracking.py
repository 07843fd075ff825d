"""The journal in MLflow: what arrives, that nothing arrives twice, and that an outage stops nobody."""

from __future__ import annotations

import itertools
import json
import logging
import math
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from waiting import answers, wait_until

from segsweep.orchestrator.cli import cli
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.launching.ray_session import free_port
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    Cause,
    DriverStarted,
    DriverStopped,
    EndStatus,
    EpochDone,
    Journal,
    Stop,
    SweepCreated,
    SweepExtended,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.tracking import bulk, sender
from segsweep.orchestrator.tracking.ledger import Ledger
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.records import long_tags, long_text, metric_key, metric_name, trial_params
from segsweep.orchestrator.tracking.runs import Runs
from segsweep.orchestrator.tracking.store import check, connect, resolve_uri
from segsweep.orchestrator.tracking.writer import TrackingWriter, exclusive, sync
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.scoring.confusions import Confusions, load_confusions, save_confusions, sparse

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)

ODD_CLASSES = ("road", "traffic light", "Straße", "a/b", "..", "50 %", "_x2f_", "")


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


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return resolve_uri("sqlite:///mlflow.db", tmp_path)


@pytest.fixture
def recorder(tmp_path: Path, uri: str) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "sweeps" / "camvid-1", uri)
    yield recorder
    recorder.journal.close()


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


# -- what arrives ---------------------------------------------------------------------------------------------------


def test_a_sweep_is_a_parent_run_with_its_trials_as_children(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2, 0.5, 0.4])
    recorder.stop()
    assert sync(recorder.folder) == 10
    runs = runs_of(recorder.uri)
    parent, child = runs[""], runs["001"]
    assert parent.data.tags["segsweep.kind"] == "sweep"
    assert parent.data.tags["segsweep.git_commit"] == "abc"
    assert parent.data.params["versions.torch"] == "2.15"
    assert parent.info.run_name == "camvid-1"
    assert parent.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name == "unet/resnet18 dice adamw #001"
    expected = {"kind": "trial", "sweep": "camvid-1", "status": "finished", "dataset": "camvid", "encoder": "resnet18"}
    assert {key: child.data.tags[f"segsweep.{key}"] for key in expected} == expected


def test_the_parameters_of_the_contract_are_there_and_options_by_dotted_path(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    params = runs_of(recorder.uri)["001"].data.params
    contract = "dataset model architecture encoder loss optimizer lr weight_decay lr_schedule augmentation batch_size"
    assert set(f"{contract} image_size epochs seed".split()) <= params.keys()
    assert (params["lr"], params["image_size"], params["seed"]) == ("0.0001", "[96, 128]", "7")
    assert any(key.startswith("loss.") for key in params)  # a default that the YAML does not mention


def test_frozen_parts_and_settings_of_the_loop_are_parameters_where_they_are_given() -> None:
    frozen = {"type": "unet", "name": "x", "options": {"freeze": {"parts": ["encoder"], "epochs": 3}}}
    given = TrialConfig.model_validate(a_config("001").model_dump() | {"model": frozen, "clip_norm": 1.0, "ema": 0.9})
    params = trial_params(given)
    found = {
        key: params[key] for key in ("model.freeze.parts", "model.freeze.epochs", "clip_norm", "ema", "accumulation")
    }
    assert [*found.values()] == ['["encoder"]', "3", "1.0", "0.9", "1"]
    assert "steps_per_epoch" not in params


def test_metrics_have_the_epoch_as_step_and_summaries_come_from_the_best_epoch(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2, 0.5, 0.4])
    sync(recorder.folder)
    run = runs_of(recorder.uri)["001"]
    assert points_of(recorder.uri, run.info.run_id, "val_miou") == [(1, 0.2), (2, 0.5), (3, 0.4)]
    assert points_of(recorder.uri, run.info.run_id, "val_iou/road") == [(1, 0.2), (2, 0.5), (3, 0.4)]
    assert "val_iou/sky" not in run.data.metrics  # a class without a pixel
    wanted = {"best_val_miou": 0.5, "best_epoch": 2.0, "best_val_dice": 0.2, "cpu_s": 5.0, "params_m": 14.3}
    assert {key: run.data.metrics[key] for key in wanted} == pytest.approx(wanted)


def test_stopped_failed_and_infeasible_trials_tell_why(recorder: Recorder) -> None:
    recorder.create()
    stop = Stop(rung=1, value=0.1, cutoff=0.52, rank=4, of=5)
    recorder.trial("001", [0.1], "stopped", reason="rung 1: 0.1 is below the cutoff 0.52 (rank 4 of 5)", stop=stop)
    recorder.trial("002", [None], "failed", reason="val_miou is not a number in epoch 1")
    recorder.trial("003", [], "infeasible", reason="out of memory at batch 1")
    sync(recorder.folder)
    runs = runs_of(recorder.uri)
    assert [runs[trial].info.status for trial in ("001", "002", "003")] == ["FINISHED", "FAILED", "FAILED"]
    assert [runs[trial].data.tags["segsweep.status"] for trial in ("001", "002", "003")] == [
        "stopped",
        "failed",
        "infeasible",
    ]
    tags = runs["001"].data.tags
    assert "rung 1" in tags["segsweep.stop_reason"]
    wanted = {"rung": "1", "unit": "epochs", "value": "0.1", "cutoff": "0.52", "rank": "4 of 5"}
    assert {key: tags[f"segsweep.stop_{key}"] for key in wanted} == wanted
    assert math.isnan(runs["002"].data.metrics["val_miou"])
    assert "best_val_miou" not in runs["002"].data.metrics


def test_artifacts_hold_the_yaml_the_spec_and_the_plan(recorder: Recorder) -> None:
    recorder.create()
    sync(recorder.folder)
    run_id = runs_of(recorder.uri)[""].info.run_id
    folder = recorder.folder.parents[1] / "mlruns" / "segsweep" / run_id / "artifacts"
    assert (folder / "search_space.yaml").read_text(encoding="utf-8") == "datasets: [camvid]  # ünïcode\n"
    assert json.loads((folder / "spec.json").read_text()) == {"epochs": 3}
    assert json.loads((folder / "plan.json").read_text()) == {"trials": 4}


def test_an_extension_replaces_the_spec_and_the_plan(recorder: Recorder) -> None:
    recorder.create()
    sync(recorder.folder)
    recorder.journal.append(SweepExtended(spec={"epochs": 9}, change="epochs 3 -> 9", plan={"trials": 8}))
    sync(recorder.folder)
    run_id = runs_of(recorder.uri)[""].info.run_id
    folder = recorder.folder.parents[1] / "mlruns" / "segsweep" / run_id / "artifacts"
    stored = {name: json.loads((folder / name).read_text()) for name in ("spec.json", "plan.json")}
    assert stored == {"spec.json": {"epochs": 9}, "plan.json": {"trials": 8}}


def leave_confusions(recorder: Recorder, trial: str, epoch: int) -> Confusions:
    """What a worker leaves beside best.pt, and the fact that says where."""
    path = recorder.folder / "trials" / trial / "confusions.npz"
    path.parent.mkdir(parents=True)
    confusions = Confusions(("a", "b"), ("road", "sky"), epoch, (sparse(np.eye(2, dtype=np.int64)),) * 2)
    with path.open("wb") as file:
        save_confusions(file, confusions)
    recorder.journal.append(TrialFacts(trial=trial, attempt=1, facts={"confusions": str(path)}))
    return confusions


def test_the_matrices_of_the_best_epoch_are_an_artifact_of_the_trial(recorder: Recorder) -> None:
    recorder.create()
    left = {}
    for trial, epoch in (("001", 2), ("002", 1)):  # 002: killed after it wrote a better epoch that nobody heard of
        recorder.start(trial)
        left[trial] = leave_confusions(recorder, trial, epoch)
        recorder.epochs(trial, [0.4, 0.6, 0.5])
        recorder.end(trial)
    recorder.trial("003", [0.5])  # of a version that left none
    sync(recorder.folder)
    artifacts = recorder.folder.parents[1] / "mlruns" / "segsweep"
    runs = runs_of(recorder.uri)
    found = {trial: artifacts / runs[trial].info.run_id / "artifacts/confusions.npz" for trial in ("001", "002", "003")}
    assert [path.exists() for path in found.values()] == [True, False, False]
    sent = load_confusions(found["001"])
    assert (sent.ids, sent.epoch, sent.total().tolist()) == (("a", "b"), 2, left["001"].total().tolist())
    assert runs["001"].data.tags["segsweep.confusions"].endswith("001/confusions.npz")


def test_the_matrices_of_a_sweep_that_came_from_another_machine_are_found_in_its_folder(recorder: Recorder) -> None:
    recorder.create()
    recorder.start("001")
    leave_confusions(recorder, "001", 1)
    recorder.epochs("001", [0.6])
    recorder.end("001")
    moved = recorder.folder.rename(recorder.folder.with_name("moved"))
    sync(moved)
    run_id = runs_of(recorder.uri)["001"].info.run_id
    assert (moved.parents[1] / "mlruns/segsweep" / run_id / "artifacts/confusions.npz").exists()


def test_a_damaged_file_of_matrices_holds_nothing_back(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    recorder.create()
    recorder.start("001")
    leave_confusions(recorder, "001", 1)
    (recorder.folder / "trials/001/confusions.npz").write_bytes(b"half")
    recorder.epochs("001", [0.6])
    recorder.end("001")
    sync(recorder.folder)
    assert runs_of(recorder.uri)["001"].data.metrics["best_val_miou"] == 0.6
    assert "no readable confusion matrices" in caplog.text


@pytest.mark.parametrize("name", ODD_CLASSES)
def test_any_class_name_makes_a_key_that_mlflow_takes_and_that_can_be_told_back(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    key = metric_key(f"val_iou/{name}")
    _validate_metric_name(key)
    assert key.count("/") == 1
    assert metric_name(key) == f"val_iou/{name}"


def test_different_class_names_never_share_a_key() -> None:
    names = [*ODD_CLASSES, *map("".join, itertools.product("_x2f/ .", repeat=4)), "c" * 300 + "1", "c" * 300 + "2"]
    assert len({metric_key(f"val_iou/{name}") for name in names}) == len(set(names))
    assert all(len(metric_key(f"val_iou/{name}")) <= 250 for name in names)


def test_a_text_longer_than_a_tag_comes_back_whole() -> None:
    text = "0123456789" * 2_345
    assert long_text("key", long_tags("key", text)) == text
    assert long_text("key", {}) is None


# -- nothing twice --------------------------------------------------------------------------------------------------


def test_syncing_again_sends_nothing_and_changes_nothing(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2, 0.5])
    sync(recorder.folder)
    before = dump(recorder.uri)
    assert sync(recorder.folder) == 0
    assert dump(recorder.uri) == before


def test_the_sync_command_says_how_much_it_sent(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    result = CliRunner().invoke(cli, ["sync", str(recorder.folder)])
    assert result.output == "7 events sent. Next: segsweep leaderboard camvid-1\n"
    assert json.loads(CliRunner().invoke(cli, ["sync", str(recorder.folder), "--json"]).output)["sent"] == 0
    with pytest.raises(InputError, match=r"holds no journal\.jsonl"):
        sync(recorder.folder.parent)


def test_a_lost_ledger_is_rebuilt_from_the_runs_tags(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2, 0.5])
    recorder.start("002")
    recorder.epochs("002", [0.1])
    sync(recorder.folder)
    before = dump(recorder.uri)
    (recorder.folder / "tracking.json").unlink()
    sync(recorder.folder)
    assert dump(recorder.uri) == before
    recorder.epochs("002", [0.3], first=2)
    (recorder.folder / "tracking.json").unlink()
    sync(recorder.folder)
    assert points_of(recorder.uri, runs_of(recorder.uri)["002"].info.run_id, "val_miou") == [(1, 0.1), (2, 0.3)]


def test_a_resumed_trial_goes_on_in_its_run_and_redone_epochs_count_once(recorder: Recorder) -> None:
    recorder.create()
    recorder.start("001")
    recorder.epochs("001", [0.2, 0.3])
    recorder.end("001", "interrupted", "its driver died")
    sync(recorder.folder)
    first = runs_of(recorder.uri)["001"]
    assert first.info.status == "KILLED"
    recorder.drive()
    recorder.start("001", attempt=2, cause="resume")
    sync(recorder.folder)
    assert runs_of(recorder.uri)["001"].info.status == "RUNNING"
    recorder.epochs("001", [0.9], first=2, attempt=2, redone=True)
    recorder.epochs("001", [0.4], first=3, attempt=2)
    recorder.end("001", attempt=2)
    sync(recorder.folder)
    run = runs_of(recorder.uri)["001"]
    assert run.info.run_id == first.info.run_id
    assert run.info.status == "FINISHED"
    assert points_of(recorder.uri, run.info.run_id, "val_miou") == [(1, 0.2), (2, 0.3), (3, 0.4)]
    assert run.data.metrics["cpu_s"] == 8.0  # redone work costs


def test_a_stopped_trial_that_its_cell_needs_loses_its_stop_reason(recorder: Recorder) -> None:
    recorder.create()
    recorder.trial("001", [0.2], "stopped", reason="rung 1", stop=Stop(rung=1, cutoff=0.3, rank=2, of=2))
    sync(recorder.folder)
    recorder.start("001", attempt=2, cause="continue")
    recorder.epochs("001", [0.4], first=2, attempt=2)
    recorder.end("001", attempt=2)
    sync(recorder.folder)
    tags = runs_of(recorder.uri)["001"].data.tags
    assert (tags["segsweep.status"], tags["segsweep.stop_reason"], tags["segsweep.stop_rung"]) == (
        "finished",
        "epoch limit",
        "",
    )
    assert runs_of(recorder.uri)["001"].data.metrics["best_val_miou"] == 0.4


def test_sweeps_of_one_name_in_one_store_stay_apart(recorder: Recorder, tmp_path: Path) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    other = Recorder(tmp_path / "elsewhere" / "camvid-1", recorder.uri, first_s=1_800_000_000)
    other.create()
    other.trial("001", [0.3])
    other.journal.close()
    sync(other.folder)
    client = connect(recorder.uri)
    experiment = client.get_experiment_by_name("segsweep")
    runs = client.search_runs([experiment.experiment_id], "tags.`segsweep.trial_id` = '001'")
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 2
    assert len({run.data.tags["segsweep.sweep_uid"] for run in runs}) == 2


def killed_sync(folder: Path, where: str) -> None:
    """Send the journal, but die by SIGKILL at the third saved ledger, or at the fourth run of a batch."""
    calls = itertools.count(1)

    def dying_at(call: int, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: (
            os.kill(os.getpid(), signal.SIGKILL) if next(calls) == call else real(*args, **options)
        )

    sender.BATCH = 25
    if where == "runs made, ledger not written":
        Ledger.save = dying_at(3, Ledger.save)  # type: ignore[method-assign]
    else:
        bulk.insert = lambda *_: None
        Runs._update = dying_at(4, Runs._update)  # type: ignore[method-assign]
    sync(folder)


@pytest.mark.parametrize("where", ["runs made, ledger not written", "half of a batch sent"])
def test_a_writer_killed_at_the_worst_moment_leaves_nothing_double(
    recorder: Recorder, uri: str, where: str, tmp_path: Path, empty_store: Path
) -> None:
    recorder.create()
    for number in range(8):
        recorder.trial(f"{number:03d}", [0.1, 0.2 + number / 100])
    recorder.stop()
    process = multiprocessing.get_context("fork").Process(target=killed_sync, args=(recorder.folder, where))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    killed = runs_of(uri)
    assert killed  # it died after it had begun
    sync(recorder.folder)

    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    shutil.copy(empty_store, undisturbed / "mlflow.db")
    lines = (
        (recorder.folder / "journal.jsonl").read_text().replace(uri, resolve_uri("sqlite:///mlflow.db", undisturbed))
    )
    (undisturbed / "journal.jsonl").write_text(lines)
    sync(undisturbed)
    assert dump(uri) == dump(resolve_uri("sqlite:///mlflow.db", undisturbed))
    assert {run.info.run_id for run in killed.values()} <= {run.info.run_id for run in runs_of(uri).values()}


def test_runs_inserted_in_bulk_are_those_that_mlflow_writes_itself(
    recorder: Recorder, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.create()
    recorder.trial("001", [0.2, float("inf"), None])
    recorder.trial("002", [0.1], "failed", reason="x" * 9_000)
    recorder.start("003", model="m" * 300)
    sync(recorder.folder)
    plain = tmp_path / "plain"
    plain.mkdir()
    shutil.copy(empty_store, plain / "mlflow.db")
    uri = resolve_uri("sqlite:///mlflow.db", plain)
    (plain / "journal.jsonl").write_text((recorder.folder / "journal.jsonl").read_text().replace(recorder.uri, uri))
    monkeypatch.setattr("segsweep.orchestrator.tracking.bulk.insert", lambda *_: None)
    sync(plain)
    assert dump(recorder.uri) == dump(uri)
    assert _rows(recorder.uri) == _rows(uri)


def _rows(uri: str) -> dict[str, list[str]]:
    """The tables' rows without what differs from store to store."""
    differs = {"run_uuid", "artifact_uri"}
    found = {}
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        database.row_factory = sqlite3.Row
        for table in ("runs", "params", "metrics", "latest_metrics", "tags"):
            rows = [dict(row) for row in database.execute(f"select * from {table}")]
            rows = [row for row in rows if not str(row.get("key")).endswith(("parentRunId", "sweep_uid"))]
            found[table] = sorted(repr([v for k, v in row.items() if k not in differs]) for row in rows)
    return found


def test_events_that_come_while_a_batch_is_sent_wait_for_the_next_one(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    send, trials = Runs.send, itertools.count(2)

    def send_while_trials_end(*args: Any) -> None:
        recorder.trial(f"{next(trials):03d}", [0.2])
        send(*args)

    monkeypatch.setattr(Runs, "send", send_while_trials_end)
    sending = sender.Sender(recorder.folder)
    assert not sending.step()
    assert set(runs_of(recorder.uri)) == {"", "001"}
    assert not sending.step()
    assert set(runs_of(recorder.uri)) == {"", "001", "002"}


def test_events_that_come_after_a_failed_batch_are_sent_with_it(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise ConnectionError

    recorder.create()
    recorder.trial("001", [0.2])
    sending = sender.Sender(recorder.folder)
    with monkeypatch.context() as outage:
        outage.setattr(Runs, "send", down)
        with pytest.raises(ConnectionError):
            sending.step()
    recorder.trial("002", [0.2])
    while sending.step():
        pass
    assert sending.unsent == 0
    assert set(runs_of(recorder.uri)) == {"", "001", "002"}


def test_second_runs_are_looked_for_only_after_an_earlier_writer(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Runs] = []
    monkeypatch.setattr(Runs, "settle", lambda runs: looked.append(runs))
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    assert not looked
    recorder.trial("002", [0.2])
    sync(recorder.folder)
    assert len(looked) == 1
    (recorder.folder / "tracking.json").unlink()
    sync(recorder.folder)
    assert len(looked) == 2


@pytest.mark.parametrize("may_delete", [True, False])
def test_a_run_whose_making_was_given_up_and_came_through_late_is_put_aside(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, may_delete: bool
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def forbidden(*_: object) -> None:
        raise MlflowException("not yours")

    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    before, client = dump(recorder.uri), connect(recorder.uri)
    for run in runs_of(recorder.uri).values():
        client.create_run(run.info.experiment_id, run.info.start_time + 1, run.data.tags, run.info.run_name)
    if not may_delete:
        monkeypatch.setattr(MlflowClient, "delete_run", forbidden)
    sync(recorder.folder)
    trials = Reader(recorder.uri).trials()
    assert [(row.trial_id, row.value) for row in trials] == [("001", 0.2)]
    assert len(Reader(recorder.uri).sweeps()) == 1
    if may_delete:
        assert dump(recorder.uri) == before


def test_files_that_mlflow_does_not_take_hold_no_number_back_and_are_sent_later(recorder: Recorder) -> None:
    recorder.create()
    recorder.start("001")
    leave_confusions(recorder, "001", 1)
    recorder.epochs("001", [0.4])
    recorder.end("001")
    in_the_way = recorder.folder.parents[1] / "mlruns"
    in_the_way.write_text("a file where the artifacts belong")
    with pytest.raises(InputError, match="0 events and 4 files are not sent"):
        sync(recorder.folder)
    run = runs_of(recorder.uri)["001"]
    assert run.data.metrics["best_val_miou"] == 0.4
    in_the_way.unlink()
    assert sync(recorder.folder) == 0
    client = connect(recorder.uri)
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["confusions.npz"]
    assert len(client.list_artifacts(run.data.tags["mlflow.parentRunId"])) == 3


def test_a_store_that_was_replaced_gets_the_whole_sweep_again(recorder: Recorder, empty_store: Path) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    client = connect(recorder.uri)
    parent = runs_of(recorder.uri)[""].info.run_id
    for run in runs_of(recorder.uri).values():
        client.delete_run(run.info.run_id)
    recorder.trial("002", [0.3])
    sync(recorder.folder)
    runs = runs_of(recorder.uri)
    assert set(runs) == {"", "001", "002"}
    assert runs[""].info.run_id != parent


def test_a_run_that_the_user_deleted_holds_nobody_up(recorder: Recorder) -> None:
    recorder.create()
    recorder.start("001")
    sync(recorder.folder)
    connect(recorder.uri).delete_run(runs_of(recorder.uri)["001"].info.run_id)
    recorder.epochs("001", [0.2])
    recorder.end("001")
    recorder.trial("002", [0.3])
    sync(recorder.folder)
    assert set(runs_of(recorder.uri)) == {"", "002"}


# -- the thread -----------------------------------------------------------------------------------------------------


def test_a_running_writer_follows_the_journal_and_close_sends_the_rest(recorder: Recorder) -> None:
    writer = TrackingWriter(recorder.folder)
    writer.start()
    recorder.create()
    recorder.start("001")
    wait_until(lambda: "001" in runs_of(recorder.uri), "its first trial is there")
    assert runs_of(recorder.uri)["001"].data.tags["segsweep.status"] == "running"
    with pytest.raises(InputError, match="another segsweep process"):
        sync(recorder.folder)
    recorder.epochs("001", [0.2])
    recorder.end("001")
    assert writer.close(20) == 0
    assert writer.problem is None
    assert runs_of(recorder.uri)["001"].info.status == "FINISHED"


def test_an_outage_is_told_waited_out_and_made_up_for(tmp_path: Path, empty_store: Path) -> None:
    (tmp_path / "disk").write_text("a file where the store's folder belongs")
    recorder = Recorder(tmp_path / "sweep", resolve_uri("sqlite:///disk/mlflow.db", tmp_path))
    writer = TrackingWriter(recorder.folder)
    writer.start()
    recorder.create()
    recorder.trial("001", [0.2])
    wait_until(lambda: writer.problem, "a problem")
    assert "mlflow.db" in str(writer.problem)
    assert "\n" not in str(writer.problem)
    (tmp_path / "disk").unlink()
    (tmp_path / "disk").mkdir()
    shutil.copy(empty_store, tmp_path / "disk" / "mlflow.db")
    wait_until(lambda: writer.problem is None, "no problem any more")
    assert writer.close(20) == 0
    recorder.journal.close()
    assert runs_of(recorder.uri)["001"].info.status == "FINISHED"


def test_close_gives_up_in_time_and_counts_what_is_unsent(tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("a file where the store's folder belongs")
    recorder = Recorder(tmp_path / "sweep", resolve_uri("sqlite:///disk/mlflow.db", tmp_path))
    recorder.create()
    recorder.journal.close()
    writer = TrackingWriter(recorder.folder)
    writer.start()
    began = time.monotonic()
    assert writer.close(1.0) == 2
    assert time.monotonic() - began < 5


def test_only_one_may_send(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(InputError, match="another segsweep process"), exclusive(tmp_path):
        pass


# -- which store ----------------------------------------------------------------------------------------------------


def test_the_default_store_is_mlflows_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("sqlite:///runs/a.db", tmp_path) == f"sqlite:///{tmp_path}/runs/a.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert resolve_uri(None, tmp_path) == "http://mlflow:5000"
    assert resolve_uri("sqlite:////a.db", tmp_path) == "sqlite:////a.db"


def test_a_folder_with_odd_characters_holds_a_store(tmp_path: Path, empty_store: Path) -> None:
    folder = tmp_path / "my data 100%25 'q' #1?"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    recorder = Recorder(folder / "sweep", resolve_uri("sqlite:///mlflow.db", folder))
    recorder.create()
    recorder.journal.close()
    sync(recorder.folder)
    assert "" in runs_of(recorder.uri)
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlruns", "sweep"]


BAD_STORES = [
    ("http://127.0.0.1:{port}", "no MLflow server answers there"),
    ("http://nowhere.invalid:5000", "no MLflow server answers there"),
    ("http://", "has no host"),
    ("http://localhost:99999", "is no address"),
    ("file:///tmp/mlruns", "plain files"),
    ("mlruns", "plain files"),
    ("ftp://host/x", "'ftp' is no store"),
    ("sqlite:///{folder}/file/mlflow.db", r"cannot be written.*launch --set tracking\.uri=URI.*--tracking-uri URI"),
    ("sqlite:///{folder}/file", "cannot be written"),
    ("sqlite:///{folder}", "cannot be written"),
]


@pytest.mark.parametrize(("uri", "message"), BAD_STORES)
def test_a_store_that_cannot_be_used_is_refused_in_one_line(
    uri: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no database, but long enough to be read as the header of one: " * 40)
    uri = uri.format(port=free_port(), folder=tmp_path)
    began = time.monotonic()
    with pytest.raises(InputError, match=message) as caught:
        check(uri)
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)
    assert uri in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_server_that_accepts_and_never_answers_is_refused_in_time() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(InputError, match="does not answer within 1 s"):
            check(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=1.0)


class _Refusing(BaseHTTPRequestHandler):
    """An MLflow server that lets nobody in."""

    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        self.send_error(401)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def test_the_password_of_the_environment_is_used_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:s3cret@{address}")
        uri = resolve_uri(None, Path("/"))
        with pytest.raises(InputError, match="does not take this user name and password") as caught:
            check(uri)
        assert uri == f"http://ada@{address}"  # what the journal keeps: sync and resume connect with it
        assert "s3cret" not in str(caught.value)
        assert set(_Refusing.seen) == {f"Basic {b64encode(b'ada:s3cret').decode()}"}
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("command", ["leaderboard", "best"])
def test_a_password_on_the_command_line_is_refused_without_repeating_it(command: str) -> None:
    more = ["--dataset", "day"] if command == "best" else []
    result = CliRunner().invoke(cli, [command, *more, "--tracking-uri", "postgresql://ada:s3cret@db/mlflow"])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("tracking URI postgresql://ada@db/mlflow: holds a password")
    assert "MLFLOW_TRACKING_URI" in str(result.exception)


def test_a_good_store_passes_without_a_word(uri: str, capfd: pytest.CaptureFixture[str]) -> None:
    check(uri)
    assert capfd.readouterr() == ("", "")


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="segsweep launch FILE"):
        Reader(resolve_uri("sqlite:///mlflow.db", tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_package_imports_mlflow_only_when_it_is_used() -> None:
    modules = "reader, records, runs, sender, store, updates, writer"
    code = f"import sys; from segsweep.orchestrator.tracking import {modules}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- real servers ---------------------------------------------------------------------------------------------------


def serve(arguments: list[str], port: int, cwd: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "mlflow"), *arguments, "--port", str(port), "--workers", "1"]
    nowhere = subprocess.DEVNULL
    server = subprocess.Popen(command, cwd=cwd, start_new_session=True, stdout=nowhere, stderr=nowhere)
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "MLflow's server")
    return server


def kill(server: subprocess.Popen[bytes]) -> None:
    """With the processes that it started: they would go on answering."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(30)


@pytest.mark.slow
def test_plain_mlflow_ui_in_the_folder_shows_the_sweep(recorder: Recorder, tmp_path: Path) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    port = free_port()
    server = serve(["ui"], port, tmp_path)
    try:
        runs = runs_of(f"http://127.0.0.1:{port}")
        assert set(runs) == {"", "001"}
        address = f"http://127.0.0.1:{port}/get-artifact?path=search_space.yaml&run_id={runs[''].info.run_id}"
        with urllib.request.urlopen(address, timeout=10) as reply:
            assert reply.read().decode() == "datasets: [camvid]  # ünïcode\n"
    finally:
        kill(server)


@pytest.mark.slow
def test_a_server_that_goes_down_during_the_sweep_has_everything_in_the_end(tmp_path: Path) -> None:
    port = free_port()
    recorder = Recorder(tmp_path / "sweep", f"http://127.0.0.1:{port}")
    server = serve(["server"], port, tmp_path)
    check(recorder.uri)
    writer = TrackingWriter(recorder.folder)
    writer.start()
    recorder.create()
    recorder.start("001")
    recorder.epochs("001", [0.2])
    wait_until(lambda: "001" in runs_of(recorder.uri), "its first trial is there")
    kill(server)
    recorder.epochs("001", [0.3], first=2)
    recorder.end("001")
    wait_until(lambda: writer.problem, "a problem")
    server = serve(["server"], port, tmp_path)
    try:
        assert writer.close(90) == 0
        run = runs_of(recorder.uri)["001"]
        assert run.info.status == "FINISHED"
        assert points_of(recorder.uri, run.info.run_id, "val_miou") == [(1, 0.2), (2, 0.3)]
    finally:
        recorder.journal.close()
        kill(server)


def test_mlflow_keeps_quiet_while_it_is_used(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow").level == logging.CRITICAL
