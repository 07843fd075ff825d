"""Kill -9 of a worker and of the driver while a real sweep trains on Ray: nothing is lost, nothing counted twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hosts import descendants
from mlflow_books import check_books
from waiting import wait_until

from segsweep.orchestrator.record.journal import (
    AttemptEnded,
    AttemptStarted,
    DriverStarted,
    EpochDone,
    Event,
    read_events,
)
from segsweep.orchestrator.record.state import SweepState

pytestmark = [
    pytest.mark.drill,
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning",  # MLflow imports sqlalchemy features that are going away
        "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
    ),
]

SPACE = """
datasets: [{type: streets, train: 32, val: 8, test: 8}]
models:
  - {architecture: linknet, encoder: tu-mobilenetv3_small_050}
  - {architecture: unet, encoder: tu-mobilenetv3_small_050, decoder_channels: [32, 16, 16, 16, 16]}
trials: 3
epochs: 12
image_size: [48, 80]
scheduler: {type: asha, grace: 3}
min_finished: 2
"""
SEGSWEEP = (sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()")


def events(journal: Path) -> list[Event]:
    return [event for event, _ in read_events(journal)] if journal.exists() else []


def workers(driver: int) -> list[int]:
    """Processes of this driver's Ray that train; Ray names them by what they do at the moment."""
    names = (b"ray::RayTrial", b"ray::ResourceTrainable")
    return [pid for pid in descendants(driver) if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(names)]


def test_killing_a_worker_and_then_the_driver_changes_nothing_in_the_books(tmp_path: Path) -> None:
    (tmp_path / "drill.yaml").write_text(SPACE)
    journal = tmp_path / "sweeps/drill-1/journal.jsonl"

    def epochs() -> int:
        return sum(isinstance(event, EpochDone) for event in events(journal))

    with subprocess.Popen([*SEGSWEEP, "launch", "drill.yaml", "--quiet"], cwd=tmp_path) as driver:
        wait_until(lambda: epochs() >= 3, "a third epoch", 240)
        os.kill(workers(driver.pid)[0], signal.SIGKILL)
        wait_until(
            lambda: any(isinstance(e, AttemptEnded) and e.lost == "worker" for e in events(journal)), "a loss", 240
        )
        before = epochs()
        wait_until(lambda: epochs() >= before + 6, "six further epochs", 240)
        driver.kill()
    subprocess.run([*SEGSWEEP, "resume", "drill-1", "--quiet"], cwd=tmp_path, check=True, timeout=400)

    state = SweepState.load(journal)
    assert len(state.trials) == 6
    for cell in {trial.cell for trial in state.trials.values()}:
        assert sum(trial.status == "finished" for trial in state.cell(cell)) >= 2
    recorded = [e for e in events(journal) if isinstance(e, EpochDone) and not e.redone]
    for trial in state.trials.values():
        assert [e.epoch for e in recorded if e.trial == trial.id] == list(range(1, trial.epoch + 1))
    causes = Counter(e.cause for e in events(journal) if isinstance(e, AttemptStarted))
    assert causes["resume"] >= 2
    _check_mlflow(tmp_path, state)


def _check_mlflow(folder: Path, state: SweepState) -> None:
    """One run a trial, each epoch of each trial once, and the values of the journal."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`segsweep.kind` = 'trial'")
    assert sorted(run.data.tags["segsweep.trial_id"] for run in runs) == sorted(state.trials)
    for run in runs:
        trial = state.trials[run.data.tags["segsweep.trial_id"]]
        points = client.get_metric_history(run.info.run_id, "val_miou")
        assert {point.step: point.value for point in points} == {
            epoch: trial.value(epoch) for epoch in range(1, trial.epoch + 1)
        }
        assert len(points) == trial.epoch


def test_a_signal_to_the_whole_process_group_ends_the_driver_at_once(tmp_path: Path) -> None:
    """As `timeout` and batch systems send it: Ray's own processes die of it."""
    (tmp_path / "drill.yaml").write_text(SPACE)
    journal = tmp_path / "sweeps/drill-1/journal.jsonl"
    command = [*SEGSWEEP, "launch", "drill.yaml"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as driver:
        wait_until(lambda: any(isinstance(event, EpochDone) for event in events(journal)), "an epoch", 240)
        os.killpg(driver.pid, signal.SIGTERM)
        began = time.monotonic()
        _, err = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert time.monotonic() - began < 20
    assert err.splitlines()[-1].endswith("Go on: segsweep resume drill-1"), err
    assert not (journal.parent / "ray_token").exists()


SEEDS = range(20)  # one for each kill


@pytest.mark.timeout(1500)
def test_twenty_kills_of_the_driver_at_random_moments_end_like_an_undisturbed_sweep(tmp_path: Path) -> None:
    (tmp_path / "drill.yaml").write_text(SPACE.replace("trials: 3", "trials: 5"))
    run = [*SEGSWEEP, "launch", "drill.yaml", "--quiet", "--in-process", "--name"]
    subprocess.run([*run, "calm"], cwd=tmp_path, check=True, timeout=600)
    calm, journal = tmp_path / "sweeps/calm/journal.jsonl", tmp_path / "sweeps/killed/journal.jsonl"

    for number, seed in enumerate(SEEDS):
        command = [*run, "killed"] if number == 0 else [*SEGSWEEP, "resume", "killed", "--quiet", "--in-process"]
        with subprocess.Popen(command, cwd=tmp_path) as driver:
            wait_until(lambda n=number: drivers(journal) > n, f"driver {number + 1}", 240)
            time.sleep(random.Random(seed).uniform(0, 2))
            assert driver.poll() is None, "the sweep was over too soon"
            driver.kill()
    subprocess.run([*SEGSWEEP, "resume", "killed", "--quiet", "--in-process"], cwd=tmp_path, check=True, timeout=600)

    expected, state = SweepState.load(calm), SweepState.load(journal)
    assert outcomes(state) == outcomes(expected)
    assert state.drivers == len(SEEDS) + 1
    recorded = Counter((e.trial, e.epoch) for e in events(journal) if isinstance(e, EpochDone) and not e.redone)
    assert set(recorded.values()) == {1}
    assert len(recorded) == sum(trial.epoch for trial in expected.trials.values())
    assert check_books(journal) > 0


def drivers(journal: Path) -> int:
    return sum(isinstance(event, DriverStarted) for event in events(journal))


def outcomes(state: SweepState) -> dict[str, object]:
    """Every proposal, every stop and every score."""
    return {
        trial.id: (trial.values, trial.status, trial.stop, [metrics["val_miou"] for metrics in trial.metrics])
        for trial in state.trials.values()
    }
