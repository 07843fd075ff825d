"""Storage that is full or away for a while: what was there stays, nothing is lost, nothing is written twice."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from scripted import plan_of, scripted
from waiting import wait_until

from segsweep.orchestrator.backends import Backend
from segsweep.orchestrator.backends.in_process import InProcess
from segsweep.orchestrator.backends.simulated import Simulated
from segsweep.orchestrator.driving.assignment import Assignment
from segsweep.orchestrator.driving.sweep import Sweep
from segsweep.orchestrator.launching.launch import exit_code
from segsweep.orchestrator.record.journal import DriverStarted, EpochDone, Journal, JournalError, read_events
from segsweep.trainables import storage
from segsweep.trainables.storage import StorageError, patiently
from segsweep.trainables.training.checkpoint import CheckpointFolder, Last

SPACE = """
datasets: [{type: streets, name: day}]
models: [{architecture: unet, encoder: resnet18}]
trials: 3
epochs: 3
image_size: [48, 80]
scheduler: fifo
"""
SMALL, LARGE = 10_000, 500_000  # weights


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRIES_EVERY_S", 0.02)
    monkeypatch.setattr(storage, "PATIENCE_S", 5.0)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The kernel lets no file of this process grow beyond that: what a quota does, for everybody to try."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted")
    yield disk
    subprocess.run(["umount", disk], check=True)


@contextmanager
def away(folder: Path, seconds: float) -> Iterator[None]:
    """`folder` is gone at first and comes back after a while."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    back = threading.Timer(seconds, lambda: elsewhere.rename(folder))
    back.start()
    yield
    back.join()


def last(epoch: int, weights: int = SMALL) -> Last:
    return {
        "config": "{}",
        "history": [{}] * epoch,
        "model": {"weight": torch.full((weights,), float(epoch))},
        "optimizer": {},
        "lr_schedule": {},
    }


def epochs_in(path: Path) -> int:
    state = CheckpointFolder(path, 9).load_last()
    assert state is not None
    return len(state["history"])


def started(pid: int) -> DriverStarted:
    return DriverStarted(pid=pid, host="h", backend="in_process")


def pids(journal: Path) -> list[int]:
    return [event.pid for event, _ in read_events(journal) if isinstance(event, DriverStarted)]


# -- full ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_finds_no_room_leaves_the_earlier_one_and_says_how_much_it_needs(small_disk: Path) -> None:
    folder = CheckpointFolder(small_disk / "001", 1)
    folder.save_last(last(1))
    with pytest.raises(StorageError) as full:
        folder.save_last(last(2, LARGE))
    before, _, after = str(full.value).partition("1.91 MiB needed, ")
    assert before == f"{small_disk}/001/last.pt: No space left on device: "
    assert 0.9 < float(after.removesuffix(" MiB free there; make room, then resume")) < 1.0
    assert sorted(path.name for path in folder.path.iterdir()) == ["attempt", "last.pt"]
    assert epochs_in(folder.path) == 1


def test_a_limit_on_files_is_a_full_disk_too(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "001", 1)
    folder.save_last(last(1))
    with files_up_to(100_000), pytest.raises(StorageError, match=r"File too large: 1\.91 MiB needed, .* free there"):
        folder.save_last(last(2, LARGE))
    assert epochs_in(folder.path) == 1


