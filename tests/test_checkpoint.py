"""A trial's folder survives kills, damage and attempts that should be dead."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segsweep.trainables.scoring.confusions import Confusions
from segsweep.trainables.training import checkpoint
from segsweep.trainables.training.checkpoint import Best, CheckpointError, CheckpointFolder, Last, StaleAttemptError

NO_IMAGES = Confusions((), (), 1, ())


def last(epoch: int) -> Last:
    return {
        "config": "{}",
        "history": [{"val_miou": 0.1 * e} for e in range(1, epoch + 1)],
        "model": {"weight": torch.full((100, 100), float(epoch))},
        "optimizer": {"state": {0: {"step": torch.tensor(float(epoch))}}, "param_groups": [{"lr": 0.1}]},
        "lr_schedule": {"last_epoch": epoch},
    }


def saved(folder: CheckpointFolder, epochs: int) -> CheckpointFolder:
    for epoch in range(1, epochs + 1):
        folder.save_last(last(epoch))
    return folder


def epochs_in(folder: CheckpointFolder) -> int | None:
    state = folder.load_last()
    return state and len(state["history"])


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    half = len(data) // 2
    flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
    path.write_bytes({"truncated": data[:-200], "empty": b"", "zeros": bytes(len(data)), "flipped bit": flipped}[how])


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    folder = saved(CheckpointFolder(tmp_path / "deep" / "trial 'x'", 1), 3)
    state = folder.load_last()
    assert state is not None
    assert torch.equal(state["model"]["weight"], torch.full((100, 100), 3.0))
    assert state["history"] == last(3)["history"]
    assert state["optimizer"] == {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}


def test_a_new_folder_has_nothing_to_resume(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path, 1).load_last() is None


def test_best_is_plain_data(tmp_path: Path) -> None:
    best: Best = {"config": "{}", "classes": ["a"], "epoch": 2, "metrics": {"val_miou": 0.5}, "model": {}}
    CheckpointFolder(tmp_path, 1).save_best(best, NO_IMAGES)
    assert checkpoint.load(tmp_path / "best.pt") == best


@pytest.mark.parametrize("how", ["truncated", "empty", "zeros", "flipped bit"])
def test_a_damaged_last_costs_one_epoch_and_says_so(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(CheckpointFolder(tmp_path, 1), 3)
    damage(tmp_path / "last.pt", how)
    with caplog.at_level(logging.WARNING):
        assert epochs_in(folder) == 2
    assert "last.pt: not a readable checkpoint" in caplog.text


def test_with_both_damaged_the_trial_starts_anew(tmp_path: Path) -> None:
    folder = saved(CheckpointFolder(tmp_path, 1), 2)
    damage(tmp_path / "last.pt", "truncated")
    damage(tmp_path / "last.prev.pt", "truncated")
    assert folder.load_last() is None


def test_a_kill_between_the_two_renames_costs_one_epoch(tmp_path: Path) -> None:
    folder = saved(CheckpointFolder(tmp_path, 1), 2)
    (tmp_path / "last.pt").unlink()
    assert epochs_in(folder) == 1


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model": Evil()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        checkpoint.load(tmp_path / "last.pt")
    assert not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    folder = saved(CheckpointFolder(tmp_path, 1), 1)
    unsaveable = last(2)
    unsaveable["model"] = {"weight": (x for x in "cannot be pickled")}
    with pytest.raises(TypeError, match="pickle"):
        folder.save_last(unsaveable)
    assert epochs_in(folder) == 1
    assert not list(tmp_path.glob("*.tmp"))


def test_an_older_attempt_may_not_write(tmp_path: Path) -> None:
    old = saved(CheckpointFolder(tmp_path, 1), 1)
    new = CheckpointFolder(tmp_path, 2)
    with pytest.raises(StaleAttemptError, match="attempt 2 owns this trial now; attempt 1 may no longer write"):
        old.save_last(last(9))
    with pytest.raises(StaleAttemptError):
        old.save_best({"config": "{}", "classes": [], "epoch": 9, "metrics": {}, "model": {}}, NO_IMAGES)
    assert epochs_in(new) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["attempt", "last.pt"]


def test_an_older_attempt_cannot_claim_the_folder_back(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path, 3)
    with pytest.raises(StaleAttemptError):
        CheckpointFolder(tmp_path, 2)
    assert (tmp_path / "attempt").read_text() == "3"


def test_the_same_attempt_may_come_back(tmp_path: Path) -> None:
    saved(CheckpointFolder(tmp_path, 2), 1)
    assert epochs_in(saved(CheckpointFolder(tmp_path, 2), 2)) == 2


def test_dropping_the_previous_keeps_the_last(tmp_path: Path) -> None:
    folder = saved(CheckpointFolder(tmp_path, 1), 2)
    folder.drop_previous()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["attempt", "last.pt"]
    assert epochs_in(folder) == 2


KILLED_WHILE_SAVING = """
import sys, torch
from pathlib import Path
from segsweep.trainables.training.checkpoint import CheckpointFolder

folder, epoch = CheckpointFolder(Path(sys.argv[1]), 1), 0
while True:
    epoch += 1
    model = {"w": torch.full((1000, 1000), float(epoch))}
    folder.save_last({"config": "{}", "history": [{}] * epoch, "model": model, "optimizer": {}, "lr_schedule": {}})
    print(epoch, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED_WHILE_SAVING, tmp_path], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        printed = [int(worker.stdout.readline()) for _ in range(8)][-1]
        worker.kill()
    state = CheckpointFolder(tmp_path, 2).load_last()
    assert state is not None
    epoch = len(state["history"])
    assert epoch >= printed - 1
    assert torch.equal(state["model"]["w"], torch.full((1000, 1000), float(epoch)))
    assert not list(tmp_path.glob("*.tmp"))
