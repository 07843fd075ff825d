"""The journal in MLflow: what arrives, and that an outage stops nobody."""

from __future__ import annotations

import itertools
import json
import logging
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tracked import Recorder, a_config, leave_confusions, points_of, runs_of
from waiting import wait_until

from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.record.journal import Stop, SweepExtended
from segsweep.orchestrator.tracking.records import long_tags, long_text, metric_key, metric_name, trial_params
from segsweep.orchestrator.tracking.store import resolve_uri
from segsweep.orchestrator.tracking.writer import TrackingWriter, exclusive, sync
from segsweep.trainables.config import TrialConfig
from segsweep.trainables.scoring.confusions import load_confusions

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)

ODD_CLASSES = ("road", "traffic light", "Straße", "a/b", "..", "50 %", "_x2f_", "")


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


# -- MLflow itself --------------------------------------------------------------------------------------------------


def test_the_package_imports_mlflow_only_when_it_is_used() -> None:
    modules = "reader, records, runs, sender, store, updates, writer"
    code = f"import sys; from segsweep.orchestrator.tracking import {modules}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mlflow_keeps_quiet_while_it_is_used(recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    recorder.create()
    recorder.trial("001", [0.2])
    sync(recorder.folder)
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow").level == logging.CRITICAL
