"""A sweep over three hosts with a token: one of them is lost and comes back, and nothing else is."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TypeVar

import pytest
from hosts import Host, hosts, why_not
from waiting import wait_until

from segsweep.orchestrator.driving.recorded import recorded
from segsweep.orchestrator.planning.plan import SweepPlan
from segsweep.orchestrator.record.journal import AttemptEnded, EpochDone, TrialFacts, read_events
from segsweep.orchestrator.record.state import SweepState

SPACE = """
name: hosts
datasets: [{type: streets, size: [48, 80], train: 32, val: 4, test: 4}]
models:
  - {architecture: unet, encoder: tu-mobilenetv3_small_050, decoder_channels: [16, 16, 16, 16, 16], name: tiny}
  - {architecture: fpn, encoder: tu-mobilenetv3_small_050, name: fpn}
trials: 6
epochs: 6
batch_size: 4
image_size: [48, 80]
scheduler: fifo
resources: {gpus: 0}
"""
BIN = Path(sys.executable).parent
PORT = 6379
E = TypeVar("E", TrialFacts, EpochDone, AttemptEnded)


def ray_on(host: Host, head: Host | None, logs: Path) -> subprocess.Popen[bytes]:
    """Ray on a host: the head, or a worker of it."""
    here = [f"--node-ip-address={host.address}", "--num-cpus=1", "--num-gpus=0", "--block"]
    role = [f"--address={head.address}:{PORT}"] if head else ["--head", f"--port={PORT}", "--include-dashboard=false"]
    return host.start(str(BIN / "ray"), "start", *role, *here, log=logs / f"{host.name}.log")


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(why_not() != "", reason=why_not())
def test_a_lost_host_costs_its_running_trial_some_time_and_nothing_else(tmp_path: Path) -> None:
    token = secrets.token_hex(32)
    disk = tmp_path / "disk"
    disk.mkdir()
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "SEGSWEEP_CACHE": str(disk / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "hosts.yaml").write_text(SPACE)
    sweep = tmp_path / "sweeps" / "hosts-1"
    journal = sweep / "journal.jsonl"
    with hosts(["seg-a", "seg-b", "seg-c"], [disk], environment) as (head, stays, leaves):
        ray_on(head, None, tmp_path)
        wait_until(lambda: says(tmp_path / "seg-a.log", "Ray runtime started"), "the head is up", 120)
        for worker in (stays, leaves):
            ray_on(worker, head, tmp_path)
            wait_until(lambda w=worker: says(tmp_path / f"{w.name}.log", "Ray runtime started"), worker.name, 120)
        launch = head.also(
            str(BIN / "segsweep"), "launch", "hosts.yaml", "--address", f"{head.address}:{PORT}", cwd=tmp_path
        )
        driver = subprocess.Popen(
            launch,
            env={**environment, "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: trained_on(journal, leaves.name), f"an epoch on {leaves.name}", 300)
            leaves.lose()
            wait_until(lambda: any(e.lost == "worker" for e in of(journal, AttemptEnded)), "the loss is noticed", 240)
            ray_on(leaves, head, tmp_path)
            printed, _ = driver.communicate(timeout=900)
        finally:
            driver.kill()
            driver.wait()
    assert driver.returncode == 0, printed.decode()
    state = SweepState.load(journal)
    plan = SweepPlan.of(recorded(sweep).spec)
    assert {trial.status for trial in state.trials.values()} == {"finished"}
    assert [state.count(cell, "finished") for cell in plan.cells] == [6, 6]
    counted = Counter((e.trial, e.epoch) for e in of(journal, EpochDone) if not e.redone)
    assert counted == Counter((id_, epoch) for id_ in state.trials for epoch in range(1, 7))
    assert all(trial.failures == 0 for trial in state.trials.values())
    assert {str(e.facts["host"]) for e in of(journal, TrialFacts) if "host" in e.facts} == {"seg-a", "seg-b", "seg-c"}
    assert not list(disk.iterdir())  # each host had a disk of its own
    for path in [journal, *tmp_path.glob("*.log")]:
        assert token not in path.read_text()
    assert token not in printed.decode()


def of(journal: Path, kind: type[E]) -> list[E]:
    if not journal.exists():
        return []
    return [event for event, _ in read_events(journal) if isinstance(event, kind)]


def trained_on(journal: Path, host: str) -> bool:
    """An epoch of a trial that this host trains was recorded."""
    there = {event.trial for event in of(journal, TrialFacts) if event.facts.get("host") == host}
    return any(event.trial in there for event in of(journal, EpochDone))


def says(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text()
