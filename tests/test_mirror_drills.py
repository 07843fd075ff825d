"""The machine of a sweep that is kept in a bucket is lost while it trains; another one goes on from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from s3_endpoint import s3_endpoint, use_endpoint
from waiting import wait_until

from segsweep.orchestrator.mirroring.places import working_storage
from segsweep.orchestrator.record.journal import AttemptStarted, EpochDone, read_events
from segsweep.orchestrator.record.state import SweepState
from segsweep.trainables.addresses import Address
from segsweep.trainables.training.checkpoint import load

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.timeout(900)]

SPACE = """
datasets: [{type: streets, train: 8, val: 4, test: 4}]
models: [{architecture: linknet, encoder: tu-mobilenetv3_small_050, encoder_weights: none}]
trials: 3
epochs: 6
batch_size: 4
image_size: [32, 32]
scheduler: {type: fifo}
"""
SEGSWEEP = (sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()")


def weights(trial: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = load(trial / "last.pt")["model"]
    return model


def machine(name: str, folder: Path) -> dict[str, str]:
    return {**os.environ, "SEGSWEEP_CACHE": str(folder / name)}


def segsweep(folder: Path, name: str, *arguments: str) -> None:
    subprocess.run([*SEGSWEEP, *arguments, "--in-process"], cwd=folder, env=machine(name, folder), check=True)


def test_a_lost_machine_costs_no_epoch_that_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drill.yaml").write_text(SPACE)
    with s3_endpoint("sweeps") as s3:
        use_endpoint(s3, monkeypatch)
        segsweep(tmp_path, "reference", "launch", "drill.yaml", "--name", "drill", "--storage", "plain")
        launch = [*SEGSWEEP, "launch", "drill.yaml", "--name", "drill", "--in-process", "--storage", "s3://sweeps/all"]
        with subprocess.Popen(launch, cwd=tmp_path, env=machine("first", tmp_path)) as driver:
            last = "all/drill/trials/002/last.pt"
            wait_until(lambda: s3.list_objects_v2(Bucket="sweeps", Prefix=last).get("KeyCount"), last, 300)
            driver.kill()
        shutil.rmtree(tmp_path / "first")
        segsweep(tmp_path, "second", "resume", "s3://sweeps/all/drill")

    monkeypatch.setenv("SEGSWEEP_CACHE", str(tmp_path / "second"))
    ours, reference = working_storage(Address.of("s3://sweeps/all")) / "drill", tmp_path / "plain/drill"
    events = [event for event, _ in read_events(ours / "journal.jsonl")]
    epochs = [event for event in events if isinstance(event, EpochDone)]
    state, expected = (SweepState.load(folder / "journal.jsonl") for folder in (ours, reference))
    assert [t.config for t in state.trials.values()] == [t.config for t in expected.trials.values()]
    assert [t.best for t in state.trials.values()] == [t.best for t in expected.trials.values()]
    assert any(isinstance(event, AttemptStarted) and event.cause == "resume" for event in events)
    for id_ in state.trials:
        assert [(e.epoch, e.redone) for e in epochs if e.trial == id_] == [(n, False) for n in range(1, 7)]
        here, there = weights(ours / "trials" / id_), weights(reference / "trials" / id_)
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in here)
