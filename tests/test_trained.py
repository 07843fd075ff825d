"""RUN, as predict and others take it, to one trial's checkpoint; and the checkpoint to the network that was scored."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import JsonValue

from segsweep.orchestrator.board.trained import Where, find
from segsweep.orchestrator.errors import InputError
from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    EndStatus,
    EpochDone,
    Journal,
    SweepCreated,
    TrialCreated,
    TrialFacts,
)
from segsweep.orchestrator.tracking.reader import Reader
from segsweep.orchestrator.tracking.writer import sync
from segsweep.trainables.config import Entry, TrialConfig
from segsweep.trainables.prediction.trained_model import load_trained
from segsweep.trainables.training.checkpoint import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of MLflow

CPU = torch.device("cpu")
VALUES = {"001": ("day", "unet", 0.5), "002": ("day", "fpn", 0.7), "003": ("night", "unet", 0.9)}


def config(trial_id: str, dataset: str, model: str) -> TrialConfig:
    plain = {kind: Entry(type="t", name="t") for kind in ("loss", "optimizer", "lr_schedule", "augmentation")}
    names = {"dataset": Entry(type="streets", name=dataset), "model": Entry(type=model, name=model)}
    return TrialConfig(trial_id=trial_id, **names, **plain, epochs=1, batch_size=2, image_size=(48, 64), seed=0)


def record(folder: Path, uri: str, status: EndStatus = "finished", first_s: int = 1) -> None:
    """A sweep of three trials on two datasets; each has a best.pt (of a text)."""
    clock = itertools.count(first_s)
    made: dict[str, JsonValue] = {"host": "node7"}
    begun = SweepCreated(sweep=folder.name, spec={}, source="x", provenance=made, tracking_uri=uri, experiment="e")
    folder.mkdir(parents=True)
    with Journal(folder / "journal.jsonl", clock=lambda: float(next(clock)), fsync=False) as journal:
        journal.append(begun)
        journal.append(DriverStarted(pid=1, host="node7", backend="in_process"))
        for trial, (dataset, model, value) in VALUES.items():
            checkpoint = folder / "trials" / trial / "best.pt"
            checkpoint.parent.mkdir(parents=True)
            checkpoint.write_text(trial)
            journal.append(TrialCreated(trial=trial, config=config(trial, dataset, model), values={}))
            journal.append(AttemptStarted(trial=trial, attempt=1, cause="new"))
            journal.append(TrialFacts(trial=trial, attempt=1, facts={"checkpoint": str(checkpoint)}))
            journal.append(EpochDone(trial=trial, attempt=1, epoch=1, metrics={"val_miou": value}))
            journal.append(AttemptEnded(trial=trial, attempt=1, status=status, reason="r"))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Where:
    """`here-1` in the storage alone; `far-1`, and two that are called `twin-1`, in MLflow alone."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(empty_store, home / "mlflow.db")
    uri = f"sqlite:///{home}/mlflow.db"
    record(home / "sweeps/here-1", uri)
    for place, first_s in (("ada/far-1", 10**9), ("ada/twin-1", 10**9 + 99), ("bob/twin-1", 10**9 + 999)):
        record(home / place, uri, first_s=first_s)
        sync(home / place)
    return Where(home / "sweeps", [uri])


@pytest.mark.parametrize("sweep", ["here-1", "far-1"])
def test_a_sweep_means_its_best_finished_trial_wherever_it_is_known(where: Where, sweep: str) -> None:
    found = find(sweep, where, dataset="day")
    assert (found.trial_id, found.model, found.value) == ("002", "fpn", 0.7)
    assert found.checkpoint.read_text() == "002"
    assert find(sweep, where, dataset="day", model="unet").trial_id == "001"
    assert str(find(f"{sweep}:3", where)) == f"{sweep}:003"
    assert find(f"{sweep}:003", where).checkpoint.read_text() == "003"


def test_a_folder_a_uid_a_run_and_a_file_name_trials_too(where: Where) -> None:
    folder = where.storage / "here-1"
    assert find(str(folder), where, dataset="night").checkpoint == folder / "trials/003/best.pt"
    assert find(f"{folder}:2", where).trial_id == "002"
    far = next(row for row in Reader(where.uris[0]).trials() if (row.sweep, row.trial_id) == ("far-1", "002"))
    assert find(far.sweep_uid, where, dataset="day").run_id == far.run_id
    assert find(f"{far.sweep_uid}:1", where).trial_id == "001"
    assert str(find(f"run:{far.run_id}", where).checkpoint) == far.checkpoint
    for name in (folder / "trials/001", folder / "trials/001/best.pt"):
        assert find(str(name), where).checkpoint == folder / "trials/001/best.pt"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("here-1", "--dataset: has to name one of several: day, night"),
        (
            "here-2",
            r"RUN here-2: no sweep .* in .*/sweeps or MLflow \(sqlite:.*\)\. Did you mean 'here-1'\? There are: far",
        ),
        ("far-2", r"RUN far-2: .* Did you mean 'far-1'\? There are: far-1, here-1, twin-1"),
        ("twin-1", r"SWEEP twin-1: 2 sweeps have this name; give the uid of one: .* on node7"),
        ("here-1:7", "RUN here-1:7: the sweep has no trial '7'; it has 001 to 003"),
        ("run:0000", "no run of a trial '0000' in sqlite"),
        ("nowhere/best.pt", "RUN nowhere/best.pt: there is no checkpoint nowhere/best.pt"),
    ],
)
def test_what_names_no_trial_is_answered_with_what_there_is(where: Where, run: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find(run, where)
    assert len(caught.value.mistakes) == 1


def test_a_name_of_another_dataset_or_model_is_refused(where: Where) -> None:
    with pytest.raises(InputError, match=r"--dataset dax: is not known\. Did you mean 'day'"):
        find("here-1", where, dataset="dax")
    with pytest.raises(InputError, match=r"--model fnp: is not known\. Did you mean 'fpn'"):
        find("here-1", where, dataset="day", model="fnp")


def test_a_sweep_without_a_finished_trial_or_whose_checkpoint_is_gone_says_so(tmp_path: Path) -> None:
    record(tmp_path / "stopped-1", "sqlite:///x.db", status="stopped")
    where = Where(tmp_path)
    with pytest.raises(InputError, match=r"--dataset day: no trial has finished there with a val_miou yet \(2 stopped"):
        find("stopped-1", where, dataset="day")
    assert find("stopped-1:001", where).status == "stopped"  # who asks for it gets it
    (tmp_path / "stopped-1/trials/001/best.pt").unlink()
    with pytest.raises(InputError, match=r"RUN stopped-1:001: there is no checkpoint .*001/best\.pt; if another"):
        find("stopped-1:001", where)


@pytest.mark.parametrize("content", [{"model": {}}, {"config": "{}", "classes": [], "model": {}}])
def test_files_that_are_no_checkpoints_of_trials_are_named(tmp_path: Path, content: dict[str, object]) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt: is no best\.pt, or one of another version of segsweep"):
        load_trained(tmp_path / "x.pt", CPU)