def test_a_journal_without_room_ends_at_its_last_whole_event_and_goes_on_later(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:

        def fill() -> None:
            for pid in range(100):
                with journal.together():
                    journal.append(started(pid))
                    journal.append(started(pid))

        with files_up_to(1000), pytest.raises(StorageError, match=r"journal\.jsonl: File too large: .* free there"):
            fill()
        written = pids(path)
        assert 4 < len(written) < 20
        assert path.read_bytes().endswith(b"}\n")
        with pytest.raises(StorageError):
            journal.append(started(999))  # nothing may follow what is missing
    with Journal(path) as journal:
        journal.append(started(1000))
    assert pids(path) == [*written, 1000]


def without_room(assignment: Assignment, epoch: int) -> None:
    if assignment.trial == "002" and epoch == 2 and assignment.attempt == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/images")


@pytest.mark.parametrize("backend", [InProcess(), Simulated(workers=2)], ids=["in_process", "simulated"])
def test_a_full_disk_ends_the_sweep_and_blames_no_configuration(backend: Backend, tmp_path: Path) -> None:
    plan = plan_of(SPACE)
    for code, status in ((130, "interrupted"), (0, "finished")):
        with Journal(tmp_path / "journal.jsonl", fsync=False) as journal:
            sweep = Sweep(plan, journal)
            backend.run(sweep, scripted(without_room))
        assert exit_code(sweep) == code
        assert sweep.state.trials["002"].status == status
        assert not any(trial.failures for trial in sweep.state.trials.values())
        if sweep.halted is not None:
            assert "No space left on device: '/cache/images'" in sweep.halted.reason


# -- away ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_waits_for_its_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = CheckpointFolder(tmp_path / "sweep" / "001", 1)
    folder.save_last(last(1))
    with away(tmp_path / "sweep", 0.2):
        folder.save_last(last(2))
    assert epochs_in(folder.path) == 2
    assert "last.pt: No such file or directory; trying again for " in caplog.text


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_that_is_away_is_not_taken_for_none(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "sweep" / "001", 1)
    folder.save_last(last(1))
    with away(tmp_path / "sweep", 0.2):
        state = folder.load_last()
    assert state is not None


@pytest.mark.usefixtures("quick")
def test_storage_that_stays_away_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE_S", 0.1)
    folder = CheckpointFolder(tmp_path / "001", 1)
    shutil.rmtree(tmp_path / "001")
    with pytest.raises(StorageError, match=r"last\.pt: No such file or directory, for 0 s; bring it back, then resume"):
        folder.save_last(last(1))
    assert not (tmp_path / "001").exists()


def test_other_errors_are_not_waited_for(tmp_path: Path) -> None:
    calls = list[int]()

    def refuse() -> None:
        calls.append(1)
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        patiently(refuse, tmp_path)
    assert calls == [1]


class Failing:
    """fsync that fails with EIO a few times, as that of a server that restarts; the system drops what was written."""

    def __init__(self, times: int, drop: Callable[[], object]) -> None:
        self.times, self._drop, self._real = times, drop, os.fsync

    def __call__(self, descriptor: int) -> None:
        if self.times:
            self.times -= 1
            self._drop()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real(descriptor)


@pytest.mark.usefixtures("quick")
def test_a_journal_writes_again_what_storage_has_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sweep" / "journal.jsonl"
    path.parent.mkdir()
    with Journal(path) as journal:
        journal.append(started(1))
        size = path.stat().st_size
        failing = Failing(3, lambda: os.truncate(path, size + 7))  # a torn line, and another lost
        monkeypatch.setattr(os, "fsync", failing)
        with journal.together():
            journal.append(started(2))
            journal.append(started(3))
        assert failing.times == 0
        with pytest.raises(JournalError, match="another segsweep process"):
            Journal(path)  # it is locked as before
        journal.append(started(4))
    assert pids(path) == [1, 2, 3, 4]


@pytest.mark.usefixtures("quick")
def test_a_journal_follows_its_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sweep" / "journal.jsonl"
    path.parent.mkdir()
    with Journal(path) as journal:
        journal.append(started(1))
        monkeypatch.setattr(os, "fsync", Failing(1, lambda: None))
        with away(path.parent, 0.2):
            journal.append(started(2))
        journal.append(started(3))
    assert pids(path) == [1, 2, 3]


@pytest.mark.usefixtures("quick")
def test_a_journal_that_somebody_else_took_meanwhile_is_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(started(1))
        copy = path.read_bytes()

        def take_over() -> None:
            """As on another machine, whose lock the server gave back too."""
            path.unlink()
            path.write_bytes(copy + b"{}\n" * 99)

        monkeypatch.setattr(os, "fsync", Failing(1, take_over))
        for _ in range(2):
            with pytest.raises(JournalError, match="another segsweep process runs this sweep"):
                journal.append(started(2))
    assert path.read_bytes() == copy + b"{}\n" * 99


# -- clocks -------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_moves_no_time_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = journal.append(started(1)).time
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        second = journal.append(started(2)).time
    assert abs(first - real()) < 60
    assert 0 <= second - first < 60


def test_no_cost_falls_and_no_time_runs_backwards_where_a_clock_was_set_back(tmp_path: Path) -> None:
    """A journal as an earlier version wrote it: by the machine's clock."""
    times = iter([1000.0, 1000.0, 1000.0, 1100.0, 400.0, 450.0, 450.0])
    plan = plan_of(SPACE + "budget: {wall_hours: 1}")
    with Journal(tmp_path / "journal.jsonl", clock=lambda: next(times), fsync=False) as journal:
        sweep = Sweep(plan, journal)
        sweep.record(started(1))
        assignment = sweep.next()
        assert assignment is not None
        trial = sweep.state.trials[assignment.trial]
        for epoch, seconds in ((1, 100.0), (2, 100.0), (3, 100.0)):
            sweep.report(assignment, epoch, {"val_miou": 0.1 * epoch})
            assert trial.seconds == seconds
            assert sweep.state.seconds[trial.cell] == seconds
        assert sweep.state.wall_s == 150.0
        assert sweep.spending.overrun(0.0) == ""
        assert "1 hours" in sweep.spending.overrun(450.0 + 3450.0)


# -- real drivers -------------------------------------------------------------------------------------------------

TINY = """
datasets: [{type: streets, train: 16, val: 8, test: 8}]
models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050}]
trials: 2
epochs: 6
image_size: [48, 80]
scheduler: fifo
"""


@contextmanager
def segsweep(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()", *arguments]
    environment = {**os.environ, "SEGSWEEP_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def epochs(journal: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for event, _ in read_events(journal) if journal.exists() else ():
        if isinstance(event, EpochDone):
            found.setdefault(event.trial, []).append(event.epoch)
    return found


@pytest.mark.drill
@pytest.mark.slow
def test_a_sweep_survives_the_loss_of_its_folder_for_some_seconds(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    sweep = tmp_path / "sweeps" / "tiny-1"
    with segsweep(tmp_path, "launch", "tiny.yaml", "--in-process") as driver:
        wait_until(lambda: epochs(sweep / "journal.jsonl"), "an epoch")
        with away(tmp_path / "sweeps", 5.0):
            pass
        _, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    assert "No such file or directory; trying again for " in err
    assert epochs(sweep / "journal.jsonl") == {"001": [1, 2, 3, 4, 5, 6], "002": [1, 2, 3, 4, 5, 6]}
    assert json.loads((sweep / "tracking.json").read_text())["offset"] == (sweep / "journal.jsonl").stat().st_size


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_ends_on_a_full_disk_and_goes_on_once_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    remount = ["mount", "-o", "remount,size={}", str(small_disk)]
    subprocess.run([part.format("14m") for part in remount], check=True)
    with segsweep(tmp_path, "launch", "tiny.yaml", "--storage", str(small_disk)) as driver:
        _, err = driver.communicate(timeout=200)
    assert driver.returncode == 130, err
    assert "No space left on device: " in err.splitlines()[-1]
    before = epochs(small_disk / "tiny-1" / "journal.jsonl")
    subprocess.run([part.format("200m") for part in remount], check=True)
    with segsweep(tmp_path, "resume", "--in-process", "--storage", str(small_disk)) as driver:
        _, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    assert before
    assert epochs(small_disk / "tiny-1" / "journal.jsonl") == {"001": [1, 2, 3, 4, 5, 6], "002": [1, 2, 3, 4, 5, 6]}
